"""Encode a clip anew: smaller, or to be decoded faster; every frame at its own time."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

from k600.video.cut import CutError
from k600.video.encoder import Encoded, Mp4Writer, rate_of, read_back
from k600.video.encoding import Encoding
from k600.video.probe import best_stream, is_disk_error, open_mp4, playable_stream


def reencode_clip(source: IO[bytes], target: Path, encoding: Encoding) -> Encoded:
    """Write a clip encoded anew, or nothing if it stays as it is, as `encoding` says of small ones.

    H.264 (`yuv420p`), the same bytes for the same clip under one version of PyAV; displayed as the
    source is (see `FrameShaper`). Audio is copied. The finished file is decoded in full. After an
    error, `target` may have been written in part.

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
            if encoding.leaves(video.codec_context.width, video.codec_context.height):
                return Encoded(0.0, rate_of(video), is_new=False)
            frames = _copy(container, video, target, encoding)
    except av.error.FFmpegError as error:  # of the demuxer or a decoder; others are EncoderError
        if is_disk_error(error):
            raise
        raise CutError("damaged", f"it cannot be decoded: {error}") from error
    if not frames:
        raise CutError("no_video", "there are no frames in it")
    return read_back(target, frames)


def _copy(container: Any, video: Any, target: Path, encoding: Encoding) -> int:
    """Encode the frames and copy the audio; return the number of frames."""
    video.thread_type = "NONE"  # clips are encoded in parallel
    video.codec_context.options = {"err_detect": "explode"}
    audio = playable_stream(container, "audio")
    streams = [video] if audio is None else [video, audio]
    with Mp4Writer(target, video, encoding) as output:
        if audio is not None:
            output.expect_audio(audio, copied=True)
        for packet in container.demux(*streams):
            if packet.stream is video:
                for frame in packet.decode():
                    output.add(frame)
            else:
                for piece in [packet] if output.wants_packets else packet.decode():
                    output.add_audio(piece)
        output.finish(hold_last=True)
    return output.frames
