"""Videos whose pictures carry their own number, so that a test can tell which ones it was given."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np

BITS = 16
"""Bars in a picture."""


@functools.cache
def counter_video(
    width: int = 320,
    height: int = 180,
    fps: int = 30,
    seconds: float = 10,
    *,
    gop_size: int = 60,
    b_frames: int = 2,
    layout: str = "dash",
    sound: bool = False,
    noise: int = 0,
) -> bytes:
    """Return an mp4 whose every frame shows its number (from 0) as black and white bars.

    Args:
        layout: "dash" has fragments behind an index, as YouTube's single streams do;
            "late" is that without an edit list: with B-frames the first one is not at 0 s;
            "faststart" is an ordinary mp4, as its itag 18 is.
        sound: Also a sine tone in the same file.
        noise: 0 to 100, of the colours only, for a file as large as real ones are: at this
            size 3 gives about 220 kB a second, and none 3 kB.
    """
    chance = np.random.default_rng(0)
    bars = np.arange(width) * BITS // width
    picture = np.full((height * 3 // 2, width), 128, np.uint8)
    x264 = f"keyint={gop_size}:min-keyint={gop_size}:scenecut=0:bframes={b_frames}:threads=1"
    with _muxer(layout) as (container, result):
        tuning = {"preset": "ultrafast", "crf": "23", "x264-params": x264}
        stream = container.add_stream("libx264", rate=fps, options=tuning)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.thread_count = 1
        tone = container.add_stream("aac", rate=44_100, layout="mono") if sound else None
        for number in range(round(fps * seconds)):
            picture[:height] = np.where((number >> bars) & 1, 235, 16)
            if noise:
                picture[height:] = chance.integers(128 - noise, 129 + noise, picture[height:].shape)
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if tone is not None:
            _encode_tone(container, tone, seconds)
    return result[0]


@functools.cache
def tone_audio(seconds: float = 10) -> bytes:
    """Return an m4a with a sine tone, to be the audio stream beside a video-only one."""
    with _muxer("dash") as (container, result):
        _encode_tone(container, container.add_stream("aac", rate=44_100, layout="mono"), seconds)
    return result[0]


def read_counter(frame: Any) -> int:
    """Return the number a frame shows: an `av.VideoFrame`, or an array (height, width[, 3])."""
    if isinstance(frame, av.VideoFrame):
        frame = frame.to_ndarray(format="gray")
    picture = np.asarray(frame)
    picture = picture.mean(axis=2) if picture.ndim == 3 else picture
    height, width = picture.shape
    middle = picture[height // 4 : height - height // 4].mean(axis=0)
    columns = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    return sum(1 << bit for bit, column in enumerate(columns) if middle[column] > 127)


@contextlib.contextmanager
def _muxer(layout: str) -> Iterator[tuple[Any, list[bytes]]]:
    """Yield an mp4 to fill; its bytes are in the list afterwards (ffmpeg must reopen the file)."""
    fragments = "frag_keyframe+default_base_moof+global_sidx"
    flags = {
        "dash": f"{fragments}+delay_moov",
        "late": f"{fragments}+empty_moov",
        "faststart": "faststart",
    }[layout]
    result: list[bytes] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "counter.mp4")
        options = {"movflags": flags, "fflags": "+bitexact"}
        with av.open(str(path), "w", format="mp4", options=options) as container:
            yield container, result
        result.append(path.read_bytes())


def _encode_tone(container: Any, stream: Any, seconds: float, rate: int = 44_100) -> None:
    for start in range(0, round(seconds * rate), 1024):
        wave = np.sin(2 * np.pi * 440 * np.arange(start, start + 1024) / rate)
        frame = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = rate, start
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
