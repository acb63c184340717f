"""Pre-train VideoMAE without labels: most of each clip is hidden, and the model fills it in.

    python examples/pretrain_videomae.py     # on a miniature of the host, on a CPU

For the real thing: leave `**host` out, load `frame_step=4, encode="training"` once, and take more
of everything. A random resized crop per clip is the augmentation that the paper needs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from typing import Any

import torch
from datasets import load_dataset
from small import CLIPS, miniature, small_config
from torchvision.transforms import v2
from transformers import VideoMAEForPreTraining

import kinetics600  # noqa: F401  # makes the name known to `load_dataset`
from k600.train import ClipTransform, collate, normalize


def tube_masks(count: int, config: Any, *, ratio: float = 0.75) -> torch.Tensor:
    """Return which patches are hidden, bool (count, patches): the same place in every frame."""
    places = (config.image_size // config.patch_size) ** 2
    order = torch.rand(count, places).argsort(1)
    return (order < round(ratio * places)).repeat(1, config.num_frames // config.tubelet_size)


def main() -> int:
    parser = argparse.ArgumentParser(description="Pre-train a small VideoMAE on a miniature host.")
    parser.add_argument("--epochs", type=int, default=20)
    args = parser.parse_args()
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = small_config(decoder_hidden_size=96, decoder_num_hidden_layers=1)
    model = VideoMAEForPreTraining(config).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    losses = []
    with tempfile.TemporaryDirectory() as folder:
        ds = load_dataset("kinetics600", "train", **miniature(folder))["train"]
        crops = v2.RandomResizedCrop(64, scale=(0.5, 1.0), antialias=True)
        transform = ClipTransform(**CLIPS | {"short_side": None}, flip=True, augment=crops)
        loader = torch.utils.data.DataLoader(
            ds.with_transform(transform),
            batch_size=10,
            shuffle=True,
            collate_fn=collate,
            pin_memory=device == "cuda",
        )
        for epoch in range(args.epochs):
            transform.set_epoch(epoch)
            for batch in loader:
                pixels = normalize(batch, device)["pixel_values"]
                masks = tube_masks(len(pixels), config).to(device)
                loss = model(pixels, bool_masked_pos=masks).loss
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                losses.append(loss.item())

    first, last = (sum(part) / len(part) for part in (losses[:4], losses[-4:]))
    print(f"loss of hidden patches: first {first:.3f}, last {last:.3f}")
    return 0 if last < first else 1


if __name__ == "__main__":
    sys.exit(main())
