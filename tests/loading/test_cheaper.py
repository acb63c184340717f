"""Which way is cheaper: for the sizes of the real host, and what is remembered of its rate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kinetics600
from k600.dataset.clip import Tarball
from k600.dataset.labels import NAMES
from k600.loading.cheaper import Comparison, note_rate, recall_rate, youtube_seconds
from k600.loading.plan import Plan, make_plan
from k600.loading.state import read_state

SIZES = {"train": 1_080_000_000, "validation": 72_000_000}
CLIPS = {"train": 100, "validation": 48}

FEW = {"max_samples": 10, "shuffle": True}
MANY = {"max_samples": 300, "shuffle": True}
OF_ONE = {"max_samples": 10, "classes": NAMES[7]}
OF_TWO = {"max_samples": 10, "classes": [NAMES[7], NAMES[9]], "shuffle": True}


def plan_of(root: Path, split: str, *, rate: float | None = None, **options: Any) -> Plan:
    """Plan a request for a host of the real size, of which nothing is here."""
    request = kinetics600.make_request(
        split, mirror="http://127.0.0.1:9/600", data_dir=str(root), **options
    )
    names = {
        label: [f"{label_id:04}-{n:05}x_000000_000010.mp4" for n in range(CLIPS[split])]
        for label_id, label in enumerate(NAMES)
    }
    state = read_state(request, split, keep=False)
    state = state.with_host(listing=names, fresh=True)
    asked = make_plan(state)
    assert not asked.first
    assert 1 <= len(asked.needs_sizes) <= 300
    sizes = dict.fromkeys((Tarball(split, label) for label in NAMES), SIZES[split])
    return make_plan(replace(state.with_host(sizes=sizes), bytes_per_second=rate))


@pytest.mark.parametrize(
    ("split", "options", "rate", "source", "gigabytes"),
    [
        ("validation", OF_ONE, None, "cvdf", 0.065),
        ("validation", FEW, None, "cvdf", 0.36),
        ("validation", OF_TWO, None, "cvdf", 0.12),
        ("validation", MANY, None, "cvdf", 9.2),
        ("validation", FEW, 1e6, "cvdf", 0.36),
        ("validation", MANY, 2e6, "youtube", 9.2),
        ("train", OF_ONE, None, "cvdf", 0.98),
        ("train", FEW, None, "youtube", 5.4),
        ("train", FEW, 200e6, "cvdf", 5.4),
        ("train", MANY, None, "cvdf", 137),
        ("train", MANY, 25e6, "youtube", 137),
        ("train", {**MANY, "max_samples": 301}, 25e6, "cvdf", 137),
    ],
)
def test_the_cheaper_way(
    tmp_path: Path,
    split: str,
    options: dict[str, Any],
    rate: float | None,
    source: str,
    gigabytes: float,
) -> None:
    plan = plan_of(tmp_path, split, rate=rate, **options)
    assert plan.comparison is not None
    assert plan.comparison.source == plan.first == source
    assert plan.comparison.tarball_bytes == pytest.approx(gigabytes * 1e9, rel=0.05)


@pytest.mark.parametrize("source", ["cvdf", "youtube"])
def test_where_one_source_is_asked_for_nothing_is_compared(tmp_path: Path, source: str) -> None:
    request = kinetics600.make_request(
        "train", mirror="http://127.0.0.1:9/600", data_dir=str(tmp_path), source=source, **FEW
    )
    state = read_state(request, "train", keep=False)
    state = state.with_host(listing={"zumba": ["abcdefghijk_000000_000010.mp4"]}, fresh=True)
    plan = make_plan(state)
    assert (plan.first, plan.comparison, plan.needs_sizes) == (source, None, ())


@pytest.mark.parametrize(
    ("clips", "tarball_bytes", "rate", "words"),
    [
        (
            10,
            5.4e9,
            None,
            "10 clips from YouTube, in about 40 s; 10 tarballs (source='cvdf') would take "
            "about 2 min (5.4 GB at 50.0 MB/s, a usual rate: none is measured yet)",
        ),
        (
            10,
            1e9,
            5e6,
            "10 clips from 10 tarballs, in about 3 min (1.0 GB at 5.0 MB/s, as measured); "
            "YouTube (source='youtube') would take about 40 s, but up to 2.0 GB the originals come "
            "first",
        ),
        (
            600,
            9e11,
            5e6,
            "600 clips from 10 tarballs, in about 2.1 days (900.0 GB at 5.0 MB/s, as "
            "measured); YouTube (source='youtube') would take about 1.9 h, and gives a "
            "guest no more than 300 clips an hour",
        ),
        (
            10,
            None,
            None,
            "10 clips from YouTube, in about 40 s, as the mirror does not give the tarballs now",
        ),
    ],
)
def test_one_line_says_which_way_and_why(
    clips: int, tarball_bytes: float | None, rate: float | None, words: str
) -> None:
    found = Comparison(
        clips=clips,
        tarballs=10,
        tarball_bytes=tarball_bytes,
        bytes_per_second=rate,
        requests_per_hour=900,
    )
    assert str(found) == words


@pytest.mark.parametrize(
    ("clips", "requests_per_hour", "seconds"),
    [
        (10, 900, 40),
        (30, 900, 120),
        (45, 900, 180),  # 194 s were measured: while the first clips come, turns for more do
        (60, 900, 360),
        (300, 900, 3240),
        (300, 90, 32400),
        (300, 10_000_000, 1200),
    ],
)
def test_the_time_that_youtube_takes_is_the_work_or_the_pace_whichever_is_longer(
    clips: int, requests_per_hour: int, seconds: float
) -> None:
    assert youtube_seconds(clips, requests_per_hour) == seconds


def test_a_rate_is_remembered_for_its_mirror_and_nonsense_is_not(tmp_path: Path) -> None:
    one, other = (
        kinetics600.make_request("train", mirror=f"http://{host}/600", data_dir=str(tmp_path))
        for host in ("one.example", "two.example")
    )
    assert recall_rate(one.store, one.mirror) is None
    note_rate(one.store, one.mirror, received_bytes=1_000_000, seconds=1)  # too little to tell
    assert recall_rate(one.store, one.mirror) is None
    one.store.prepare()
    note_rate(one.store, one.mirror, received_bytes=300_000_000, seconds=2)
    assert recall_rate(one.store, one.mirror) == 150e6
    assert recall_rate(other.store, other.mirror) is None
    assert read_state(replace(one, offline=True), "train", keep=False).bytes_per_second == 150e6

    for text in ("[1]", "{", '{"a": "b"}', "7", f'{{"a": 1{"0" * 400}}}', "[" * 9000):
        one.store.write_own("link-rates.json", text.encode())
        assert recall_rate(one.store, one.mirror) is None
