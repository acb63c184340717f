"""A load that broke off in the middle of a tarball goes on there, and proves the whole of it."""

from __future__ import annotations

import contextlib
import gzip
import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from k600.miniature import Miniature, make_clip, make_miniature, make_tarball
from tests.conftest import contents
from tests.faults.host import Answer, Host, faulty_host
from tests.faults.trial import fetch

LABEL = "zumba"
MIDDLE = 0.85
"""How much of the tarball arrives."""


@pytest.fixture(scope="module", params=["gzip", "tar"])
def large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Miniature:
    """A host with one tarball of 24 MB."""
    chance = random.Random(3)
    miniature = make_miniature(tmp_path_factory.mktemp("large"), classes=[LABEL], flaws=False)
    clips = {}
    for number in range(30):
        noise = chance.randbytes(800_000)
        box = (len(noise) + 8).to_bytes(4, "big") + b"free" + noise
        name = f"{chance.randrange(10**10):011d}_{number:06d}_{number + 10:06d}.mp4"
        clips[name] = make_clip(1) + box
    data = make_tarball(clips, gzipped=False)
    path = miniature.root / f"train/{LABEL}.tar.gz"
    path.write_bytes(gzip.compress(data, 1, mtime=0) if request.param == "gzip" else data)
    listing = miniature.root / "annotations/train.txt"
    listing.write_text(
        "".join(f"{line}\n" for line in ["train:", LABEL, "", f"train/{LABEL}:", *sorted(clips)])
    )
    miniature.clips["train"] = {LABEL: clips}
    return miniature


def ends_after(position: int) -> Callable[[Answer], None]:
    """A host from which nothing behind a position arrives."""

    def fault(answer: Answer) -> None:
        if answer.is_clips and answer.wanted and answer.wanted[1] > position:
            answer.sends = max(position - answer.wanted[0], 0)
        elif answer.is_clips and not answer.wanted:
            answer.sends = position

    return fault


@pytest.fixture
def host(large: Miniature) -> Iterator[Host]:
    with faulty_host(large.root.parent) as found:
        yield found


def size_of(large: Miniature) -> int:
    return (large.root / f"train/{LABEL}.tar.gz").stat().st_size


def wanted(large: Miniature) -> dict[str, bytes]:
    clips = large.clips["train"][LABEL]
    return {f"train/{LABEL}/{name}": data for name, data in clips.items()}


def broken_off(host: Host, large: Miniature, data_dir: Path) -> dict[str, Any]:
    """Let a load break off; return the options with which it goes on."""
    options = {"data_dir": str(data_dir), "num_workers": 1, **host.mirror_of("http")}
    host.fault = ends_after(int(MIDDLE * size_of(large)))
    fetch("train", patience_seconds=0.5, request_seconds=20, **options)
    assert 15 < len(contents(data_dir)) < 30
    host.fault, host.sent_bytes = None, 0
    return options


def test_it_goes_on_where_it_was(host: Host, large: Miniature, tmp_path: Path) -> None:
    options = broken_off(host, large, tmp_path / "clips")
    fetch("train", patience_seconds=60, request_seconds=20, **options)
    assert contents(tmp_path / "clips") == wanted(large)
    assert host.sent_bytes < 0.5 * size_of(large)
    host.sent_bytes = 0
    fetch("train", patience_seconds=60, request_seconds=20, **options)
    assert host.sent_bytes == 0


def test_a_clip_that_vanished_meanwhile_comes_again(
    host: Host, large: Miniature, tmp_path: Path
) -> None:
    options = broken_off(host, large, tmp_path / "clips")
    (tmp_path / "clips" / min(contents(tmp_path / "clips"))).unlink()
    fetch("train", patience_seconds=60, request_seconds=20, **options)
    assert contents(tmp_path / "clips") == wanted(large)


def test_a_place_to_go_on_that_is_none_costs_a_reading_and_no_clip(
    host: Host, large: Miniature, tmp_path: Path
) -> None:
    """A ledger may be damaged, or come with a store from somebody else."""
    options = broken_off(host, large, tmp_path / "clips")
    with contextlib.closing(sqlite3.connect(tmp_path / "clips/.kinetics600/ledger.sqlite")) as db:
        changed = "entry_offset = 0, next_header = next_header + 512000"
        assert db.execute(f"UPDATE checkpoints SET {changed}").rowcount == 1
        db.commit()
    fetch("train", patience_seconds=60, request_seconds=20, **options)
    assert contents(tmp_path / "clips") == wanted(large)


@pytest.mark.parametrize("large", ["gzip"], indirect=True)  # a plain tar has no trailer
def test_what_was_damaged_in_the_first_part_is_found_at_the_end(
    host: Host, large: Miniature, tmp_path: Path
) -> None:
    """The trailer is proved over both parts: then all is read again."""
    clips = tmp_path / "clips"
    calm = ends_after(int(MIDDLE * size_of(large)))

    def flips(answer: Answer) -> None:
        if answer.is_clips and answer.wanted and answer.wanted[0] <= 5_000_000 < answer.wanted[1]:
            body = bytearray(answer.body)
            body[5_000_000 - answer.wanted[0]] ^= 1
            answer.body = bytes(body)
        calm(answer)

    host.fault = flips
    options = {"data_dir": str(clips), "num_workers": 1, **host.mirror_of("http")}
    fetch("train", patience_seconds=0.5, request_seconds=20, **options)
    assert any(data != wanted(large)[key] for key, data in contents(clips).items())
    host.fault = None
    fetch("train", patience_seconds=60, request_seconds=20, **options)
    assert contents(clips) == wanted(large)
