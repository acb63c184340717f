"""Stages of many independent tasks, and running one in processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler

from k600.errors import IncompleteError
from k600.fleet.job import Places, open_places
from k600.fleet.options import FleetOptions

ATTEMPTS = 3  # of a task whose worker was killed

Task = Callable[[Places], int | None]
"""Does its share of the work; may return how many tarballs it read again for damaged parts. It is
pickled, so a function of a module, or a `functools.partial` of one."""

_Result = int | Exception | None


@dataclass(frozen=True, slots=True)
class Stage:
    """Tasks that may run in parallel; the next stage begins when all are done."""

    name: str
    tasks: Sequence[Task]
    on_task: Callable[[int], object] = lambda number: None
    """Called with the number of a finished task, on this machine only."""


def run_here(stage: Stage, how: FleetOptions) -> int:
    """Run a stage's tasks, again if a worker was killed; return how many tarballs were read again.

    Once all were tried, the first error is raised.
    """
    left = dict(enumerate(stage.tasks))
    reread, errors = 0, []
    for _ in range(ATTEMPTS):
        with contextlib.suppress(BrokenProcessPool):
            for number, result in _try_all(dict(left), how):
                del left[number]
                if isinstance(result, Exception):
                    errors.append(result)
                    continue
                stage.on_task(number)
                reread += result or 0
            if errors:
                raise errors[0]
            return reread
    raise IncompleteError(
        f"fleet: a worker was killed, {ATTEMPTS} times (out of memory?). Call again, with "
        "fewer workers: what is done stays"
    )


def _try_all(tasks: Mapping[int, Task], how: FleetOptions) -> Iterator[tuple[int, _Result]]:
    """Run tasks; yield the number of each that is done, with what it returned or raised."""
    workers = min(how.most_workers, len(tasks))
    if workers == 1:
        for number, task in tasks.items():
            yield number, _try(task, how)
        return

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["k600.fleet.split", "pyarrow.parquet", "s3fs", __name__])
    with ProcessPoolExecutor(workers, context, _begin_worker) as pool:
        with _apart_from_script((how, tasks)):
            running = {pool.submit(_try, task, how): number for number, task in tasks.items()}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        except BaseException:
            for worker in multiprocessing.active_children():  # Ctrl-C waits for no tarball
                worker.terminate()
            pool.shutdown(cancel_futures=True)
            raise


def _try(task: Task, how: FleetOptions) -> _Result:
    """Run a task; return its result or its error."""
    try:
        with open_places(how) as places:
            return task(places)
    except Exception as error:
        return error


@contextlib.contextmanager
def _apart_from_script(work: object) -> Iterator[None]:
    """Keep new worker processes from importing, so running, the user's script again.

    Python would import it to unpickle tasks. That is only needed if `mirror_options` hold an object
    of the script.
    """
    script = sys.modules["__main__"]
    if b"__main__" in bytes(ForkingPickler.dumps(work)):
        yield
        return
    hidden = {name: vars(script).pop(name, None) for name in ("__file__", "__spec__")}
    script.__spec__ = None
    try:
        yield
    finally:
        vars(script).update({name: value for name, value in hidden.items() if value is not None})


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, and exit with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
