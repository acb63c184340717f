"""Evaluate a video model over several views of each clip, as papers do: top-1 and top-5.

    python examples/evaluate_views.py                    # a small model that knows nothing
    python examples/evaluate_views.py --model FOLDER     # what finetune_videomae.py --save made

For the real thing: leave `**host` out, `views(5, 3)` with the model's own frames and size, and
`align_labels(model.config.id2label)` if its ids are not ours.
"""

from __future__ import annotations

import argparse
import tempfile

import torch
from datasets import load_dataset
from small import CLIPS, miniature, small_config
from transformers import VideoMAEForVideoClassification

import kinetics600  # noqa: F401  # makes the name known to `load_dataset`
from k600.train import align_labels, averaged_logits, collate, normalize, views


def main() -> None:
    parser = argparse.ArgumentParser(description="Evaluate a small VideoMAE on a miniature host.")
    parser.add_argument("--model", help="a folder or a name on the Hub")
    parser.add_argument("--split", default="train", choices=["train", "validation"])
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if args.model:
        model = VideoMAEForVideoClassification.from_pretrained(args.model)
    else:
        model = VideoMAEForVideoClassification(small_config())
    model.to(device).eval()

    right = {1: 0, 5: 0}
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        ds = load_dataset("kinetics600", args.split, **miniature(folder))[args.split]
        transform = views(2, 3, **CLIPS, label_ids=align_labels(model.config.id2label))
        loader = torch.utils.data.DataLoader(
            ds.with_transform(transform),
            batch_size=4,
            collate_fn=collate,
            pin_memory=device == "cuda",
        )
        for batch in loader:
            batch = normalize(batch, device)
            logits = averaged_logits(model, batch["pixel_values"], views_at_once=8)
            best = logits.topk(5).indices == batch["labels"][:, None]
            for most in right:
                right[most] += int(best[:, :most].sum())

    top = ", ".join(f"top-{most} {100 * count / len(ds):.1f}%" for most, count in right.items())
    print(f"{len(ds)} clips, {transform.num_views} views of each: {top}")


if __name__ == "__main__":
    main()
