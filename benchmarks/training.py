"""Whole samples a second, from clips as they are and as `encode="training"` stores them.

    python -m benchmarks.training [--clips 4] [--rows 16] [--epochs 5] [--sizes 340x256 1280x720]

A sample is 16 frames, every fourth, from a random place: scaled to a short side of 256, and a
random crop of 224 x 224.
The places, DataLoader, scaling and crop are the same; what differs is what is stored, who decodes,
and who makes floats:

- `PyAV`: a careful loop over the original: decode from its start to the last frame that is needed,
  convert those, normalise. This is what the others are compared to;
- `k600.train`: `ClipTransform`, with `output="uint8"` but for the one row that says float32; of
  originals, clips encoded for training, and of these every fourth frame (taken with stride 1).

They take turns, epoch by epoch, after one that warms up; workers live on, with one thread each.
Prints a Markdown table of medians. CPU time is that of 0 workers, and says most on a machine that
is busy otherwise. PSNR is that of all frames stored, beside the original scaled to their size.
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
from k600.train.pixels import IMAGENET_MEAN, IMAGENET_STD, crop_places, normalised, scaled
from k600.train.sampling import place_of, places
from k600.video.encoding import Encoding
from k600.video.reencode import reencode_clip

NUM_FRAMES, STRIDE, SHORT_SIDE, CROP = 16, 4, 256, 224
WORKERS = (0, 1, 2)
ENCODINGS = {
    "original": None,
    "training": Encoding(short_side=SHORT_SIDE, encode="training"),
    "training, every 4th frame": Encoding(
        short_side=SHORT_SIDE, encode="training", frame_step=STRIDE
    ),
}

Way = Callable[[dict[str, Any]], dict[str, Any]]


def texture(chance: np.random.Generator, height: int, width: int, *, grid: int) -> Any:
    """Return a random pattern, coarse and fine as nature is: (H, W, 3) of deviation 1."""
    pattern = torch.zeros(3, height, width)
    for cell in (grid >> octave for octave in range(6)):
        if cell >= 2:
            shape = (1, 3, height // cell + 2, width // cell + 2)
            values = torch.from_numpy(chance.normal(0, cell**0.7, shape).astype(np.float32))
            pattern += torch.nn.functional.interpolate(
                values, size=(height, width), mode="bilinear"
            )[0]
    return (pattern / pattern.std()).permute(1, 2, 0).numpy()


def make_scene(
    seed: int, *, width: int = 340, height: int = 256, seconds: int = 10, fps: int = 25
) -> bytes:
    """Return an H.264 clip: a camera pans over a texture, something moves in front, with grain.

    Coded as x264 does by default (crf 23, B-frames, a keyframe every 250 frames): 590 kB, as clips
    of the host are.
    """
    chance = np.random.default_rng(seed)
    room, times_larger = 100, max(height // 256, 1)
    scene = 128 + 45 * texture(chance, height + room, width + room, grid=64 * times_larger)
    front = 128 + 50 * texture(chance, height // 2, width // 3, grid=16 * times_larger)
    grain = 5 * texture(chance, height + room, width + room, grid=4 * times_larger)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "23"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(seconds * fps):
            left, top = int(50 + 49 * np.sin(index / 30)), int(50 + 49 * np.cos(index / 40))
            picture = scene[top : top + height, left : left + width].copy()
            x = int(width * 0.65 * (0.5 + 0.5 * np.sin(index / 17 + seed)))
            y = int(height * 0.45 * (0.5 + 0.5 * np.sin(index / 11)))
            picture[y : y + height // 2, x : x + width // 3] = front
            down, right = chance.integers(0, room, 2)
            picture += grain[down : down + height, right : right + width]
            frame = av.VideoFrame.from_ndarray(
                picture.clip(0, 255).astype(np.uint8), format="rgb24"
            )
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


class Clips(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Rows as `load_dataset` gives them, through one way."""

    def __init__(self, paths: list[Path], way: Way) -> None:
        self.paths, self.way = paths, way

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        video = {"path": str(self.paths[index]), "bytes": None}
        return self.way({"video": video, "label": 0, "youtube_id": f"{index}"})


def with_pyav(row: dict[str, Any]) -> dict[str, Any]:
    chance = random.Random(f"0 0 /{row['youtube_id']}_None_None")  # as `ClipTransform` has it
    [fraction] = places("random", 1, chance)
    with av.open(row["video"]["path"]) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        room = stream.frames - (NUM_FRAMES - 1) * STRIDE - 1
        wanted = range(place_of(fraction, room), stream.frames, STRIDE)[:NUM_FRAMES]
        frames = []
        for index, frame in enumerate(container.decode(stream)):
            if index in wanted:
                frames.append(frame.to_ndarray(format="rgb24"))
            if index == wanted[-1]:
                break
    pictures = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
    pictures = scaled(pictures, short_side=SHORT_SIDE, at_least=CROP)
    height, width = pictures.shape[-2:]
    [(top, left)] = crop_places("random", height, width, CROP, chance)
    square = pictures[..., top : top + CROP, left : left + CROP]
    pixels = normalised(square, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return {"pixel_values": pixels, "labels": row["label"]}


def ours(output: str, stride: int = STRIDE) -> Way:
    options = {"num_frames": NUM_FRAMES, "short_side": SHORT_SIDE, "crop": CROP}
    return ClipTransform(**options, stride=stride, crop_mode="random", output=output)


WAYS: dict[str, tuple[str, Way]] = {
    "PyAV": ("original", with_pyav),
    "k600.train, float32": ("original", ours("float32")),
    "k600.train": ("original", ours("uint8")),
    "k600.train, training": ("training", ours("uint8")),
    "k600.train, training, every 4th frame": ("training, every 4th frame", ours("uint8", 1)),
}


def encoded(paths: list[Path], encoding: Encoding) -> tuple[list[Path], float]:
    """Encode clips; return the files, and CPU seconds a clip."""
    folder = paths[0].parent.parent / encoding.name
    folder.mkdir(exist_ok=True)
    began = time.process_time()
    for path in paths:
        with open(path, "rb") as file:
            reencode_clip(file, folder / path.name, encoding)
    return [folder / path.name for path in paths], (time.process_time() - began) / len(paths)


def psnr(original: Path, stored: Path, step: int) -> float:
    """Return the peak signal-to-noise ratio of stored frames, in dB."""
    with av.open(str(original)) as first, av.open(str(stored)) as second:
        errors = []
        kept = itertools.islice(first.decode(video=0), 0, None, step)
        for before, after in zip(kept, second.decode(video=0), strict=True):
            size = {"width": after.width, "height": after.height, "format": "rgb24"}
            wanted = before.reformat(**size, interpolation="BICUBIC").to_ndarray()
            errors.append(np.square(wanted.astype(int) - after.to_ndarray(format="rgb24")).mean())
    return float(10 * np.log10(255**2 / np.mean(errors)))


def measure(files: dict[str, list[Path]], *, rows: int, epochs: int) -> dict[str, dict[str, Any]]:
    """Return what each way's epochs took: clips a second by workers, CPU ms a clip, its ratio."""
    loaders = {
        (name, workers): torch.utils.data.DataLoader(
            Clips(list(itertools.islice(itertools.cycle(files[stored]), rows)), way),
            batch_size=8,
            num_workers=workers,
            collate_fn=collate,
            persistent_workers=workers > 0,
        )
        for workers in WORKERS
        for name, (stored, way) in WAYS.items()
    }
    found: dict[str, dict[str, Any]] = {
        name: {"cpu_ms": [], "rates": {workers: [] for workers in WORKERS}} for name in WAYS
    }
    for epoch in range(epochs + 1):
        for (name, workers), loader in loaders.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            count = sum(len(batch["labels"]) for batch in loader)
            if not epoch:
                continue  # this one starts the workers
            found[name]["rates"][workers].append(count / (time.perf_counter() - start))
            if not workers:
                found[name]["cpu_ms"].append(1000 * (time.process_time() - start_cpu) / count)
    for runs in found.values():
        pairs = zip(found["PyAV"]["cpu_ms"], runs["cpu_ms"], strict=True)
        runs["times_faster"] = statistics.median(theirs / mine for theirs, mine in pairs)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--clips", type=int, default=4, help="different clips")
    parser.add_argument("--rows", type=int, default=16, help="rows of an epoch")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--sizes", nargs="+", default=["340x256", "640x360", "1280x720"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{options.clips} clips of 10 s, {options.rows} rows, torch {torch.__version__}, ", end=""
    )
    print(f"PyAV {av.__version__}; whole samples a second, CPU ratios of 0 workers\n")
    workers = " | ".join(f"{number} workers" for number in WORKERS)
    print(f"| original | way | kB | PSNR | CPU s to store | {workers} | CPU ms | times faster |")
    print("|---|---|---|---|---|" + "---|" * len(WORKERS) + "---|---|", flush=True)

    kept = {}
    for size in options.sizes:
        width, height = map(int, size.split("x"))
        with tempfile.TemporaryDirectory() as folder:
            originals = [Path(folder, "original", f"{seed}.mp4") for seed in range(options.clips)]
            originals[0].parent.mkdir()
            for seed, path in enumerate(originals):
                path.write_bytes(make_scene(seed, width=width, height=height))
            files, texts = {}, {}
            for stored, encoding in ENCODINGS.items():
                files[stored], cost, quality = originals, "", ""
                if encoding is not None:
                    files[stored], seconds = encoded(originals, encoding)
                    pairs = zip(originals, files[stored], strict=True)
                    decibels = [psnr(*pair, encoding.frame_step) for pair in pairs]
                    cost, quality = f"{seconds:.2f}", f"{statistics.mean(decibels):.1f}"
                kb = statistics.mean(path.stat().st_size for path in files[stored]) / 1e3
                texts[stored] = f"{kb:.0f} | {quality} | {cost}"
            kept[size] = measure(files, rows=options.rows, epochs=options.epochs)

        for name, runs in kept[size].items():
            rates = " | ".join(f"{statistics.median(runs['rates'][n]):.1f}" for n in WORKERS)
            cpu = f"{statistics.median(runs['cpu_ms']):.1f} | {runs['times_faster']:.1f}"
            print(f"| {size} | {name} | {texts[WAYS[name][0]]} | {rates} | {cpu} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
