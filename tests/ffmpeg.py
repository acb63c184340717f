"""The `ffmpeg` program, as a judge that is not our code: what it makes of a file, and makes for us.

A test that needs it is skipped where it is missing (`apt-get install ffmpeg`), and says so.
"""

from __future__ import annotations

import functools
import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

needs_ffmpeg = pytest.mark.skipif(
    not (shutil.which("ffmpeg") and shutil.which("ffprobe")),
    reason="the ffmpeg program is missing: nothing judges what the encoder makes",
)

Picture = npt.NDArray[np.uint8]


def pattern(width: int, height: int) -> Picture:
    """Return a picture that tells up from down, left from right, and one colour from another."""
    picture = np.full((height, width, 3), 90, np.uint8)
    picture[: height // 4] = (220, 20, 20)
    picture[-height // 4 :] = (20, 20, 220)
    picture[height // 4 : -height // 4, : width // 4] = (20, 200, 20)
    picture[height // 4 : height // 2, -width // 4 :] = (235, 235, 235)
    return picture


def make_video(
    path: Path, *options: str, size: tuple[int, int] = (320, 192), frames: int = 4
) -> Path:
    """Encode `pattern` with ffmpeg, 10 frames a second.

    Args:
        path: The file to write; its ending says which container.
        *options: Options of ffmpeg's output.
        size: Width and height in pixels.
        frames: How many.
    """
    data = pattern(*size).tobytes() * frames
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", "10")
    run("ffmpeg", "-v", "error", *raw, "-i", "-", *options, str(path), given=data)
    return path


def shown(path: Path, width: int, height: int) -> Picture:
    """Return all frames as ffmpeg shows them: turned, in RGB, at a size of pixels."""
    command = ("ffmpeg", "-v", "error", "-i", str(path))
    scaled = ("-vf", f"scale={width}:{height}", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    return np.frombuffer(run(*command, *scaled), np.uint8).reshape(-1, height, width, 3)


@functools.cache
def said(path: Path) -> dict[str, Any]:
    """Return what ffprobe says of the stream of pictures and its first frame."""
    command = ("ffprobe", "-v", "error", "-select_streams", "V:0", "-of", "json")
    found = json.loads(
        run(*command, "-show_streams", "-show_frames", "-read_intervals", "%+#1", str(path))
    )
    return {**found["frames"][0], **found["streams"][0]}


def with_matrix(data: bytes, a: int, b: int, c: int, d: int) -> bytes:
    """Return an MP4 that says how its pictures are to be turned: x' = ax + cy, y' = bx + dy."""
    at = data.index(b"tkhd") + 4
    matrix = at + (52 if data[at] else 40)
    numbers = (a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    return data[:matrix] + struct.pack(">9i", *numbers) + data[matrix + 36 :]


def run(*command: str, given: bytes | None = None) -> bytes:
    """Run a program to its end, which must be a good one; return what it printed."""
    done = subprocess.run(command, input=given, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout
