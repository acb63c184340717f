"""The host that is measured against: tarballs of real H.264 clips, made once and kept.

A clip is a camera panning over textured tiles with grain and noise for sound, coded to about a
megabyte: like a real one, nearly all of its deflate blocks are stored, and a few are not. Some are
encoded; each member is one of them with a box of its own at the end, so no two are alike.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import string
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from isal import isal_zlib

from k600.dataset.labels import NAMES
from k600.miniature import URL

__all__ = ["Host", "make_clip", "make_host", "under_many_names", "write_lists"]

_ENCODED = 6
_ID_LETTERS = string.ascii_letters + string.digits + "-_"


@dataclass(frozen=True, slots=True)
class Host:
    """A validation split on disk, in the host's layout."""

    root: Path
    """The folder that stands for `s3://kinetics/600`."""
    clips: Mapping[str, Mapping[str, int]]
    """`{class: {file name: CRC-32}}`, the file names in their tarball's order."""
    clip_bytes: int
    """Of all clips together."""
    tarball_bytes: int

    @property
    def key(self) -> str:
        """Where it is on a server: a bucket, and a folder in it."""
        return f"kinetics/{self.root.parent.name}/600"

    @property
    def checksums(self) -> dict[str, int]:
        """`{file name: CRC-32}` of all clips, of a host in which no name is in two classes."""
        return {name: crc for names in self.clips.values() for name, crc in names.items()}

    @property
    def tarballs(self) -> list[str]:
        """Paths of the tarballs below the root."""
        return [f"val/{label}.tar.gz" for label in self.clips]


def make_host(
    folder: Path, *, tarballs: int, clips: int, clip_bytes: int = 1_000_000, mixed: bool = False
) -> Host:
    """Return a host of that shape, from `folder` if it was made before.

    Args:
        folder: Where hosts are kept.
        tarballs: How many, 1 to 600.
        clips: Clips in each.
        clip_bytes: Size of a clip, within a few percent.
        mixed: Members in a random order, as a folder gives its files, instead of sorted.
    """
    name = f"{tarballs}x{clips}x{clip_bytes}{'-mixed' if mixed else ''}"
    base, note = folder / name, folder / name / "made.json"
    if not note.exists():
        shutil.rmtree(base, ignore_errors=True)
        (base / "600/val").mkdir(parents=True)
        with ThreadPoolExecutor(2) as pool:  # gzip is a process of its own
            work = [
                pool.submit(_make_tarball, base / "600", label, clips, clip_bytes, mixed)
                for label in NAMES[:tarballs]
            ]
            made = [future.result() for future in work]
        total = sum(size for _, size in made)
        found = {label: names for label, (names, _) in zip(NAMES, made, strict=False)}
        write_lists(base / "600", found)
        note.write_text(json.dumps({"clip_bytes": total, "clips": found}))
    said = json.loads(note.read_text())
    size = sum(path.stat().st_size for path in (base / "600/val").glob("*.tar.gz"))
    return Host(base / "600", said["clips"], said["clip_bytes"], size)


def under_many_names(host: Host, tarballs: int) -> Host:
    """Return a host of that many tarballs, all of them the first one of another: hard links.

    They take no room, and are different objects to whoever asks the paced server.
    """
    label, clips = next(iter(host.clips.items()))
    base = host.root.parent.with_name(f"{host.root.parent.name}-as-{tarballs}")
    source, found = host.root / f"val/{label}.tar.gz", dict.fromkeys(NAMES[:tarballs], clips)
    shutil.rmtree(base, ignore_errors=True)
    (base / "600/val").mkdir(parents=True)
    for name in found:
        os.link(source, base / f"600/val/{name}.tar.gz")
    write_lists(base / "600", found)
    share = host.clip_bytes // len(host.clips)
    return Host(base / "600", found, tarballs * share, tarballs * source.stat().st_size)


def write_lists(root: Path, clips: Mapping[str, Iterable[str]], folder: str = "val") -> None:
    """Write the host's lists of a split: which tarballs there are, and what lies in them."""
    listing = [f"{folder}:", *clips, ""]
    for label, names in clips.items():
        listing += [f"{folder}/{label}:", *sorted(names), ""]
    (root / "annotations").mkdir(exist_ok=True)
    (root / f"annotations/{folder}.txt").write_text("".join(f"{line}\n" for line in listing))
    paths = "".join(f"{URL}/{folder}/{label}.tar.gz\n" for label in clips)
    (root / f"{folder}/k600_{folder}_path.txt").write_text(paths)


def _make_tarball(
    root: Path, label: str, clips: int, clip_bytes: int, mixed: bool
) -> tuple[dict[str, int], int]:
    """Write a tarball; return the CRC-32 of its clips by file name, and their bytes."""
    chance = random.Random(label)
    names = sorted(_file_name(chance) for _ in range(clips))
    if mixed:
        chance.shuffle(names)
    checksums, total = {}, 0
    with open(root / f"val/{label}.tar.gz", "wb") as file:
        gzip = subprocess.Popen(["gzip", "-6", "-n"], stdin=subprocess.PIPE, stdout=file)
        assert gzip.stdin is not None
        with tarfile.open(fileobj=gzip.stdin, mode="w|", format=tarfile.GNU_FORMAT) as tar:
            entry = tarfile.TarInfo(".")
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
            for name in names:
                data = make_clip(chance.randrange(_ENCODED), clip_bytes) + _own_box(chance)
                entry = tarfile.TarInfo(f"./{name}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
                checksums[name] = isal_zlib.crc32(data)
                total += len(data)
        gzip.stdin.close()
        if gzip.wait():
            raise RuntimeError("gzip failed")
    return checksums, total


def _file_name(chance: random.Random) -> str:
    start = chance.randrange(300)
    youtube_id = "".join(chance.choice(_ID_LETTERS) for _ in range(11))
    # `iter_archive`, one of the peers, drops names that begin with `__` or `.`
    return f"{youtube_id.replace('__', 'aa')}_{start:06d}_{start + 10:06d}.mp4"


def _own_box(chance: random.Random) -> bytes:
    """Return an MP4 box that players pass over, with bytes that are nobody else's."""
    data = chance.randbytes(1000)
    return (len(data) + 8).to_bytes(4, "big") + b"free" + data


@cache
def make_clip(
    seed: int,
    size_bytes: int,
    *,
    seconds: int = 10,
    fps: int = 25,
    width: int = 340,
    height: int = 256,
) -> bytes:
    """Return an MP4 of ten seconds, 340 x 256 pixels, with sound, of about that size."""
    import av
    import numpy as np

    rate = 44_100
    chance = np.random.default_rng(seed)
    tiles = chance.integers(0, 255, (height // 16 + 8, width // 16 + 8), np.uint8)
    scene = np.kron(tiles, np.ones((16, 16), np.uint8)).astype(np.float32)
    grain = chance.normal(0, 12, (8, height, width)).astype(np.float32)
    picture = np.full((height * 3 // 2, width), 128, np.uint8)
    sound_bits = 64_000
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "superfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = max(8 * size_bytes // seconds - sound_bits, 20_000)
        tone = container.add_stream("aac", rate=rate, layout="mono")
        tone.bit_rate = sound_bits
        for index in range(seconds * fps):
            left, top = int(40 + 40 * np.sin(index / 30)), int(30 + 30 * np.cos(index / 40))
            shown = scene[top : top + height, left : left + width] + grain[index % len(grain)]
            picture[:height] = np.clip(shown, 0, 255)
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        for part in _noise(seconds * rate, chance):
            frame = av.AudioFrame.from_ndarray(part, "fltp", "mono")
            frame.sample_rate = rate
            container.mux(tone.encode(frame))
        container.mux(tone.encode(None))
    return buffer.getvalue()


def _noise(samples: int, chance) -> Iterator:  # type: ignore[no-untyped-def,type-arg]
    for _ in range(0, samples, 1024):
        yield chance.normal(0, 0.2, (1, 1024)).astype("float32")
