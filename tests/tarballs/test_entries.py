"""Each clip by its entry: what it takes, that it is right, and that nothing wrong gets through."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import random
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k600.dataset.clip import Entry, Place, Tarball
from k600.errors import EntryError, MirrorChangedError
from k600.mirror.mirror import Mirror
from k600.tarballs.archive import InMemory, Members
from k600.tarballs.one_clip import read_clip
from k600.tarballs.reading import open_tarball
from k600.tarballs.stored_blocks import StoredBlocks
from tests.servers import S3Server, web_server
from tests.tarballs.packed import PACKERS, gzip, make_clips, make_tar

TARBALL = Tarball("validation", "yoga")
CLIPS = make_clips(12)


@cache
def packed(packer: str) -> bytes:
    return PACKERS[packer](make_tar(CLIPS))


class Pieces:
    """Bytes that come in pieces of given sizes, over and over; each is overwritten by the next."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data, self._sizes, self._at = data, itertools.cycle(sizes), 0
        self._memory = bytearray(max(sizes))

    def next_block(self) -> memoryview:
        piece = self._data[self._at : self._at + next(self._sizes)]
        self._at += len(piece)
        self._memory[:] = bytes(len(self._memory))
        self._memory[: len(piece)] = piece
        return memoryview(self._memory)[: len(piece)]


def entries_of(data: bytes, sizes: list[int], *, most: int | None = None) -> dict[str, Entry]:
    """Return the entries after the first `most` clips, or of all."""
    members = Members(Pieces(data, sizes), len(data), name="here")
    for member in itertools.islice(members, most):
        for _ in member.chunks:
            pass
    return members.entries


def place(mirror: Mirror, packing: str | None, entry: Entry) -> Place:
    remote = mirror.head(TARBALL.path)
    return Place(TARBALL, remote.etag, remote.size_bytes, packing or "", entry)


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    (tmp_path / "val").mkdir()
    return Mirror(str(tmp_path))


def put(mirror: Mirror, data: bytes) -> None:
    Path(mirror.url, TARBALL.path).write_bytes(data)


@pytest.mark.parametrize("packer", PACKERS)
def test_every_clip_by_its_entry_is_the_clip_by_reading(packer: str, mirror: Mirror) -> None:
    put(mirror, packed(packer))
    with open_tarball(mirror, TARBALL.path) as members:
        assert members.packing is None
        read = {member.file_name: b"".join(member.chunks) for member in members}
        entries = members.entries

    assert read == CLIPS
    assert members.packing == ("tar" if packer == "plain tar" else "gzip")
    assert entries.keys() == CLIPS.keys()
    for name, entry in entries.items():
        assert entry[3:] == (len(CLIPS[name]), zlib.crc32(CLIPS[name]))
        assert read_clip(mirror, place(mirror, members.packing, entry), name) == CLIPS[name]


@pytest.mark.parametrize("where", ["s3", "http"])
def test_clips_come_from_servers_by_their_entries(
    where: str, mirror: Mirror, request: pytest.FixtureRequest
) -> None:
    data, entries = packed("gzip -6"), entries_of(packed("gzip -6"), [1 << 20])
    with contextlib.ExitStack() as stack:
        if where == "s3":
            server: S3Server = request.getfixturevalue("s3")
            server.put(f"kinetics/entries/{TARBALL.path}", data)
            there = Mirror("s3://kinetics/entries", server.options)
        else:
            put(mirror, data)
            there = Mirror(stack.enter_context(web_server(Path(mirror.url))).url)
        for name in [*CLIPS][3:6]:
            assert read_clip(there, place(there, "gzip", entries[name]), name) == CLIPS[name]


def test_a_clip_takes_little_more_than_its_own_bytes() -> None:
    clips = make_clips(8, least_bytes=1_000_000)
    entries = entries_of(gzip(make_tar(clips)), [1 << 20])
    skipped = [entry.skip_bytes for entry in entries.values() if entry.entry_offset]
    assert len(entries) == 8
    assert sum(skipped) / len(skipped) < 130_000
    assert all(e.span_bytes < e.skip_bytes + e.size_bytes + 70_000 for e in entries.values())


def compressible(clips: int) -> dict[str, bytes]:
    """Return clips of 900 kB, of which deflate makes a few percent less."""
    chance = random.Random(7)
    return {
        f"compresses-_{n:06d}_{n + 10:06d}.mp4": chance.randbytes(900_000).translate(
            bytes(range(192)) + bytes(64)
        )
        for n in range(clips)
    }


def test_a_tarball_whose_clips_compress_has_no_entries() -> None:
    assert entries_of(gzip(make_tar(compressible(14)), 1), [1 << 20]) == {}


def test_stored_blocks_are_found_again_behind_what_compresses() -> None:
    stored = make_clips(8, least_bytes=500_000)
    entries = entries_of(gzip(make_tar(compressible(3) | stored), 1), [1 << 20])
    assert [*entries][-3:] == [*stored][-3:]
    assert all(entries[name].entry_offset for name in [*stored][-3:])


@settings(max_examples=25, deadline=None)
@given(
    packer=st.sampled_from([*PACKERS]),
    sizes=st.lists(st.integers(1_000, 300_000), min_size=1, max_size=5),
    most=st.none() | st.integers(1, len(CLIPS)),
)
def test_entries_are_the_same_however_the_bytes_come_and_wherever_reading_stops(
    packer: str, sizes: list[int], most: int | None
) -> None:
    whole = entries_of(packed(packer), [1 << 20])
    some = entries_of(packed(packer), sizes, most=most)
    assert some.items() <= whole.items()
    assert [*some] == [*whole][: len(some)]
    if most is None:
        assert some == whole


@settings(max_examples=3, deadline=None)
@given(st.lists(st.integers(1, 900), min_size=3, max_size=3), st.sampled_from([*PACKERS]))
def test_entries_are_the_same_in_the_smallest_pieces(sizes: list[int], packer: str) -> None:
    assert (
        entries_of(packed(packer), sizes, most=1).items()
        <= entries_of(packed(packer), [1 << 20]).items()
    )


def test_nearly_all_clips_are_settled_wherever_reading_stops() -> None:
    for packer, most in itertools.product(("gzip -6", "pigz"), range(1, len(CLIPS))):
        assert len(entries_of(packed(packer), [2 << 20], most=most)) >= most - 1


def test_a_time_in_a_header_of_its_own_does_not_matter(mirror: Mirror) -> None:
    """As GNU tar's `--format=pax` and BSD tar have it: the plain header says name and size, too."""
    data = make_tar(CLIPS, form=tarfile.PAX_FORMAT)
    for packer in (bytes, gzip):
        put(mirror, packer(data))
        with open_tarball(mirror, TARBALL.path) as members:
            assert {member.file_name: b"".join(member.chunks) for member in members} == CLIPS
        assert members.entries.keys() == CLIPS.keys()
        for name, entry in members.entries.items():
            assert read_clip(mirror, place(mirror, members.packing, entry), name) == CLIPS[name]


@pytest.mark.parametrize("packing", ["bsdtar --gzip", "bsdtar", "pigz -6", "pigz -9 --independent"])
def test_every_clip_by_its_entry_as_other_programs_pack_it(
    packing: str, mirror: Mirror, tmp_path: Path
) -> None:
    program, *options = packing.split()
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not here")
    folder = tmp_path / "clips"
    folder.mkdir()
    for name, data in CLIPS.items():
        (folder / name).write_bytes(data)
    pack = (
        [program, *options, "-c", "-f", "-", "-C", folder, "."]
        if program == "bsdtar"
        else ["sh", "-c", f'tar -C "$1" -c . | {packing}', "sh", folder]
    )
    data = subprocess.run(pack, stdout=subprocess.PIPE, check=True).stdout

    put(mirror, data)
    with open_tarball(mirror, TARBALL.path) as members:
        assert {member.file_name: b"".join(member.chunks) for member in members} == CLIPS
    assert members.entries.keys() == CLIPS.keys()
    for name, entry in members.entries.items():
        assert read_clip(mirror, place(mirror, members.packing, entry), name) == CLIPS[name]


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_header_that_does_not_say_all_gives_no_entry(form: int) -> None:
    """A name in a header of its own before it is not seen by who enters behind that."""
    data = make_tar({f"{'long' * 30}/{name}": data for name, data in CLIPS.items()}, form=form)
    assert [member.file_name for member in Members(InMemory(data), len(data), name="here")]
    assert entries_of(data, [1 << 20]) == {}
    assert entries_of(gzip(data), [1 << 20]) == {}


def test_empty_blocks_do_not_fill_the_memory() -> None:
    empty = b"\0\0\0\xff\xff"
    blocks = StoredBlocks()
    for _ in range(20):
        blocks.scan(memoryview(empty * 100_000))
    assert sum(len(chain.offsets) for chain in blocks.chains) < 2_000


def test_of_a_name_that_comes_twice_the_first_has_the_entry() -> None:
    first, second = make_tar(dict([*CLIPS.items()][:1])), make_tar(CLIPS)
    end = first.rstrip(b"\0")
    data = first[: -(-len(end) // 512) * 512] + second
    entry = entries_of(data, [1 << 20])[next(iter(CLIPS))]
    assert entry.entry_offset == 512


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[Mirror, dict[str, Place]]:
    """A mirror with one gzip, and the places of its clips."""
    mirror = Mirror(str(tmp_path_factory.mktemp("known")))
    Path(mirror.url, "val").mkdir()
    put(mirror, packed("gzip -6"))
    found = entries_of(packed("gzip -6"), [1 << 20])
    return mirror, {name: place(mirror, "gzip", entry) for name, entry in found.items()}


def test_another_object_is_an_error(mirror: Mirror) -> None:
    put(mirror, packed("gzip -6"))
    name, entry = [*entries_of(packed("gzip -6"), [1 << 20]).items()][5]
    before = place(mirror, "gzip", entry)
    put(mirror, packed("gzip -1"))
    with pytest.raises(MirrorChangedError):
        read_clip(mirror, before, name)


def test_a_stranger_s_entry_never_gives_another_clip(
    known: tuple[Mirror, dict[str, Place]],
) -> None:
    mirror, places = known
    first, second = [*CLIPS][4:6]
    with pytest.raises(EntryError, match="no tar header with its name"):
        read_clip(mirror, places[second], first)
    for change in ({"crc32": 1}, {"size_bytes": 5}, {"skip_bytes": 512}, {"span_bytes": 900}):
        wrong = dataclasses.replace(places[first], entry=places[first].entry._replace(**change))
        with pytest.raises(EntryError):
            read_clip(mirror, wrong, first)


@pytest.mark.parametrize("change", [{"skip_bytes": 65 << 20}, {"size_bytes": 257 << 20}])
def test_what_would_fill_the_memory_is_not_even_asked_for(change: dict[str, int]) -> None:
    entry = Entry(0, 1024, 2000, 900, 0)._replace(**change)
    with pytest.raises(EntryError, match="no tarball of that size"):
        read_clip(Mirror("/nowhere"), Place(TARBALL, "x", 1 << 40, "gzip", entry), "x.mp4")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_numbers_are_answered(
    known: tuple[Mirror, dict[str, Place]], data: st.DataObject
) -> None:
    mirror, places = known
    right = places[[*CLIPS][4]]
    changed = {
        name: data.draw(st.just(value) | st.integers(0, 1 << 62) | st.integers(0, 1 << 21))
        for name, value in right.entry._asdict().items()
    }
    with contextlib.suppress(EntryError, ValueError):  # a ValueError of `Place` itself
        wrong = dataclasses.replace(right, entry=Entry(**changed))
        assert read_clip(mirror, wrong, [*CLIPS][4]) == CLIPS[[*CLIPS][4]]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(CLIPS) - 1), st.integers(0, 7), st.randoms(use_true_random=False))
def test_a_flipped_bit_gives_no_other_clip(number: int, bit: int, chance: random.Random) -> None:
    name, entry = [*entries_of(packed("gzip -6"), [1 << 20]).items()][number]
    data = bytearray(packed("gzip -6"))
    data[entry.entry_offset + chance.randrange(entry.span_bytes)] ^= 1 << bit
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(EntryError):
        mirror = Mirror(folder)
        Path(folder, "val").mkdir()
        put(mirror, bytes(data))
        assert read_clip(mirror, place(mirror, "gzip", entry), name) == CLIPS[name]
