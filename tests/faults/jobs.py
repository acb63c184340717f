"""Runs of the loader in processes of their own, made by fork so that hundreds can be killed.

Run as a program it is the parent of these processes: it has imported all, and takes one line of
JSON for each order. Nothing of the loader is replaced.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class Job:
    """One running process."""

    pid: int
    said: Path
    """Where it writes what came of it, as JSON."""
    parent: subprocess.Popen[str]

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def ends(self) -> tuple[int, Any]:
        """Wait for its end; returns its status (negative: the signal) and what it said."""
        status = int(_ask(self.parent, {"wait": self.pid}))
        said = json.loads(self.said.read_text()) if self.said.exists() else None
        return status, said


@dataclasses.dataclass(frozen=True)
class Jobs:
    """Starts processes."""

    folder: Path
    parent: subprocess.Popen[str]

    def start(
        self, name: str, *, environment: Mapping[str, str] | None = None, **options: Any
    ) -> Job:
        """Begin one of `JOBS`, with some more of an environment."""
        said = self.folder / f"{os.urandom(8).hex()}.json"
        order = {"start": name, "options": options, "said": str(said)}
        pid = int(_ask(self.parent, {**order, "environment": dict(environment or {})}))
        return Job(pid, said, self.parent)

    def run(self, name: str, **options: Any) -> Any:
        """Carry one out to its good end; returns what it said."""
        status, said = self.start(name, **options).ends()
        assert status == 0, said
        return said


@contextlib.contextmanager
def jobs(folder: Path, more: Mapping[str, str] | None = None) -> Iterator[Jobs]:
    """Have a parent of processes until the block ends, with some more of an environment."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "HF_HOME": str(folder / "hf"), "TMPDIR": str(folder)}
    environment |= more or {}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.jobs"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    ) as parent:
        yield Jobs(folder, parent)
        assert parent.stdin is not None
        parent.stdin.close()


def _ask(parent: subprocess.Popen[str], order: dict[str, Any]) -> str:
    assert parent.stdin is not None
    assert parent.stdout is not None
    parent.stdin.write(json.dumps(order) + "\n")
    parent.stdin.flush()
    return parent.stdout.readline()


def load(split: str, **options: Any) -> Any:
    """Load a dataset; returns its rows, with paths as they are in the store."""
    import kinetics600

    rows = kinetics600.load_dataset(split, **options)
    root = options["data_dir"]
    return [{**row, "video": os.path.relpath(row["video"]["path"], root)} for row in rows]


def load_in_small_steps(split: str, **options: Any) -> Any:
    """Load a dataset, and write down how far it is every megabyte, not every 64."""
    import k600.tarballs.arrivals
    import k600.tarballs.extract

    k600.tarballs.arrivals._BATCH_BYTES = k600.tarballs.arrivals._RECORDED_BYTES = 1 << 20
    k600.tarballs.extract._BETWEEN_MILESTONES_BYTES = 1 << 20
    return load(split, **options)


def manifest(split: str, path: str, **options: Any) -> None:
    import kinetics600

    kinetics600.save_manifest(kinetics600.load_dataset(split, **options), path)


def gallery(split: str, path: str, **options: Any) -> None:
    import kinetics600

    kinetics600.gallery(kinetics600.load_dataset(split, **options), path)


def careless(folder: str) -> None:
    """Write two files as nobody should, and flush the one that is not the point."""
    named, flushed = Path(folder, "named"), Path(folder, "flushed")
    named.with_suffix(".part").write_bytes(b"bytes")
    named.with_suffix(".part").replace(named)
    with flushed.open("wb") as file:
        file.write(b"kept")
        file.flush()
        os.fsync(file.fileno())


def publish_metadata(split: str, to: str, **options: Any) -> None:
    import kinetics600

    kinetics600.publish(None, split, to=to, **options)


def fleet(split: str, to: str, **options: Any) -> None:
    import kinetics600

    kinetics600.fleet(to, split, workers=1, shards_multiple_of=4, **options)


def fleet_of_tars(split: str, to: str, **options: Any) -> None:
    fleet(split, to, format="webdataset", **options)


def publish(split: str, to: str, **options: Any) -> None:
    import kinetics600

    kinetics600.publish(
        "owner/clips",
        split,
        to=to,
        kind="embedded",
        i_have_the_rights=True,
        shard_size_mb=1,
        mix=1,
        **options,
    )


def verify(split: str, **options: Any) -> None:
    """Look into every picture, put bad clips aside and fetch them again."""
    import kinetics600
    from k600.checks.verify import verify_clips

    verify_clips(kinetics600.make_request(split, **options), deep=True, repair=True)


def measure(
    split: str, uid: int | None = None, gid: int | None = None, umask: int = 0o022, **options: Any
) -> Any:
    """Fetch what a request asks for; returns the error, the time and the memory that it took.

    With `uid` it is another user's process, who is in no group but `gid`, or one of his own.
    """
    import resource

    from tests.faults.trial import fetch

    if uid is not None:
        calm = {**options, "data_dir": options["data_dir"] + "-before"}
        fetch(split, **calm)  # imports what another user may not read
        os.setgroups([])
        os.setgid(gid or uid)
        os.setuid(uid)
    os.umask(umask)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = fetch(split, **options)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "error": type(result.error).__name__,
        "message": str(result.error),
        "recovered": result.recovered,
        "seconds": result.seconds,
        "memory_bytes": 1024 * grown,
    }


def watch(split: str, **options: Any) -> Any:
    """Fetch, and look at this process's memory and open files as the tarballs come in.

    The first tenth of the bytes is what a run needs to come up to speed; what comes after it has
    to be as much as before.
    """
    import kinetics600
    from k600.errors import Kinetics600Error
    from k600.loading.fetch import fetch_split

    seen: list[tuple[int, int]] = []
    began = time.monotonic()

    class Bar:
        def update(self, n: int, part: str = "") -> None: ...

        def begin(self, part: str, total: int) -> None: ...

        def end(self, part: str) -> None:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            memory = pages * os.sysconf("SC_PAGE_SIZE")
            seen.append((memory, len(os.listdir("/proc/self/fd"))))

    @contextlib.contextmanager
    def progress(total: int, description: str, *, unit: str = "B") -> Iterator[Any]:
        yield Bar()

    request = kinetics600.make_request(split, **options)
    request = dataclasses.replace(
        request,
        mirror=dataclasses.replace(request.mirror, request_seconds=10.0),
        progress=progress,
    )
    error, clips = None, 0
    try:
        outcome = fetch_split(request, split)
        clips = outcome.clips if not outcome.missing else 0
    except Kinetics600Error as caught:
        error = caught
    early, later = seen[: len(seen) // 4], seen[len(seen) // 4 :]
    return {
        "error": type(error).__name__,
        "message": str(error),
        "clips": clips,
        "seconds": time.monotonic() - began,
        "early_memory": max(memory for memory, _ in early),
        "later_memory": max(memory for memory, _ in later),
        "early_files": max(files for _, files in early),
        "later_files": max(files for _, files in later),
    }


JOBS: dict[str, Callable[..., Any]] = {
    "load": load,
    "load_in_small_steps": load_in_small_steps,
    "manifest": manifest,
    "gallery": gallery,
    "careless": careless,
    "publish": publish,
    "publish_metadata": publish_metadata,
    "fleet": fleet,
    "fleet_of_tars": fleet_of_tars,
    "verify": verify,
    "measure": measure,
    "watch": watch,
}


def _become(order: dict[str, Any]) -> None:
    """Be the process of a job, to the end."""
    status = 1
    said: Any = None
    try:
        quiet = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(quiet, standard)
        os.environ.update(order["environment"])
        said = JOBS[order["start"]](**order["options"])
        status = 0
    except BaseException:
        said = traceback.format_exc()
    finally:
        part = Path(order["said"] + ".part")
        part.write_text(json.dumps(said))
        part.replace(order["said"])
        os._exit(status)


def main() -> None:
    import datasets

    import k600.mirror.reader

    modules = ("kinetics600", "k600.publish.run", "k600.checks.verify", "k600.youtube.fetcher")
    for name in (*modules, "k600.fleet.executors", "k600.gallery.page"):
        importlib.import_module(name)  # once, for all the processes to come
    datasets.disable_progress_bars()
    # So that tiny tarballs take several ranges.
    k600.mirror.reader.FIRST_BLOCK_BYTES = 8 << 10
    k600.mirror.reader.MOST_BLOCK_BYTES = 64 << 10
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
        elif pid := os.fork():
            print(pid, flush=True)
        else:
            _become(order)


if __name__ == "__main__":
    main()
