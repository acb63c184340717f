"""What the fleet decides without touching anything: who reads what, what goes where, how long."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k600.dataset.clip import Tarball
from k600.dataset.labels import NAMES
from k600.errors import OptionError
from k600.fleet.estimate import Rates, Requests, count_requests, enough_workers, simulate
from k600.fleet.plan import count_shards, deal_clips
from k600.fleet.units import PartClip, Unit, UnitMarker, deal_units
from k600.mirror.identity import RemoteFile
from k600.video.encoding import Encoding


def unit(name: str, size: int) -> Unit:
    return Unit(Tarball("train", name), f"key of {name}", name, "", size)


def test_a_unit_s_key_is_the_same_in_every_release() -> None:
    remote = RemoteFile("val/zumba.tar.gz", "s3://kinetics/600/val/zumba.tar.gz", 5, "1a2b")
    zumba = Unit.of(Tarball("validation", "zumba"), remote, {"short_side": None})
    assert (zumba.key, zumba.size_bytes) == ("987d17fd6d87f9a6", 5)


def markers(classes: int, clips: int, size: int = 1_000) -> list[UnitMarker]:
    found = []
    for label in NAMES[:classes]:
        names = [f"clip{number:07d}_000000_000010.mp4" for number in range(clips)]
        held = [
            PartClip(name, label, size * i, size, f"{label}{i}", i) for i, name in enumerate(names)
        ]
        found.append(UnitMarker(unit(label, size * clips), tuple(held), ()))
    return found


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=80), st.integers(1, 20))
def test_every_tarball_is_dealt_once_and_no_rank_has_much_more(
    sizes: list[int], ranks: int
) -> None:
    units = [unit(f"n{number}", size) for number, size in enumerate(sizes)]
    dealt = deal_units(reversed(units), ranks)
    assert dealt == deal_units(units, ranks)
    assert sorted(u.key for rank in dealt for u in rank) == sorted(u.key for u in units)
    assert all(dealt)
    loads = [sum(u.size_bytes for u in rank) for rank in dealt]
    assert max(loads) <= sum(sizes) / len(dealt) + max(sizes)
    for rank in dealt:
        assert [u.size_bytes for u in rank] == sorted((u.size_bytes for u in rank), reverse=True)
    assert dealt[0][0].size_bytes == max(sizes)


@given(st.integers(1, 12), st.integers(1, 20), st.integers(1, 6), st.integers(1, 8_000))
def test_shards_hold_every_clip_once_and_are_alike_in_number(
    classes: int, clips: int, multiple: int, shard_bytes: int
) -> None:
    found = markers(classes, clips)
    if classes * clips < multiple:
        with pytest.raises(OptionError, match="more than the number of clips"):
            deal_clips(found, seed=0, shard_bytes=shard_bytes, multiple_of=multiple)
        return
    shards = deal_clips(found, seed=0, shard_bytes=shard_bytes, multiple_of=multiple)
    assert len(shards) % multiple == 0
    counts = {len(shard) for shard in shards}
    assert min(counts) >= max(counts) - 1
    assert min(counts) >= 1
    keys = [clip.clip.key for shard in shards for clip in shard]
    assert len(set(keys)) == len(keys) == classes * clips


def test_shards_depend_on_clips_and_seed_alone_and_mix_all_classes() -> None:
    found = markers(20, 50)
    shards = deal_clips(found, seed=3, shard_bytes=250_000)
    assert len(shards) == 4
    assert all(len({clip.clip.label for clip in shard}) == 20 for shard in shards)
    random.Random(0).shuffle(found)
    assert deal_clips(found, seed=3, shard_bytes=250_000) == shards
    assert deal_clips(found, seed=4, shard_bytes=250_000) != shards
    first = [f"{clip.clip.label}/{clip.found.file_name[:11]}" for clip in shards[0][:2]]
    assert first == [
        "assembling bicycle/clip0000028",
        "attending conference/clip0000036",
    ]  # on every machine


def test_a_clip_in_two_tarballs_is_taken_once() -> None:
    clip = PartClip("clip0000000_000000_000010.mp4", "zumba", 0, 10, "", 0)
    units = [Unit(Tarball("test", f"part_{n}"), f"{n}", "", "", 10) for n in range(2)]
    found = [UnitMarker(unit, (clip,), ()) for unit in units]
    for order in (found, found[::-1]):
        ((only,),) = deal_clips(order, seed=0, shard_bytes=100)
        assert only.tarball == "part_0"


def test_the_number_of_shards() -> None:
    assert count_shards(100, 10_000, shard_bytes=1_000, multiple_of=1) == 10
    assert count_shards(100, 10_001, shard_bytes=1_000, multiple_of=1) == 11
    assert count_shards(100, 10_001, shard_bytes=1_000, multiple_of=8) == 16
    assert count_shards(100, 1, shard_bytes=1_000, multiple_of=8) == 8
    assert count_shards(10, 10_000, shard_bytes=1, multiple_of=4) == 8


def test_an_estimate_grows_less_with_more_workers_until_the_slowest_tarball_is_left() -> None:
    sizes = [1_000_000_000] * 600 + [5_000_000_000]
    rates = Rates(network=100)

    def run(workers: int) -> float:
        return simulate(sizes, workers, shard_bytes=500_000_000, rates=rates).seconds

    times = [run(workers) for workers in (1, 10, 100, 1_000)]
    assert times == sorted(times, reverse=True)
    assert 9 < times[0] / times[1] < 11
    assert times[2] / times[3] < 4
    many = simulate(sizes, 1_000, shard_bytes=500_000_000, rates=rates)
    assert many.read_seconds == many.slowest_tarball_seconds
    assert many.seconds == many.read_seconds + many.plan_seconds + many.merge_seconds
    assert many.dollars > simulate(sizes, 10, shard_bytes=500_000_000, rates=rates).dollars
    enough = enough_workers(sizes, shard_bytes=500_000_000, rates=rates)
    assert run(enough) <= 1.1 * run(2_000) < run(enough - 1)
    encoding = rates.encoding(Encoding(short_side=256))
    slow = simulate(sizes, 10, shard_bytes=500_000_000, rates=encoding)
    assert slow.read_seconds > 10 * simulate(sizes, 10, shard_bytes=10**9, rates=rates).read_seconds


def test_requests_to_a_bucket_are_about_one_a_clip_and_priced() -> None:
    train = [1_080_000_000] * 600
    rates = Rates(get_price=0.1)
    found = count_requests(train, shard_bytes=500_000_000, rates=rates)
    assert 432_000 < found.gets < 440_000
    assert 28_000 < found.puts < 34_000
    assert found.request_dollars == pytest.approx((found.gets + 12.5 * found.puts) / 10_000)
    index = count_requests(train, shard_bytes=500_000_000, rates=rates.indexing())
    assert index == Requests(600, 1_800, pytest.approx((600 + 12.5 * 1_800) / 10_000))
