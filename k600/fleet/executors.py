"""datatrove's executors, as this project uses them: on this machine, on Slurm, on a Ray cluster.

Tasks leave markers at the destination, so datatrove's own files (logs, completions) only matter
during one run. Only this file imports datatrove, which is an extra.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import Any

from datatrove.executor.local import LocalPipelineExecutor
from datatrove.executor.ray import RayPipelineExecutor
from datatrove.executor.slurm import SlurmPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.stats import MetricStatsDict
from loguru import logger as datatrove_logger

from k600.errors import IncompleteError, OptionError
from k600.errors.text import counted, public_url
from k600.fleet.job import Places, open_places
from k600.fleet.options import FleetOptions

ATTEMPTS = 3  # of a task whose worker was killed

_SLURM = {"time": "24:00:00", "qos": "", "mem_per_cpu_gb": 4}

_REREAD = "tarballs_read_again"

Task = Callable[[Places], int | None]
"""Does its share of the work; may return how many tarballs it read again for damaged parts. It is
pickled, so a function of a module, or a `functools.partial` of one."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Tasks that may run in parallel; the next stage begins when all are done."""

    name: str
    tasks: Sequence[Task]
    on_task: Callable[[int], object] = lambda number: None
    """Called with the number of a finished task, by the local executor only."""


def run_stages(
    stages: Sequence[Stage], how: FleetOptions, logs: tuple[str, Mapping[str, Any]]
) -> int:
    """Run stages one after the other; return how many tarballs were read again.

    On Slurm the stages are only submitted.

    `logs` is a folder or URL that all workers see, for datatrove's logs, and its fsspec options.
    With `local`, the first error of a task is raised, elsewhere `IncompleteError`.
    """
    reread = 0
    before = None
    datatrove_logger.disable("datatrove")  # its lines are not for the user's screen
    try:
        for stage in stages:
            executor = _executor(stage, how, logs, before)
            executor.run()
            before = executor
            if how.executor == "slurm":
                continue
            if left := len(executor.get_incomplete_ranks()):  # Ray's says so by no error
                where = public_url(f"{logs[0]}/{stage.name}/logs")
                raise IncompleteError(
                    f"fleet: {left:,} of {counted(len(stage.tasks), 'task')} of stage "
                    f"'{stage.name}' failed; logs are in {where}. Call again: what is done stays"
                )
            reread += _reread_tarballs(executor)
    finally:
        datatrove_logger.enable("datatrove")
    return reread


class _Step(PipelineStep):
    """The tasks of a stage as a step of datatrove, without rows from or for other steps."""

    type = "kinetics600"

    def __init__(self, stage: Stage, how: FleetOptions) -> None:
        self.name = stage.name
        super().__init__()
        self.how, self.tasks = how, stage.tasks

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        # One worker runs all ranks in this process, on this very object.
        self.stats.stats.clear()
        with open_places(self.how) as places:
            self.stat_update(_REREAD, value=self.tasks[rank](places) or 0)


def _reread_tarballs(executor: Any) -> int:
    """Return the sum of what a stage's tasks returned, from datatrove's statistics."""
    total = 0
    for rank in range(executor.world_size):
        with executor.logging_dir.open(f"stats/{rank:05d}.json", "r") as file:
            (step,) = json.load(file)
        total += int(MetricStatsDict.from_dict(step["stats"])[_REREAD].total)
    return total


def _executor(
    stage: Stage, how: FleetOptions, logs: tuple[str, Mapping[str, Any]], before: Any
) -> Any:
    """Return datatrove's executor for a stage."""
    kind = {"local": _Local, "slurm": _Slurm, "ray": _Ray}[how.executor]
    options: dict[str, Any] = {
        "pipeline": [_Step(stage, how)],
        "tasks": len(stage.tasks),
        "workers": min(how.most_workers, len(stage.tasks)),
        "logging_dir": (f"{logs[0]}/{stage.name}", dict(logs[1])),
    }
    if kind is _Slurm:
        options |= {**_SLURM, "depends": before, "job_name": f"kinetics600-{stage.name}"}
        if sys.prefix != sys.base_prefix:
            options["venv_path"] = os.path.join(sys.prefix, "bin", "activate")
    if kind is _Ray:
        import ray

        if not ray.is_initialized():  # RAY_ADDRESS, or this machine's cluster, or a new one
            ray.init(log_to_driver=False)

    try:
        executor: Any = kind(**{**options, **(how.executor_options or {})})
    except TypeError as error:
        raise OptionError(
            f"executor_options: {str(error).partition('() ')[2]}. Allowed are the parameters of "
            f"datatrove's {kind.__bases__[-1].__name__}"
            + (', and "partition" is needed' if kind is _Slurm else "")
        ) from None
    executor.on_task = stage.on_task
    return executor


class _Plain:
    """What every executor does differently here."""

    def save_executor_as_json(self, indent: int = 4) -> None:
        """Write nothing: datatrove's copy would hold every option, a bucket's keys too."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the callback, which only works in the parent process."""
        return {name: value for name, value in vars(self).items() if name != "on_task"}


class _Local(_Plain, LocalPipelineExecutor):
    """Tasks in processes of this machine. A killed worker's task is run again.

    (datatrove's own pool would wait for ever for it.)
    """

    on_task: Callable[[int], object]

    def run(self) -> None:
        """Run the tasks that are not done; once all were tried, raise the first one's error."""
        for _ in range(ATTEMPTS):
            with contextlib.suppress(BrokenProcessPool):
                errors = [error for error in self._attempt(self.get_incomplete_ranks()) if error]
                if errors:
                    raise errors[0]
                return
        raise IncompleteError(
            f"fleet: a worker was killed, {ATTEMPTS} times (out of memory?). Call again, with "
            "fewer workers: what is done stays"
        )

    def _attempt(self, ranks: Sequence[int]) -> Iterator[BaseException | None]:
        """Run tasks; yield the error of each, or None."""
        if self.workers == 1:
            for rank in ranks:
                yield (error := _error_of(self, rank))
                if error is None:
                    self.on_task(rank)
            return

        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["k600.fleet.finish", "pyarrow.parquet", "s3fs", __name__])
        with ProcessPoolExecutor(self.workers, context, _begin_worker) as pool:
            with _apart_from_script(self):
                running = {pool.submit(_error_of, self, rank): rank for rank in ranks}
            try:
                for done in as_completed(running):
                    yield (error := done.result())
                    if error is None:
                        self.on_task(running[done])
            except BaseException:
                for worker in multiprocessing.active_children():  # Ctrl-C waits for no tarball
                    worker.terminate()
                pool.shutdown(cancel_futures=True)
                raise


class _Slurm(_Plain, SlurmPipelineExecutor):
    """Tasks as arrays of Slurm jobs, each array waiting for the previous one."""

    def run(self) -> None:
        """Submit the tasks, or on a node of the cluster, run one."""
        try:
            super().run()
        except subprocess.CalledProcessError as error:
            raise OptionError(
                f"executor_options: sbatch refused (exit code {error.returncode}); its message is "
                "above. They hold partition, time, qos, mem_per_cpu_gb, sbatch_args and more"
            ) from None

    def launch_merge_stats(self) -> None:
        """Submit no job for datatrove's statistics: the markers hold more."""


class _Ray(_Plain, RayPipelineExecutor):
    """Tasks on a Ray cluster."""


def _error_of(executor: LocalPipelineExecutor, rank: int) -> BaseException | None:
    """Run a task; return its error."""
    try:
        executor._run_for_rank(rank, local_rank=rank + 1)  # only 0 would write to the screen
    except Exception as error:
        return error
    return None


@contextlib.contextmanager
def _apart_from_script(task: object) -> Iterator[None]:
    """Keep new worker processes from importing, so running, the user's script again.

    Python would import it to unpickle tasks. That is only needed if `mirror_options` hold an object
    of the script.
    """
    script = sys.modules["__main__"]
    if b"__main__" in bytes(ForkingPickler.dumps(task)):
        yield
        return
    hidden = {name: vars(script).pop(name, None) for name in ("__file__", "__spec__")}
    script.__spec__ = None
    try:
        yield
    finally:
        vars(script).update({name: value for name, value in hidden.items() if value is not None})


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, log nothing, and exit with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    datatrove_logger.disable("datatrove")
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
