"""`encode="training"`: the frames of the original at their own times, each of them decoded fast."""

from __future__ import annotations

import io
import math
import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k600.video.cut import cut_clip
from k600.video.encoding import Encoding, describe_encoding
from k600.video.probe import probe_clip
from k600.video.reencode import reencode_clip
from tests.counter import counter_video, read_counter
from tests.ffmpeg import with_matrix

LAYOUTS = {"upright": (1, 0, 0, 1), "a quarter": (0, 1, -1, 0), "upside down": (-1, 0, 0, -1)}


@dataclass(frozen=True)
class Video:
    """A video that may be odd."""

    width: int
    height: int
    milliseconds: tuple[int, ...]
    """How long each frame is displayed."""
    layout: str
    full_range: bool
    sound: bool

    def encode(self) -> bytes:
        data = io.BytesIO()
        with av.open(data, "w", format="mp4") as container:
            video = container.add_stream("libx264", rate=25)
            video.width, video.height = self.width, self.height
            video.pix_fmt = "yuvj444p" if self.full_range else "yuv444p"  # sizes may be odd
            video.codec_context.color_range = 2 if self.full_range else 1
            video.codec_context.time_base = Fraction(1, 1000)
            video.options = {"crf": "10", "preset": "ultrafast"}
            tone = container.add_stream("aac", rate=44_100, layout="mono") if self.sound else None
            pts = 0
            for number, length in enumerate(self.milliseconds):
                frame = av.VideoFrame.from_ndarray(self._picture(number), format="rgb24")
                frame = frame.reformat(format=video.pix_fmt)
                frame.pts, frame.time_base = pts, Fraction(1, 1000)
                pts += length
                container.mux(video.encode(frame))
            packets = video.encode(None)
            if packets:
                packets[-1].duration = self.milliseconds[-1]
            container.mux(packets)
            if tone is not None:
                for start in range(0, 44_100 * pts // 1000, 1024):
                    wave = np.sin(np.arange(start, start + 1024) / 16).astype(np.float32)
                    sound = av.AudioFrame.from_ndarray(wave[None], "fltp", "mono")
                    sound.sample_rate, sound.pts = 44_100, start
                    container.mux(tone.encode(sound))
                container.mux(tone.encode(None))
        return with_matrix(data.getvalue(), *LAYOUTS[self.layout])

    def _picture(self, number: int) -> Any:
        """Return a slope of colours with a bright block that moves from frame to frame."""
        picture = np.zeros((self.height, self.width, 3), np.uint8)
        picture[..., 0] = np.linspace(20, 200, self.width)[None]
        picture[..., 1] = np.linspace(20, 200, self.height)[:, None]
        picture[..., 2] = 90
        left, top = 5 * number % (self.width - 16), 3 * number % (self.height - 16)
        picture[top : top + 16, left : left + 16] = 230
        return picture


VIDEOS = st.builds(
    Video,
    width=st.integers(48, 90),
    height=st.integers(48, 90),
    milliseconds=st.one_of(
        st.integers(1, 60).map(lambda count: (40,) * count),
        st.lists(st.integers(10, 300), min_size=1, max_size=50).map(tuple),
    ),
    layout=st.sampled_from(sorted(LAYOUTS)),
    full_range=st.booleans(),
    sound=st.booleans(),
)


def decode(data: bytes) -> tuple[list[float], list[Any]]:
    """Return times in seconds, and frames in RGB as they are displayed, their sizes made even."""
    times, pictures = [], []
    with av.open(io.BytesIO(data)) as container:
        for frame in container.decode(video=0):
            times.append(float(frame.time))
            size = {"width": round(frame.width / 2) * 2, "height": round(frame.height / 2) * 2}
            picture = frame.to_ndarray(format="rgb24", **size)
            pictures.append(np.rot90(picture, round(frame.rotation / 90)).astype(float))
    return times, pictures


def sound_of(data: bytes) -> list[tuple[float, bytes]]:
    """Return the packets of sound with their times in seconds."""
    with av.open(io.BytesIO(data)) as container:
        if not container.streams.audio:
            return []
        packets = [p for p in container.demux(audio=0) if p.pts is not None]
        return [(float(p.pts * p.time_base), bytes(p)) for p in packets]


def encoded(data: bytes, encoding: Encoding) -> bytes:
    target = Path(os.environ["HF_HOME"], "encoded.mp4")
    assert reencode_clip(io.BytesIO(data), target, encoding).is_new
    return target.read_bytes()


def psnr(one: Any, other: Any) -> float:
    """Return how alike two pictures are, in dB."""
    return 10 * math.log10(255**2 / max(1e-9, float(((one - other) ** 2).mean())))


@given(VIDEOS, st.integers(1, 5))
@settings(max_examples=30)
def test_every_nth_frame_is_the_original_s_at_its_own_time(video: Video, step: int) -> None:
    original = video.encode()
    made = encoded(original, Encoding(encode="training", frame_step=step))
    before, after = decode(original), decode(made)
    assert after[0] == pytest.approx(before[0][::step], abs=1e-3)
    for wanted, found in zip(before[1][::step], after[1], strict=True):
        assert psnr(wanted, found) > 27

    plays = [end_of(data) for data in (original, made)]
    assert plays[1] == pytest.approx(plays[0], abs=2e-3)  # also if the last frame is left out

    sounds = [sound_of(data) for data in (original, made)]
    assert [data for _, data in sounds[1]] == [data for _, data in sounds[0]]
    times = [[time for time, _ in sound] for sound in sounds]
    assert times[1] == pytest.approx(times[0], abs=1e-3)


def end_of(data: bytes) -> float:
    """Return when the last frame ends, in seconds."""
    with av.open(io.BytesIO(data)) as container:
        packets = [p for p in container.demux(video=0) if p.pts is not None]
        return max(float((p.pts + p.duration) * p.time_base) for p in packets)


@pytest.mark.parametrize(("step", "most_between_keys"), [(1, 16), (4, 8)])
def test_what_makes_it_fast_to_decode_is_in_the_file(step: int, most_between_keys: int) -> None:
    original = counter_video(320, 180, 30, 4, layout="faststart")
    made = encoded(original, Encoding(short_side=96, encode="training", frame_step=step))
    with av.open(io.BytesIO(made)) as container:
        video = container.streams.video[0]
        assert (video.codec_context.width, video.codec_context.height) == (170, 96)
        assert not video.codec_context.has_b_frames
        frames = [*container.decode(video)]
    kinds = av.video.frame.PictureType
    assert {kinds(frame.pict_type).name for frame in frames} == {"I", "P"}
    keys = [number for number, frame in enumerate(frames) if frame.key_frame]
    assert max(np.diff([*keys, len(frames)])) == most_between_keys
    for said in (b"cabac=0", b"deblock=0", b"bframes=0", b"keyint=%d" % most_between_keys):
        assert said in made  # x264 writes down how it was called
    assert [read_counter(frame) for frame in frames] == [*range(0, 120, step)]


@pytest.mark.parametrize("step", [1, 4])
def test_a_cut_of_a_longer_video_is_encoded_alike(step: int, tmp_path: Path) -> None:
    video, path = counter_video(320, 180, 30, 10, sound=True), tmp_path / "cut.mp4"
    encoding = Encoding(short_side=96, encode="training", frame_step=step)
    cut = cut_clip(io.BytesIO(video), path, 3, 5, encoding=encoding, audio=True)
    assert cut.seconds == pytest.approx(2, abs=0.01)
    with av.open(str(path)) as container:
        frames = [*container.decode(video=0)]
    assert [read_counter(frame) for frame in frames] == [*range(90, 150, step)]
    assert cut.fps == pytest.approx(30 / step, rel=0.02)
    probe = probe_clip(path, seconds=2, deep=True)
    assert (probe.verdict, probe.fps) == ("ok", cut.fps)


def test_a_clip_of_a_rate_in_large_numbers_is_encoded() -> None:
    ticks = Fraction(1, 10_000_000)
    source = io.BytesIO()
    exactly = {"video_track_timescale": str(ticks.denominator)}
    with av.open(source, "w", format="mp4", options=exactly) as container:
        video = container.add_stream("libx264", rate=25)
        video.width = video.height = 64
        video.codec_context.time_base = ticks
        for number in range(60):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = 400_001 * number + number**2 // 60, ticks
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    with av.open(io.BytesIO(source.getvalue())) as container:
        assert container.streams.video[0].average_rate.denominator * 999 > 1 << 31

    data = encoded(source.getvalue(), Encoding(encode="training", frame_step=999))
    assert [round(time, 4) for time in decode(data)[0]] == [0]


def test_the_same_clip_gives_the_same_bytes() -> None:
    original, encoding = counter_video(320, 180, 30, 2), Encoding(encode="training")
    assert len({encoded(original, encoding) for _ in range(6)}) == 1


def test_each_encoding_has_a_name_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {
        Encoding(short_side=256): "short_side_256",
        Encoding(encode="training"): "training_crf_23",
        Encoding(short_side=256, encode="training", crf=25): "short_side_256_training_crf_25",
        Encoding(encode="training", frame_step=4): "training_crf_23_step_4",
    }
    assert {encoding: encoding.name for encoding in names} == names

    before = [describe_encoding(encoding) for encoding in names]
    monkeypatch.setattr("k600.video.encoding._VERSIONS", {None: 2, "training": 3})
    after = ["short_side_256_v2", "training_crf_23_v3", "short_side_256_training_crf_25_v3"]
    assert [encoding.name for encoding in names] == [*after, "training_crf_23_step_4_v3"]
    assert not any(describe_encoding(encoding) in before for encoding in names)
