"""What the examples share: a miniature of the host, and a VideoMAE that a CPU can train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import VideoMAEConfig

import kinetics600
from k600.miniature import make_miniature

CLASSES = ["springboard diving", "surfing water", "tie dying", "zumba"]
CLIPS = {"num_frames": 4, "short_side": 72, "crop": 64, "output": "uint8"}
"""Options of `ClipTransform`. Its defaults are what VideoMAE's checkpoints want."""


def miniature(folder: str) -> dict[str, Any]:
    """Make a miniature of the host; return the options of `load_dataset` that read it."""
    made = make_miniature(Path(folder, "host"), classes=CLASSES, flaws=False, scenes=True)
    return {"mirror": str(made.root), "data_dir": f"{folder}/clips", "cache_dir": folder}


def small_config(**more: Any) -> VideoMAEConfig:
    """Return the configuration of a small VideoMAE, made at random."""
    return VideoMAEConfig(
        image_size=64,
        num_frames=4,
        hidden_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=192,
        initializer_range=0.2,  # so that it learns within a minute
        id2label=kinetics600.id2label(),
        label2id=kinetics600.label2id(),
        **more,
    )
