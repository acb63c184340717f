"""Fixtures of the fault suite: a host that misbehaves, and the notes that make the report."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import k600.mirror.reader
from k600.miniature import Miniature, make_miniature
from tests.faults.host import Host, faulty_host
from tests.faults.jobs import Jobs, jobs
from tests.faults.trial import Note, lost_bytes


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Miniature:
    """Two train tarballs of about 100 kB; nothing in it is ever changed."""
    folder = tmp_path_factory.mktemp("origin")
    classes = ["surfing water", "zumba"]
    return make_miniature(folder, classes=classes, clips_per_class=24, flaws=False)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a tiny tarball take as many byte ranges as a real one."""
    monkeypatch.setattr(k600.mirror.reader, "FIRST_BLOCK_BYTES", 8 << 10)
    monkeypatch.setattr(k600.mirror.reader, "MOST_BLOCK_BYTES", 32 << 10)
    for module in (k600.mirror.reader, k600.mirror.source):
        monkeypatch.setattr(module, "LEAST_BLOCK_BYTES", 4 << 10)


@pytest.fixture
def host(origin: Miniature) -> Iterator[Host]:
    with faulty_host(origin.root.parent) as running:
        yield running


@pytest.fixture(scope="session")
def forge() -> Iterator[Jobs]:
    with tempfile.TemporaryDirectory(prefix="k600-jobs-") as folder:
        os.chmod(folder, 0o1777)
        with jobs(Path(folder)) as running:
            yield running


@pytest.fixture
def common(origin: Miniature) -> Iterator[Path]:
    """A folder that every user may walk to, with a mirror, `600`, in it.

    (What pytest gives is shut for all but one as often as somebody starts it.)
    """
    with tempfile.TemporaryDirectory(prefix="k600-common-") as folder:
        os.chmod(folder, 0o755)
        shutil.copytree(origin.root, f"{folder}/600")
        yield Path(folder)


@pytest.fixture
def note(record_property: Callable[[str, object], None]) -> Note:
    """Note what a trial brought, for the table of `python -m tests.faults.report`."""

    def note(fault: str, **numbers: Any) -> None:
        record_property("trial", {"fault": fault, "bytes_lost": sum(lost_bytes), **numbers})

    lost_bytes.clear()
    return note


@pytest.fixture
def data_dir(tmp_path: Path) -> str:
    return str(tmp_path / "clips")
