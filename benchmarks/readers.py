"""Ways from a row to a training sample: a careful PyAV loop, other libraries, and ours.

Each takes the same 16 frames of a row, the same crop, and gives the same pixels.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import random
from collections.abc import Callable, Sequence
from typing import Any

import av
import numpy as np
import torch

from k600.train import ClipTransform
from k600.train.pixels import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    crop_places,
    normalised,
    scaled,
)
from k600.train.sampling import place_of, places

__all__ = ["PEERS", "SHORT_SIDE", "STRIDE", "Way", "evenly_placed", "ours", "peer", "with_pyav"]

NUM_FRAMES, STRIDE, SHORT_SIDE, CROP = 16, 4, 256, 224

Way = Callable[[dict[str, Any]], dict[str, Any]]
"""From a row of the dataset to a sample, with `pixel_values` and `labels`."""

_Choose = Callable[[int], Sequence[int]]
"""From the number of frames of a video to those that are wanted, ascending."""


def ours(output: str, stride: int = STRIDE) -> Way:
    """Return `ClipTransform`: random places, random crops."""
    options = {"num_frames": NUM_FRAMES, "short_side": SHORT_SIDE, "crop": CROP}
    return ClipTransform(**options, stride=stride, crop_mode="random", output=output)


def peer(decode: Callable[[str, _Choose], Any], output: str) -> Way:
    """Return a way that decodes otherwise, and goes on as `ClipTransform` does."""

    def way(row: dict[str, Any]) -> dict[str, Any]:
        chance = _chance(row["youtube_id"])
        [fraction] = places("random", 1, chance)

        def choose(count: int) -> Sequence[int]:
            start = place_of(fraction, count - (NUM_FRAMES - 1) * STRIDE - 1)
            return range(start, count, STRIDE)[:NUM_FRAMES]

        pictures = scaled(
            decode(row["video"]["path"], choose), short_side=SHORT_SIDE, at_least=CROP
        )
        height, width = pictures.shape[-2:]
        [(top, left)] = crop_places("random", height, width, CROP, chance)
        pixels = pictures[..., top : top + CROP, left : left + CROP].contiguous()
        if output == "float32":
            pixels = normalised(pixels, mean=IMAGENET_MEAN, std=IMAGENET_STD)
        return {"pixel_values": pixels, "labels": row["label"]}

    return way


def evenly_placed(count: int) -> list[str]:
    """Return YouTube ids by which clips start at places that are spread evenly over a video.

    A few of them take as long as many random ones do: what lies before a place may be decoded, too.
    """
    found = []
    for number in range(count):
        wanted = (number + 0.5) / count
        names = map(str, itertools.count())
        found.append(next(name for name in names if abs(_chance(name).random() - wanted) < 0.02))
    return found


def _chance(youtube_id: str) -> random.Random:
    return random.Random(f"0 0 /{youtube_id}_None_None")  # as `ClipTransform` has it


def with_pyav(path: str, choose: _Choose) -> Any:
    """Decode from the start to the last frame that is wanted, and convert those alone."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        wanted = choose(stream.frames)
        frames = []
        for index, frame in enumerate(container.decode(stream)):
            if index in wanted:
                frames.append(frame.to_ndarray(format="rgb24"))
            if index == wanted[-1]:
                break
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)


def _with_opencv(path: str, choose: _Choose) -> Any:
    import cv2

    cv2.setNumThreads(1)
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "threads;1"
    video = cv2.VideoCapture(path)
    wanted = choose(int(video.get(cv2.CAP_PROP_FRAME_COUNT)))
    video.set(cv2.CAP_PROP_POS_FRAMES, wanted[0])
    frames = []
    for index in range(wanted[0], wanted[-1] + 1):
        video.grab()
        if index in wanted:
            frames.append(cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2RGB))
    video.release()
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)


def _with_decord(path: str, choose: _Choose) -> Any:
    import decord

    video = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)
    return torch.from_numpy(video.get_batch(choose(len(video))).asnumpy()).permute(0, 3, 1, 2)


def _with_torchcodec(path: str, choose: _Choose, *, seek_mode: str = "exact") -> Any:
    from torchcodec.decoders import VideoDecoder

    video = VideoDecoder(path, num_ffmpeg_threads=1, seek_mode=seek_mode)
    return video.get_frames_at(list(choose(len(video)))).data


def _with_torchcodec_approximate(path: str, choose: _Choose) -> Any:
    return _with_torchcodec(path, choose, seek_mode="approximate")


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


PEERS = {
    name: decode
    for name, module, decode in (
        ("OpenCV", "cv2", _with_opencv),
        ("decord", "decord", _with_decord),
        ("torchcodec", "torchcodec", _with_torchcodec),
        ("torchcodec, approximate seeking", "torchcodec", _with_torchcodec_approximate),
    )
    if _installed(module)
}
"""Other libraries that are installed here."""
