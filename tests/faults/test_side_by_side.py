"""Several processes on one store: no byte twice, no torn file, nobody waits for the dead."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from k600.miniature import Miniature
from tests.conftest import expected
from tests.faults.host import Answer, Host
from tests.faults.jobs import Jobs, jobs
from tests.faults.test_http import sizes
from tests.faults.trial import Note, assert_intact, assert_whole


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    with jobs(tmp_path_factory.mktemp("jobs")) as running:
        yield running


@pytest.mark.parametrize("same_cache", [True, False])
@pytest.mark.parametrize("classes", [(None, None, None), ("zumba", "zumba", None)])
def test_processes_on_one_store_read_no_tarball_twice(
    classes: tuple[str | None, ...],
    same_cache: bool,
    forge: Jobs,
    host: Host,
    origin: Miniature,
    tmp_path: Path,
    note: Note,
) -> None:
    def slowly(answer: Answer) -> None:
        if answer.is_clips:
            answer.piece_bytes = 500  # so that all have begun before any is through

    host.fault = slowly
    options: dict[str, Any] = {"split": "train", "data_dir": str(tmp_path / "clips")}
    options |= host.mirror_of("http")
    running = [
        forge.start(
            "load",
            **options,
            classes=chosen,
            cache_dir=str(tmp_path / f"cache-{0 if same_cache else number}"),
        )
        for number, chosen in enumerate(classes)
    ]
    began = time.monotonic()
    ends = [job.ends() for job in running]
    assert [status for status, _ in ends] == [0, 0, 0], ends
    assert [len(rows) for _, rows in ends] == [24 if chosen else 48 for chosen in classes]
    assert_whole(tmp_path / "clips", expected(origin, "train"))
    assert host.sent_bytes - sizes(origin) < 100, "a tarball came twice"  # but for the probes
    note(
        "processes side by side",
        times=3,
        recovered=3,
        bytes_twice=0,
        seconds=time.monotonic() - began,
    )


def test_a_lock_of_a_dead_process_is_taken_over_at_once(
    forge: Jobs, host: Host, origin: Miniature, tmp_path: Path, note: Note
) -> None:
    """The first is killed while the second waits for it: the second then does the work."""

    def stall(answer: Answer) -> None:
        if answer.is_clips and answer.wanted and answer.wanted[0] > 0:
            answer.waits = released

    released = threading.Event()
    host.fault = stall
    options: dict[str, Any] = {"split": "train", "data_dir": str(tmp_path / "clips")}
    options |= host.mirror_of("http")
    first = forge.start("load", **options, cache_dir=str(tmp_path / "cache-1"))
    locks = tmp_path / "clips/.kinetics600/locks"
    while len([*locks.glob("train--*.lock")]) < 2:
        assert_intact(tmp_path / "clips", expected(origin, "train"))
    second = forge.start("load", **options, cache_dir=str(tmp_path / "cache-2"))
    while sum(path.endswith("path.txt") for _, path in host.requests) < 4:
        os.sched_yield()  # until the second has asked for the lists, too
    first.kill()
    assert first.ends()[0] < 0
    began = time.monotonic()
    host.fault = None
    released.set()
    status, rows = second.ends()
    seconds = time.monotonic() - began
    assert status == 0, rows
    assert len(rows) == 48
    assert seconds < 20
    assert_whole(tmp_path / "clips", expected(origin, "train"))
    note("stale lock", recovered=1, seconds=seconds)


def test_old_locks_and_unfinished_files_of_the_dead_are_no_obstacle(
    forge: Jobs, origin: Miniature, tmp_path: Path
) -> None:
    own = tmp_path / "clips/.kinetics600"
    (own / "locks").mkdir(parents=True)
    (own / "incoming/dead").mkdir(parents=True)
    (own / "incoming/dead/x.part").write_bytes(b"half")
    for path in (own / "locks/train--zumba.lock", own / "incoming/dead.lock"):
        path.write_text(f"{os.getpid()}\n")
    options = {"mirror": str(origin.root), "data_dir": str(tmp_path / "clips")}
    forge.run("load", split="train", cache_dir=str(tmp_path / "cache"), **options)
    assert_whole(tmp_path / "clips", expected(origin, "train"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_processes_many_times(forge: Jobs, origin: Miniature, tmp_path: Path) -> None:
    for turn in range(20):
        data_dir = tmp_path / f"clips-{turn}"
        options = {"mirror": str(origin.root), "data_dir": str(data_dir), "split": "train"}
        running = [
            forge.start("load", **options, cache_dir=str(tmp_path / f"cache-{turn}-{n % 2}"))
            for n in range(6)
        ]
        assert Counter(job.ends()[0] for job in running) == {0: 6}
        assert_whole(data_dir, expected(origin, "train"))
