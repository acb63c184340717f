"""A miniature of the host: its layout and its oddities, with small real H.264 clips.

Serves the demo, the tests and anyone who wants to try a pipeline without 779 GB. The clips
show a coloured square that moves and the word MINIATURE, so that none is taken for a clip of
Kinetics; the first five of a class also its name, their split and number.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

from k600.splits import HOST_FOLDERS, SPLITS, Split
from k600.store.files import write_whole

__all__ = ["Miniature", "make_clip", "make_clip_of_size", "make_miniature", "make_tarball"]

URL = "https://s3.amazonaws.com/kinetics/600"

MACOS = "mountain climber (exercise)"
"""The class whose validation tarball was packed on macOS, on the host and here."""

PLAIN = "tie dying"
"""The class whose validation tarball is a plain tar under the name `.tar.gz` here."""

CLASSES = (
    "massaging person's head",
    MACOS,
    "passing American football (in game)",
    "springboard diving",
    "surfing water",
    PLAIN,
)

_IDS = ("-aFirstHyph", "_aFirstUnde", "__twoUnders", "Zclip_-plai", "zclip00last")
_SHARED_ID = "BOTHcl4sses"


@dataclass(frozen=True, slots=True)
class Miniature:
    """What was made, for whoever wants to compare."""

    root: Path
    """The folder that stands for `s3://kinetics/600`."""
    test_labels: Path
    """The archive that stands for DeepMind's `kinetics600.tar.gz`."""
    clips: Mapping[str, Mapping[str, Mapping[str, bytes]]] = field(repr=False)
    """`{split: {tarball name: {file name: bytes}}}` of every good clip."""
    labels: Mapping[str, str | None] = field(repr=False)
    """`{file name: class}` of the test clips; None where no list labels one."""


def make_miniature(
    folder: Path,
    *,
    classes: Iterable[str] = CLASSES,
    clips_per_class: int = 5,
    flaws: bool = True,
    shared_names: bool = True,
) -> Miniature:
    """Make a miniature host in `folder`, which must be empty or not exist.

    Args:
        folder: Where; gets `600/` and `kinetics600.tar.gz`.
        classes: Class names to have tarballs for.
        clips_per_class: Clips in each tarball, 1 to 5 and more.
        flaws: Add what is wrong with the real data: an empty and a cut-off clip, and clips that
            are listed but in no tarball.
        shared_names: Give clips of different classes the same file names, which is harsher than the
            real data (there, an id is in two classes at other times).

    Example:
        >>> import tempfile
        >>> made = make_miniature(Path(tempfile.mkdtemp()), classes=["zumba"], clips_per_class=1)
        >>> sorted(made.clips["train"]["zumba"])
        ['-aFirstHyph_000000_000010.mp4']
    """
    root = folder / "600"
    clips: dict[str, dict[str, dict[str, bytes]]] = {split: {} for split in SPLITS}
    test_clips: dict[str, str | None] = {}
    rows: list[tuple[str, str, int, int]] = []
    classes = list(classes)
    for split in ("train", "validation"):
        listed: dict[str, list[str]] = {}
        for number, label in enumerate(classes):
            good = _class_clips(split, number, clips_per_class, label)
            if not shared_names:
                good = {f"{number:02d}{name[2:]}": data for name, data in good.items()}
            clips[split][label] = good
            listed[label] = [*good]
            members: dict[str, bytes] = dict(good)
            prefix, gzipped = "./", True
            if split == "validation" and label == MACOS:
                prefix = f"./{label}/"
                listed[label] = [f"notInTarba{n}_000000_000010.mp4" for n in range(flaws and 2)]
                members |= {f"._{name}": b"\0\5\26\7AppleDouble" for name in good}
            if split == "validation" and label == PLAIN:
                gzipped = False
            if split == "validation" and flaws and number == 0:
                whole = next(iter(good.values()))
                members |= {
                    "emptyclip00_000000_000010.mp4": b"",
                    "cutoffclip0_000000_000010.mp4": whole[: len(whole) // 2],
                }
                listed[label] += list(members)[-2:]
            data = make_tarball(members, prefix=prefix, gzipped=gzipped)
            _write(root / HOST_FOLDERS[split] / f"{label}.tar.gz", data)
        _write_listing(root, split, listed)
    for part in range(2):
        good = {}
        for number, label in enumerate(classes[part::2]):
            for name, data in _class_clips("test", 2 * number + part, 2, label).items():
                good[name] = data
                unlabelled = name.startswith("__") or number == part == 1
                test_clips[name] = None if unlabelled else label
        good = {name: good[name] for name in sorted(good)}
        clips["test"][f"part_{part}"] = good
        data = make_tarball(good, prefix="./")
        _write(root / f"test/part_{part}.tar.gz", data)
    rows = [
        (label, name[:11], int(name[12:18]), int(name[19:25]))
        for name, label in test_clips.items()
        if label is not None
    ]
    table = ["youtube_id,time_start,time_end,split"]
    table += [f"{youtube_id},{start},{end},test" for _, youtube_id, start, end in rows]
    _write(root / "annotations/test.csv", _lines(table))
    for split in SPLITS:
        names = sorted(clips[split])
        host = HOST_FOLDERS[split]
        urls = [f"{URL}/{host}/{name}.tar.gz" for name in names]
        _write(root / host / f"k600_{host}_path.txt", _lines(urls))
    labelled = ["label,youtube_id,time_start,time_end,split"]
    labelled += [f"{label},{i},{start},{end},test" for label, i, start, end in rows]
    archive = make_tarball({"kinetics600/test.csv": _lines(labelled)}, prefix="")
    _write(folder / "kinetics600.tar.gz", archive)
    return Miniature(root, folder / "kinetics600.tar.gz", clips, test_clips)


def make_tarball(
    members: Mapping[str, bytes], *, prefix: str = "./", gzipped: bool = True
) -> bytes:
    """Return a tarball as CVDF packs them: a `./` entry, then the files under `prefix`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        if prefix:
            entry = tarfile.TarInfo(prefix.rstrip("/"))
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
        for name, data in members.items():
            entry = tarfile.TarInfo(f"{prefix}{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    data = buffer.getvalue()
    return gzip.compress(data, 6, mtime=0) if gzipped else data


@lru_cache(maxsize=256)
def make_clip(
    seed: int,
    *,
    seconds: int = 10,
    fps: int = 5,
    width: int = 128,
    height: int = 96,
    words: tuple[str, ...] = (),
) -> bytes:
    """Return a small MP4 (H.264, yuv420p, no sound) whose pictures depend on `seed`.

    Args:
        seed: Says the colours, and where the square begins.
        seconds: Length.
        fps: Frames a second.
        width: In pixels.
        height: In pixels.
        words: Lines of ASCII to be drawn from the top left, 13 pixels each.
    """
    import av
    import numpy as np

    from k600.gallery.contact_sheet import draw_line

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        quality = "42" if words else "30"  # letters take bytes
        stream = container.add_stream("libx264", rate=fps, options={"crf": quality})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1  # the same bytes on every machine
        stream.codec_context.time_base = Fraction(1, fps)
        picture = np.zeros((height, width, 3), np.uint8)
        colour = [(seed * step) % 200 + 55 for step in (37, 91, 151)]
        for number, line in enumerate(words):
            draw_line(picture, 2, 1 + 13 * number, line, (255, 255, 255))
        letters = picture.any(axis=2)
        for index in range(seconds * fps):
            picture[:] = [value // 3 for value in colour]
            left = (seed * 7 + index * 3) % (width - 24)
            top = (seed * 13 + index * 2) % (height - 24)
            picture[top : top + 24, left : left + 24] = colour[::-1]
            picture[letters] = [value // 3 + 120 for value in colour]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def make_clip_of_size(seed: int, size_bytes: int) -> bytes:
    """Return an MP4 of real, hardly compressible H.264 within some percent of a size."""
    import av
    import numpy as np

    random = np.random.default_rng(seed)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        options = {"preset": "ultrafast", "x264-params": "cabac=1"}  # CAVLC would compress
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 340, 256, "yuv420p"
        stream.bit_rate = 8_000_000
        written = 0
        for index in range(10_000):
            frame = av.VideoFrame.from_ndarray(
                random.integers(0, 255, (256, 340, 3), np.uint8), format="rgb24"
            )
            frame.pts = index
            for packet in stream.encode(frame):
                written += packet.size
                container.mux(packet)
            if written >= size_bytes:
                break
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _class_clips(split: str, number: int, count: int, label: str) -> dict[str, bytes]:
    """Name and make a class's clips: one id is in two classes, one name in two splits."""
    title = ("MINIATURE", *textwrap.wrap(label, 20))
    words = [(*title, f"{split} {index}") if index < 5 else title[:1] for index in range(count)]
    base = 1000 * SPLITS.index(split) + 50 * number
    names = []
    for index in range(count):
        start = 10 * index
        if index < len(_IDS) and (not Split(split).is_mixed or index == 0):
            youtube_id = _IDS[(index + 2 * Split(split).is_mixed) % len(_IDS)]
        else:
            youtube_id = f"clip{base + index:07d}"
        if Split(split).is_mixed:
            start += 100 * number
        elif index == 1 and number < 2:
            youtube_id, start = _SHARED_ID, 20 * number
        names.append(f"{youtube_id}_{start:06d}_{start + 10:06d}.mp4")
    return {name: make_clip(base + index, words=words[index]) for index, name in enumerate(names)}


def _write_listing(root: Path, split: str, listed: Mapping[str, list[str]]) -> None:
    """Write the dump of `ls -R` that the host has instead of a table, stray line and all."""
    host = HOST_FOLDERS[split]
    classes = list(listed)[::-1]
    lines = [f"{host}:", *classes, ""]
    for number, label in enumerate(classes):
        names = listed[label]
        lines += [f"{host}/{label}:", *names[:1], *([" "] if number == 0 else []), *names[1:], ""]
    _write(root / f"annotations/{host}.txt", _lines(lines[:-1]))


def _lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _write(path: Path, data: bytes) -> None:
    write_whole(path, data)
