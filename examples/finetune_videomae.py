"""Fine-tune VideoMAE on a few classes of Kinetics-600.

    python examples/finetune_videomae.py               # on a miniature of the host, on a CPU
    python examples/finetune_videomae.py --streaming   # the same with no clip on disk

Needs `pip install 'kinetics600[decode]' transformers accelerate` and FFmpeg's libraries.

For the real thing: leave `**host` out, name your classes, and take a pretrained model,
`VideoMAEForVideoClassification.from_pretrained("MCG-NJU/videomae-base", id2label=..., ...)`. The
defaults of `ClipTransform` are what that one was trained with: 16 frames, every fourth, 224 pixels.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from pathlib import Path

from datasets import load_dataset
from transformers import Trainer, TrainingArguments, VideoMAEConfig, VideoMAEForVideoClassification

import kinetics600
from k600.miniature import make_miniature
from k600.train import ClipTransform, collate, epoch_callback

CLASSES = ["springboard diving", "surfing water", "zumba"]


def main() -> int:
    parser = argparse.ArgumentParser(description="Fine-tune a small VideoMAE on a miniature host.")
    parser.add_argument("--streaming", action="store_true", help="read the tarballs as they come")
    parser.add_argument("--steps", type=int, default=100, help="batches to train on")
    parser.add_argument("--workers", type=int, default=0, help="processes that decode")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        made = make_miniature(Path(folder, "host"), classes=CLASSES, flaws=False)
        host = {"mirror": str(made.root), "data_dir": f"{folder}/clips", "cache_dir": folder}
        ds = load_dataset("kinetics600", "train", streaming=args.streaming, **host)["train"]

        transform = ClipTransform(
            num_frames=8, short_side=72, crop=64, flip=True, on_corrupt="previous"
        )
        if args.streaming:
            ds = ds.shuffle(seed=0, buffer_size=100).map(transform, remove_columns=ds.column_names)
        else:
            ds = ds.with_transform(transform)

        config = VideoMAEConfig(
            image_size=64,
            num_frames=8,
            hidden_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=192,
            id2label=kinetics600.id2label(),
            label2id=kinetics600.label2id(),
        )
        trainer = Trainer(
            model=VideoMAEForVideoClassification(config),
            args=TrainingArguments(
                output_dir=f"{folder}/model",
                max_steps=args.steps,
                per_device_train_batch_size=5,
                learning_rate=2e-3,
                logging_steps=5,
                dataloader_num_workers=args.workers,
                remove_unused_columns=False,  # the transform makes its own of them
                save_strategy="no",
                report_to="none",
            ),
            train_dataset=ds,
            data_collator=collate,
            callbacks=[epoch_callback(transform)],
        )
        trainer.train()

    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    guess = math.log(len(CLASSES))
    print(f"loss: first {losses[0]:.3f}, last {losses[-1]:.3f}; a guess among 3: {guess:.3f}")
    return 0 if losses[-1] < losses[0] else 1


if __name__ == "__main__":
    sys.exit(main())
