"""Clips whose places in their tarballs are known come by one request each, at no other cost."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import k600.loading.read_entries
import kinetics600
from k600.checks.verify import verify_clips
from k600.dataset.clip import Clip, Place, Tarball, parse_file_name
from k600.loading.estimate import Forecast, forecast_split
from k600.loading.fetch import fetch_split
from k600.loading.manifest import ManifestRow, read_manifest, write_manifest
from k600.loading.outcome import Outcome
from k600.loading.plan import is_usable
from k600.loading.request import Request
from k600.miniature import CLASSES, Miniature, make_tarball
from k600.store.rows import TarballRow
from tests.conftest import contents, expected
from tests.places import make_plain, note, places_in, write_index
from tests.servers import WebServer, web_server
from tests.youtube_replica import youtube_replica
from tests.youtube_videos import good_video

SOUND = CLASSES[1:]
"""Classes whose tarballs hold no bad clip."""


@dataclass
class Host:
    """A host of plain tars behind a web server, and a store for what comes from there."""

    miniature: Miniature
    server: WebServer
    data_dir: Path

    def request(self, split: str = "train", **options: Any) -> Request:
        defaults = {
            "mirror": f"{self.server.url}/600",
            "test_labels": str(self.miniature.test_labels),
            "data_dir": str(self.data_dir),
            "source": "cvdf",
        }
        return kinetics600.make_request(split, **{**defaults, **options})

    def places(self, split: str = "train", *tarballs: str) -> dict[tuple[str, str], Place]:
        """Return the places of all clips, or of some tarballs' clips, by tarball and name."""
        request, root = self.request(split), self.miniature.root
        return {
            (tarball, name): place
            for tarball in tarballs or self.miniature.clips[split]
            for name, place in places_in(request, Tarball(split, tarball), root).items()
        }

    def note(self, places: Mapping[tuple[str, str], Place], **options: Any) -> None:
        """Have the store know where clips lie."""
        split = next(iter(places.values())).tarball.split
        note(self.request(split, **options), [(name, p) for (_, name), p in places.items()])

    def fetch(self, request: Request, split: str = "train") -> tuple[Forecast, Outcome]:
        """Plan, then load; that is, forget the requests of the plan."""
        plan = forecast_split(request, split)
        self.server.requests.clear()
        return plan, fetch_split(request, split)

    def path(self, tarball: str, split: str = "train") -> Path:
        return self.miniature.root / Tarball(split, tarball).path


@pytest.fixture
def host(miniature: Miniature, tmp_path: Path) -> Iterator[Host]:
    root = tmp_path / "600"
    shutil.copytree(miniature.root, root)
    make_plain(root)
    with web_server(tmp_path) as server:
        yield Host(dataclasses.replace(miniature, root=root), server, tmp_path / "clips")


def manifest_of(host: Host, clips: list[tuple[str, str]], source: str = "cvdf") -> str:
    """Write a manifest of train clips, each a class and a file name."""
    rows = []
    for label, name in clips:
        times = parse_file_name(name)
        assert times is not None
        size = len(host.miniature.clips["train"][label][name]) if source != "youtube" else 0
        rows.append(ManifestRow(Clip("train", label, *times), source, label, size))
    return str(write_manifest(rows, host.data_dir.parent / "chosen.csv"))


def one_of_each(host: Host) -> list[tuple[str, str]]:
    return [(label, sorted(host.miniature.clips["train"][label])[2]) for label in SOUND]


def asked(host: Host) -> Counter[tuple[str, str]]:
    """Return how often each tarball was asked for, by method and path below the mirror."""
    found = ((method, path.partition("/600/")[2]) for method, path in host.server.requests)
    return Counter(each for each in found if each[1].endswith(".tar.gz"))


def test_five_clips_of_five_tarballs_are_five_requests(host: Host) -> None:
    chosen = one_of_each(host)
    host.note(places := host.places())
    request = host.request(manifest=manifest_of(host, chosen))
    plan, done = host.fetch(request)

    one_each = {("GET", Tarball("train", label).path): 1 for label, _ in chosen}
    assert (asked(host), len(host.server.requests)) == (one_each, 5)
    spans = sum(places[clip].entry.span_bytes for clip in chosen)
    price = plan.prices["entries"]
    assert (price.count, price.size_bytes, plan.prices["cvdf"].count) == (5, spans, 0)
    assert (done.fetched["entries"], done.fetched_bytes["entries"]) == (5, spans)
    assert done.is_whole
    assert "5 clips by one request each" in done.summary()
    stored = contents(host.data_dir)
    assert stored == {
        f"train/{label}/{name}": host.miniature.clips["train"][label][name]
        for label, name in chosen
    }
    # They are what a tarball's clips are, and a whole load goes on from there.
    assert {each for shard in done.shards for each in shard.sources.values()} == {"cvdf"}
    again, _ = host.fetch(request)
    assert (again.complete, host.server.requests) == (True, [])
    _, whole = host.fetch(host.request(classes=SOUND))
    assert (whole.fetched["cvdf"], whole.is_whole) == (5, True)
    every = expected(host.miniature, "train")
    assert contents(host.data_dir) == {n: d for n, d in every.items() if n.split("/")[1] in SOUND}


@pytest.mark.parametrize("seconds", [0, 1000])
def test_few_at_a_time_and_however_often_they_get_names_all_clips_come(
    host: Host, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr(k600.loading.read_entries, "_MOST_AHEAD", 2)
    monkeypatch.setattr(k600.loading.read_entries, "_LANDING_SECONDS", seconds)
    chosen = [(label, name) for label in SOUND[:3] for name in host.miniature.clips["train"][label]]
    del chosen[::5]
    host.note(host.places())
    _, done = host.fetch(host.request(manifest=manifest_of(host, chosen)))
    assert (done.is_whole, done.fetched) == (True, {"entries": len(chosen)})
    assert contents(host.data_dir) == {
        f"train/{label}/{name}": host.miniature.clips["train"][label][name]
        for label, name in chosen
    }


def test_a_clip_that_came_by_itself_has_the_checksum_of_the_manifest_or_is_named(
    host: Host,
) -> None:
    host.note(host.places())
    rows = []
    for label, name in (chosen := one_of_each(host)[:2]):
        times = parse_file_name(name)
        assert times is not None
        first, its_name = chosen[0]  # of the second clip, the manifest has the first one's
        sha256 = hashlib.sha256(host.miniature.clips["train"][first][its_name]).hexdigest()
        rows.append(ManifestRow(Clip("train", label, *times), "cvdf", label, sha256=sha256))
    manifest = str(write_manifest(rows, host.data_dir.parent / "chosen.csv"))
    for _ in range(2):  # as it comes, and as it is there
        _, done = host.fetch(host.request(manifest=manifest))
        assert (done.clips, [clip.reason for clip in done.missing]) == (1, ["differs"])


def spoil_entry(place: Place, **changes: int) -> Place:
    return dataclasses.replace(place, entry=place.entry._replace(**changes))


@pytest.mark.parametrize("wrong", ["crc32", "another clip"])
def test_an_entry_that_is_wrong_costs_a_reading_and_gives_no_other_clip(
    host: Host, wrong: str
) -> None:
    label = SOUND[2]
    places = host.places("train", label)
    clip, other, sound = [*places][:3]
    if wrong == "crc32":
        places[clip] = spoil_entry(places[clip], crc32=places[other].entry.crc32)
    else:
        places[clip] = places[other]
    host.note(places)
    _, done = host.fetch(host.request(manifest=manifest_of(host, [clip, sound])))
    assert (done.is_whole, done.fetched) == (True, {"entries": 1, "cvdf": 1})
    assert contents(host.data_dir) == {
        f"train/{label}/{name}": host.miniature.clips["train"][label][name]
        for _, name in (clip, sound)
    }


def test_of_another_object_nothing_is_taken_but_by_reading_it(host: Host) -> None:
    chosen = one_of_each(host)[:2]
    host.note(host.places())
    label, name = chosen[0]
    clips = dict(host.miniature.clips["train"][label])
    host.path(label).write_bytes(make_tarball({"more": b"x" * 4096, **clips}, gzipped=False))
    _, done = host.fetch(host.request(manifest=manifest_of(host, chosen)))
    assert (done.is_whole, done.fetched) == (True, {"entries": 1, "cvdf": 1})
    assert contents(host.data_dir)[f"train/{label}/{name}"] == clips[name]


def test_a_server_without_ranges_is_read_as_ever(host: Host, tmp_path: Path) -> None:
    with web_server(tmp_path, ranges=False) as server:
        host = dataclasses.replace(host, server=server)
        host.note(host.places())
        _, done = host.fetch(host.request(manifest=manifest_of(host, one_of_each(host)[:3])))
    assert (done.is_whole, done.fetched["entries"], done.fetched["cvdf"]) == (True, 0, 3)


def test_a_clip_that_is_bad_gives_way_to_another(host: Host) -> None:
    label = SOUND[0]
    clips = dict(host.miniature.clips["train"][label])
    first, second, third, *_ = sorted(clips)
    clips[first] = clips[first][: len(clips[first]) // 2]
    host.path(label).write_bytes(make_tarball(clips, gzipped=False))
    host.note(host.places("train", label))
    request = host.request(classes=label, max_samples=2)
    plan, done = host.fetch(request)
    assert plan.prices["entries"].count == 2
    assert (done.clips, done.fetched, dict(done.replaced)) == (2, {"entries": 2}, {"truncated": 1})
    assert set(contents(host.data_dir)) == {f"train/{label}/{name}" for name in (second, third)}
    assert asked(host) == {("GET", Tarball("train", label).path): 3}
    again, _ = host.fetch(request)
    assert again.complete


def test_clips_that_vanished_come_back_one_by_one_and_the_ledger_is_as_it_was(host: Host) -> None:
    label = SOUND[4]
    request = host.request(classes=label)
    host.fetch(request)
    host.note(host.places("train", label))
    before, rows = contents(host.data_dir), request.ledger.clips("train")
    for name in [*before][1:3]:
        (host.data_dir / name).unlink()

    plan, done = host.fetch(request)
    assert (plan.prices["entries"].count, plan.prices["cvdf"].count) == (2, 0)
    assert (done.is_whole, done.fetched) == (True, {"entries": 2})
    assert host.server.requests == [("GET", f"/600/{Tarball('train', label).path}")] * 2
    assert (contents(host.data_dir), request.ledger.clips("train")) == (before, rows)
    assert request.ledger.view("train").tarballs[label].state == "done"


def test_a_tarball_is_read_for_nearly_all_of_it(host: Host) -> None:
    shares = Counter[str]()  # of a tarball that its clips take, as tar fills it up with zeros
    for (label, _), place in host.places("train", *SOUND).items():
        shares[label] += 100 * place.entry.span_bytes // place.tarball_bytes
    ((nearly_all, share),) = shares.most_common(1)
    assert share >= 85
    request = host.request(classes=nearly_all)
    host.fetch(request)
    for name in contents(host.data_dir):
        (host.data_dir / name).unlink()
    plan, done = host.fetch(request)
    assert (plan.prices["entries"].count, plan.prices["cvdf"].count) == (0, 1)
    assert (done.is_whole, done.fetched) == (True, {"cvdf": 1})


def test_what_is_read_for_a_clip_of_unknown_place_gives_the_others_too(host: Host) -> None:
    places = host.places("train", SOUND[0])
    known, unknown, *_ = places
    del places[unknown]
    host.note(places)
    plan, done = host.fetch(host.request(manifest=manifest_of(host, [known, unknown])))
    assert (plan.prices["entries"].count, plan.prices["cvdf"].count) == (0, 1)
    assert (done.is_whole, done.fetched) == (True, {"cvdf": 1})


def test_a_tarball_that_the_host_has_no_more_is_named_as_ever(host: Host) -> None:
    chosen = one_of_each(host)[:2]
    host.note(host.places())
    host.path(chosen[0][0]).unlink()
    _, done = host.fetch(host.request(manifest=manifest_of(host, chosen)))
    assert (done.clips, [clip.reason for clip in done.missing]) == (1, ["tarball_not_found"])


def test_resized_clips_come_one_by_one_as_well(host: Host) -> None:
    label = SOUND[3]
    host.note(places := host.places("train", label), short_side=48)
    request = host.request(classes=label, max_samples=1, short_side=48)
    _, done = host.fetch(request)
    assert done.fetched == {"entries": 1}
    (row,) = request.ledger.clips("train")
    entry = places[label, row.file_name].entry
    size = (request.store.root / "train" / label / row.file_name).stat().st_size
    assert (row.size_bytes, row.crc32) == (size, entry.crc32)
    assert contents(request.store.root) != {
        f"train/{label}/{row.file_name}": host.miniature.clips["train"][label][row.file_name]
    }


def test_youtube_is_asked_nothing_about_them_but_keeps_its_own(host: Host) -> None:
    first, second = one_of_each(host)[:2]
    host.note(host.places())
    with youtube_replica() as youtube:
        youtube.videos[second[1][:11]] = good_video(96, 64, 5, seconds=600)
        options = {
            "source": "auto",
            "proxy": youtube.url,
            "yt_dlp_options": {"nocheckcertificate": True, "socket_timeout": 2},
            "requests_per_hour": 10_000_000,
        }
        _, done = host.fetch(host.request(manifest=manifest_of(host, [first], ""), **options))
        assert (done.fetched, youtube.count("/watch")) == ({"entries": 1}, 0)
        manifest = manifest_of(host, [second], "youtube")
        plan, _ = host.fetch(host.request(manifest=manifest, **options))
        assert (plan.prices["entries"].count, plan.prices["youtube"].count) == (0, 1)
        assert youtube.count("/watch") > 0
    assert not asked(host)


def test_a_test_clip_is_found_without_a_search_and_changes_no_later_choice(host: Host) -> None:
    few: dict[str, Any] = {"max_samples": 3, "shuffle": True, "seed": 2}
    elsewhere = str(host.data_dir.parent / "elsewhere")
    _, fresh = host.fetch(host.request("test", data_dir=elsewhere, **few), "test")

    part = "part_1"
    host.note(host.places("test", part))
    name = [*host.miniature.clips["test"][part]][-1]
    times, label = parse_file_name(name), host.miniature.labels[name]
    assert times is not None
    row = ManifestRow(Clip("test", label, *times), "cvdf")
    manifest = str(write_manifest([row], host.data_dir.parent / "chosen.csv"))
    plan, done = host.fetch(host.request("test", manifest=manifest), "test")
    assert (plan.open_ended, done.fetched) == (False, {"entries": 1})
    assert asked(host) == {("GET", f"test/{part}.tar.gz"): 1}

    _, later = host.fetch(host.request("test", **few), "test")
    assert names_of(later) == names_of(fresh)


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"shuffle": True, "seed": 2},
        {"max_per_class": 1, "shuffle": True},
        {"max_per_class": 1},
        {"max_per_class": 2},
        {"balanced": True},
    ],
)
def test_with_an_index_test_clips_are_chosen_as_ever_and_no_tarball_is_read(
    host: Host, limits: dict[str, Any]
) -> None:
    few: dict[str, Any] = {"max_samples": 4, **limits}
    elsewhere = str(host.data_dir.parent / "elsewhere")
    _, fresh = host.fetch(host.request("test", data_dir=elsewhere, **few), "test")
    places = [(name, place) for (_, name), place in host.places("test").items()]
    index = write_index(places, host.data_dir.parent / "index.parquet")
    plan, done = host.fetch(host.request("test", index=index, **few), "test")
    assert (plan.prices["entries"].count, plan.open_ended, plan.wanted_clips) == (4, False, 4)
    assert (names_of(done), done.fetched) == (names_of(fresh), {"entries": 4})
    assert sum(asked(host).values()) == 4


@pytest.mark.parametrize("limits", [{"max_samples": 4}, {"max_samples": 2, "shuffle": True}])
def test_an_index_of_tarballs_that_were_replaced_changes_no_choice(
    host: Host, limits: dict[str, Any]
) -> None:
    places = [(name, place) for (_, name), place in host.places("test").items()]
    index = write_index(places, host.data_dir.parent / "index.parquet")
    for part, clips in host.miniature.clips["test"].items():
        data = make_tarball(dict(reversed(clips.items())), gzipped=False)
        host.path(part, "test").write_bytes(data)
    elsewhere = str(host.data_dir.parent / "elsewhere")
    _, fresh = host.fetch(host.request("test", data_dir=elsewhere, **limits), "test")
    for _ in range(2):
        _, done = host.fetch(host.request("test", index=index, **limits), "test")
        assert names_of(done) == names_of(fresh)


def test_a_wrong_word_on_which_tarball_holds_a_test_clip_loses_none(host: Host) -> None:
    (one, *_), (other, *_) = (host.miniature.clips["test"][f"part_{n}"] for n in (0, 1))
    wrong = {one: other, other: one}
    places = [(wrong.get(name, name), place) for (_, name), place in host.places("test").items()]
    index = write_index(places, host.data_dir.parent / "index.parquet")
    rows = []
    for name in wrong:
        times = parse_file_name(name)
        assert times is not None
        rows.append(ManifestRow(Clip("test", host.miniature.labels[name], *times), "cvdf"))
    manifest = str(write_manifest(rows, host.data_dir.parent / "chosen.csv"))
    _, done = host.fetch(host.request("test", manifest=manifest, index=index), "test")
    assert names_of(done) == {*wrong}


def test_what_came_by_an_index_is_known_without_it_from_then_on(host: Host) -> None:
    places, chosen = host.places(), one_of_each(host)
    index = write_index(
        [(name, place) for (_, name), place in places.items()],
        host.data_dir.parent / "index.parquet",
    )
    host.fetch(host.request(manifest=manifest_of(host, chosen), index=index))

    known = host.request().ledger.places("train", chosen)
    assert known == {clip: places[clip] for clip in chosen}


def test_an_index_of_this_mirror_precedes_the_places_of_a_manifest_from_another(
    host: Host,
) -> None:
    places, chosen = host.places(), one_of_each(host)
    named = [(name, place) for (_, name), place in places.items()]
    index = write_index(named, host.data_dir.parent / "index.parquet")
    path = Path(manifest_of(host, chosen))
    rows = []
    for row in read_manifest(path).rows:
        place = dataclasses.replace(places[row.clip.candidate], etag='"another"')
        rows.append(dataclasses.replace(row, place=place))
    manifest = str(write_manifest(rows, path))
    plan, done = host.fetch(host.request(manifest=manifest, index=index))
    assert plan.prices["entries"].count == len(chosen)
    assert done.fetched == {"entries": len(chosen)}
    assert sum(asked(host).values()) == len(chosen)


def test_repair_asks_for_the_clips_alone(host: Host) -> None:
    labels = SOUND[:2]
    host.fetch(host.request(classes=labels))
    host.note(host.places("train", *labels))
    whole = contents(host.data_dir)
    for name in [*whole][1:9:4]:
        (host.data_dir / name).write_bytes(whole[name][:-99])
    host.server.requests.clear()
    report = verify_clips(host.request(classes=labels), repair=True)
    assert [finding.fate for finding in report.splits[0].bad] == ["repaired"] * 2
    assert (contents(host.data_dir), sum(asked(host).values())) == (whole, 2)


def test_after_ctrl_c_no_request_is_made_again(host: Host) -> None:
    released = threading.Event()
    waiting = itertools.count(1)

    def hold(method: str, path: str) -> None:
        if path.endswith(".tar.gz"):
            if next(waiting) == len(SOUND):
                os.kill(os.getpid(), signal.SIGINT)
            released.wait()

    host.note(host.places())
    options = {"manifest": manifest_of(host, one_of_each(host))}
    with web_server(host.data_dir.parent, hold=hold) as server:
        request = host.request(mirror=f"{server.url}/600", **options)
        request = dataclasses.replace(
            request, mirror=dataclasses.replace(request.mirror, request_seconds=1.0)
        )
        host.note(host.places(), mirror=f"{server.url}/600")
        limit = threading.Timer(50, released.set)  # each would be asked for again for two minutes
        limit.start()
        with pytest.raises(KeyboardInterrupt):
            fetch_split(request, "train")
        limit.cancel()
        assert not released.is_set()
        released.set()


def names_of(outcome: Outcome) -> set[str]:
    return {name for shard in outcome.shards for name in shard.names}


def test_what_the_ledger_says_of_a_tarball_rules_its_places(host: Host) -> None:
    place = next(iter(host.places().values()))
    row = TarballRow(place.tarball, "done", place.etag, place.tarball_bytes)
    assert is_usable(place, None)
    assert is_usable(place, row)
    assert not is_usable(place, dataclasses.replace(row, failures=1))
    assert not is_usable(place, dataclasses.replace(row, etag="another"))
    assert not is_usable(place, dataclasses.replace(row, size_bytes=1))
