"""Chosen frames equal a plain decoder's, also of videos that are turned, short or damaged."""

from __future__ import annotations

import io
import itertools
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from k600.miniature import make_clip
from k600.train import ClipTransform, CorruptClipError
from tests.ffmpeg import with_matrix

torch = pytest.importorskip("torch", exc_type=ImportError)

from k600.train.decoding import opened, waveforms  # noqa: E402
from k600.train.sampling import clips_at  # noqa: E402


def encoded(
    codec: str = "libx264",
    *,
    frames: int = 40,
    options: dict[str, str] | None = None,
    times: Any = None,
    pixels: str = "yuv420p",
    tone_seconds: float = 0,
) -> bytes:
    """Return an MP4 of 64 x 48 pixels whose frames all differ; `times` are in 1/100 s."""
    chance = np.random.default_rng(5)
    scene = chance.integers(0, 255, (96, 160, 3), np.uint8).repeat(2, 0).repeat(2, 1)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, 100)
        audio = container.add_stream("aac", rate=22_050, layout="mono") if tone_seconds else None
        for index in range(frames):
            picture = scene[index : index + 48, 2 * index : 2 * index + 64].copy()
            picture[10:20, index % 50 : index % 50 + 10] = (index * 6 % 256, 40, 200)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = times[index] if times else 4 * index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio is not None:
            wave = np.sin(np.arange(int(22_050 * tone_seconds)) * 2 * np.pi * 441 / 22_050)
            sound = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), "fltp", "mono")
            sound.rate, sound.pts = 22_050, 0
            container.mux(audio.encode(sound))
            container.mux(audio.encode(None))
    return buffer.getvalue()


def plainly(data: bytes) -> Any:
    """Return all frames of a video, decoded one after the other: uint8 (N, C, H, W)."""
    with av.open(io.BytesIO(data)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)


X264 = {
    "as x264 does": "",
    "many B frames": "bframes=8:b-adapt=0",
    "B frames that refer to each other": "bframes=8:b-adapt=0:b-pyramid=strict",
    "no B frames": "bframes=0",
    "short groups": "keyint=7:min-keyint=1",
    "open groups": "keyint=9:min-keyint=1:open-gop=1:bframes=3:b-adapt=0",
    "keyframes that come bit by bit": "intra-refresh=1:keyint=10",
    "interlaced": "tff=1:bframes=3:b-adapt=0",
    "one reference": "ref=1:bframes=3:b-adapt=0:weightp=0",
    "slices": "slices=4:bframes=3",
    "all keyframes": "keyint=1",
}
ODD: dict[str, dict[str, Any]] = {
    **{
        f"{name}, {count} frames": {"options": {"x264-params": text}, "frames": count}
        for (name, text), count in itertools.product(X264.items(), (1, 3, 18, 40))
    },
    "at odd times": {"times": [index**2 for index in range(40)]},
    "from 3 seconds on": {"times": [300 + 4 * index for index in range(40)]},
    "with a gap": {"times": [4 * index + 500 * (index > 20) for index in range(40)]},
    "10 bits": {"pixels": "yuv420p10le"},
    "4:4:4": {"pixels": "yuv444p"},
    "MPEG-4": {"codec": "mpeg4", "options": {"bf": "2", "g": "8"}},
    "MPEG-4 of keyframes": {"codec": "mpeg4", "options": {"g": "1"}},
    "HEVC": {"codec": "libx265", "options": {"x265-params": "keyint=9:log-level=none"}},
    "AV1": {"codec": "libsvtav1", "options": {"preset": "12", "g": "16"}},
}


@pytest.mark.parametrize("name", ODD)
def test_chosen_frames_are_those_of_a_plain_decoder(name: str) -> None:
    try:
        data = encoded(**ODD[name])
    except (av.error.FFmpegError, ValueError) as error:
        pytest.skip(f"PyAV has no such encoder here: {error}")
    expected = plainly(data)
    chance = random.Random(name)
    with opened(data) as video:
        assert len(video) == len(expected)
        several = sorted(chance.choices(range(len(expected)), k=6))
        for chosen in (several, several[::-1], [chance.randrange(len(expected))]):
            assert torch.equal(video.frames_at(chosen).data, expected[chosen])


def test_two_frames_of_one_time_are_two() -> None:
    target = io.BytesIO()
    with av.open(io.BytesIO(encoded())) as source, av.open(target, "w", format="mp4") as container:
        copy = container.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux() if packet.dts is not None]
        tick = packets[1].dts - packets[0].dts
        for packet in packets:  # of a recording that was joined: the second part begins too early
            packet.dts -= 5 * tick
            packet.pts -= tick if packet.pts >= 20 * tick else 0
            packet.stream = copy
            container.mux(packet)
    expected = plainly(target.getvalue())
    assert len(expected) == 40
    with opened(target.getvalue()) as video:
        for chosen in (range(40), [19], [20], [19, 30], [20, 19, 18]):
            assert torch.equal(video.frames_at(chosen).data, expected[list(chosen)])


@pytest.mark.parametrize("name", ["at odd times", "from 3 seconds on", "with a gap"])
def test_frames_by_seconds_are_those_on_display(name: str) -> None:
    data = encoded(**ODD[name])
    expected, times = plainly(data), [time / 100 for time in ODD[name]["times"]]
    with opened(data) as video:
        assert video.begin_seconds == times[0]
        found = video.frames_played_at(times).data
        assert torch.equal(found, expected)
        between = [(a + b) / 2 for a, b in itertools.pairwise(times)] + [times[-1] + 9]
        assert torch.equal(video.frames_played_at(between).data, expected)


@pytest.mark.parametrize("times", [{"step": 3, "fps": None}, {"step": None, "fps": 7}])
def test_several_clips_in_one_pass_are_those_of_single_passes(times: dict[str, Any]) -> None:
    data, fractions = make_clip(3), [0.0, 0.1, 0.35, 0.4, 0.99]
    options = {"num_frames": 6, **times}
    with opened(data) as video:
        together, middles = clips_at(video, fractions, **options)
        single = [clips_at(video, [fraction], **options) for fraction in fractions]
    assert torch.equal(together, torch.cat([clip for clip, _ in single]))
    assert middles == [middle for _, (middle,) in single]


def test_what_torchcodec_decodes_is_the_same() -> None:
    decoders = pytest.importorskip("torchcodec.decoders", exc_type=(ImportError, RuntimeError))
    for data in (make_clip(1), make_clip(2, seconds=2, fps=25)):
        for times in ({"step": 3, "fps": None}, {"step": None, "fps": 4.7}):
            found = []
            for source in (data, decoders.VideoDecoder(data)):
                with opened(source) as video:
                    found.append(clips_at(video, [0.0, 0.6], num_frames=8, **times))
            assert torch.equal(found[0][0], found[1][0])
            assert found[0][1] == pytest.approx(found[1][1])


@pytest.mark.parametrize(("frames", "expected"), [(1, [0] * 5), (6, [0, 4, 5, 5, 5])])
def test_past_the_end_comes_the_last_frame_and_not_the_last_of_the_stride(
    frames: int, expected: list[int]
) -> None:
    data = encoded(frames=frames)
    with opened(data) as video:
        (clip,), _ = clips_at(video, [0.5], num_frames=5, step=4, fps=None)
    assert torch.equal(clip, plainly(data)[expected])


# The display matrix of a file, and what has to become of a frame (C, H, W).
TURNS = {
    "90": ((0, 1, -1, 0), lambda x: x.rot90(-1, (-2, -1))),
    "180": ((-1, 0, 0, -1), lambda x: x.rot90(2, (-2, -1))),
    "270": ((0, -1, 1, 0), lambda x: x.rot90(1, (-2, -1))),
    "mirrored": ((-1, 0, 0, 1), lambda x: x.flip(-1)),
}


@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_video_is_upright(turn: str) -> None:
    matrix, upright = TURNS[turn]
    data = encoded(frames=4)
    with opened(with_matrix(data, *matrix)) as video:
        assert torch.equal(video.frames_at(range(4)).data, upright(plainly(data)))


def damaged(data: bytes, number: int) -> bytes:
    """Return a clip with noise in one packet, behind its first bytes."""
    with av.open(io.BytesIO(data)) as container:
        packet = list(container.demux(video=0))[number]
    noise = random.Random(number).randbytes(packet.size // 2)
    place = packet.pos + 20
    return data[:place] + noise + data[place + len(noise) :]


def test_damage_that_the_decoder_conceals_is_counted(lines: pytest.LogCaptureFixture) -> None:
    data = encoded(options={"x264-params": "bframes=0:keyint=250"}, frames=60)
    options = {"num_frames": 30, "stride": 2, "sampling": "center", "crop": 48, "short_side": 48}
    transform = ClipTransform(**options, on_corrupt="skip")  # up to the last frame
    transform({"video": data, "youtube_id": "whole"})  # a good one first
    for number in range(2, 60, 5):
        video = damaged(data, number)
        with av.open(io.BytesIO(video)) as container:
            container.streams.video[0].thread_count = 1
            try:
                flags = [frame.is_corrupt for frame in container.decode(video=0)]
            except av.error.FFmpegError:
                flags = [True]
        before = transform.corrupt_clips
        sample = transform({"video": video, "youtube_id": f"{number}"})
        assert (sample["pixel_values"] is None) == any(flags)
        assert transform.corrupt_clips - before == any(flags)
    assert transform.corrupt_clips >= 3
    assert "concealed" in lines.text


def test_audio_is_that_around_the_clip_with_silence_where_there_is_none() -> None:
    data = encoded(frames=40, tone_seconds=1.0)  # of 1.6 seconds
    (whole,) = waveforms(data, [-0.5], seconds=3, rate=16_000)
    assert whole.shape == (48_000,)
    assert not whole[:7_500].any()
    assert not whole[26_000:].any()
    tone = whole[10_000:22_000]
    assert float(tone.square().mean().sqrt()) == pytest.approx(0.5**0.5, rel=0.05)
    crossings = int(((tone[:-1] < 0) & (tone[1:] >= 0)).sum())
    assert crossings == pytest.approx(441 * 0.75, abs=2)
    parts = waveforms(data, [0.2, 0.6], seconds=0.25, rate=16_000)
    assert torch.equal(parts[0], whole[11_200:15_200])
    assert torch.equal(parts[1], whole[17_600:21_600])
    assert not waveforms(make_clip(1), [0], seconds=1, rate=8_000).any()


def ticking(*parts: tuple[float, int], until: float = 8) -> bytes:
    """Return a video whose audio is of parts, each of a first second and a number of channels.

    Each lasts until the next, or half a second less, and is silent but for a tick at each second.
    """
    rate, buffer, packets = 16_000, io.BytesIO(), []
    with av.open(buffer, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        first = container.add_stream("aac", rate=rate, layout="mono")
        for index in range(int(25 * until)):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts = index
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for number, (begin, channels) in enumerate(parts):
            encoder = av.CodecContext.create("aac", "w")
            encoder.sample_rate, encoder.format = rate, "fltp"
            encoder.layout = "mono" if channels == 1 else "stereo"
            end = parts[number + 1][0] - 0.5 if number + 1 < len(parts) else until
            for start in range(int(begin * rate), int(end * rate), 1024):
                samples = np.zeros((channels, 1024), np.float32)
                tick = -start % rate
                samples[:, tick : tick + 20] = 1
                frame = av.AudioFrame.from_ndarray(samples, "fltp", encoder.layout.name)
                frame.rate, frame.pts = rate, start
                packets += encoder.encode(frame)
            packets += encoder.encode(None)
        for packet in packets:
            packet.stream = first
            container.mux(packet)
    return buffer.getvalue()


@pytest.mark.parametrize("channels", [1, 2])
def test_audio_after_a_gap_is_in_its_place_also_with_other_channels(channels: int) -> None:
    data = ticking((0, 1), (3.3, channels), (6.1, 1))
    (whole,) = waveforms(data, [0], seconds=8, rate=16_000)
    for second in (1, 2, 4, 5, 7):
        loud = whole[16_000 * second - 800 : 16_000 * second + 800].abs()
        assert abs(int(loud.argmax()) - 800) < 40
        assert float(loud.max()) > 0.5
    assert not whole[int(2.95 * 16_000) : int(3.2 * 16_000)].abs().gt(0.1).any()


@pytest.mark.parametrize("share", [0.98, 0.7, 0.3])
def test_a_video_that_is_cut_off_is_no_shorter_video(share: float, tmp_path: Path) -> None:
    data = encoded()
    with (
        av.open(io.BytesIO(data)) as source,
        av.open(str(tmp_path / "whole.mp4"), "w", options={"movflags": "faststart"}) as container,
    ):
        copy = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                container.mux(packet)
    data = (tmp_path / "whole.mp4").read_bytes()
    part = tmp_path / "part.mp4"
    part.write_bytes(data[: int(len(data) * share)])
    for video in (part.read_bytes(), str(part), {"path": str(part), "bytes": None}):
        with pytest.raises(ValueError, match="cut off"), opened(video):
            pass
    transform = ClipTransform(num_frames=2, on_corrupt="skip")
    assert transform({"video": str(part)})["pixel_values"] is None
    assert transform.corrupt_clips == 1


@pytest.mark.parametrize("name", ["10 bits", "at odd times", "as x264 does, 18 frames"])
def test_what_datasets_made_a_decoder_of_is_decoded_as_all_else(name: str, tmp_path: Path) -> None:
    class Decoder:
        """torchcodec's has other pixels of 10 bits, and other times of frames that last longer."""

        def __init__(self, path: str | None, data: bytes | None) -> None:
            self._hf_encoded = {"path": path, "bytes": data}

    data, path = encoded(**ODD[name]), tmp_path / "clip.mp4"
    path.write_bytes(data)
    transform = ClipTransform(num_frames=4, fps=7, crop=48, short_side=48, audio_seconds=0.1)
    expected = transform({"video": data, "youtube_id": "a"})
    for decoder in (
        Decoder(None, data),
        Decoder("in/an/archive.mp4", data),
        Decoder(str(path), None),
    ):
        found = transform({"video": decoder, "youtube_id": "a"})
        assert torch.equal(found["pixel_values"], expected["pixel_values"])
        assert torch.equal(found["audio"], expected["audio"])


def test_an_error_in_the_audio_or_the_frames_names_the_clip() -> None:
    with pytest.raises(CorruptClipError, match="someone"):
        ClipTransform()({"video": b"no clip", "youtube_id": "someone"})
