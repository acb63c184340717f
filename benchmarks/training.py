"""What training reads: samples a second, stored sizes and quality, what storing costs, accuracy.

    python -m benchmarks.training [TABLE ...] [--clips 2] [--repeats 3] [--sizes 340x256 1280x720]

A sample is 16 frames, every fourth, from a random place: scaled to a short side of 256, and a
random crop of 224 x 224. All clips are made, as two scenes that real ones lie between (see
`scenes`). The tables, all of them unless some are named:

- `samples`: from originals and from clips that are encoded for training, at every size, beside
  a careful PyAV loop over the originals;
- `stored`: sizes, what is left of the picture, and what it costs to store clips so;
- `workers`: a DataLoader with 0, 1 and 2 workers;
- `peers`: the same frames by other libraries;
- `several`: 4 and 8 random clips of one video, in one pass against one by one;
- `accuracy`: a small model, trained on each (see `accuracy`).

All ways take turns, sample by sample (`workers`: epoch by epoch), in one thread. Times are CPU
time, which says most on a machine that is busy otherwise: of each sample the median of its turns;
shown is what a sample takes on average, and its ratio.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
import torch

from benchmarks import accuracy
from benchmarks.readers import PEERS, SHORT_SIDE, STRIDE, Way, evenly_placed, ours, peer, with_pyav
from benchmarks.scenes import SCENES, make_scene
from k600.train import collate
from k600.train.decoding import opened
from k600.train.sampling import clips_at
from k600.video.encoding import Encoding
from k600.video.reencode import reencode_clip

TRAINING, EVERY_4TH = '`encode="training"`', "the same, `frame_step=4`"
ENCODINGS = {
    "`short_side` alone": Encoding(short_side=SHORT_SIDE),
    TRAINING: Encoding(short_side=SHORT_SIDE, encode="training"),
    "the same, `crf=25`": Encoding(short_side=SHORT_SIDE, encode="training", crf=25),
    EVERY_4TH: Encoding(short_side=SHORT_SIDE, encode="training", frame_step=STRIDE),
}
WAYS: dict[str, tuple[str, Way]] = {
    "originals, a PyAV loop, float32": ("", peer(with_pyav, "float32")),
    "originals, a PyAV loop, uint8": ("", peer(with_pyav, "uint8")),
    "originals, float32": ("", ours("float32")),
    "originals, uint8": ("", ours("uint8")),
    f"{TRAINING}, uint8": (TRAINING, ours("uint8")),
    f"{EVERY_4TH}, uint8": (EVERY_4TH, ours("uint8", 1)),
}
"""What is compared, the first with all others: what is stored, and who reads it."""
WORKERS = (0, 1, 2)

Work = TypeVar("Work")
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How much is measured, and where clips are kept meanwhile."""

    folder: Path
    clips: int
    """Different clips of each scene and size."""
    rows: int
    """Samples of a clip, from places that are spread evenly over it."""
    repeats: int
    sizes: tuple[str, ...]
    """Pixels of the originals, `340x256`, say; the first is that of tables with one size."""
    frames: int
    is_quick: bool

    def paths(self, scene: str, size: str, stored: str = "") -> list[Path]:
        """Return clips, made now if they are not there: originals, or as an encoding stores them.

        A clip that the encoding leaves alone is the original.
        """
        return [_path_of(self, scene, size, stored, seed) for seed in range(self.clips)]

    def samples(self, scene: str, size: str, stored: str = "") -> list[Row]:
        """Return rows of these clips as `load_dataset` gives them."""
        names = evenly_placed(self.rows)
        return [_row(path, name) for path in self.paths(scene, size, stored) for name in names]


def _row(path: Path, name: str) -> Row:
    return {"video": {"path": str(path), "bytes": None}, "label": 0, "youtube_id": name}


@cache
def _path_of(settings: Settings, scene: str, size: str, stored: str, seed: int) -> Path:
    folder = settings.folder / f"{scene}_{settings.frames}_frames" / size
    folder /= ENCODINGS[stored].name if stored else "original"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{seed}.mp4"
    if stored:
        original = _path_of(settings, scene, size, "", seed)
        return path if encode(original, path, ENCODINGS[stored]) else original
    if path.exists():
        return path
    width, height = map(int, size.split("x"))
    data = make_scene(seed, grain=SCENES[scene], width=width, height=height, frames=settings.frames)
    path.write_bytes(data)
    return path


def encode(original: Path, path: Path, encoding: Encoding) -> bool:
    """Encode a clip as a load would; return whether there is a new one."""
    with open(original, "rb") as file:
        return reencode_clip(file, path, encoding).is_new


@dataclass(frozen=True)
class Table:
    """What is printed."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def markdown(self) -> str:
        lines = [self.headings, ["---"] * len(self.headings), *self.rows]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def take_turns(
    calls: Mapping[str, tuple[Callable[[Work], object], Sequence[Work]]], repeats: int
) -> dict[str, list[float]]:
    """Return the CPU seconds of each call with each piece of its work: medians of the repeats.

    All calls take their turn with the first piece, then with the second; nothing counts of a first
    turn of all.
    """
    pieces_of_work = len(next(iter(calls.values()))[1])
    turns: dict[str, list[list[float]]] = {
        name: [[] for _ in range(pieces_of_work)] for name in calls
    }
    for call, work in calls.values():
        call(work[0])
    for _ in range(repeats):
        for piece in range(pieces_of_work):
            for name, (call, work) in calls.items():
                began = time.process_time()
                call(work[piece])
                turns[name][piece].append(time.process_time() - began)
    return {name: [statistics.median(each) for each in found] for name, found in turns.items()}


def times_faster(theirs: list[float], mine: list[float]) -> str:
    return f"{sum(theirs) / sum(mine):.1f}"


def milliseconds(seconds: Sequence[float]) -> str:
    return f"{1000 * statistics.mean(seconds):.1f}"


def kb(paths: Iterable[Path]) -> str:
    return f"{statistics.mean(path.stat().st_size for path in paths) / 1e3:,.0f}"


def samples(settings: Settings) -> Table:
    """Return whole samples, of every size and scene."""
    rows = []
    first = next(iter(WAYS))
    for size in settings.sizes:
        lines: dict[str, list[str]] = {name: [size, name] for name in WAYS}
        for scene in SCENES:
            calls, sizes = {}, {}
            for name, (stored, way) in WAYS.items():
                calls[name] = way, settings.samples(scene, size, stored)
                sizes[name] = kb(settings.paths(scene, size, stored))
            seconds = take_turns(calls, settings.repeats)
            for name in WAYS:
                ratio = times_faster(seconds[first], seconds[name])
                lines[name] += [sizes[name], milliseconds(seconds[name]), ratio]
        rows += lines.values()
    figures = [f"{scene}: {what}" for scene in SCENES for what in ("kB", "CPU ms", "times faster")]
    return Table(["originals", "stored, and handed over, as", *figures], rows)


def stored(settings: Settings) -> Table:
    """Return sizes and quality, and what it takes to encode a clip, against `short_side` alone."""
    rows = []
    first = next(iter(ENCODINGS))
    for size in settings.sizes:
        lines: dict[str, list[str]] = {name: [size, name] for name in ENCODINGS}
        for scene in SCENES:
            originals = settings.paths(scene, size)
            made = {name: settings.paths(scene, size, name) for name in ENCODINGS}
            seconds = take_turns(
                {name: (partial(_store, settings, name), originals) for name in ENCODINGS}, 1
            )
            for name, paths in made.items():
                if paths == originals:
                    lines[name] += [kb(paths), "1.00", "", "", ""]
                    continue
                pairs = list(zip(originals, paths, strict=True))
                share = statistics.mean(b.stat().st_size / a.stat().st_size for a, b in pairs)
                alike = [quality(*pair, ENCODINGS[name].frame_step) for pair in pairs]
                cost = f"{statistics.mean(seconds[name]):.2f}"
                if made[first] != originals:  # else `short_side` alone has nothing to do
                    cost += f" ({sum(seconds[name]) / sum(seconds[first]):.2f}x)"
                psnr, similarity = map(statistics.mean, zip(*alike, strict=True))
                lines[name] += [kb(paths), f"{share:.2f}", f"{psnr:.1f}", f"{similarity:.3f}", cost]
        rows += lines.values()
    whats = ("kB", "of the original", "PSNR dB", "SSIM", "CPU s to store")
    return Table(
        ["originals", "stored as", *(f"{scene}: {what}" for scene in SCENES for what in whats)],
        rows,
    )


def _store(settings: Settings, name: str, original: Path) -> None:
    encode(original, settings.folder / "stored.mp4", ENCODINGS[name])


def quality(original: Path, made: Path, step: int) -> tuple[float, float]:
    """Return PSNR in dB and SSIM, of what a model sees.

    That is, in RGB, and beside the original's frames as `ClipTransform` would scale them; of every
    fourth frame that is stored.
    """
    errors, alike = [], []
    with av.open(str(original)) as before, av.open(str(made)) as after:
        frames = zip(
            itertools.islice(before.decode(video=0), 0, None, step),
            after.decode(video=0),
            strict=True,
        )
        for wanted, found in itertools.islice(frames, 0, None, 4):
            pixels = _as_tensor(found)
            reference = torch.nn.functional.interpolate(
                _as_tensor(wanted), size=pixels.shape[-2:], mode="bilinear", antialias=True
            )
            errors.append(float((pixels.float() - reference.float()).square().mean()))
            alike.append(ssim(pixels, reference))
    return float(10 * np.log10(255**2 / np.mean(errors))), statistics.mean(alike)


def _as_tensor(frame: Any) -> torch.Tensor:
    """Return a frame as uint8 (1, 3, H, W)."""
    return torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)[None]


def ssim(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the structural similarity of two frames' luma, of uint8 (1, 3, H, W).

    As Wang et al. (2004) have it: windows of 11 pixels, Gaussian of deviation 1.5.
    """
    bell = torch.exp(-torch.arange(-5.0, 6.0).square() / (2 * 1.5**2))
    bell /= bell.sum()
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)

    def smoothed(luma: torch.Tensor) -> torch.Tensor:
        rows = torch.nn.functional.conv2d(luma, bell.view(1, 1, 11, 1))
        return torch.nn.functional.conv2d(rows, bell.view(1, 1, 1, 11))

    a, b = ((each * weights).sum(1, keepdim=True) for each in (one, other))
    mean_a, mean_b = smoothed(a), smoothed(b)
    variances = smoothed(a * a) - mean_a**2 + smoothed(b * b) - mean_b**2
    together = smoothed(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    structure = (2 * together + c2) / (variances + c2)
    return float((structure * (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)).mean())


class _Samples(torch.utils.data.Dataset):  # type: ignore[type-arg]
    def __init__(self, rows: Sequence[Row], way: Way) -> None:
        self.rows, self.way = rows, way

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.way(self.rows[index])


def workers(settings: Settings) -> Table:
    """Return what a DataLoader gives with workers, of the first size."""
    numbers = WORKERS[:2] if settings.is_quick else WORKERS
    names = [name for name in WAYS if "uint8" in name or name == next(iter(WAYS))]
    loaders = {
        (scene, name, number): torch.utils.data.DataLoader(
            _Samples(settings.samples(scene, settings.sizes[0], WAYS[name][0]), WAYS[name][1]),
            batch_size=4,
            num_workers=number,
            collate_fn=collate,
            persistent_workers=number > 0,
        )
        for scene in SCENES
        for name in names
        for number in numbers
    }
    rates: dict[Any, list[float]] = {key: [] for key in loaders}
    cpu: dict[Any, list[float]] = {key: [] for key in loaders}
    for epoch in range(settings.repeats + 1):
        for key, loader in loaders.items():
            began, began_cpu = time.perf_counter(), _cpu_seconds()
            found = sum(len(batch["labels"]) for batch in loader)
            if epoch:  # the first one starts the workers
                rates[key].append(found / (time.perf_counter() - began))
                cpu[key].append((_cpu_seconds() - began_cpu) / found)
    rows = []
    for name in names:
        line = [name]
        for scene in SCENES:
            keys = [(scene, name, number) for number in numbers]
            line.append(" / ".join(f"{statistics.median(rates[key]):.0f}" for key in keys))
            line.append(" / ".join(f"{1000 * statistics.median(cpu[key]):.1f}" for key in keys))
        rows.append(line)
    whats = (f"clips/s, {' / '.join(map(str, numbers))} workers", "CPU ms a clip")
    return Table(["", *(f"{scene}: {what}" for scene in SCENES for what in whats)], rows)


def _cpu_seconds() -> float:
    """Return the CPU time of this process and of all workers that live."""
    # Linux's number for the clock of a process, as `clock_getcpuclockid` gives it.
    clocks = (~child.pid << 3 | 2 for child in multiprocessing.active_children() if child.pid)
    return time.process_time() + sum(map(time.clock_gettime, clocks))


def peers(settings: Settings) -> Table:
    """Return whole samples of the same frames, as uint8, by other libraries, of the first size."""
    ways = {"a PyAV loop": peer(with_pyav, "uint8")}
    ways |= {name: peer(decode, "uint8") for name, decode in PEERS.items()}
    ways["`ClipTransform`"] = ours("uint8")
    lines = {name: [name] for name in ways}
    sources = [(scene, each) for each in ("", TRAINING) for scene in SCENES]
    for scene, each in sources:
        rows = settings.samples(scene, settings.sizes[0], each)
        wanted = ways["a PyAV loop"](rows[-1])["pixel_values"]
        calls = {}
        for name, way in ways.items():
            found = way(rows[-1])["pixel_values"]
            apart = (found.float() - wanted.float()).abs().mean()
            if apart < 2:  # of 255: conversions to RGB differ a little, other frames a lot
                calls[name] = way, rows
            else:
                lines[name] += ["other frames", ""]
        seconds = take_turns(calls, settings.repeats)
        for name in calls:
            ratio = times_faster(seconds["a PyAV loop"], seconds[name])
            lines[name] += [milliseconds(seconds[name]), ratio]
    headings = [
        f"{each or 'originals'}, {scene}: {what}"
        for scene, each in sources
        for what in ("CPU ms", "times faster")
    ]
    return Table(["", *headings], list(lines.values()))


def several(settings: Settings) -> Table:
    """Return what several random clips of one video take, decoded, of the first size."""
    rows = []
    chance = np.random.default_rng(0)
    for each in ("", TRAINING):
        for count in (4, 8):
            line = [each or "originals", f"{count}"]
            for scene in SCENES:
                paths = settings.paths(scene, settings.sizes[0], each)
                work = [(path, sorted(chance.random(count).tolist())) for path in paths]
                if not torch.equal(_one_by_one(work[0]), _in_one_pass(work[0])):
                    raise RuntimeError("one pass over a video gave other frames")
                calls = {"one": (_one_by_one, work), "pass": (_in_one_pass, work)}
                seconds = take_turns(calls, settings.repeats)
                line += [milliseconds(seconds[way]) for way in ("one", "pass")]
                line.append(times_faster(seconds["one"], seconds["pass"]))
            rows.append(line)
    whats = ("ms one by one", "ms in one pass", "times faster")
    return Table(["", "clips", *(f"{scene}: {what}" for scene in SCENES for what in whats)], rows)


def _in_one_pass(work: tuple[Path, list[float]]) -> torch.Tensor:
    path, places = work
    with opened(path) as video:
        return clips_at(video, places, num_frames=16, step=STRIDE, fps=None)[0]


def _one_by_one(work: tuple[Path, list[float]]) -> torch.Tensor:
    path, places = work
    return torch.cat([_in_one_pass((path, [place])) for place in places])


def accuracies(settings: Settings) -> Table:
    """Return how well a small model learns from each."""
    found = accuracy.measure(settings.folder, is_quick=settings.is_quick)
    rows = []
    for name, shares in found.items():
        percents = [100 * share for share in shares]
        spread = statistics.stdev(percents) if len(percents) > 1 else 0.0
        each = ", ".join(f"{percent:.1f}" for percent in percents)
        rows.append([name, f"{statistics.mean(percents):.1f} ± {spread:.1f}", each])
    return Table(["trained and tested on", "top-1 %, mean ± deviation", "by seed"], rows)


TABLES = {
    "samples": samples,
    "stored": stored,
    "workers": workers,
    "peers": peers,
    "several": several,
    "accuracy": accuracies,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--clips", type=int, default=2, help="different clips of a scene")
    parser.add_argument("--rows", type=int, default=8, help="samples of a clip")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each sample, or epochs")
    parser.add_argument("--sizes", nargs="+", default=["340x256", "640x360", "1280x720"])
    parser.add_argument("--quick", action="store_true", help="tiny sizes; figures mean nothing")
    parser.add_argument("--json", type=Path, help="keep the tables here, beside those it has")
    parser.add_argument("--folder", type=Path, help="keep the originals here for the next time")
    options = parser.parse_args()
    if unknown := set(options.tables) - set(TABLES):
        parser.error(f"no such table: {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}")
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, PyAV {av.__version__}, {os.cpu_count()} cores", end="")
    print("; tiny sizes: these figures mean nothing" if options.quick else "", flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if options.quick:
            settings = Settings(folder, 1, 2, 1, ("340x256", "400x300"), 75, is_quick=True)
        else:
            amount = options.clips, options.rows, options.repeats
            settings = Settings(folder, *amount, tuple(options.sizes), 250, is_quick=False)
        for name in options.tables or TABLES:
            table = TABLES[name](settings)
            load = os.getloadavg()[0]
            print(f"\n{name} (load {load:.0f})\n\n{table.markdown}", end="", flush=True)
            if options.json:
                kept = json.loads(options.json.read_text()) if options.json.exists() else {}
                kept[name] = {"headings": table.headings, "rows": table.rows}
                options.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
