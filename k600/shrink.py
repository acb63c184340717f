"""Make a clip smaller: its shorter side no longer than asked, every picture at its own time."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

from k600.cut import CutError, count_pictures, fitted
from k600.video import open_mp4

__all__ = ["shrink_clip"]

_UPRIGHT = {90: "transpose=cclock", -90: "transpose=clock", 180: "hflip,vflip"}
"""Filters that turn a picture as its file says it is to be shown, by degrees."""

_ENCODER = {"crf": "23", "preset": "veryfast", "x264-params": "cpu-independent=1"}
"""Without the last one, the same pictures give other bytes now and then: what x264's assembler
makes of a picture's motion depends on where in memory it lies."""

_BICUBIC_EXACTLY = 0x4 | 0x40000 | 0x80000
"""FFmpeg's SWS_BICUBIC, SWS_ACCURATE_RND and SWS_BITEXACT: the same on every processor. (PyAV
names the last two from version 16 on only.)"""


def shrink_clip(source: IO[bytes], target: Path, short_side: int) -> bool:
    """Write a clip with pictures no larger than asked; one that is small enough is left alone.

    H.264 (`yuv420p`, CRF 23), the same bytes for the same clip under one version of PyAV; pictures
    that a phone recorded on their side are turned upright, the sound is copied as it is. The
    finished file is decoded in full.

    Args:
        source: An MP4 file, seekable.
        target: The file to write; after an error there may be something in it.
        short_side: Pixels of the shorter side at most, 16 or more.

    Returns:
        False if the clip is no larger than that, and nothing was written.

    Raises:
        CutError: A picture cannot be decoded (`damaged`), or there is none (`no_video`).
    """
    import av

    try:
        with open_mp4(source) as container:
            if not container.streams.video:
                raise CutError("no_video", "there are no pictures in it")
            video = container.streams.video[0]
            width, height = video.codec_context.width, video.codec_context.height
            if min(width, height) <= short_side:
                return False
            written = _copy(container, target, short_side)
    except av.error.FFmpegError as error:
        if isinstance(error, av.error.OSError) and error.errno is not None and error.errno > 0:
            raise  # the disk's word
        raise CutError("damaged", f"it cannot be decoded: {error}") from error
    if not written:
        raise CutError("no_video", "there are no pictures in it")
    found = count_pictures(target)
    if found != written:
        raise CutError("damaged", f"{written} pictures were written and {found} can be read")
    return True


def _copy(container: Any, target: Path, short_side: int) -> int:
    """Encode the pictures anew and copy the sound; return how many pictures."""
    import av

    video = container.streams.video[0]
    sounds = container.streams.audio[:1]
    video.thread_type = "NONE"  # other threads have other clips
    video.codec_context.options = {"err_detect": "explode"}
    turned: Any = None
    sound: list[Any] = []
    pictures = 0
    with av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as output:
        encoder = output.add_stream("libx264", rate=video.average_rate or video.guessed_rate or 30)
        encoder.options = _ENCODER
        encoder.pix_fmt = "yuv420p"
        encoder.codec_context.time_base = video.time_base
        encoder.codec_context.thread_count = 1
        copies = {sound.index: output.add_stream_from_template(sound) for sound in sounds}
        for packet in container.demux(video, *sounds):
            if packet.stream_index in copies:
                if packet.dts is not None:
                    packet.stream = copies[packet.stream_index]
                    sound.append(packet)
                continue
            for frame in packet.decode():
                if frame.rotation in _UPRIGHT:
                    turned = turned or _filter(video, _UPRIGHT[frame.rotation])
                    turned.push(frame)
                    frame = turned.pull()
                width, height = fitted(frame.width, frame.height, short_side)
                if not pictures:
                    encoder.width, encoder.height = width, height  # known before anything goes out
                frame = frame.reformat(
                    encoder.width, encoder.height, "yuv420p", interpolation=_BICUBIC_EXACTLY
                )
                frame.pict_type = av.video.frame.PictureType.NONE  # the encoder chooses its own
                output.mux([*encoder.encode(frame), *sound])
                pictures += 1
                sound.clear()
        if pictures:
            output.mux([*encoder.encode(None), *sound])
    return pictures


def _filter(video: Any, said: str) -> Any:
    """Return a graph of filters that takes and gives pictures."""
    import av

    graph = av.filter.Graph()
    last = graph.add_buffer(template=video)
    for name, _, value in (each.partition("=") for each in said.split(",")):
        after = graph.add(name, value or None)
        last.link_to(after)
        last = after
    last.link_to(graph.add("buffersink"))
    graph.configure()
    return graph
