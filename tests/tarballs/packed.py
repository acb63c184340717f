"""Tarballs of clips as real packers make them, small ones whose clips do not compress."""

from __future__ import annotations

import io
import random
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Mapping
from gzip import GzipFile


def make_clips(count: int, *, seed: int = 1, least_bytes: int = 90_000) -> dict[str, bytes]:
    """Return clips by file name: mostly bytes that do not compress, some that do at their ends."""
    chance = random.Random(seed)
    clips = {}
    for number in range(count):
        data = chance.randbytes(least_bytes + chance.randrange(60_000))
        table = b"".join(chance.randrange(400).to_bytes(4, "big") for _ in range(4_000))
        clips[f"{chance.randrange(10**10):011d}_{number:06d}_{number + 10:06d}.mp4"] = data + table
    return clips


def make_tar(clips: Mapping[str, bytes], *, form: int = tarfile.GNU_FORMAT) -> bytes:
    """Return a tar of clips below `./`, as `tar cf` makes it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        folder = tarfile.TarInfo(".")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, data in clips.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size, entry.mtime = (
                len(data),
                1_500_000_000.25 if form == tarfile.PAX_FORMAT else 0,
            )
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def gzip(data: bytes, level: int = 6) -> bytes:
    """Return what the program makes of it."""
    command = ["gzip", f"-{level}", "-c"]
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def pigz(data: bytes, level: int = 6, *, independent: bool = False) -> bytes:
    """Return data in the form that pigz gives them: parts of 128 KiB that end on whole bytes."""
    pieces = [GZIP_HEADER]
    for start in range(0, len(data), 128 << 10):
        before = b"" if independent else data[max(start - (32 << 10), 0) : start]
        packer = (
            zlib.compressobj(level, zlib.DEFLATED, -15, zdict=before)
            if before
            else (zlib.compressobj(level, zlib.DEFLATED, -15))
        )
        part = data[start : start + (128 << 10)]
        is_last = start + len(part) == len(data)
        pieces += [
            packer.compress(part),
            packer.flush(zlib.Z_FINISH if is_last else zlib.Z_SYNC_FLUSH),
        ]
    tail = zlib.crc32(data).to_bytes(4, "little") + (len(data) & 0xFFFFFFFF).to_bytes(4, "little")
    return b"".join([*pieces, tail])


def two_members(data: bytes) -> bytes:
    """Return what `cat a.gz b.gz` gives, with a file name and a comment in a header."""
    middle = len(data) // 2
    first = io.BytesIO()
    with GzipFile("a name", "wb", fileobj=first, mtime=1) as file:
        file.write(data[:middle])
    return first.getvalue() + gzip(data[middle:])


def full_flushes(data: bytes) -> bytes:
    """Return a gzip that anyone may enter every 300 kB."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    pieces = []
    for start in range(0, len(data), 300_000):
        pieces += [packer.compress(data[start : start + 300_000]), packer.flush(zlib.Z_FULL_FLUSH)]
    return b"".join([*pieces, packer.flush()])


GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\x03"

PACKERS: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip -1": lambda data: gzip(data, 1),
    "gzip -6": gzip,
    "gzip -9": lambda data: gzip(data, 9),
    "pigz": pigz,
    "pigz -i": lambda data: pigz(data, independent=True),
    "two members": two_members,
    "full flushes": full_flushes,
    "plain tar": bytes,
}
