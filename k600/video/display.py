"""How the frames of a video are displayed: rotation, size and colours."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

_BICUBIC_EXACTLY = 0x4 | 0x40000 | 0x80000
"""FFmpeg's SWS_BICUBIC, SWS_ACCURATE_RND and SWS_BITEXACT: the same on every processor. (PyAV
names the last two from version 16 on only.)"""

_LIMITED, _FULL = 1, 2
"""FFmpeg's AVColorRange."""

_RGB, _BT709 = 0, 1
"""The same in swscale and in a file's tags."""

_SWSCALE_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
"""swscale's numbers of the colour matrices (AVColorSpace) that it can convert."""


class Turn(NamedTuple):
    """How a coded frame is turned to be displayed, in this order."""

    transposed: bool = False
    mirrored: bool = False
    """Left becomes right."""
    flipped: bool = False
    """Above becomes below."""


def turn_of(frame: Any) -> Turn:
    """Return how a frame is turned, by its file's display matrix, to the nearest right angle."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return Turn()
    a, b, _, c, d = struct.unpack_from("=5i", bytes(matrix))  # x' = ax + cy, y' = bx + dy
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Turn(False, a < 0, d < 0)
    return Turn(True, c < 0, b < 0)


def reformatter() -> Callable[..., Any]:
    """Return PyAV's conversion of frames, in one thread, as clips are worked on in parallel."""
    import av

    reformat: Callable[..., Any] = av.video.reformatter.VideoReformatter().reformat
    has_threads = int(av.__version__.split(".")[0]) >= 17  # before, it has one only
    return partial(reformat, threads=1) if has_threads else reformat


class FrameShaper:
    """Converts the frames of a stream to `yuv420p` with the size and the colours of the first.

    Rotation, mirroring and full range are applied; colour matrix, primaries, transfer, range and
    the aspect ratio of pixels are tagged as in the source, or not at all. Frames whose shorter
    side has more than `short_side` pixels are scaled down.
    """

    def __init__(self, video: Any, short_side: int | None) -> None:
        self._video, self._short_side = video, short_side
        self._size = (0, 0)
        self._matrix = 0
        self._graphs: dict[Turn, Any] = {}
        self._reformat = reformatter()

    def begin(self, frame: Any, encoder: Any) -> None:
        """Configure an encoder by the first frame."""
        entry, context = self._video.codec_context, encoder.codec_context
        for name in ("color_primaries", "color_trc", "colorspace", "color_range"):
            # (PyAV's frames have all four from version 17 on only.)
            setattr(context, name, int(getattr(frame, name, getattr(entry, name))))
        if frame.format.is_rgb:
            context.colorspace = _BT709
        if frame.format.is_rgb or _range_of(frame) == _FULL:
            context.color_range = _LIMITED
        self._matrix = int(frame.colorspace)

        width, height, shape = frame.width, frame.height, self._video.sample_aspect_ratio
        if turn_of(frame).transposed:
            width, height, shape = height, width, shape and 1 / shape
        if shape:
            context.sample_aspect_ratio = shape
        self._size = _fitted(width, height, self._short_side)
        encoder.width, encoder.height = self._size

    def shaped(self, frame: Any) -> Any:
        """Return a frame as it is to be displayed."""
        turn = turn_of(frame)
        width, height = reversed(self._size) if turn.transposed else self._size
        colours = _colours(frame, self._matrix)
        frame = self._reformat(
            frame, width, height, "yuv420p", interpolation=_BICUBIC_EXACTLY, **colours
        )
        return _turned(frame, turn, self._graphs)


def _turned(frame: Any, turn: Turn, graphs: dict[Turn, Any]) -> Any:
    """Return a frame turned; `graphs` keeps FFmpeg's filters for later frames."""
    import av

    if not any(turn):
        return frame
    graph = graphs.get(turn)
    if graph is None:
        graph = graphs[turn] = av.filter.Graph()
        filters = [("transpose", "cclock_flip"), ("hflip", ""), ("vflip", "")]
        buffer = graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format.name,
            time_base=frame.time_base or Fraction(1, 1000),
        )
        wanted = [graph.add(*each) for each, is_on in zip(filters, turn, strict=True) if is_on]
        graph.link_nodes(buffer, *wanted, graph.add("buffersink")).configure()
    graph.push(frame)
    return graph.pull()


def _colours(frame: Any, matrix: int) -> dict[str, int]:
    """Return swscale's arguments that convert a frame's colours to a matrix."""
    if frame.format.is_rgb:
        return {"src_colorspace": _RGB, "dst_colorspace": _BT709, "dst_color_range": _LIMITED}

    # From YUV to YUV, any matrix will do as long as it stays the same.
    source = target = _BT709
    if int(frame.colorspace) != matrix:
        source = _SWSCALE_MATRICES.get(int(frame.colorspace), _BT709)
        target = _SWSCALE_MATRICES.get(matrix, source)
    colours = {"src_colorspace": source, "dst_colorspace": target}
    if _range_of(frame) == _FULL:
        colours |= {"src_color_range": _FULL, "dst_color_range": _LIMITED}
    return colours


def _range_of(frame: Any) -> int:
    """Return the range of a frame's pixel values; an old format has it in its name."""
    return _FULL if frame.format.name.startswith("yuvj") else int(frame.color_range)


def _fitted(width: int, height: int, short_side: int | None) -> tuple[int, int]:
    """Return the size in even pixels, the shorter side at most `short_side`."""
    shorter = min(width, height)
    scale = min(Fraction(1), Fraction(short_side or shorter, shorter))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
