"""Make a clip smaller: its shorter side no longer than asked, every frame at its own time."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

from k600.video.cut import CutError
from k600.video.encoder import Mp4Writer, read_back
from k600.video.probe import best_stream, is_of_the_disk, open_mp4, playable_stream

__all__ = ["resize_clip"]


def resize_clip(source: IO[bytes], target: Path, short_side: int) -> bool:
    """Write a clip with frames no larger than asked; one that is small enough is left alone.

    H.264 (`yuv420p`, CRF 23), the same bytes for the same clip under one version of PyAV; shown
    as the source is (see `Mp4Writer`), so that what a phone recorded on its side is turned
    upright. Audio is copied as it is. The finished file is decoded in full.

    Args:
        source: An MP4 file, seekable.
        target: The file to write; after an error there may be something in it.
        short_side: Pixels of the shorter side at most, 16 or more.

    Returns:
        False if the clip is no larger than that, and nothing was written.

    Raises:
        CutError: A frame cannot be decoded (`damaged`), or there is none (`no_video`).
        EncoderError: It can be decoded, but not encoded.
        OSError: The disk cannot be read or written.
    """
    import av

    try:
        with open_mp4(source) as container:
            video = best_stream(container, "video")
            if video is None:
                raise CutError("no_video", "there are no frames in it")
            if video.codec_context is None:
                raise CutError("damaged", "nothing can decode the frames in it")
            width, height = video.codec_context.width, video.codec_context.height
            if min(width, height) <= short_side:
                return False
            frames = _copy(container, video, target, short_side)
    except av.error.FFmpegError as error:  # the demuxer's or a decoder's: all else is translated
        if is_of_the_disk(error):
            raise
        raise CutError("damaged", f"it cannot be decoded: {error}") from error
    if not frames:
        raise CutError("no_video", "there are no frames in it")
    read_back(target, frames)
    return True


def _copy(container: Any, video: Any, target: Path, short_side: int) -> int:
    """Encode the frames anew and copy the audio; return how many frames."""
    video.thread_type = "NONE"  # other threads have other clips
    video.codec_context.options = {"err_detect": "explode"}
    audio = playable_stream(container, "audio")
    streams = [video] if audio is None else [video, audio]
    with Mp4Writer(target, video, crf=23, short_side=short_side) as output:
        if audio is not None:
            output.copy_audio(audio)
        for packet in container.demux(*streams):
            if packet.stream is video:
                for frame in packet.decode():
                    output.add(frame)
            else:
                for piece in [packet] if output.wants_packets else packet.decode():
                    output.add_audio(piece)
        output.finish(hold_last=True)
    return output.frames
