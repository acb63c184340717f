from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k600.errors import DamagedTarballError, MirrorChangedError
from k600.miniature import make_clip, make_tarball
from k600.mirror.mirror import Mirror
from k600.tarballs.archive import Member, Members

CLIPS = {
    "-aFirstHyph_000000_000010.mp4": make_clip(1),
    "_aFirstUnde_000000_000010.mp4": make_clip(2),
    "__twoUnders_000000_000010.mp4": make_clip(3),
}


class Raw(io.BytesIO):
    """Bytes in short pieces as from a network."""

    def next_block(self) -> bytes:
        return self.read(7_001)


def read(data: bytes, *, again: bool = False) -> dict[str, bytes | str]:
    """Read a tarball to its end: bytes of the good members, the problem of the others.

    Args:
        data: The tarball.
        again: Whether it can be read once more.
    """
    found: dict[str, bytes | str] = {}
    once_more = (lambda: contextlib.nullcontext(Raw(data))) if again else None
    for member in Members(Raw(data), len(data), name="here", again=once_more):
        found.setdefault(member.file_name, member.problem or b"".join(member.chunks))
    return found


@pytest.mark.parametrize("prefix", ["./", "", "mountain climber (exercise)/", "/", "../../"])
@pytest.mark.parametrize("gzipped", [True, False])
def test_clips_are_found_under_any_prefix_in_gzip_and_plain_tar(prefix: str, gzipped: bool) -> None:
    assert read(make_tarball(CLIPS, prefix=prefix, gzipped=gzipped)) == CLIPS


def test_a_mac_s_extra_files_are_passed_over() -> None:
    extra = {f"._{name}": b"AppleDouble" for name in CLIPS} | {".DS_Store": b"", "readme": b"x"}
    assert read(make_tarball(extra | CLIPS)) == CLIPS


def test_members_left_unread_are_skipped() -> None:
    data = make_tarball(CLIPS)
    assert [member.file_name for member in Members(Raw(data), len(data), name="x")] == [*CLIPS]


def test_a_tar_without_members_gives_none() -> None:
    assert read(make_tarball({})) == {}
    assert read(make_tarball({}, gzipped=False)) == {}


def test_concatenated_gzip_members_are_one_stream() -> None:
    data = make_tarball(CLIPS, gzipped=False)
    assert read(gzip.compress(data[:5000]) + gzip.compress(data[5000:])) == CLIPS


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_every_tar_format_with_long_names(form: int) -> None:
    buffer = io.BytesIO()
    name = "d" * 90 + "/" + next(iter(CLIPS))
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(CLIPS[next(iter(CLIPS))])
        tar.addfile(entry, io.BytesIO(CLIPS[next(iter(CLIPS))]))
    assert read(buffer.getvalue()) == {next(iter(CLIPS)): CLIPS[next(iter(CLIPS))]}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_a_link_or_device_is_no_clip(kind: bytes) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("aaaaaaaaaaa_000000_000010.mp4")
        entry.type, entry.linkname = kind, "/etc/passwd"
        tar.addfile(entry)
    assert read(buffer.getvalue()) == {"aaaaaaaaaaa_000000_000010.mp4": "not_a_file"}


A, B, C, D = (f"{letter * 11}_000000_000010.mp4" for letter in "abcd")


def linked(*entries: tuple[str, bytes | str]) -> bytes:
    """Return a plain tar of files (bytes) and hard links (the path that they lead to)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in entries:
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.LNKTYPE, content
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        ((("./a/" + A, b"one"), ("./" + B, "./a/" + A)), {A: b"one", B: b"one"}),
        (((A, b"one"), (B, "./" + A), (C, A)), {A: b"one", B: b"one", C: b"one"}),
        (((A, b"one"), (B, A), (C, B)), {A: b"one", B: b"one", C: b"one"}),
        ((("/x/" + A, b"one"), ("/x/" + B, "/x/" + A)), {A: b"one", B: b"one"}),
        ((("data.bin", b"one"), ("y", "data.bin"), (A, "y")), {A: b"one"}),
        (((A, b"one"), (A, "data.bin"), ("data.bin", b"two")), {A: b"one"}),
        (((B, A), (A, b"one")), {A: b"one", B: b"one"}),
        (((A, b""), (B, A)), {A: b"", B: b""}),
        (((A, "/etc/passwd"),), {A: "not_a_file"}),
        (((A, "../../" + B), (C, b"one")), {A: "not_a_file", C: b"one"}),
        (((A, B), (B, A), (C, C)), dict.fromkeys((A, B, C), "not_a_file")),
    ],
)
@pytest.mark.parametrize("gzipped", [False, True])
def test_a_hard_link_is_the_file_it_leads_to(
    entries: tuple[tuple[str, bytes | str], ...], found: dict[str, bytes | str], gzipped: bool
) -> None:
    data = linked(*entries)
    data = gzip.compress(data) if gzipped else data
    assert read(data, again=True) == found


def test_links_are_read_no_further_than_to_the_last_that_is_wanted() -> None:
    data = linked((A, b"one"), (B, A), (C, b"two"))
    openings = []

    @contextlib.contextmanager
    def again() -> Iterator[Raw]:
        openings.append(Raw(data))
        yield openings[0]
        raise AssertionError("it was read to its end")

    found = Members(Raw(data), len(data), name="here", again=again)
    assert [next(found).file_name for _ in range(2)] == [A, C]
    assert not openings
    assert b"".join(next(found).chunks) == b"one"
    found.close()


def test_a_tarball_without_links_is_read_once() -> None:
    def again() -> contextlib.AbstractContextManager[Raw]:
        raise AssertionError("it was opened again")

    found = Members(Raw(SOUND), len(SOUND), name="here", again=again)
    assert [member.file_name for member in found] == [*CLIPS]


def test_many_links_to_one_large_file_are_a_bomb() -> None:
    clip = bytes(8 << 20)
    links = [(f"{number:011d}_000000_000010.mp4", A) for number in range(12)]
    data = gzip.compress(linked((A, clip), *links), 1)
    with pytest.raises(DamagedTarballError, match="unpacks to more than"):
        read(data, again=True)


def test_a_tarball_that_was_replaced_before_its_links_were_read_is_an_error(
    tmp_path: Path,
) -> None:
    (tmp_path / "x.tar.gz").write_bytes(linked((A, b"one"), (B, A)))
    mirror = Mirror(str(tmp_path))
    with contextlib.closing(mirror.open("x.tar.gz")) as raw:
        found = Members(raw, raw.remote.size_bytes, name="here", again=raw.again)
        assert next(found).file_name == A
        (tmp_path / "new").write_bytes(linked((A, b"two"), (B, A)))
        (tmp_path / "new").replace(tmp_path / "x.tar.gz")
        with pytest.raises(MirrorChangedError):
            list(found)


PACKED = {
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "zstd": lambda data: b"\x28\xb5\x2f\xfd" + data,
    "gzip within gzip": lambda data: gzip.compress(gzip.compress(data)),
    "xz within gzip": lambda data: gzip.compress(lzma.compress(data)),
    "zip": lambda data: b"PK\3\4" + data,
}


@pytest.mark.parametrize("packing", PACKED)
def test_what_is_packed_otherwise_is_named(packing: str) -> None:
    with pytest.raises(DamagedTarballError, match=f"expected gzip or a plain tar, .*is {packing}"):
        read(PACKED[packing](PLAIN))


def test_a_damaged_tar_is_not_taken_for_another_packing() -> None:
    data = linked(("BZh45678901_000000_000010.mp4", b"one"))
    with pytest.raises(DamagedTarballError) as caught:
        read(data[:600])
    assert "bzip2" not in str(caught.value)


def test_a_video_with_an_odd_name_is_not_passed_over_in_silence() -> None:
    odd = ["aaaaaaaaaaa_1_11.mp4", "aaaaaaaaaaa_000000_000010.MKV", "x" * 300 + ".webm"]
    found = read(make_tarball(dict.fromkeys(odd, b"video") | CLIPS))
    assert {name: found[name[:200]] for name in odd} == dict.fromkeys(odd, "odd_name")
    assert {name: found[name] for name in CLIPS} == CLIPS


SOUND = make_tarball(CLIPS)
PLAIN = make_tarball(CLIPS, gzipped=False)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html>", "web page"),
        (b"\n <?xml version='1.0'?><Error/>", "web page"),
        (b"no tarball at all" * 100, "damaged"),
        (SOUND[: len(SOUND) // 2], "damaged"),
        (SOUND[:-1], "damaged"),
        (SOUND[:-8], "damaged"),  # the whole trailer
        (SOUND[:-8] + b"\0\0\0\0" + SOUND[-4:], "CRC"),
        (SOUND[:-4] + b"\1\2\3\4", "damaged"),  # the length
        (SOUND + b"junk", "damaged"),
        (PLAIN[: len(PLAIN) // 2], "damaged"),
        (PLAIN[:-10240], "damaged"),  # the end mark
        (PLAIN + b"junk" * 200, "more data"),
        (PLAIN + PLAIN, "more data"),
        (gzip.compress(b"", mtime=0), "empty file"),
    ],
)
def test_a_damaged_tarball_is_an_error_at_its_end(data: bytes, word: str) -> None:
    with pytest.raises(DamagedTarballError, match=f"here: .*{word}"):
        read(data)


def test_a_tarball_cut_at_a_member_s_end_is_damaged() -> None:
    """tarfile takes this for a good end."""
    first = 512 + 512 + (len(CLIPS[next(iter(CLIPS))]) + 511) // 512 * 512
    with tarfile.open(fileobj=io.BytesIO(PLAIN[:first])) as tar:
        assert len(tar.getnames()) == 2
    with pytest.raises(DamagedTarballError):
        read(PLAIN[:first])


@settings(max_examples=300)
@given(st.integers(0, 8 * len(SOUND) - 1))
def test_a_flipped_bit_is_caught_or_changes_nothing(bit: int) -> None:
    data = bytearray(SOUND)
    data[bit // 8] ^= 1 << bit % 8
    with contextlib.suppress(DamagedTarballError):
        # Some bits mean nothing: a time stamp, flags, the code of a symbol that is not used.
        assert read(bytes(data)) == CLIPS


@settings(max_examples=300)
@given(st.integers(0, len(PLAIN) - 1), st.integers(1, 255))
def test_a_damaged_header_of_a_plain_tar_never_loses_a_member_unseen(at: int, change: int) -> None:
    data = bytearray(PLAIN)
    data[at] ^= change
    try:
        found = read(bytes(data))
    except DamagedTarballError:
        return
    kept = sum(name in found for name in CLIPS)
    assert kept == 3 or PLAIN[at - at % 512 : at - at % 512 + 100].strip(b"\0")  # a name changed


@settings(max_examples=200)
@given(st.binary(max_size=2000))
def test_any_bytes_are_answered(data: bytes) -> None:
    for made in (data, gzip.compress(data), b"\x1f\x8b" + data):
        try:
            read(made)
        except DamagedTarballError:
            continue


def test_a_gzip_bomb_is_refused_early() -> None:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb") as file:
        header = tarfile.TarInfo("aaaaaaaaaaa_000000_000010.mp4")
        header.size = 200 << 20
        file.write(header.tobuf())
        for _ in range(200):
            file.write(bytes(1 << 20))
    with pytest.raises(DamagedTarballError, match="unpacks to more than"):
        read(buffer.getvalue())


def test_a_size_of_2_to_the_60_is_refused() -> None:
    header = tarfile.TarInfo("aaaaaaaaaaa_000000_000010.mp4")
    header.size = 1 << 60
    tar = header.tobuf(tarfile.GNU_FORMAT) + bytes(5000)
    found: list[Member] = []
    with pytest.raises(DamagedTarballError):
        found.extend(Members(Raw(tar), len(tar), name="here"))
    assert [member.problem for member in found] == ["too_large"]


def test_a_giant_pax_header_does_not_fill_the_memory() -> None:
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 1 << 40
    tar = header.tobuf(tarfile.GNU_FORMAT) + bytes(5000)
    with pytest.raises(DamagedTarballError, match="claims"):
        read(tar)
