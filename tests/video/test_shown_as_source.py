"""A clip that was encoded anew is shown as its source is: FFmpeg's own program is the judge."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from k600.gallery.thumbnails import preview_clip
from k600.video.cut import cut_clip
from k600.video.encoding import Encoding
from k600.video.reencode import reencode_clip
from tests.ffmpeg import make_video, needs_ffmpeg, said, shown, with_matrix

pytestmark = needs_ffmpeg

H264 = ("-c:v", "libx264", "-crf", "10", "-preset", "veryfast")


def tagged(matrix: str, primaries: str, transfer: str, *more: str) -> tuple[str, ...]:
    """Return options for a video that has these colours, and says so."""
    tags = ("-colorspace", matrix, "-color_primaries", primaries, "-color_trc", transfer)
    into = "bt2020" if matrix.startswith("bt2020") else matrix
    return (*H264, "-vf", f"scale=out_color_matrix={into}", "-pix_fmt", "yuv420p", *tags, *more)


COLOURS = {
    "untagged": (*H264, "-pix_fmt", "yuv420p"),
    "bt709": tagged("bt709", "bt709", "bt709"),
    "bt709, said to be limited": tagged("bt709", "bt709", "bt709", "-color_range", "tv"),
    "ntsc": tagged("smpte170m", "smpte170m", "smpte170m"),
    "pal": tagged("bt470bg", "bt470bg", "gamma28"),
    "matrix alone": (*H264, "-vf", "scale=out_color_matrix=bt709", "-pix_fmt", "yuv420p",
                     "-colorspace", "bt709"),
    "hdr10": tagged("bt2020nc", "bt2020", "smpte2084", "-pix_fmt", "yuv420p10le"),
    "hlg": tagged("bt2020nc", "bt2020", "arib-std-b67", "-pix_fmt", "yuv420p10le"),
    "full range": (*H264, "-pix_fmt", "yuvj420p"),
    "full range of bt709": (*H264, "-vf", "scale=out_color_matrix=bt709:out_range=pc,format="
                            "yuvj420p", "-colorspace", "bt709", "-color_range", "pc"),
    "full range in 10 bits": (*H264, "-vf", "scale=out_range=pc,format=yuv420p10le",
                              "-color_range", "pc"),
    "4:2:2": (*H264, "-pix_fmt", "yuv422p"),
    "4:4:4": (*H264, "-pix_fmt", "yuv444p"),
    "full range in 4:4:4": (*H264, "-pix_fmt", "yuvj444p"),
    "grey": (*H264, "-pix_fmt", "gray"),
    "rgb": ("-c:v", "libx264rgb", "-crf", "10", "-pix_fmt", "rgb24"),
    "interlaced": (*tagged("bt709", "bt709", "bt709"), "-flags", "+ildct+ilme"),
    "pixels that are not square": (*H264, "-pix_fmt", "yuv420p", "-aspect", "4:3"),
}  # fmt: skip


def check(source: Path, made: Path, *, turned: bool = False) -> None:
    """Check that both are shown alike, and that the source's words of it were kept."""
    before, after = said(source), said(made)
    width, height = after["width"], after["height"]
    wanted, found = (shown(path, width, height).astype(int) for path in (source, made))
    assert len(wanted) == len(found) == 4
    apart = np.abs(wanted - found)
    assert apart.mean() < 3
    assert np.percentile(apart, 85) <= 6  # edges blur; colours do not shift
    assert after["pix_fmt"] == "yuv420p"
    for name in ("color_primaries", "color_transfer", "color_space"):
        if before["pix_fmt"] not in ("gbrp", "rgba"):  # it has no matrix
            assert after.get(name) == before.get(name), name
    ratio = before.get("sample_aspect_ratio", "1:1")
    if turned:
        ratio = ":".join(reversed(ratio.split(":")))
    assert after.get("sample_aspect_ratio", "1:1") == ratio
    assert "Display Matrix" not in str(after)


@pytest.mark.parametrize("kind", COLOURS)
def test_colours_stay_what_they_are(kind: str, tmp_path: Path) -> None:
    source = make_video(tmp_path / "source.mp4", *COLOURS[kind])
    small, cut = tmp_path / "small.mp4", tmp_path / "cut.mp4"
    with open(source, "rb") as file:
        assert reencode_clip(file, small, Encoding(short_side=96)).is_new
    cut_clip(source, cut, 0, 1)
    check(source, small)
    check(source, cut)


@pytest.mark.parametrize(
    ("ending", "options"),
    [
        ("mov", ("-c:v", "png", "-pix_fmt", "rgba")),
        ("mov", ("-c:v", "prores_ks", "-pix_fmt", "yuva444p10le")),
        ("webm", ("-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p", "-colorspace", "bt709", "-vf",
                  "scale=out_color_matrix=bt709", "-deadline", "realtime")),
    ],
)  # fmt: skip
def test_a_cut_of_another_codec_has_its_colours(
    ending: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    source = make_video(tmp_path / f"source.{ending}", *options)
    cut_clip(source, tmp_path / "cut.mp4", 0, 1, encoding=Encoding(short_side=96))
    check(source, tmp_path / "cut.mp4")


@pytest.mark.parametrize(
    "matrix",
    [
        (*diagonal, *rest)
        for signs in itertools.product((1, -1), repeat=2)
        for diagonal, rest in (
            ((signs[0], 0), (0, signs[1])),
            ((0, signs[0]), (signs[1], 0)),
        )
    ],
)
def test_all_eight_ways_to_hold_a_camera(matrix: tuple[int, ...], tmp_path: Path) -> None:
    plain = make_video(tmp_path / "plain.mp4", *COLOURS["bt709"], "-aspect", "4:3")
    source = tmp_path / "source.mp4"
    source.write_bytes(with_matrix(plain.read_bytes(), *matrix))
    small, cut = tmp_path / "small.mp4", tmp_path / "cut.mp4"
    with open(source, "rb") as file:
        assert reencode_clip(file, small, Encoding(short_side=96)).is_new
    cut_clip(source, cut, 0, 1)
    lies = matrix[0] == 0
    assert (said(small)["width"], said(small)["height"]) == ((96, 160) if lies else (160, 96))
    assert (said(cut)["width"], said(cut)["height"]) == ((192, 320) if lies else (320, 192))
    check(source, small, turned=lies)
    check(source, cut, turned=lies)
    picture = np.asarray(preview_clip(str(source)).image)
    height, width, _ = picture.shape
    apart = np.abs(shown(source, width, height)[0].astype(int) - picture)
    assert np.percentile(apart, 85) <= 8  # the gallery's, too
    with open(small, "rb") as file:  # what is upright stays so
        assert not reencode_clip(file, tmp_path / "smaller.mp4", Encoding(short_side=96)).is_new


def test_odd_sizes_lose_no_more_than_a_row(tmp_path: Path) -> None:
    source = make_video(tmp_path / "odd.mp4", *H264, "-pix_fmt", "yuv444p", size=(321, 191))
    cut_clip(source, tmp_path / "cut.mp4", 0, 1)
    check(source, tmp_path / "cut.mp4")
    assert (said(tmp_path / "cut.mp4")["width"], said(tmp_path / "cut.mp4")["height"]) == (320, 192)
