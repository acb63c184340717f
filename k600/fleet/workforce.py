"""Who does the work: which of datatrove's executors, how many workers, how many tasks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from k600.errors import MissingDependencyError, OptionError, nearest
from k600.values import whole_number

__all__ = ["EXECUTORS", "Workforce"]

EXECUTORS = ("local", "slurm", "ray")
MOST_TASKS = 1_000
"""Slurm takes 1,001 tasks in an array, unless it is told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workforce:
    """Who is to do the work."""

    executor: str = "local"
    """`local`, `slurm` or `ray`."""
    workers: int | None = None
    """Tasks at a time, 1 or more; None for one a CPU of this machine, elsewhere for all."""
    tasks: int | None = None
    """Tasks that the tarballs are dealt to, 1 to 1,000; None for one each, while that lasts."""
    logs: str | None = None
    """Folder that all machines see, for Slurm's scripts and logs."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further parameters of datatrove's executor, such as Slurm's `partition`."""

    def check(self) -> None:
        """Raise an error for a value that is not allowed, or an engine that is not installed."""
        if self.executor not in EXECUTORS:
            raise OptionError(
                f"executor: {self.executor!r} is not allowed"
                f"{nearest(self.executor, EXECUTORS) or '.'} Allowed: "
                + ", ".join(map(repr, EXECUTORS))
            )
        if self.tasks is not None:
            whole_number("tasks", self.tasks, least=1, most=MOST_TASKS)
        try:
            import datatrove  # noqa: F401
        except ImportError:
            raise MissingDependencyError(
                "fleet: it runs on datatrove: pip install 'kinetics600[fleet]'"
            ) from None
        if self.executor == "ray":
            try:
                import ray  # noqa: F401
            except ImportError:
                raise MissingDependencyError(
                    "executor: 'ray' needs Ray: pip install 'kinetics600[ray]'"
                ) from None
        if self.executor == "slurm" and shutil.which("sbatch") is None:
            raise MissingDependencyError(
                "executor: 'slurm' needs the program sbatch, which is not here. Run this where "
                "jobs are handed in to Slurm"
            )

    def ranks(self, work: int) -> int:
        """Return how many tasks so many pieces of work are dealt to."""
        return max(1, min(self.tasks or MOST_TASKS, work))

    def crew(self, logs: tuple[str, Mapping[str, Any]]) -> Any:
        """Return what `k600.fleet.executors` takes."""
        from k600.fleet.executors import Crew

        usual = os.cpu_count() or 1 if self.executor == "local" else MOST_TASKS
        workers = self.workers or usual
        return Crew(kind=self.executor, workers=workers, logs=logs, more=self.more)
