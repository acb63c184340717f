"""What it takes to encode clips anew as they arrive, against what `short_side` alone does.

    python -m benchmarks.landing [--clips 6] [--repeats 3] [--size 640x360] [--short-side 256]

Each clip is decoded, scaled, encoded and read back by each way in turn, in one process and one
thread. CPU is the median, over clips and repeats, of the ratio to `short_side` right before; PSNR
is that of luma, against the original's frames scaled alike.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from pathlib import Path

import av
import numpy as np

from benchmarks.tarballs import make_clip
from k600.video.encoding import Encoding
from k600.video.reencode import reencode_clip

BYTES_A_PIXEL = 654_000 / (340 * 256)
"""Of a clip of Kinetics-600, ten seconds long."""


def ways(short_side: int) -> dict[str, Encoding]:
    """Return what is compared, the first with all others."""
    training = {
        f"training, {name}": Encoding(short_side=short_side, encode="training", **more)
        for name, more in {
            "crf 23": {},
            "crf 25": {"crf": 25},
            "every 4th frame": {"frame_step": 4},
        }.items()
    }
    return {"short_side alone": Encoding(short_side=short_side), **training}


def psnr(original: bytes, made: Path, step: int) -> float:
    """Return how alike the frames are, in dB."""
    with av.open(io.BytesIO(original)) as before, av.open(str(made)) as after:
        found = after.decode(video=0)
        errors = []
        for number, frame in enumerate(before.decode(video=0)):
            if number % step == 0:
                frame_found = next(found)
                size = {"width": frame_found.width, "height": frame_found.height}
                wanted = frame.reformat(**size, interpolation="BICUBIC").to_ndarray()
                apart = wanted.astype(float) - frame_found.to_ndarray()
                errors.append((apart[: size["height"]] ** 2).mean())
    return float(10 * np.log10(255**2 / np.mean(errors)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=6, help="different clips (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each (%(default)s)")
    parser.add_argument("--size", default="640x360", help="pixels of the originals (%(default)s)")
    parser.add_argument("--short-side", type=int, default=256, help="(%(default)s)")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    encodings = ways(options.short_side)
    first = next(iter(encodings))

    seconds: dict[str, list[float]] = {name: [] for name in encodings}
    ratios: dict[str, list[float]] = {name: [] for name in encodings}
    sizes: dict[str, list[int]] = {name: [] for name in encodings}
    alike: dict[str, list[float]] = {name: [] for name in encodings}
    originals = []
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "clip.mp4")
        for seed in range(options.clips):
            size_bytes = round(BYTES_A_PIXEL * width * height)
            original = make_clip(seed, size_bytes, width=width, height=height)
            originals.append(len(original))
            for turn in range(options.repeats):
                for name, encoding in encodings.items():
                    begun = time.process_time()
                    reencode_clip(io.BytesIO(original), target, encoding)
                    seconds[name].append(time.process_time() - begun)
                    ratios[name].append(seconds[name][-1] / seconds[first][-1])
                    if turn == 0:
                        sizes[name].append(target.stat().st_size)
                        alike[name].append(psnr(original, target, encoding.frame_step))

    print(
        f"{options.clips} clips of {options.size}, {statistics.mean(originals) / 1e3:.0f} kB each"
    )
    print("\n| stored as | CPU s a clip | CPU | kB a clip | PSNR dB |\n|---|---|---|---|---|")
    for name in encodings:
        figures = (
            f"{statistics.median(seconds[name]):.2f}",
            f"{statistics.median(ratios[name]):.2f}x",
            f"{statistics.mean(sizes[name]) / 1e3:.0f}",
            f"{statistics.mean(alike[name]):.1f}",
        )
        print(f"| {name} | {' | '.join(figures)} |")


if __name__ == "__main__":
    main()
