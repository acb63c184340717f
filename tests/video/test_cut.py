"""A cut holds the very frames of its time, whatever the video is like."""

from __future__ import annotations

import io
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k600.video.cut import CutError, cut_clip
from k600.video.encoding import Encoding
from k600.video.probe import probe_clip
from tests.counter import counter_video, read_counter, tone_audio


def numbers(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [read_counter(frame) for frame in container.decode(video=0)]


@settings(max_examples=25)
@given(
    fps=st.sampled_from([10, 24, 30, 60]),
    gop_size=st.sampled_from([1, 12, 250]),
    b_frames=st.integers(0, 3),
    start=st.integers(0, 8),
    length=st.integers(1, 10),
)
def test_any_cut(
    tmp_path_factory: pytest.TempPathFactory,
    fps: int,
    gop_size: int,
    b_frames: int,
    start: int,
    length: int,
) -> None:
    video = counter_video(160, 96, fps, 9, gop_size=gop_size, b_frames=b_frames)
    path = tmp_path_factory.mktemp("cut") / "clip.mp4"
    cut = cut_clip(io.BytesIO(video), path, start, start + length)
    assert numbers(path) == list(range(start * fps, min(start + length, 9) * fps))
    assert cut.seconds == pytest.approx(len(numbers(path)) / fps, abs=0.01)


@pytest.mark.parametrize(
    ("width", "height", "short_side", "expected"),
    [
        (320, 180, 90, (160, 90)),
        (180, 320, 90, (90, 160)),
        (320, 180, 360, (320, 180)),
        (320, 180, None, (320, 180)),
        (320, 240, 111, (148, 112)),
    ],
)
def test_the_short_side(
    tmp_path: Path, width: int, height: int, short_side: int | None, expected: tuple[int, int]
) -> None:
    video = io.BytesIO(counter_video(width, height, 10, 3))
    cut_clip(video, tmp_path / "clip.mp4", 1, 2, encoding=Encoding(short_side=short_side))
    probe = probe_clip(tmp_path / "clip.mp4", seconds=1)
    assert (probe.width, probe.height) == expected


def test_the_same_cut_has_the_same_bytes(tmp_path: Path) -> None:
    video = counter_video(160, 96, 30, 9)
    for name in ("one.mp4", "two.mp4"):
        cut_clip(io.BytesIO(video), tmp_path / name, 2, 5)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_a_time_that_the_video_has_not(tmp_path: Path) -> None:
    with pytest.raises(CutError, match="no frame from second 20 to 30") as caught:
        cut_clip(io.BytesIO(counter_video(160, 96, 10, 9)), tmp_path / "clip.mp4", 20, 30)
    assert caught.value.code == "out_of_range"


def test_what_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(av.error.FFmpegError):
        cut_clip(io.BytesIO(b"no video" * 1000), tmp_path / "clip.mp4", 0, 1)


def test_aac_is_copied_and_other_audio_becomes_aac(tmp_path: Path) -> None:
    def packets(source: object) -> list[tuple[float, bytes]]:
        with av.open(source) as container:
            found = [packet for packet in container.demux(audio=0) if packet.size]
            return [(float(packet.pts * packet.time_base), bytes(packet)) for packet in found]

    video = counter_video(160, 96, 10, 9)
    tone = io.BytesIO(tone_audio(9))
    cut_clip(io.BytesIO(video), tmp_path / "aac.mp4", 2, 5, audio=tone)
    wanted = [(t - 2, data) for t, data in packets(io.BytesIO(tone_audio(9))) if 2 <= t < 5]
    found = packets(str(tmp_path / "aac.mp4"))
    assert [data for _, data in found] == [data for _, data in wanted]
    assert [time for time, _ in found] == pytest.approx([time for time, _ in wanted], abs=1e-3)

    opus = io.BytesIO()
    with av.open(opus, "w", format="webm") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono")
        for number in range(9 * 50):
            frame = av.AudioFrame(format="flt", layout="mono", samples=960)
            frame.planes[0].update(bytes(frame.planes[0].buffer_size))
            frame.sample_rate, frame.pts = 48_000, number * 960
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    opus.seek(0)
    cut_clip(io.BytesIO(video), tmp_path / "opus.mp4", 2, 5, audio=opus)
    with av.open(str(tmp_path / "opus.mp4")) as container:
        heard = container.streams.audio[0]
        assert heard.codec_context.name == "aac"
        seconds = sum(frame.samples for frame in container.decode(heard)) / heard.rate
    assert seconds == pytest.approx(3, abs=0.1)
