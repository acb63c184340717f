from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k600.dataset.clip import Clip, Tarball, parse_file_name

ids = st.text("abcXYZ019_-", min_size=11, max_size=11)
starts = st.integers(0, 99_999_999)


@given(ids, starts, st.integers(1, 600))
def test_a_clip_s_file_name_reads_back(youtube_id: str, start: int, seconds: int) -> None:
    clip = Clip("train", "zumba", youtube_id, start, start + seconds)
    assert parse_file_name(clip.file_name) == (youtube_id, start, start + seconds)
    assert clip.key == f"train/zumba/{clip.file_name}"


@pytest.mark.parametrize(
    "name",
    [
        "._abcdefghi_000001_000011.mp4",  # AppleDouble
        "../defghijk_000001_000011.mp4",
        "/bcdefghijk_000001_000011.mp4",
        "abcdefghijk_000001_000011.mp4\n",
        "abcdefghijk_000001_000011.MP4",
        "abcdefghijk_1_11.mp4",
        "abcdefghijk_0000001_000011.mp4",  # padded otherwise than on the host
        "abcdefghijk_000011_000011.mp4",  # no time at all
        "abcdefghijk_٠٠٠٠٠١_000011.mp4",  # digits, but not these
        "аbcdefghijk_000001_000011.mp4",  # a Cyrillic a
        "",
        "x" * 10_000,
    ],
)
def test_nothing_else_is_a_clip_s_file_name(name: str) -> None:
    assert parse_file_name(name) is None


@given(st.text(max_size=40))
def test_any_text_is_answered(name: str) -> None:
    parsed = parse_file_name(name)
    assert parsed is None or Clip("test", None, *parsed).file_name == name


def test_tarballs_lie_under_the_host_s_own_names() -> None:
    assert Tarball("validation", "acting in play").path == "val/acting in play.tar.gz"
    assert Tarball("validation", "acting in play").label == "acting in play"
    assert Tarball("test", "part_3").path == "test/part_3.tar.gz"
    assert Tarball("test", "part_3").label is None
