"""Whose an error is: the clip's is what cannot be decoded, and nothing else."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from k600.errors import EncoderError, IncompleteError
from k600.miniature import Miniature, make_tarball
from k600.video.cut import cut_clip
from k600.video.encoding import Encoding
from k600.video.probe import probe_clip
from k600.video.reencode import reencode_clip
from tests.conftest import Load
from tests.counter import counter_video, read_counter

Encode = Callable[[Path, Path], object]


def shrunk(source: Path, target: Path) -> object:
    with open(source, "rb") as file:
        return reencode_clip(file, target, Encoding(short_side=90))


def cut(source: Path, target: Path) -> object:
    return cut_clip(source, target, 0, 100, audio=True)


def two_at_once(kind: str) -> bytes:
    """Return a clip of 30 frames, or of as much sound, two of which have one time."""
    file = io.BytesIO()
    with av.open(io.BytesIO(counter_video(320, 180, 10, 3, b_frames=0, sound=True))) as source:
        with av.open(file, "w", format="mp4") as target:
            streams = {s: target.add_stream_from_template(s) for s in source.streams}
            for packet in source.demux():
                if packet.dts is None:
                    continue
                if packet.stream.type == kind and packet.pts * packet.time_base > 1:
                    packet.pts += packet.duration  # one of them is shown twice as long
                    packet.dts += packet.duration
                packet.stream = streams[packet.stream]
                target.mux(packet)
    data = bytearray(file.getvalue())
    # Three runs of durations: usual ones, the long one, usual ones. The long one becomes 0.
    at = -1
    while (at := data.index(b"stts", at + 1)) and data[at + 8 : at + 12] != b"\0\0\0\3":
        pass
    count, _ = struct.unpack_from(">2I", data, at + 20)
    assert count == 1
    struct.pack_into(">I", data, at + 24, 0)
    return bytes(data)


@pytest.mark.parametrize("encode", [shrunk, cut])
def test_two_frames_with_one_time_are_both_kept(encode: Encode, tmp_path: Path) -> None:
    source, target = tmp_path / "source.mp4", tmp_path / "target.mp4"
    source.write_bytes(two_at_once("video"))
    assert probe_clip(source, seconds=3, deep=True).verdict == "ok"
    times: dict[Path, list[float]] = {}
    for path in (source, target):
        if path == target:
            encode(source, target)
        with av.open(str(path)) as container:
            frames = list(container.decode(video=0))
        assert [read_counter(frame) for frame in frames] == list(range(30))
        times[path] = [float(frame.time) for frame in frames]
    assert len(set(times[source])) == 29
    assert len(set(times[target])) == 30
    assert np.allclose(times[target], times[source], atol=1e-3)


@pytest.mark.parametrize("encode", [shrunk, cut])
def test_two_packets_of_sound_with_one_time_are_both_kept(encode: Encode, tmp_path: Path) -> None:
    source, target = tmp_path / "source.mp4", tmp_path / "target.mp4"
    source.write_bytes(two_at_once("audio"))
    encode(source, target)
    samples = []
    for path in (source, target):
        with av.open(str(path)) as container:
            samples.append(sum(frame.samples for frame in container.decode(audio=0)))
    assert samples[0] == pytest.approx(samples[1], abs=4096)
    assert probe_clip(target, seconds=3, deep=True).verdict == "ok"


def too_wide() -> bytes:
    """Return a video that any player shows and H.264 has no place for."""
    file = io.BytesIO()
    with av.open(file, "w", format="mov") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 40_000, 100, "rgb24"
        stream.codec_context.time_base = Fraction(1, 1)
        frame = av.VideoFrame.from_ndarray(np.zeros((100, 40_000, 3), np.uint8), format="rgb24")
        frame.pts = 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue()


@pytest.mark.parametrize("encode", [shrunk, cut])
def test_what_the_encoder_refuses_is_no_damage_of_the_clip(encode: Encode, tmp_path: Path) -> None:
    source = tmp_path / "wide.mp4"
    source.write_bytes(too_wide())
    with pytest.raises(EncoderError, match="cannot be encoded: .*no fault of the clip"):
        encode(source, tmp_path / "target.mp4")


def test_a_clip_that_the_encoder_refuses_is_named_and_the_others_come(
    load: Load, own_miniature: Miniature, lines: pytest.LogCaptureFixture
) -> None:
    """It is no end of a load, and not held against the clip: the next call tries again."""
    label, wide = "zumba", "widewidewid_000000_000010.mp4"
    clips = {**own_miniature.clips["validation"][label], wide: too_wide()}
    tarball = own_miniature.root / f"val/{label}.tar.gz"
    tarball.write_bytes(make_tarball(clips))
    options: dict[str, Any] = {"mirror": str(own_miniature.root), "classes": label}
    for said in ("1  not_encoded  good in its source", "as before: 1 not_encoded"):
        lines.clear()
        rows = load("validation", **options, short_side=50)["validation"]
        assert len(rows) == len(clips) - 1
        assert f"val/{label}.tar.gz/{wide} is left out: a clip cannot be encoded" in lines.text
        assert said in lines.text
    assert wide[:11] in load("validation", **options)["validation"]["youtube_id"]
    with pytest.raises(IncompleteError, match="left out: not_encoded"):
        options |= {"short_side": 48, "streaming": True, "on_missing": "raise"}
        list(load("validation", **options)["validation"])


@pytest.mark.parametrize("encode", [shrunk, cut])
def test_a_folder_that_is_not_there_is_the_disk_s(encode: Encode, tmp_path: Path) -> None:
    source = tmp_path / "source.mp4"
    source.write_bytes(counter_video(320, 180, 10, 3))
    with pytest.raises(FileNotFoundError):
        encode(source, tmp_path / "nowhere" / "target.mp4")
