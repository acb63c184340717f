"""The options of `fleet`, and of its estimate, each declared once, as those of a load are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from k600.loading.options import declare
from k600.publish.options import ShardOptions, repo_of_url
from k600.values import positive

FORMATS = {"parquet": "embedded", "webdataset": "webdataset", "index": "index"}
"""Kinds of publication (`k600.loading.columns.PUBLISHED`) by what users call them."""

EXECUTORS = ("local", "slurm", "ray")
MOST_TASKS = 1_000
"""Slurm takes 1,001 tasks in an array, unless it is configured otherwise."""


@dataclass(frozen=True, kw_only=True)
class FleetOptions(ShardOptions):
    """The options of `fleet`."""

    to: str | os.PathLike[str] | None = declare(
        None,
        help="Folder that all workers see, fsspec URL, or hf://.",
        completes="dir",
    )
    work: str | os.PathLike[str] | None = declare(
        None,
        help="With `hf://`: a folder or URL for what is unfinished; `to_options` are then for it.",
        flag_help="With --to hf://USER/NAME: folder or URL for what is unfinished.",
        completes="dir",
    )
    format: str = declare(
        "parquet",
        help="`parquet`; `webdataset`: tar files; or `index`: no clips, only where each lies.",
        flag_help="parquet; webdataset (tar files); index (no clips).",
        allowed=tuple(FORMATS),
    )
    shards_multiple_of: int = declare(
        1,
        help="The number of shards is a multiple of this: of the machines that train; 1 to 4,096.",
        flag_help="Make a multiple of so many shards.",
        least=1,
        most=4_096,
    )
    executor: str = declare("local", help="`local`, `slurm` or `ray`.", allowed=EXECUTORS)
    workers: int | None = declare(
        None,
        help="Tasks at a time; by default one a CPU, on Slurm and Ray all.",
        least=1,
        flag=None,
    )
    tasks: int | None = declare(
        None,
        help="Tasks that share the tarballs, 1 to 1,000; by default one each.",
        least=1,
        most=MOST_TASKS,
    )
    logs: str | os.PathLike[str] | None = declare(
        None,
        help="Slurm: a folder that all machines see, for scripts and logs.",
        completes="dir",
    )
    executor_options: Mapping[str, Any] | None = declare(
        None,
        help="Further parameters of datatrove's executor for Slurm (such as `partition`) or Ray.",
        flag_help="More for datatrove's executor on Slurm or Ray, as JSON.",
    )

    @property
    def kind(self) -> str:
        """The kind of publication."""
        return FORMATS[self.format]

    @property
    def repo(self) -> str | None:
        """The dataset repository on the Hub for the shards; None if these lie beside the parts."""
        return repo_of_url(str(self.to))

    @property
    def parts_place(self) -> str:
        """Folder or URL of parts and markers."""
        return str(self.work if self.repo else self.to)

    @property
    def most_workers(self) -> int:
        """Tasks at a time, at most."""
        return self.workers or (os.cpu_count() or 1 if self.executor == "local" else MOST_TASKS)

    def tasks_for(self, pieces: int) -> int:
        """Return the number of tasks for so many pieces of work."""
        return max(1, min(self.tasks or MOST_TASKS, pieces))


@dataclass(frozen=True, kw_only=True)
class EstimateOptions:
    """What an estimate assumes of workers and prices."""

    network: float = declare(
        50.0,
        help="With --estimate: MB/s of one worker.",
        check=lambda value: positive("network", value),
    )
    price: float = declare(0.05, help="With --estimate: dollars an hour of one worker.")
    # An assumption: S3 Standard in us-east-1, by aws.amazon.com/s3/pricing.
    get_price: float = declare(0.0004, help="With --estimate: dollars for 1,000 GETs.")
