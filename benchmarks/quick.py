"""For `--quick`: ways in Python as forks of one process that has everything imported.

A fresh Python for each of some eighty ways would take longer than all their work on tiny data.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Figures, run_fresh

__all__ = ["run_forked"]

_PRELOAD = (
    "kinetics600",
    "s3fs",
    "requests",
    "fsspec.implementations.http",
    "datasets.packaged_modules.webdataset.webdataset",
    "datasets.packaged_modules.videofolder.videofolder",
)
_fork = multiprocessing.get_context("forkserver")


def run_forked(command: list[str], folder: Path) -> Figures:
    """Run a command as `run_fresh` does, if it is one of our modules as a fork."""
    if command[0] != sys.executable:
        return run_fresh(command, folder)
    _fork.set_forkserver_preload(list(_PRELOAD))
    printed = folder.parent / "printed"
    printed.unlink(missing_ok=True)
    process = _fork.Process(target=_work, args=(command[2:], folder, printed))
    process.start()
    process.join()
    if process.exitcode:
        return {"failed": f"exit code {process.exitcode}"}
    found: Figures = json.loads(printed.read_text().splitlines()[-1])
    return found


def _work(arguments: list[str], folder: Path, printed: Path) -> None:
    os.chdir(folder)
    tempfile.tempdir = str(folder)
    sys.argv = arguments
    with open(printed, "w", encoding="utf-8") as sys.stdout:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
