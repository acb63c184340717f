"""Clips that hold more than pictures and sound: what else is in the file is passed over."""

from __future__ import annotations

import io
from pathlib import Path

import av
import pytest

from k600.gallery.thumbnails import preview_clip
from k600.video.cut import cut_clip
from k600.video.encoding import Encoding
from k600.video.probe import probe_clip
from k600.video.reencode import reencode_clip
from tests.counter import counter_video, read_counter, tone_audio
from tests.ffmpeg import make_video, needs_ffmpeg, run

FRAMES = list(range(30))

CHAPTERS = """;FFMETADATA1
[CHAPTER]
TIMEBASE=1/1
START=0
END=1
title=one
[CHAPTER]
TIMEBASE=1/1
START=1
END=3
title=two
"""

SUBTITLES = "1\n00:00:00,500 --> 00:00:01,500\nhello\n"

TRACKS: dict[str, tuple[str, ...]] = {
    "a time code": ("-i", "clip", "-map", "0", "-timecode", "01:00:00:00"),
    "chapters": ("-i", "clip", "-i", "chapters", "-map", "0", "-map_metadata", "1"),
    "subtitles": ("-i", "clip", "-i", "subtitles", "-map", "0", "-map", "1", "-c:s", "mov_text"),
    "subtitles first": ("-i", "clip", "-i", "subtitles", "-map", "1", "-map", "0", "-c:s",
                        "mov_text"),
    "sound first": ("-i", "clip", "-i", "tone", "-map", "1", "-map", "0"),
    "several sounds": ("-i", "clip", "-i", "tone", "-map", "1", "-map", "1", "-map", "0"),
    "a cover": ("-i", "clip", "-i", "cover", "-map", "0", "-map", "1", "-disposition:v:1",
                "attached_pic"),
    "a cover first": ("-i", "clip", "-i", "cover", "-map", "1", "-map", "0", "-disposition:v:0",
                      "attached_pic"),
    "another video": ("-i", "clip", "-i", "other", "-map", "1", "-map", "0", "-disposition:v:0",
                      "0", "-disposition:v:1", "default"),
}  # fmt: skip
"""What ffmpeg is told, beside `-c copy`; plain words stand for files."""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("parts")
    given = {
        "clip": ("clip.mp4", counter_video(320, 180, 10, 3)),
        "tone": ("tone.m4a", tone_audio(3)),
        "chapters": ("chapters.txt", CHAPTERS.encode()),
        "subtitles": ("subtitles.srt", SUBTITLES.encode()),
    }
    for name, data in given.values():
        (folder / name).write_bytes(data)
    found = {key: folder / name for key, (name, _) in given.items()}
    found["cover"] = make_video(folder / "cover.png", size=(640, 480), frames=1)
    found["other"] = make_video(folder / "other.mp4", "-c:v", "libx264", frames=40)
    return found


def numbers(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [read_counter(frame) for frame in container.decode(video=0)]


@needs_ffmpeg
@pytest.mark.parametrize("track", TRACKS)
def test_a_clip_is_its_pictures_and_sound(
    track: str, parts: dict[str, Path], tmp_path: Path
) -> None:
    clip, small, cut = (tmp_path / name for name in ("clip.mp4", "small.mp4", "cut.mp4"))
    words = [str(parts.get(word, word)) for word in TRACKS[track]]
    run("ffmpeg", "-v", "error", *words[: words.index("-map")], "-c", "copy",
        *words[words.index("-map") :], str(clip))  # fmt: skip
    with av.open(str(clip)) as container:
        assert len(container.streams) > 1
    for deep in (False, True):
        probe = probe_clip(clip, seconds=3, deep=deep)
        assert (probe.verdict, probe.width, probe.height) == ("ok", 320, 180), probe
    with open(clip, "rb") as file:
        assert reencode_clip(file, small, Encoding(short_side=90)).is_new
    assert numbers(small) == FRAMES
    cut_clip(clip, cut, 1, 3, audio=True)
    assert numbers(cut) == FRAMES[10:]
    for path in (small, cut):
        with av.open(str(path)) as container:
            kinds = sorted(stream.type for stream in container.streams)
        assert kinds == (["audio", "video"] if "sound" in track else ["video"])
    look = preview_clip(str(clip))
    assert (look.problem, look.width, look.height) == (None, 320, 180)


@needs_ffmpeg
def test_a_cover_alone_is_no_video(parts: dict[str, Path], tmp_path: Path) -> None:
    clip = tmp_path / "song.mp4"
    run("ffmpeg", "-v", "error", "-i", str(parts["tone"]), "-i", str(parts["cover"]), "-map", "0",
        "-map", "1", "-c", "copy", "-disposition:v:0", "attached_pic", str(clip))  # fmt: skip
    assert probe_clip(clip, seconds=3, deep=True).verdict == "no_video"
    assert preview_clip(str(clip)).problem == "the file has no video stream"


def test_sound_that_an_mp4_cannot_hold_is_encoded(tmp_path: Path) -> None:
    clip, small = io.BytesIO(), tmp_path / "small.mp4"
    with av.open(io.BytesIO(counter_video(320, 180, 10, 3))) as pictures:
        with av.open(clip, "w", format="mov") as target:
            video = target.add_stream_from_template(pictures.streams.video[0])
            sound = target.add_stream("adpcm_ima_qt", rate=11_000, layout="mono")
            for number in range(3 * 11_000 // 64):
                frame = av.AudioFrame(format="s16p", layout="mono", samples=64)
                frame.planes[0].update(bytes(frame.planes[0].buffer_size))
                frame.sample_rate, frame.pts = 11_000, number * 64
                target.mux(sound.encode(frame))
            for packet in pictures.demux(video=0):
                if packet.dts is not None:
                    packet.stream = video
                    target.mux(packet)
    assert reencode_clip(clip, small, Encoding(short_side=90)).is_new
    assert numbers(small) == FRAMES
    with av.open(str(small)) as container:
        heard = container.streams.audio[0]
        assert heard.codec_context.name == "aac"
        seconds = sum(frame.samples for frame in container.decode(heard)) / heard.rate
    assert seconds == pytest.approx(3, abs=0.2)
