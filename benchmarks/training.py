"""Clips a second into `pixel_values`: 16 frames, every fourth, of 224 x 224 pixels.

    python -m benchmarks.training [--clips 24] [--epochs 5] [--json FILE]

The clips, DataLoader, scaling, crop and normalisation are the same; what differs is who decodes:

- `k600.train`: `ClipTransform`, that is torchcodec with one thread;
- `PyAV, frames`: decode from the clip's start to the last frame that is needed, keep those;
- `PyAV, whole`: decode the whole clip, then pick, as `torchvision.io.read_video` did (it went
  out of torchvision with 0.28).

They take turns, epoch by epoch, after one that warms up; their workers live on. All of them use one
thread a process. Prints a Markdown table of medians with the least and the most; CPU time is that
of 0 workers, and says most on a machine that is busy otherwise.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from k600.train import ClipTransform, collate
from k600.train.pixels import crop_places, normalised, scaled

NUM_FRAMES, STRIDE, SHORT_SIDE, CROP = 16, 4, 256, 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def make_scene(seed: int, *, seconds: int = 10, fps: int = 25) -> bytes:
    """Return an H.264 clip of 340 x 256 pixels: a camera pans over texture, something moves, grain.

    Coded as x264 does by default (crf 23, B-frames, a keyframe every 250 frames): about 200 kB.
    """
    width, height = 340, 256
    chance = np.random.default_rng(seed)
    tiles = chance.integers(0, 255, (height // 16 + 8, width // 16 + 8, 3), np.uint8)
    scene = np.kron(tiles, np.ones((16, 16, 1), np.uint8))
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "23"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(seconds * fps):
            left, top = int(40 + 40 * np.sin(index / 30)), int(30 + 30 * np.cos(index / 40))
            picture = scene[top : top + height, left : left + width].astype(np.float32)
            x = (2 * index + 7 * seed) % (width - 60)
            picture[80:140, x : x + 60] = (200, 40, 60)
            picture += chance.normal(0, 4, picture.shape)
            frame = av.VideoFrame.from_ndarray(
                picture.clip(0, 255).astype(np.uint8), format="rgb24"
            )
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


class Clips(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Rows as `load_dataset` gives them, through one way."""

    def __init__(self, paths: list[str], way: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.paths, self.way = paths, way

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        video = {"path": self.paths[index], "bytes": None}
        return self.way({"video": video, "label": 0})


def with_pyav(row: dict[str, Any], *, whole: bool) -> dict[str, Any]:
    chance = random.Random(row["video"]["path"])
    with av.open(row["video"]["path"]) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        room = stream.frames - (NUM_FRAMES - 1) * STRIDE - 1
        wanted = range(chance.randint(0, room), stream.frames, STRIDE)[:NUM_FRAMES]
        frames = []
        for index, frame in enumerate(container.decode(stream)):
            if whole or index in wanted:
                frames.append(frame.to_ndarray(format="rgb24"))
            if not whole and index == wanted[-1]:
                break
    if whole:
        frames = [frames[index] for index in wanted]
    pictures = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
    pictures = scaled(pictures, short_side=SHORT_SIDE, at_least=CROP)
    height, width = pictures.shape[-2:]
    [(top, left)] = crop_places("random", height, width, CROP, chance)
    square = pictures[..., top : top + CROP, left : left + CROP]
    return {"pixel_values": normalised(square, mean=MEAN, std=STD), "labels": row["label"]}


def with_pyav_frames(row: dict[str, Any]) -> dict[str, Any]:
    return with_pyav(row, whole=False)


def with_pyav_whole(row: dict[str, Any]) -> dict[str, Any]:
    return with_pyav(row, whole=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--clips", type=int, default=24, help="different clips")
    parser.add_argument("--rows", type=int, default=48, help="rows of an epoch")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    ways: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "k600.train": ClipTransform(
            num_frames=NUM_FRAMES,
            stride=STRIDE,
            short_side=SHORT_SIDE,
            crop=CROP,
            crop_mode="random",
        ),
        "PyAV, frames": with_pyav_frames,
        "PyAV, whole": with_pyav_whole,
    }
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for seed in range(options.clips):
            paths.append(str(Path(folder, f"{seed}.mp4")))
            Path(paths[-1]).write_bytes(make_scene(seed))
        size = statistics.mean(Path(path).stat().st_size for path in paths)
        rows = list(itertools.islice(itertools.cycle(paths), options.rows))
        loaders = {
            (name, workers): torch.utils.data.DataLoader(
                Clips(rows, way),
                batch_size=8,
                num_workers=workers,
                collate_fn=collate,
                persistent_workers=workers > 0,
            )
            for workers in (0, 1, 2)
            for name, way in ways.items()
        }
        rates: dict[tuple[str, int], list[float]] = {key: [] for key in loaders}
        cpu: dict[tuple[str, int], list[float]] = {key: [] for key in loaders}
        for epoch in range(options.epochs + 1):
            for key, loader in loaders.items():
                start, start_cpu = time.perf_counter(), time.process_time()
                count = sum(len(batch["labels"]) for batch in loader)
                if epoch:  # the first starts the workers
                    rates[key].append(count / (time.perf_counter() - start))
                    cpu[key].append(1000 * (time.process_time() - start_cpu) / count)
    print(f"{options.clips} clips of {size / 1e3:.0f} kB, {options.rows} rows, torch", end=" ")
    print(f"{torch.__version__}, PyAV {av.__version__}; clips a second (least to most)\n")
    print("| way | 0 workers | 1 worker | 2 workers | CPU ms a clip |\n|---|---|---|---|---|")
    for name in ways:
        cells = [*(rates[name, workers] for workers in (0, 1, 2)), cpu[name, 0]]
        texts = (f"{statistics.median(c):.1f} ({min(c):.1f} to {max(c):.1f})" for c in cells)
        print(f"| {name} | {' | '.join(texts)} |")
    if options.json:
        runs = [
            {"way": key[0], "workers": key[1], "clips_per_second": found, "cpu_ms": cpu[key]}
            for key, found in rates.items()
        ]
        options.json.write_text(json.dumps({"clip_bytes": size, "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
