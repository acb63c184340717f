from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k600.miniature import make_clip
from k600.video.probe import box_problem

CLIP = make_clip(1)


def test_a_whole_clip_has_no_problem() -> None:
    assert box_problem(io.BytesIO(CLIP)) is None


@given(st.integers(0, len(CLIP) - 1))
def test_a_clip_cut_anywhere_has_one(length: int) -> None:
    expected = "empty" if length == 0 else "truncated"
    assert box_problem(io.BytesIO(CLIP[:length])) in (expected, "not_mp4")


@pytest.mark.parametrize("data", [b"<html><body>not here</body></html>", b"\0" * 5000, b"PK\3\4"])
def test_something_else_is_no_mp4(data: bytes) -> None:
    assert box_problem(io.BytesIO(data)) in ("not_mp4", "truncated")


def test_boxes_to_the_end_and_of_64_bits_are_understood() -> None:
    head, moov = b"\0\0\0\x10ftypisom\0\0\0\0", b"\0\0\0\x08moov"
    large = b"\0\0\0\1mdat" + (20).to_bytes(8, "big") + b"data"
    assert box_problem(io.BytesIO(head + moov + b"\0\0\0\0mdat" + b"x" * 99)) is None
    assert box_problem(io.BytesIO(head + large + moov)) is None
    assert box_problem(io.BytesIO(head + large[:12])) == "truncated"
    assert box_problem(io.BytesIO(head + moov)) == "truncated"  # no pictures
    assert box_problem(io.BytesIO(head + b"\0\0\0\2mdat")) == "truncated"


@given(st.binary(max_size=100))
def test_any_bytes_are_answered(data: bytes) -> None:
    assert box_problem(io.BytesIO(data)) in ("empty", "not_mp4", "truncated", None)
