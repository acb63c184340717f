"""Lists as people save them, and as a broken line brings them."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import kinetics600
from k600.errors import ListError, MirrorError
from k600.errors.text import text_of
from k600.loading.manifest import read_manifest
from k600.miniature import Miniature
from k600.mirror.mirror import Mirror
from k600.tarballs.lists import parse_listing, parse_path_list
from tests.conftest import Load
from tests.servers import CuttingProxy, web_server

HABITS: dict[str, Callable[[bytes], bytes]] = {
    "a byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "Windows' line ends": lambda data: data.replace(b"\n", b"\r\n"),
    "an old Mac's line ends": lambda data: data.replace(b"\n", b"\r"),
    "blank lines at the end": lambda data: data + b"\n \n\n",
    "no line end": lambda data: data.rstrip(b"\n"),
    "trailing blanks": lambda data: data.replace(b"\n", b" \t\n"),
    "all of it": lambda data: (
        b"\xef\xbb\xbf" + data.rstrip(b"\n").replace(b"\n", b" \r\n") + b"\r\n\r\n "
    ),
}


@pytest.fixture(params=HABITS)
def habit(request: pytest.FixtureRequest) -> Callable[[bytes], bytes]:
    return HABITS[request.param]


def test_a_host_s_lists_are_read_however_they_were_saved(
    habit: Callable[[bytes], bytes],
    own_miniature: Miniature,
    load: Load,
    lines: pytest.LogCaptureFixture,
) -> None:
    root = own_miniature.root
    for name in ("train/k600_train_path.txt", "annotations/train.txt", "annotations/test.csv"):
        (root / name).write_bytes(habit((root / name).read_bytes()))
    listing = root / "annotations/train.txt"
    listing.write_bytes(listing.read_bytes().replace(b"Zclip_-plai_", b"notInTarbal_"))
    for classes in (None, "zumba"):  # the lists are fetched, then as they were kept
        lines.clear()
        assert len(load("train", mirror=str(root), classes=classes)["train"]) in (5, 10)
        missing = 2 if classes is None else 1
        assert f"{missing}  not_in_tarball" in lines.text


def test_labels_are_read_however_they_were_saved(
    habit: Callable[[bytes], bytes], miniature: Miniature, load: Load, tmp_path: Path
) -> None:
    with tarfile.open(miniature.test_labels) as archive:
        file = archive.extractfile("kinetics600/test.csv")
        assert file is not None
        table = tmp_path / "test.csv"
        table.write_bytes(habit(file.read()))
    labels = load("test", test_labels=str(table))["test"]["label"]
    wanted = [label for label in miniature.labels.values() if label]
    assert sum(label is not None for label in labels) == len(wanted)


def test_a_manifest_is_read_however_it_was_saved(
    habit: Callable[[bytes], bytes], load: Load, tmp_path: Path
) -> None:
    ds = load("train", max_samples=3, source="cvdf")["train"]
    path = Path(kinetics600.save_manifest(ds, tmp_path / "chosen.csv"))
    whole = read_manifest(path)
    path.write_bytes(habit(path.read_bytes()))
    assert read_manifest(path) == whole


@pytest.mark.parametrize("part", ["annotations/train.txt", "train/k600_train_path.txt"])
def test_a_list_that_was_cut_off_on_its_way_is_noticed(
    part: str, miniature: Miniature, load: Load
) -> None:
    size = (miniature.root / part).stat().st_size
    with web_server(miniature.root.parent) as server:
        with CuttingProxy(server.url, size - 40) as proxy:  # of the answer, with its headers
            with pytest.raises((ListError, MirrorError)):
                Mirror(f"{proxy.url}/600").read_list(part)
            assert proxy.cuts


def test_a_listing_s_last_clip_must_be_one_to_end_the_list() -> None:
    listing = "val:\nzumba\n\nval/zumba:\n-aaaaaaaaaa_000001_000011.mp4"
    whole = {"zumba": ["-aaaaaaaaaa_000001_000011.mp4"]}
    assert parse_listing(listing, "validation", whole=True) == whole
    for cut in (listing[:-1], listing[:-20], listing[:-28]):
        with pytest.raises(ListError, match="truncated"):
            parse_listing(cut, "validation", whole=True)
    with pytest.raises(ListError, match="truncated"):
        parse_listing(listing, "validation")


def test_a_path_list_without_its_last_line_end() -> None:
    line = "https://anywhere/val/zumba.tar.gz"
    assert len(parse_path_list(line, "validation", whole=True)) == 1
    with pytest.raises(ListError, match="truncated"):
        parse_path_list(line[:-3], "validation", whole=True)


def test_what_is_not_utf_8_is_no_text() -> None:
    with pytest.raises(UnicodeDecodeError):
        text_of("val:\n".encode("utf-16"))
