"""Programs in a pseudo-terminal, and what they show there."""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Mapping, Sequence
from fcntl import ioctl
from pathlib import Path
from typing import Any


def in_terminal(
    env: Mapping[str, str],
    folder: Path,
    *command: object,
    columns: int,
    typed: bytes = b"",
    started: Callable[[subprocess.Popen[bytes]], Any] = lambda process: None,
) -> tuple[int, str]:
    """Run a program in a terminal of so many columns; return exit code and all that was shown.

    `typed` are keys that are pressed in it; `started` is called with the process once it runs. A
    width in the environment, as pytest's workers have one, is not the terminal's.
    """
    env = {key: value for key, value in env.items() if key not in ("COLUMNS", "LINES")}
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [*map(str, command)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env={"TERM": "xterm-256color", **env},
    )
    os.close(theirs)
    os.write(ours, typed)
    started(process)
    shown = b""
    with os.fdopen(ours, "rb", buffering=0) as file:
        while True:
            try:
                part = file.read(65536)
            except OSError:  # how Linux says that the other end is closed
                break
            if not part:
                break
            shown += part
    return process.wait(), shown.decode(errors="replace")


def lines_of(shown: str) -> list[str]:
    """Return what stood in each line at some time, without colours and blanks at the end."""
    parts = re.split(r"\r|\n|\x1b\[[12]?[AK]", shown)
    plain = (re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", part).rstrip() for part in parts)
    return [line for line in plain if line]


WIDTHS = (50, 60, 80, 120)

_AT_WIDTHS = """
import fcntl, struct, sys, termios
from k600.cli import main
widths, words = sys.argv[1].split(), sys.argv[2:]
for width in widths:
    for stream in (0, 1, 2):
        fcntl.ioctl(stream, termios.TIOCSWINSZ, struct.pack("HHHH", 40, int(width), 0, 0))
    sys.argv = ["kinetics600", *(word.replace("WIDTH", width) for word in words)]
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code or 0
    print(f"exit {code}", flush=True)
"""


def at_widths(
    env: Mapping[str, str], folder: Path, *words: object, widths: Sequence[int] = WIDTHS
) -> dict[int, tuple[int, str]]:
    """Run a command in terminals of some widths, one after the other in one process.

    Returns:
        Exit code and all that was shown, by width. `WIDTH` in a word of the command is replaced.
    """
    script = (sys.executable, "-c", _AT_WIDTHS, " ".join(map(str, widths)), *words)
    code, shown = in_terminal(env, folder, *script, columns=widths[0])
    assert code == 0, shown
    screens = re.findall(r"(.*?)exit (\d+)\r\n", shown, re.S)
    return {width: (int(code), text) for width, (text, code) in zip(widths, screens, strict=True)}
