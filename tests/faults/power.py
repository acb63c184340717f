"""Power loss: what a process did to a folder, and what a disk may hold of it afterwards.

A process is recorded by a small library (`power.c`) that stands before libc's. From the recording
come the states that POSIX allows at any moment: a file holds what it held when it was last flushed,
or, never flushed, nothing, or zeros; a name is there if its folder was flushed since, else it may
be, or not, each for itself. Journals of real file systems allow less.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.jobs import Jobs, jobs


@dataclass(eq=False)
class _File:
    now: bytes = b""
    flushed: bytes | None = None


@dataclass(eq=False)
class _Folder:
    now: dict[str, _File | _Folder] = field(default_factory=dict)
    flushed: dict[str, _File | _Folder] = field(default_factory=dict)


@dataclass(frozen=True)
class Loss:
    """How bad it is: which of the states that are allowed."""

    names: Callable[[], bool]
    """Whether a folder's names are there that were not flushed."""
    content: Callable[[bytes], bytes]
    """What a file holds that was never flushed, by what it should hold."""


def losses(seed: int) -> dict[str, Loss]:
    """Return ways to lose what was not flushed: three that are pure, and one of chance."""
    chance = random.Random(seed)
    kinds: list[Callable[[bytes], bytes]] = [
        lambda data: b"",
        lambda data: bytes(len(data)),
        lambda data: data,
    ]
    return {
        "names without bytes": Loss(lambda: True, kinds[0]),
        "names with zeros": Loss(lambda: True, kinds[1]),
        "neither": Loss(lambda: False, kinds[0]),
        "by chance": Loss(lambda: chance.random() < 0.5, lambda data: chance.choice(kinds)(data)),
    }


@dataclass(frozen=True)
class Recording:
    """What a job did."""

    root: Path
    """The folder that was watched."""
    log: Path
    before: _Folder
    """What was in it, flushed."""

    def events(self) -> list[list[str]]:
        lines = (self.log / "log").read_text().splitlines()
        return [line.split("\t") for line in lines]

    def restore(self, moment: int, loss: Loss) -> None:
        """Make the folder what it may be if the power fails after so many events."""
        folder = _copy(self.before)
        for event in self.events()[:moment]:
            self._apply(folder, *event)
        shutil.rmtree(self.root)
        self.root.mkdir()
        _write(folder, self.root, loss)

    def _apply(self, top: _Folder, operation: str, one: str, two: str) -> None:
        if one == str(self.root):
            assert operation == "sync", operation
            top.flushed = dict(top.now)
            return
        folder, name = self._find(top, one)
        if operation == "mkdir":
            folder.now[name] = _Folder()
        elif operation == "remove":
            del folder.now[name]
        elif operation == "rename":
            target, other = self._find(top, two)
            target.now[other] = folder.now.pop(name)
        elif operation == "open":
            file = folder.now.setdefault(name, _File())
            assert isinstance(file, _File)
            if two == "cut":
                file.now = b""
        elif operation in ("sync", "close"):
            node = folder.now[name]
            if isinstance(node, _Folder):
                node.flushed = dict(node.now)
            else:
                node.now = (self.log / two).read_bytes()
                if operation == "sync":
                    node.flushed = node.now
        else:
            raise AssertionError(f"{operation} is not recorded: {one}")

    def _find(self, top: _Folder, path: str) -> tuple[_Folder, str]:
        *above, name = Path(path).relative_to(self.root).parts
        for part in above:
            below = top.now[part]
            assert isinstance(below, _Folder)
            top = below
        return top, name


def _copy(folder: _Folder) -> _Folder:
    nodes = {
        name: _copy(node) if isinstance(node, _Folder) else _File(node.now, node.now)
        for name, node in folder.now.items()
    }
    return _Folder(nodes, dict(nodes))


def _read(path: Path) -> _Folder:
    nodes: dict[str, _File | _Folder] = {
        below.name: _read(below) if below.is_dir() else _File(below.read_bytes())
        for below in path.iterdir()
    }
    return _Folder(nodes)


def _write(folder: _Folder, path: Path, loss: Loss) -> None:
    names = folder.now if loss.names() else folder.flushed
    for name, node in names.items():
        if isinstance(node, _Folder):
            (path / name).mkdir()
            _write(node, path / name, loss)
        else:
            flushed = node.flushed
            (path / name).write_bytes(loss.content(node.now) if flushed is None else flushed)


@dataclass(frozen=True)
class Recorder:
    """Carries out jobs and records what they do."""

    forge: Jobs

    def record(self, root: Path, name: str, **options: object) -> Recording:
        """Carry out one of `tests.faults.jobs.JOBS` to its good end, and watch a folder."""
        root.mkdir(parents=True, exist_ok=True)
        before = _read(root)
        log = self.forge.folder / os.urandom(8).hex()
        log.mkdir()
        watched = {"K600_POWER_ROOT": str(root), "K600_POWER_LOG": str(log)}
        self.forge.run(name, environment=watched, **options)
        return Recording(root, log, before)


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    """Record processes; skip where there is no C compiler, or no way to stand before libc."""
    folder = tmp_path_factory.mktemp("power")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no recording here: it needs Linux and a C compiler (apt-get install gcc)")
    library = folder / "power.so"
    source = Path(__file__).with_name("power.c")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", library, source, "-ldl", "-pthread"],
        check=True,
    )
    with jobs(folder / "jobs", {"LD_PRELOAD": str(library)}) as forge:
        yield Recorder(forge)
