"""Bytes that are not what they should be: never a wrong clip under a right name, never a flood."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k600.errors import ListError
from k600.miniature import make_clip, make_tarball
from k600.tarballs.lists import parse_test_labels
from tests.conftest import contents
from tests.faults.jobs import Jobs
from tests.faults.trial import Note, assert_intact, fetch

CLIPS = {f"clip{n:07d}_000000_000010.mp4": make_clip(n) for n in range(4)}
WANTED = {f"train/zumba/{name}": data for name, data in CLIPS.items()}
PLAIN = make_tarball(CLIPS, gzipped=False)
PACKED = make_tarball(CLIPS)
FIRST = 512  # after the entry of the folder: the header of the first clip
MOST_MEMORY = 100 << 20

# Parts of a gzip member: (first byte, byte after the last).
GZIP_PARTS = {
    "magic": (0, 2),
    "method": (2, 3),
    "flags": (3, 4),
    "time": (4, 8),
    "extra flags and system": (8, 10),
    "first block": (10, 40),
    "data": (40, len(PACKED) - 40),
    "last block": (len(PACKED) - 40, len(PACKED) - 8),
    "checksum": (len(PACKED) - 8, len(PACKED) - 4),
    "length": (len(PACKED) - 4, len(PACKED)),
}
# Parts of a tar: of the first clip's header, what is behind it, and the end.
TAR_PARTS = {
    "name": (FIRST, FIRST + 100),
    "mode": (FIRST + 100, FIRST + 108),
    "owner": (FIRST + 108, FIRST + 124),
    "size": (FIRST + 124, FIRST + 136),
    "time": (FIRST + 136, FIRST + 148),
    "checksum": (FIRST + 148, FIRST + 156),
    "type": (FIRST + 156, FIRST + 157),
    "link": (FIRST + 157, FIRST + 257),
    "magic": (FIRST + 257, FIRST + 265),
    "names of owners": (FIRST + 265, FIRST + 329),
    "device": (FIRST + 329, FIRST + 345),
    "prefix": (FIRST + 345, FIRST + 500),
    "end mark": (len(PLAIN) - 10_240, len(PLAIN)),
}


def flipped(data: bytes, at: int, bit: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1 << bit
    return bytes(changed)


def land(tarball: bytes) -> dict[str, bytes]:
    """Load a class from a mirror whose tarball holds these bytes; returns the store's clips."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "600/train/zumba.tar.gz")
        path.parent.mkdir(parents=True)
        path.write_bytes(tarball)
        options: dict[str, Any] = {"mirror": f"{folder}/600", "data_dir": f"{folder}/clips"}
        result = fetch("train", classes="zumba", **options)
        assert result.seconds < 10
        assert {p.relative_to(folder).parts[0] for p in Path(folder).rglob("*")} <= {"600", "clips"}
        return contents(f"{folder}/clips")


@settings(max_examples=30)
@given(part=st.sampled_from([*GZIP_PARTS]), where=st.floats(0, 0.999), bit=st.integers(0, 7))
def test_a_flip_anywhere_in_a_gzip_brings_the_right_clips_or_none(
    part: str, where: float, bit: int
) -> None:
    first, last = GZIP_PARTS[part]
    there = land(flipped(PACKED, first + int(where * (last - first)), bit))
    assert there in ({}, WANTED), part


@settings(max_examples=30)
@given(
    part=st.sampled_from([*TAR_PARTS]),
    where=st.floats(0, 0.999),
    bit=st.integers(0, 7),
    packed=st.booleans(),
)
def test_a_flip_in_what_a_tar_says_of_its_files_brings_right_clips_or_none(
    part: str, where: float, bit: int, packed: bool
) -> None:
    """With `packed` gzip's checksum is right: the tar was bad before it was packed."""
    first, last = TAR_PARTS[part]
    data = flipped(PLAIN, first + int(where * (last - first)), bit)
    there = land(gzip.compress(data, 1) if packed else data)
    assert there.items() <= WANTED.items(), part


@pytest.mark.slow
@settings(max_examples=3000)
@given(at=st.integers(0, len(PACKED) - 1), bit=st.integers(0, 7))
def test_thousands_of_flips(at: int, bit: int) -> None:
    assert land(flipped(PACKED, at, bit)) in ({}, WANTED)


@settings(max_examples=10)
@given(where=st.floats(0, 0.999), packed=st.booleans())
def test_a_tarball_cut_anywhere_leaves_nothing(where: float, packed: bool) -> None:
    end = len(PACKED) if packed else PLAIN.rstrip(b"\0").rindex(b"mdat")
    assert land((PACKED if packed else PLAIN)[: int(where * end)]) == {}


@pytest.mark.parametrize(
    ("tarball", "whole"),
    [
        (gzip.compress(PLAIN[:700]) + gzip.compress(PLAIN[700:]), True),
        (PACKED + bytes(1000), True),  # as tape drives pad; gzip allows it
        (PACKED + b"trailing garbage", False),
        (PACKED + gzip.compress(b"more", mtime=0), False),
        (PLAIN + b"trailing garbage", False),
        (PACKED + PACKED, False),
        (gzip.compress(PACKED), False),  # packed twice
    ],
)
def test_what_comes_after_the_end(tarball: bytes, whole: bool) -> None:
    assert land(tarball) == (WANTED if whole else {})


def tar_of(entries: list[tuple[tarfile.TarInfo, bytes]], form: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for entry, data in entries:
            entry.size = len(data) if entry.isreg() else 0
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_headers_of_every_kind(form: int) -> None:
    entries = []
    for number, (name, data) in enumerate(CLIPS.items()):
        entry = tarfile.TarInfo("d" * 3000 * number + "/" + name)
        entry.pax_headers = {"comment": "c" * 5000, "mtime": "1.5"}
        entries.append((entry, data))
    assert land(tar_of(entries, form)) == WANTED


def sparse(name: str) -> bytes:
    """Return a tar with a sparse file of the old GNU kind: 8 GiB, of which 512 bytes are there."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.size = tarfile.GNUTYPE_SPARSE, 512
    header = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"%011o\0%011o\0" % (0, 512)
    header[483:495] = b"%011o\0" % (1 << 32)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(512) + bytes(10_240)


def pax_sparse(name: str) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.pax_headers = {"GNU.sparse.map": "0,512", "GNU.sparse.size": str(1 << 33)}
    return tar_of([(entry, bytes(512))], tarfile.PAX_FORMAT)


@pytest.mark.parametrize("make", [sparse, pax_sparse])
def test_a_sparse_file_is_no_clip(make: Callable[[str], bytes]) -> None:
    assert land(make(next(iter(CLIPS)))) == {}


def bomb(megabytes: int, head: bytes = b"") -> bytes:
    """Return a gzip of zeros behind some bytes."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    pieces = [packer.compress(head), *(packer.compress(zeros) for _ in range(megabytes))]
    return b"".join(pieces) + packer.flush()


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.type = size, kind
    return entry.tobuf(tarfile.GNU_FORMAT)


NAME = next(iter(CLIPS))
FLOODS: dict[str, Callable[[], bytes]] = {
    "a gzip bomb": lambda: bomb(250, header(NAME, 200 << 20)),
    "a clip of 2^60 bytes": lambda: bomb(1, header(NAME, 1 << 60)),
    "a bomb behind the end mark": lambda: bomb(250, PLAIN),
    "a pax header of 250 MiB": lambda: bomb(250, header("pax", 250 << 20, tarfile.XHDTYPE)),
    "a name of 250 MiB": lambda: bomb(250, header("long", 250 << 20, tarfile.GNUTYPE_LONGNAME)),
    "a negative size": lambda: gzip.compress(
        header(NAME, 0)[:124] + b"\xff" * 12 + header(NAME, 0)[136:] + bytes(9000)
    ),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_in_a_tarball_takes_little_memory_and_leaves_no_clip(
    flood: str, forge: Jobs, tmp_path: Path, note: Note
) -> None:
    path = tmp_path / "600/train/zumba.tar.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(FLOODS[flood]())
    data_dir = str(tmp_path / "clips")
    mirror = str(tmp_path / "600")
    said = forge.run("measure", split="train", classes="zumba", mirror=mirror, data_dir=data_dir)
    assert said["error"] == "NoClipsError"
    assert said["memory_bytes"] < MOST_MEMORY
    assert contents(data_dir) == {}
    note(flood, refused=1, said=said["error"], seconds=said["seconds"])


ARCHIVES: dict[str, Callable[[], bytes]] = {
    "a bomb before the list": lambda: bomb(250, header("zeros", 250 << 20)),
    "a pax header in the archive": lambda: bomb(250, header("pax", 250 << 20, tarfile.XHDTYPE)),
    "a list of 2^60 bytes": lambda: bomb(1, header("test.csv", 1 << 60)),
    "a list of 300 MB of zeros": lambda: bomb(300, header("test.csv", 300 << 20)),
}


@pytest.mark.parametrize("flood", ARCHIVES)
def test_a_flood_in_the_archive_of_labels_takes_little_memory(
    flood: str, forge: Jobs, origin: Any, tmp_path: Path, note: Note
) -> None:
    path = tmp_path / "kinetics600.tar.gz"
    path.write_bytes(ARCHIVES[flood]())
    options = {"mirror": str(origin.root), "data_dir": str(tmp_path / "clips")}
    said = forge.run("measure", split="test", test_labels=str(path), **options)
    assert said["error"] == "ListError"
    assert said["memory_bytes"] < MOST_MEMORY
    note(flood, refused=1, said=said["error"], seconds=said["seconds"])


@pytest.mark.parametrize(
    "data",
    [
        b"\x1f\x8b" + bytes(50),
        flipped(gzip.compress(make_tarball({"test.csv": b"label\n" * 99}, gzipped=False)), 30, 3),
        gzip.compress(b"no tar", mtime=0),
        gzip.compress(make_tarball({"other.csv": b"x"}, gzipped=False)),
        b"label,youtube_id,time_start,time_end\n" + b"x" * 200_000 + b"\n",
        b'label,youtube_id,time_start,time_end\n"zumba\n',
        b"label,youtube_id,time_start,time_end\nzumba,a\0b,0,10\n" * 2,
        b"label,youtube_id,time_start,time_end\nzumba,aaaaaaaaaaa," + b"9" * 9000 + b",10\n",
        b"\xff\xfe\n",
        struct.pack("<I", 3) * 5 + b"\n",
    ],
)
def test_labels_that_are_none_are_one_kind_of_error(data: bytes) -> None:
    with pytest.raises(ListError):
        assert not parse_test_labels(data)


def test_a_mirror_that_sends_more_than_it_announced_does_not_fill_the_memory(
    forge: Jobs, host: Any, origin: Any, tmp_path: Path, note: Note
) -> None:
    def flood(answer: Any) -> None:
        if answer.method == "GET" and "path.txt" in answer.path:
            answer.body = bytes(300 << 20)
            answer.headers["Content-Length"] = str(len(answer.body))

    host.fault = flood
    options = {"data_dir": str(tmp_path / "clips"), **host.mirror_of("http")}
    said = forge.run("measure", split="train", **options)
    assert said["error"] == "MirrorUnreachableError"
    assert said["memory_bytes"] < MOST_MEMORY
    note("a list of more bytes than announced", refused=1, said=said["error"])
    assert_intact(tmp_path / "clips", {})
