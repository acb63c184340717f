"""Fine-tune VideoMAE on a few classes of Kinetics-600.

    python examples/finetune_videomae.py               # on a miniature of the host, on a CPU
    python examples/finetune_videomae.py --streaming   # the same with no clip on disk

Needs `pip install torch torchcodec torchvision transformers accelerate`.

For the real thing: leave `**host` out, name your classes, and take a pretrained model,
`VideoMAEForVideoClassification.from_pretrained("MCG-NJU/videomae-base", id2label=..., ...)`. The
defaults of `ClipTransform` are what that one was trained with: 16 frames, every fourth, 224 pixels.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from typing import Any

from datasets import load_dataset
from small import CLASSES, CLIPS, miniature, small_config
from transformers import Trainer, TrainingArguments, VideoMAEForVideoClassification

import kinetics600  # noqa: F401  # makes the name known to `load_dataset`
from k600.train import ClipTransform, collate, epoch_callback, normalize_inputs


def accuracy(prediction: Any) -> dict[str, float]:
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def main() -> int:
    parser = argparse.ArgumentParser(description="Fine-tune a small VideoMAE on a miniature host.")
    parser.add_argument("--streaming", action="store_true", help="read the tarballs as they come")
    parser.add_argument("--steps", type=int, default=120, help="batches to train on")
    parser.add_argument("--workers", type=int, default=0, help="processes that decode")
    parser.add_argument("--save", help="a folder for the model")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        host = miniature(folder)
        ds = load_dataset("kinetics600", "train", streaming=args.streaming, **host)["train"]
        seen = load_dataset("kinetics600", "train", **host)["train"]

        transform = ClipTransform(**CLIPS, on_corrupt="previous")
        if args.streaming:
            ds = ds.shuffle(seed=0, buffer_size=100).map(transform, remove_columns=ds.column_names)
        else:
            ds = ds.with_transform(transform)

        model = VideoMAEForVideoClassification(small_config())
        normalize_inputs(model)  # the uint8 pixels, where the model is
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=f"{folder}/model",
                max_steps=args.steps,
                per_device_train_batch_size=10,
                learning_rate=1e-3,
                logging_steps=10,
                dataloader_num_workers=args.workers,
                remove_unused_columns=False,  # the transform makes its own of them
                save_strategy="no",
                report_to="none",
            ),
            train_dataset=ds,
            eval_dataset=seen.with_transform(ClipTransform(**CLIPS, sampling="center")),
            data_collator=collate,
            callbacks=[epoch_callback(transform)],
            compute_metrics=accuracy,
        )
        trainer.train()
        share = trainer.evaluate()["eval_accuracy"]
        if args.save:
            trainer.save_model(args.save)

    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    guess = math.log(len(CLASSES))
    print(f"loss: first {losses[0]:.3f}, last {losses[-1]:.3f}; a guess among 4: {guess:.3f}")
    print(f"accuracy on the clips it trained on: {share:.0%}; a guess among 4: 25%")
    return 0 if losses[-1] < losses[0] else 1


if __name__ == "__main__":
    sys.exit(main())
