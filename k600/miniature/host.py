"""The miniature host: its lists and tarballs, in the layout of the real one and with its flaws."""

from __future__ import annotations

import gzip
import io
import tarfile
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from k600.dataset.splits import HOST_FOLDERS, SPLITS, Split
from k600.miniature.clips import make_clip

URL = "https://s3.amazonaws.com/kinetics/600"

MACOS = "mountain climber (exercise)"  # its validation tarball was packed on macOS, as on the host
PLAIN = "tie dying"  # its validation tarball is a plain tar under the name `.tar.gz`

CLASSES = (
    "massaging person's head",
    MACOS,
    "passing American football (in game)",
    "springboard diving",
    "surfing water",
    PLAIN,
)

_IDS = ("-aFirstHyph", "_aFirstUnde", "__twoUnders", "Zclip_-plai", "zclip00last")
_VALIDATION_IDS = (*_IDS[:3], "Zvalidation", "zvalidation")
"""As on the host, about half of the validation clips come from videos that are in train."""
_SHARED_ID = "BOTHcl4sses"
_GROUNDS = {
    "#26607a": ("canoe", "diving", "kayak", "sailing", "surfing", "swimming", "water"),
    "#4a682e": ("dog", "football", "golf", "grass", "mow", "soccer"),
    "#c4ceda": ("ice ", "mountain", "ski", "snow"),
}
"""Colours of water, grass and snow, and words of a class name that tell it."""

_MakeClip = Callable[[int, str, tuple[str, ...]], bytes]
"""Makes the clip of a seed and a label that shows these words."""


@dataclass(frozen=True, slots=True)
class Miniature:
    """A miniature host, and what is in it."""

    root: Path
    """The folder in place of `s3://kinetics/600`."""
    test_labels: Path
    """The archive in place of DeepMind's `kinetics600.tar.gz`."""
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
    clip_size: tuple[int, int] = (128, 96),
    scenes: bool = False,
) -> Miniature:
    """Make a miniature host, `600/` and `kinetics600.tar.gz`, in an empty or new folder.

    The real data's flaws are an empty and a truncated clip, and clips that are listed but in no
    tarball. `shared_names` gives clips of different classes the same file names, which is harsher
    than the real data (there, an id is in two classes at other times). `clip_size` is the clips'
    width and height in pixels. With `scenes` they show somebody in a landscape, and else a
    square on one colour.

    Example:
        >>> import tempfile
        >>> made = make_miniature(Path(tempfile.mkdtemp()), classes=["zumba"], clips_per_class=1)
        >>> sorted(made.clips["train"]["zumba"])
        ['-aFirstHyph_000000_000010.mp4']
    """
    root, test_labels = folder / "600", folder / "kinetics600.tar.gz"
    make = partial(_make_clip, size=clip_size, scenes=scenes)
    classes = list(classes)
    clips: dict[str, dict[str, dict[str, bytes]]] = {split: {} for split in SPLITS}
    for split in ("train", "validation"):
        listed = {}
        for number, label in enumerate(classes):
            good = _class_clips(split, number, clips_per_class, label, make)
            if not shared_names:
                good = {f"{number:02d}{name[2:]}": data for name, data in good.items()}
            clips[split][label] = good
            has_flaws = flaws and split == "validation"
            listed[label] = _write_class(root, split, label, good, has_flaws, number == 0)
        _write_listing(root, split, listed)

    labels = _write_test_split(root, classes, clips["test"], make)
    rows = [
        f"{name[:11]},{int(name[12:18])},{int(name[19:25])},test"
        for name, label in labels.items()
        if label is not None
    ]
    _write(root / "annotations/test.csv", _lines(["youtube_id,time_start,time_end,split", *rows]))
    known = [label for label in labels.values() if label is not None]
    table = ["label,youtube_id,time_start,time_end,split"]
    table += [f"{label},{row}" for label, row in zip(known, rows, strict=True)]
    archive = make_tarball({"kinetics600/test.csv": _lines(table)}, prefix="")
    _write(test_labels, archive)

    for split, host in HOST_FOLDERS.items():
        urls = [f"{URL}/{host}/{name}.tar.gz" for name in sorted(clips[split])]
        _write(root / host / f"k600_{host}_path.txt", _lines(urls))
    return Miniature(root, test_labels, clips, labels)


def make_tarball(
    members: Mapping[str, bytes], *, prefix: str = "./", gzipped: bool = True
) -> bytes:
    """Return a tarball as CVDF makes them: a `./` entry, then the files under `prefix`."""
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


def _class_clips(
    split: str, number: int, count: int, label: str, make: _MakeClip
) -> dict[str, bytes]:
    """Return a class's clips by name: one id is in two classes, one name in two splits."""
    title = ("MINIATURE", *textwrap.wrap(label, 20))
    base = 1000 * SPLITS.index(split) + 50 * number
    is_mixed = Split(split).is_mixed
    ids = _VALIDATION_IDS if split == "validation" else _IDS
    clips = {}
    for index in range(count):
        start = 10 * index
        if index < len(ids) and (not is_mixed or index == 0):
            youtube_id = ids[index + 2 * is_mixed]
        else:
            youtube_id = f"clip{base + index:07d}"
        if is_mixed:
            start += 100 * number
        elif index == 1 and number < 2:
            youtube_id, start = _SHARED_ID, 20 * number

        words = (*title, f"{split} {index}") if index < 5 else title[:1]
        name = f"{youtube_id}_{start:06d}_{start + 10:06d}.mp4"
        clips[name] = make(base + index, label, words)
    return clips


def _make_clip(
    seed: int, label: str, words: tuple[str, ...], *, size: tuple[int, int], scenes: bool
) -> bytes:
    ground = _ground_of(label) if scenes else None
    return make_clip(seed, width=size[0], height=size[1], words=words, ground=ground)


def _ground_of(label: str) -> str:
    """Return the colour of the ground on which a class is shown."""
    for ground, words in _GROUNDS.items():
        if any(word in label for word in words):
            return ground
    return "#aa8c60"  # sand


def _write_class(
    root: Path, split: str, label: str, good: dict[str, bytes], flaws: bool, is_first: bool
) -> list[str]:
    """Write the tarball of a class, with its flaws; return the clips to list."""
    members, listed, prefix = dict(good), [*good], "./"
    if split == "validation" and label == MACOS:
        prefix = f"./{label}/"
        listed = [f"notInTarba{n}_000000_000010.mp4" for n in range(2)] if flaws else []
        members |= {f"._{name}": b"\0\5\26\7AppleDouble" for name in good}
    if flaws and is_first:
        whole = next(iter(good.values()))
        bad = {
            "emptyclip00_000000_000010.mp4": b"",
            "cutoffclip0_000000_000010.mp4": whole[: len(whole) // 2],
        }
        members |= bad
        listed += bad

    is_plain = split == "validation" and label == PLAIN
    data = make_tarball(members, prefix=prefix, gzipped=not is_plain)
    _write(root / HOST_FOLDERS[split] / f"{label}.tar.gz", data)
    return listed


def _write_test_split(
    root: Path, classes: list[str], clips: dict[str, dict[str, bytes]], make: _MakeClip
) -> dict[str, str | None]:
    """Write two tarballs of mixed classes, add their clips, and return the label of each."""
    labels: dict[str, str | None] = {}
    for part in range(2):
        good = {}
        for number, label in enumerate(classes[part::2]):
            for name, data in _class_clips("test", 2 * number + part, 2, label, make).items():
                good[name] = data
                unlabelled = name.startswith("__") or number == part == 1
                labels[name] = None if unlabelled else label
        clips[f"part_{part}"] = dict(sorted(good.items()))
        data = make_tarball(clips[f"part_{part}"], prefix="./")
        _write(root / f"test/part_{part}.tar.gz", data)
    return labels


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
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
