"""Frames to pixel values: scale the short side, crop, flip, normalise."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from k600.train.decoding import import_torch
from k600.train.sampling import place_of

if TYPE_CHECKING:
    from torch import Tensor

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def scaled_size(
    height: int, width: int, *, short_side: int | None, at_least: int
) -> tuple[int, int]:
    """Return height and width once the shorter is `short_side`, and both are `at_least` so large.

    Example:
        >>> scaled_size(360, 640, short_side=256, at_least=224)
        (256, 455)
    """
    short = max(short_side or min(height, width), at_least)
    if height <= width:
        return short, max(round(width * short / height), short)
    return max(round(height * short / width), short), short


def scaled(frames: Tensor, *, short_side: int | None, at_least: int) -> Tensor:
    """Return uint8 frames (T, C, H, W) scaled, bilinear with antialiasing."""
    height, width = frames.shape[-2:]
    size = scaled_size(height, width, short_side=short_side, at_least=at_least)
    if size == (height, width):
        return frames
    functional = import_torch().nn.functional
    result: Tensor = functional.interpolate(frames, size=size, mode="bilinear", antialias=True)
    return result


def crop_places(
    mode: str, height: int, width: int, crop: int, chance: random.Random
) -> list[tuple[int, int]]:
    """Return top and left, in pixels, of the square crops of a frame.

    `mode` is `center`, `random`, or `three`: at both ends and in the middle of the longer side.

    Example:
        >>> crop_places("three", 256, 340, 224, random.Random(0))
        [(16, 0), (16, 58), (16, 116)]
    """
    rooms = height - crop, width - crop
    if mode == "three":
        fractions = [(0.5, end) if width >= height else (end, 0.5) for end in (0.0, 0.5, 1.0)]
    elif mode == "random":
        fractions = [(chance.random(), chance.random())]
    else:
        fractions = [(0.5, 0.5)]
    return [(place_of(top, rooms[0]), place_of(left, rooms[1])) for top, left in fractions]


def normalised(frames: Tensor, *, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return uint8 frames (..., C, H, W) as float32: 0 to 1, less `mean`, over `std`, a channel."""
    torch = import_torch()
    shape = (len(mean), 1, 1)
    scale = torch.tensor([255 * value for value in std], device=frames.device).view(shape)
    shift = torch.tensor([255 * value for value in mean], device=frames.device).view(shape)
    pixels: Tensor = frames.to(torch.float32, memory_format=torch.contiguous_format)
    return pixels.sub_(shift).div_(scale)
