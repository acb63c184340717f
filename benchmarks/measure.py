"""One way measured: a fresh process in an empty folder, and what it cost.

The parent's side starts a command and takes its result; `in_turns` lets several ways take turns.
The child's side (`child`) is the main function of the modules that hold ways in Python: a way first
imports what it needs and then returns the work, so that only the work is measured.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.paced_server import PacedServer

__all__ = ["Figures", "Way", "child", "in_turns", "kill_at", "python", "run", "run_fresh"]

Figures = dict[str, Any]
"""What one run gave: `wall_s`, `cpu_s` (children included), `memory_mb` over the imports
(of ways in Python), `disk_bytes` at most, and whatever the way itself counts. `absent` or `failed`
says why there is nothing, and `right` whether the result was the expected one."""

REPOSITORY = Path(__file__).resolve().parent.parent
_MOST_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Way:
    """One way to do a piece of work."""

    name: str
    command: Sequence[str]
    """`{folder}` in it stands for the empty folder of a run."""
    right: Callable[[Path, Figures], bool] = lambda folder, figures: True
    """Whether a run gave what it should."""
    finish: Callable[[Figures], object] = lambda figures: None
    """Adds to the figures what follows from them, such as a rate."""
    before: Callable[[], object] = lambda: None
    """Called before each run."""
    repeats: int | None = None
    """Runs of a way that is too slow to take every turn."""
    needs: str = ""
    """A program that must be there."""


def python(module: str, way: str, /, **arguments: Any) -> list[str]:
    """Return the command that runs a way of one of our modules."""
    return [sys.executable, "-m", f"benchmarks.{module}", way, json.dumps(arguments)]


Start = Callable[[list[str], Path], Figures]
"""Runs a command in a folder and returns its figures."""


def in_turns(
    ways: Iterable[Way], repeats: int, folder: Path, start: Start | None = None
) -> dict[str, list[Figures]]:
    """Run every way once, then every way again, and so on; return the figures of each."""
    ways = list(ways)
    rows: dict[str, list[Figures]] = {way.name: [] for way in ways}
    for turn in range(repeats):
        for way in ways:
            if turn < (way.repeats or repeats):
                print(f"  {turn + 1}/{repeats} {way.name}", file=sys.stderr, flush=True)
                rows[way.name].append(run(way, folder / "run", start))
    return rows


def run(way: Way, folder: Path, start: Start | None = None) -> Figures:
    """Run a way once, in a folder that is made for it, emptied and put aside."""
    if way.needs and shutil.which(way.needs, path=_path()) is None:
        return {"absent": f"{way.needs} is not installed"}
    folder.mkdir(parents=True)
    way.before()
    command = [part.replace("{folder}", str(folder)) for part in way.command]
    try:
        with _PeakDisk(folder) as disk:
            figures = (start or run_fresh)(command, folder)
        if "absent" not in figures and "failed" not in figures:
            figures["disk_bytes"] = disk.peak
            figures["right"] = bool(way.right(folder, figures))
            way.finish(figures)
        return figures
    finally:
        _put_aside(folder)
        if start is None:
            os.sync()  # what is left to write must not fall on the next way


def _put_aside(folder: Path) -> None:
    """Empty a folder's files and rename it; whoever made the folder above removes all at the end.

    For minutes, ext4 gives nobody the inode of a removed file, and looks at each before it makes
    a new one: after a thousand removals a new file costs the next way half a millisecond.
    """
    for root, _, names in os.walk(folder):
        for name in names:
            if not os.path.islink(path := os.path.join(root, name)):
                os.truncate(path, 0)
    folder.rename(folder.with_name(f"{folder.name}-{uuid.uuid4().hex}"))


def run_fresh(command: list[str], folder: Path) -> Figures:
    """Run a command as a process of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KINETICS600_")}
    environment |= {
        "PATH": _path(),
        "PYTHONPATH": str(REPOSITORY),
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TMPDIR": str(folder),
    }
    start = time.perf_counter()
    with open(folder.parent / "stderr", "w+b") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, cwd=folder, env=environment
        )
        timer = threading.Timer(_MOST_SECONDS, process.kill)
        timer.start()
        assert process.stdout is not None
        printed = process.stdout.read().decode().strip()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        timer.cancel()
        process.stdout.close()
        wall = time.perf_counter() - start
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip().splitlines()
    if process.returncode:
        return {"failed": (said or [f"exit code {process.returncode}"])[-1][:300]}
    figures: Figures = {
        "wall_s": wall,
        "cpu_s": usage.ru_utime + usage.ru_stime,
    }
    last = printed.splitlines()[-1] if printed else ""
    return figures | (json.loads(last) if last.startswith("{") else {})


def _path() -> str:
    return f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"


@dataclass
class _PeakDisk:
    """Watches how much a folder holds at most."""

    folder: Path
    peak: int = 0
    _done: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> _PeakDisk:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        pause, over = 0.25, False
        while not over:
            over = self._done.wait(pause)
            start = time.perf_counter()
            size = 0
            for root, _, files in os.walk(self.folder):
                for name in files:
                    try:
                        size += os.stat(os.path.join(root, name)).st_size
                    except FileNotFoundError:
                        continue
            self.peak = max(self.peak, size)
            pause = max(0.25, 20 * (time.perf_counter() - start))  # a large tree, more seldom


def child(ways: Mapping[str, Callable[..., Callable[[], Figures | None]]]) -> None:
    """Run the way that the command line names, and print its figures as JSON.

    Args:
        ways: Functions by name. Each imports and prepares, and returns the work to measure.
    """
    try:
        work = ways[sys.argv[1]](**json.loads(sys.argv[2]))
    except ImportError as error:
        print(json.dumps({"absent": f"{error.name} is not installed"}))
        return
    base = _forget_peak()
    usage = _cpu_seconds()
    start = time.perf_counter()
    found = work() or {}
    wall = time.perf_counter() - start
    cpu = _cpu_seconds() - usage
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    memory = max(_memory("VmHWM"), children) - base
    print(json.dumps({"wall_s": wall, "cpu_s": cpu, "memory_mb": memory, **found}))


def kill_at(command: list[str], server: PacedServer, size_bytes: int) -> Figures:
    """Run a command and kill it as soon as a server has sent so many bytes.

    Returns:
        `killed`: whether it was not done before, and `sent_before_bytes`. The server counts anew.
    """
    server.sent()
    sent = 0
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=REPOSITORY,
        start_new_session=True,
    )
    while process.poll() is None and sent < size_bytes:
        time.sleep(0.01)
        sent += server.sent()["bytes"]
    killed = process.poll() is None
    if killed:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(0.2)  # the server notices
    return {"killed": killed, "sent_before_bytes": sent + server.sent()["bytes"]}


def _cpu_seconds() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _forget_peak() -> float:
    """Let the kernel count this process's peak anew; return its memory in MiB now."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _memory("VmHWM")
    return _memory("VmRSS")


def _memory(name: str) -> float:
    found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0
