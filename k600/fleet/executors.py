"""datatrove's executors, as this project uses them: on Slurm, and on a Ray cluster.

Tasks leave markers at the destination, so datatrove's own files (logs, completions) only matter
during one run. Only this file imports datatrove, which is an extra.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datatrove.executor.ray import RayPipelineExecutor
from datatrove.executor.slurm import SlurmPipelineExecutor
from loguru import logger as datatrove_logger

from k600.errors import IncompleteError, OptionError
from k600.errors.text import counted, public_url
from k600.fleet.job import open_places
from k600.fleet.options import FleetOptions
from k600.fleet.stages import Stage, Task

_SLURM = {"time": "24:00:00", "qos": "", "mem_per_cpu_gb": 4}


def run_stages(
    stages: Sequence[Stage], how: FleetOptions, logs: tuple[str, Mapping[str, Any]]
) -> None:
    """Run stages one after the other; to Slurm they are only submitted.

    `logs` is a folder or URL that all workers see, for datatrove's logs, and its fsspec options.
    If tasks fail, `IncompleteError` is raised.
    """
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
    finally:
        datatrove_logger.enable("datatrove")


@dataclass(frozen=True, slots=True, repr=False)  # datatrove logs it, and it holds every option
class _Step:
    """The tasks of a stage as a step of datatrove, without rows from or for other steps."""

    tasks: Sequence[Task]
    how: FleetOptions

    def __call__(self, data: Any, rank: int, world_size: int) -> None:
        with open_places(self.how) as places:
            self.tasks[rank](places)


def _executor(
    stage: Stage, how: FleetOptions, logs: tuple[str, Mapping[str, Any]], before: Any
) -> Any:
    """Return datatrove's executor for a stage."""
    kind = {"slurm": _Slurm, "ray": _Ray}[how.executor]
    options: dict[str, Any] = {
        "pipeline": [_Step(stage.tasks, how)],
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
        return kind(**{**options, **(how.executor_options or {})})
    except TypeError as error:
        raise OptionError(
            f"executor_options: {str(error).partition('() ')[2]}. Allowed are the parameters of "
            f"datatrove's {kind.__bases__[-1].__name__}"
            + (', and "partition" is needed' if kind is _Slurm else "")
        ) from None


class _Plain:
    """What both do differently here."""

    def save_executor_as_json(self, indent: int = 4) -> None:
        """Write nothing: datatrove's copy would hold every option, a bucket's keys too."""


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
