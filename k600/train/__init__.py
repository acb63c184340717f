"""From rows of the dataset to batches for a video model: clips, crops, labels, weights.

    from k600.train import ClipTransform, collate, normalize

    transform = ClipTransform(num_frames=16, stride=4, flip=True, output="uint8")
    loader = torch.utils.data.DataLoader(
        ds["train"].with_transform(transform),
        batch_size=8, num_workers=4, collate_fn=collate, pin_memory=True,
    )
    for batch in loader:
        loss = model(**normalize(batch, "cuda")).loss

Needs torch (`pip install torch torchcodec`), which is imported where it is used: importing this
imports nothing heavy. Nothing here imports `datasets`.
"""

from __future__ import annotations

from k600.train.batches import collate, epoch_callback, normalize, normalize_inputs
from k600.train.corrupt import CorruptClipError
from k600.train.evaluation import averaged_logits, views
from k600.train.labelling import align_labels, class_weights
from k600.train.transform import ClipTransform

__all__ = [
    "ClipTransform",
    "CorruptClipError",
    "align_labels",
    "averaged_logits",
    "class_weights",
    "collate",
    "epoch_callback",
    "normalize",
    "normalize_inputs",
    "views",
]


def __dir__() -> list[str]:
    return __all__
