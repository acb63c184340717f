from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k600.errors import ListError
from k600.miniature import Miniature, make_tarball
from k600.tarballs.lists import parse_listing, parse_path_list, parse_test_labels
from tests.shared import needs_shared, shared

LISTING = (
    "val:\nzumba\nyoga\n\n"
    "val/zumba:\n-aaaaaaaaaa_000001_000011.mp4\n \n__bbbbbbbbb_000001_000011.mp4\n\n"
    "val/yoga:\n-aaaaaaaaaa_000021_000031.mp4\n"
)


@needs_shared
@pytest.mark.parametrize(("split", "host", "count"), [
    ("train", "train", 600), ("validation", "val", 600), ("test", "test", 60),
])  # fmt: skip
def test_the_real_path_lists_name_1260_tarballs(split: str, host: str, count: int) -> None:
    text = shared(f"cvdf/k600_{host}_path.txt").read_text()
    tarballs = parse_path_list(text, split)
    assert len(tarballs) == count
    assert text.splitlines()[0].endswith(tarballs[0].path)


@needs_shared
def test_the_real_val_txt_lists_29791_clips() -> None:
    listing = parse_listing(shared("cvdf/val.txt").read_text(), "validation")
    names = [name for names in listing.values() for name in names]
    assert len(listing) == 600
    assert len(names) == 29_791
    assert len({name[:11] for name in names}) == 29_782
    assert {len(names) for names in listing.values()} == set(range(45, 51))


@needs_shared
def test_the_real_lists_of_the_test_split_are_read() -> None:
    labels = parse_test_labels(shared("deepmind/test.csv").read_bytes())
    assert len(labels) == 56_508
    assert labels["--0l35AkU34", 62, 72] == "sipping cup"
    rows = shared("cvdf/test.csv").read_text().splitlines()
    assert len(rows) - 1 == 72_924
    with pytest.raises(ListError, match="its columns are"):  # it has no labels
        parse_test_labels(shared("cvdf/test.csv").read_bytes())


@needs_shared
@given(st.integers(1, 915_754))
def test_the_real_val_txt_cut_anywhere_but_in_its_last_block_is_refused(length: int) -> None:
    text = shared("cvdf/val.txt").read_text()
    last_block = text.rindex("val/")
    try:
        parse_listing(text[:length], "validation")
    except ListError:
        return
    assert length > last_block


def test_a_listing_keeps_order_and_passes_over_stray_lines() -> None:
    assert parse_listing(LISTING, "validation") == {
        "zumba": ["-aaaaaaaaaa_000001_000011.mp4", "__bbbbbbbbb_000001_000011.mp4"],
        "yoga": ["-aaaaaaaaaa_000021_000031.mp4"],
    }


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        ("<!DOCTYPE html>\n<html>\n", "HTML"),
        (LISTING[:-3], "truncated"),
        ("val:\n", "truncated"),
        (LISTING[: LISTING.index("val/yoga")], "truncated.*'yoga'"),
        ("train:\nzumba\n", "expected 'val:'"),
        ("val:\n../../etc\n\nval/../../etc:\n", "line 4 names the unknown class"),
        ("\nval/zumba:\n", "expected 'val:'"),
        (LISTING.replace("val/yoga:", "val/yoga"), "truncated.*'yoga'"),
    ],
)
def test_a_broken_listing_is_refused(text: str, word: str) -> None:
    with pytest.raises(ListError, match=word):
        parse_listing(text, "validation", name="the list")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        ("\n", "empty"),
        ("<html>\n", "HTML"),
        ("https://x/600/val/yoga.tar.gz", "truncated"),
        ("https://x/600/val/yoga.tar.gz\nhttps://x/600/val/zum\n", "line 2"),
        ("https://x/600/train/yoga.tar.gz\n", "expected the URL of a tarball in 'val'"),
        ("https://x/600/val/yoga.tar.gz\nhttps://y/val/yoga.tar.gz\n", "second time"),
        ("https://x/600/val/no such class.tar.gz\n", "600 class names"),
        ("https://x/600/val/..%2f..%2fetc.tar.gz\n", "in 'val'"),
        ("https://x/600/val/...tar.gz\n", "600 class names"),
    ],
)
def test_a_broken_path_list_is_refused(text: str, word: str) -> None:
    with pytest.raises(ListError, match=word):
        parse_path_list(text, "validation")


def test_a_path_list_is_read_with_literal_and_with_encoded_signs() -> None:
    name = "massaging person's head"
    for line in (name, name.replace(" ", "%20").replace("'", "%27")):
        text = f"https://anywhere/else/val/{line}.tar.gz\n"
        assert [t.name for t in parse_path_list(text, "validation")] == [name]


def test_a_test_path_list_names_parts() -> None:
    text = "https://x/test/part_0.tar.gz\nhttps://x/test/part_59.tar.gz\n"
    assert [t.name for t in parse_path_list(text, "test")] == ["part_0", "part_59"]
    with pytest.raises(ListError, match="part_<number>"):
        parse_path_list("https://x/test/zumba.tar.gz\n", "test")


def test_labels_come_from_the_archive_or_its_csv(miniature: Miniature) -> None:
    labels = parse_test_labels(miniature.test_labels.read_bytes())
    names = {f"{i}_{a:06d}_{b:06d}.mp4": label for (i, a, b), label in labels.items()}
    assert names == {name: label for name, label in miniature.labels.items() if label}
    assert None in miniature.labels.values()


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"<html>\n", "HTML"),
        (b"label,youtube_id,time_start,time_end\nzumba,aaaaaaaaaaa,1,11", "truncated"),
        (b"label,youtube_id,time_start,time_end\nzumba,aaaaaaaaaaa,x,11\n", "line 2"),
        (b"label,youtube_id,time_start,time_end\nno class,aaaaaaaaaaa,1,11\n", "not a Kinetics"),
        (b"label,youtube_id,time_start,time_end\nzumba\n", "line 2"),
        (b"label,youtube_id,time_start,time_end\n", "labels not one clip"),
        (b"\xff\xfe\n", "UTF-8"),
        (b"\x1f\x8b broken", "broken archive"),
        (make_tarball({"other.csv": b"\n"}), "no 'test.csv'"),
    ],
)
def test_broken_labels_are_refused(data: bytes, word: str) -> None:
    with pytest.raises(ListError, match=word):
        parse_test_labels(data)


def test_a_list_of_labels_that_labels_none_is_refused() -> None:
    """It would be kept, and be the truth from then on."""
    header = "label,youtube_id,time_start,time_end,split\n"
    assert len(parse_test_labels(f"{header}zumba,aaaaaaaaaaa,1,11,test\n".encode())) == 1
    with pytest.raises(ListError, match="labels not one clip"):
        parse_test_labels(header.encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_answered(data: bytes) -> None:
    for read in (
        lambda: parse_test_labels(data),
        lambda: parse_listing(data.decode("latin-1"), "train"),
        lambda: parse_path_list(data.decode("latin-1"), "train"),
    ):
        try:
            read()
        except ListError:
            continue
