"""From rows of the dataset to batches for a video model: clips, crops, labels, weights.

    from k600.train import ClipTransform, collate

    train = ds["train"].with_transform(ClipTransform(num_frames=16, stride=4, flip=True))
    loader = torch.utils.data.DataLoader(train, batch_size=8, num_workers=4, collate_fn=collate)

Needs torch, torchcodec and FFmpeg's libraries (`pip install 'kinetics600[decode]'`), which are
imported where they are used: importing this imports none of them. Nothing here imports `datasets`.
"""

from __future__ import annotations

from k600.train.corrupt import CorruptClipError
from k600.train.evaluation import averaged_logits, views
from k600.train.labelling import align_labels, class_weights
from k600.train.transform import ClipTransform, collate, epoch_callback

__all__ = [
    "ClipTransform",
    "CorruptClipError",
    "align_labels",
    "averaged_logits",
    "class_weights",
    "collate",
    "epoch_callback",
    "views",
]


def __dir__() -> list[str]:
    return __all__
