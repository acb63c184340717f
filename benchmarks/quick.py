"""For `--quick`: ways in Python as forks of this process, which has everything imported.

A fresh Python for each of some eighty ways would take longer than all their work on tiny data.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

from benchmarks.measure import Figures, run_fresh

__all__ = ["run_forked"]

_IMPORTED = (
    "kinetics600",
    "s3fs",
    "requests",
    "fsspec.implementations.http",
    "datasets.packaged_modules.webdataset.webdataset",
    "datasets.packaged_modules.videofolder.videofolder",
)


def run_forked(command: list[str], folder: Path) -> Figures:
    """Run a command as `run_fresh` does, but one of our modules as a fork."""
    if command[0] != sys.executable:
        return run_fresh(command, folder)
    os.environ["HF_HOME"] = str(folder.parent / "hf")  # read when `datasets` is imported
    for name in _IMPORTED:
        importlib.import_module(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it minds the thread that watches the disk
        child = os.fork()
    printed = folder.parent / "printed"
    if child == 0:
        _work(command[2:], folder, printed)
    _, status = os.waitpid(child, 0)
    last = printed.read_text().strip().splitlines()[-1]
    return {"failed": last[:300]} if status else json.loads(last)


def _work(arguments: list[str], folder: Path, printed: Path) -> None:
    """Be the child: run a module as a program, and end."""
    code = 1
    try:
        os.chdir(folder)
        tempfile.tempdir = str(folder)
        sys.argv = arguments
        sys.modules.pop(arguments[0], None)
        with open(printed, "w", encoding="utf-8") as sys.stdout:
            try:
                runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
                code = 0
            except BaseException:
                traceback.print_exc(file=sys.stdout)
    finally:
        os._exit(code)
