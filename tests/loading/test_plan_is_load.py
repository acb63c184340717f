"""What the plan says is what the load then does, for random hosts, stores and requests."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

import kinetics600
from k600.dataset.clip import Clip, Tarball, parse_file_name
from k600.dataset.clip import Place as ClipPlace
from k600.dataset.labels import NAMES
from k600.dataset.splits import UNLABELED
from k600.errors import Kinetics600Error
from k600.loading.ask_host import settle
from k600.loading.estimate import forecast_split
from k600.loading.fetch import fetch_split
from k600.loading.manifest import ManifestRow, write_manifest
from k600.loading.missing import stored_shards
from k600.loading.outcome import Outcome
from k600.loading.plan import Plan, make_plan
from k600.loading.request import Request
from k600.loading.selection import Candidate
from k600.loading.state import State, read_state
from k600.loading.stream import stream_split
from k600.miniature import MACOS, PLAIN, Miniature, make_miniature
from k600.progress import Bar
from k600.publish.metadata import metadata_rows
from tests.places import make_plain, note, places_in, write_index
from tests.servers import web_server
from tests.youtube_replica import Replica, youtube_replica
from tests.youtube_videos import FAILURES, good_video

CLASSES = [MACOS, PLAIN, "zumba"]

OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "classes": st.lists(st.sampled_from(CLASSES), min_size=1, max_size=2, unique=True),
    "max_per_class": st.integers(1, 4),
    "shuffle": st.booleans(),
    "balanced": st.booleans(),
    "seed": st.integers(0, 3),
    "retry_errors": st.booleans(),
    "on_missing": st.sampled_from(["skip", "warn", "raise"]),
}
FROM_TARBALLS = st.fixed_dictionaries(
    {},
    optional={
        **OPTIONS,
        "max_samples": st.integers(1, 9),
        "source": st.sampled_from(["cvdf", "cvdf", "local"]),
    },
)
"""Options of a request for clips of the tarballs."""

FROM_YOUTUBE = st.fixed_dictionaries(
    {"max_samples": st.integers(1, 2), "source": st.sampled_from(["auto", "youtube"])},
    optional=OPTIONS,
)
"""Options of a request for a few clips, which YouTube is asked for first."""


@dataclass(frozen=True)
class Example:
    """What happens before the load, and what it is to bring."""

    split: str
    labels: bool
    """Whether the labels of test clips can be had."""
    missing: int | None
    """Which tarball the host has no more."""
    damaged: int | None
    """Which one has a byte flipped."""
    condemned: bool
    """Whether two loads have found that out already."""
    earlier: dict[str, Any] | None
    """The request of an earlier load, if there was any."""
    vanished: list[int]
    """Which of the clips in the store are gone again."""
    options: dict[str, Any]
    frozen: list[int]
    """Which clips a manifest asks for instead; none for a request without a manifest."""
    says_where: bool
    """Whether the manifest says which tarball holds a clip, and what is in its file."""
    refetch: bool
    line: str
    """How the mirror is reached: `file`, `http`, or `offline`, where it would be by HTTP."""
    places: str
    """What is known of the places of clips: nothing (``), what is `right`, what is `wrong` of each
    tarball's first ones, or of objects that have `changed`."""
    known_by: str
    """What knows them: `ledger`, `manifest` (if there is one) or `index`."""
    youtube: str
    """What YouTube does: it has all (`good`), half (`half`), or refuses (`blocked`)."""
    little_bytes: int
    """Up to which size tarballs are read where YouTube may be asked: it is faster always."""


def examples(
    options: st.SearchStrategy[dict[str, Any]], youtube: st.SearchStrategy[str]
) -> st.SearchStrategy[Example]:
    numbers = st.integers(0, 30)
    return st.builds(
        Example,
        split=st.sampled_from(["train", "validation", "test"]),
        labels=st.booleans(),
        missing=st.none() | numbers,
        damaged=st.none() | numbers,
        condemned=st.booleans(),
        earlier=st.none() | FROM_TARBALLS,
        vanished=st.lists(numbers, max_size=3),
        options=options,
        frozen=st.just([]) | st.lists(numbers, max_size=6),
        says_where=st.booleans(),
        refetch=st.sampled_from([False, False, True]),
        line=st.sampled_from(["file", "file", "http", "offline"]),
        places=st.sampled_from(["", "right", "right", "wrong", "changed"]),
        known_by=st.sampled_from(["ledger", "manifest", "index"]),
        youtube=youtube,
        little_bytes=st.sampled_from([0, 5_000, 10_000, 10**9]),
    )


@dataclass
class Recorder:
    """A progress that writes down which tarballs were read, and what YouTube was asked for."""

    read: list[str] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    """Clips that YouTube was asked for, round by round."""

    @contextmanager
    def __call__(self, total: int, description: str, *, unit: str = "B") -> Iterator[Bar]:
        recorder = self
        if unit != "B":
            self.asked.append(total)

        class Recording(Bar):
            def begin(self, part: str, total: int) -> None:
                recorder.read.append(part)

        yield Recording()


@dataclass
class Place:
    """A host and a store of one example."""

    example: Example
    host: Miniature
    root: Path
    proxy: str
    pace: int
    """Requests to YouTube in an hour: another in each example, so that none knows of a block."""
    damaged: set[str] = field(default_factory=set)
    """Paths of tarballs that do not read well, which no plan can know."""
    known: set[str] = field(default_factory=set)
    """Those that the plan does know."""
    lost: set[str] = field(default_factory=set)
    """Those that are not there."""

    def request(self, mirror: str, **options: Any) -> Request:
        known = self.host.test_labels if self.example.labels else self.root / "nowhere"
        if "max_samples" not in options and "max_per_class" not in options:
            options = {k: v for k, v in options.items() if k not in ("shuffle", "balanced", "seed")}
        request = kinetics600.make_request(
            self.example.split,
            **{
                "mirror": mirror,
                "test_labels": str(known),
                "data_dir": str(self.root / "clips"),
                "source": "cvdf",
                "num_workers": 2,
                "proxy": self.proxy,
                "yt_dlp_options": {"nocheckcertificate": True, "socket_timeout": 2},
                "patience_seconds": 0,
                "requests_per_hour": self.pace,
                **options,
            },
        )
        return replace(request, offline=self.example.line == "offline")

    def tarballs(self) -> list[Path]:
        return sorted((self.root / "600").rglob("*.tar.gz"))

    def path_of(self, tarball: str) -> str:
        """Return the path of a tarball by its name."""
        split = self.example.split
        return f"{'val' if split == 'validation' else split}/{tarball}.tar.gz"

    @contextlib.contextmanager
    def mirror(self) -> Iterator[str]:
        """Reach the host as the example says."""
        if self.example.line == "file":
            yield str(self.root / "600")
            return
        with web_server(self.root) as server:
            yield f"{server.url}/600"


class Hosts:
    """Holds a miniature and a YouTube of which hypothesis is not to show every byte."""

    def __init__(self, miniature: Miniature, replica: Replica) -> None:
        self.miniature, self.replica = miniature, replica
        self.paces = itertools.count(10_000_000)
        clips = [c for tarballs in miniature.clips.values() for c in tarballs.values()]
        self.ids = sorted({name[:11] for names in clips for name in names})

    def set_youtube(self, mode: str) -> None:
        """Have YouTube do as an example says."""
        good = good_video(96, 64, 5, seconds=600)
        bad = FAILURES["private"] if mode == "half" else good
        self.replica.videos.update(zip(self.ids, itertools.cycle((bad, good))))
        self.replica.blocked = mode == "blocked"


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with youtube_replica() as replica:
        yield Hosts(make_miniature(tmp_path_factory.mktemp("host"), classes=CLASSES), replica)


def prepare(place: Place, mirror: str) -> dict[str, Any]:
    """Make the host and the store of an example; return the options of its request."""
    example = place.example
    folder, tarballs = place.root / "600", place.tarballs()
    if example.missing is not None:
        gone = tarballs[example.missing % len(tarballs)]

    # Of the tarball that is lost the store may have something; the damaged one was never good.
    if example.damaged is not None:
        spoil(path := tarballs[example.damaged % len(tarballs)])
        place.damaged.add(path.relative_to(folder).as_posix())
    if example.earlier is not None:
        load(place.request(mirror, **example.earlier), place)
    for _ in range(2 if example.condemned and example.damaged is not None else 0):
        load(place.request(mirror), place)
    stored = sorted((place.root / "clips").rglob("*.mp4"))
    for number in example.vanished if stored else ():
        stored[number % len(stored)].unlink(missing_ok=True)
    more, places = know_places(place, mirror)
    if example.missing is not None:
        gone.unlink()
        place.lost.add(gone.relative_to(folder).as_posix())
        place.damaged -= place.lost

    if not example.frozen:
        return {**example.options, **more}
    kept = ("retry_errors", "source", "on_missing")
    options = {name: value for name, value in example.options.items() if name in kept}
    return {**options, **more, "manifest": write_example(place, places)}


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def know_places(
    place: Place, mirror: str
) -> tuple[dict[str, str], dict[tuple[str, str], ClipPlace]]:
    """Have ledger or index know where clips lie; return the options for that, and the places for
    a manifest, by tarball and file name.
    """
    example, request = place.example, place.request(mirror)
    names = place.host.clips[example.split] if example.places else ()
    found: dict[tuple[str, str], ClipPlace] = {}
    for tarball in (Tarball(example.split, name) for name in names):
        own = places_in(request, tarball, place.root / "600")
        if example.places == "wrong":
            first, second, *_ = own
            own[first] = own[second]
        found |= {(tarball.name, name): lies for name, lies in own.items()}
    if example.places == "changed":
        for path in place.tarballs():
            os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 10**9))

    pairs = [(name, lies) for (_, name), lies in found.items()]
    if pairs and example.known_by == "ledger":
        note(request, pairs)
    if pairs and example.known_by == "index":
        return {"index": write_index(pairs, place.root / "index.parquet")}, {}
    return {}, found if example.known_by == "manifest" else {}


def write_example(place: Place, places: Mapping[tuple[str, str], ClipPlace]) -> str:
    """Write the manifest of an example."""
    example, split = place.example, place.example.split
    clips = place.host.clips[split]
    known = [(tarball, name) for tarball, files in clips.items() for name in sorted(files)]
    rows = {}
    for number in example.frozen:
        tarball, name = known[number % len(known)]
        times = parse_file_name(name)
        assert times is not None
        label = place.host.labels[name] if split == "test" else tarball
        clip = Clip(split, label, *times)
        row = ManifestRow(clip, "cvdf")
        if example.says_where:
            lies = places.get((tarball, name))
            digest = sha256(clips[tarball][name])
            row = replace(row, tarball=tarball, sha256=digest, place=lies)
        rows[clip] = row
    return str(write_manifest(rows.values(), place.root / "chosen.csv"))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def load(
    request: Request, place: Place, *, refetch: bool = False
) -> tuple[Outcome | None, Recorder]:
    """Load; return what came of it, None if there is no clip, and what was asked for."""
    recorder = Recorder()
    split = place.example.split
    try:
        outcome = fetch_split(replace(request, progress=recorder), split, refetch=refetch)
    except Kinetics600Error as error:
        event(f"load: {type(error).__name__}")
        return None, recorder
    return outcome, recorder


def plan_of(request: Request, place: Place, *, refetch: bool = False) -> tuple[State, Plan]:
    state = read_state(request, place.example.split, keep=False)
    return settle(state, partial(make_plan, refetch=refetch), refetch=refetch)


def files_of(outcome: Outcome | None) -> set[tuple[str, str]]:
    """Return folder and file name of what a load gives."""
    shards = outcome.shards if outcome else ()
    return {(shard.folder, name) for shard in shards for name in shard.names}


def clips_of(outcome: Outcome | None) -> set[Candidate]:
    """Return class and file name of what a load gives."""
    shards = outcome.shards if outcome else ()
    return {
        (found.clip.label or UNLABELED, found.clip.file_name)
        for shard in shards
        for found in shard.clips()
    }


def here_of(state: State, plan: Plan) -> set[tuple[str, str]]:
    """Return folder and file name of the clips of a plan that are there."""
    shards = stored_shards(state, plan.chosen if state.request.chooses else None)
    return {(shard.folder, name) for shard in shards for name in shard.names}


def clip_of(row: dict[str, Any]) -> Candidate:
    """Return class and file name of a row."""
    times = (row["youtube_id"], row["time_start"], row["time_end"])
    label = UNLABELED if row["label"] is None else NAMES[row["label"]]
    return label, Clip(row["split"], None, *times).file_name


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(example=examples(FROM_TARBALLS, st.just("blocked")))
def test_what_the_plan_says_is_what_the_load_then_does(
    hosts: Hosts, tmp_path_factory: pytest.TempPathFactory, example: Example
) -> None:
    check(hosts, tmp_path_factory.mktemp("example"), example)


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(example=examples(FROM_YOUTUBE, st.sampled_from(["good", "good", "half", "blocked"])))
def test_so_it_is_where_youtube_is_asked_first(
    hosts: Hosts, tmp_path_factory: pytest.TempPathFactory, example: Example
) -> None:
    check(hosts, tmp_path_factory.mktemp("example"), example)


def check(hosts: Hosts, root: Path, example: Example) -> None:
    place = Place(example, hosts.miniature, root, hosts.replica.url, next(hosts.paces))
    shutil.copytree(hosts.miniature.root, root / "600")
    if example.places:
        make_plain(root / "600")
    hosts.set_youtube(example.youtube)
    with place.mirror() as mirror, pytest.MonkeyPatch.context() as patch:
        patch.setattr("k600.loading.cheaper.LITTLE_BYTES", example.little_bytes)
        patch.setattr("k600.loading.cheaper.USUAL_BYTES_PER_SECOND", 1e-3)
        options = prepare(place, mirror)
        request, refetch = place.request(mirror, **options), example.refetch
        try:
            state, plan = plan_of(request, place, refetch=refetch)
        except Kinetics600Error as error:  # a plan that cannot be made is no load, either
            event(f"plan: {type(error).__name__}")
            with pytest.raises(type(error)):
                fetch_split(request, example.split, refetch=refetch)
            return

        # A damaged tarball that is known is not read: nothing about it is left to chance.
        place.known = place.damaged & {tarball.path for tarball in state.host.failures}
        place.damaged -= place.known
        if not refetch:
            check_forecast(request, place, state, plan)
        streamed = streamed_clips(request, place)
        listed = listed_clips(request, place)
        outcome, recorder = load(request, place, refetch=refetch)
        check_load(request, place, state, plan, outcome, recorder)
        check_rows(request, place, state, plan, outcome, streamed, listed)


def check_forecast(request: Request, place: Place, state: State, plan: Plan) -> None:
    """Check that what is told of a plan is the plan."""
    forecast = forecast_split(request, place.example.split)
    sizes = [state.host.remotes[read.tarball].size_bytes for read in plan.reads]
    tarballs = forecast.prices["cvdf"]
    assert (tarballs.count, tarballs.size_bytes) == (len(sizes), sum(sizes))
    assert forecast.prices["youtube"].count == len(plan.youtube)
    spans = [lies.entry.span_bytes for lies in plan.entries.values()]
    entries = forecast.prices["entries"]
    assert (entries.count, entries.size_bytes) == (len(spans), sum(spans))
    assert forecast.open_ended == plan.open_ended


def check_load(
    request: Request,
    place: Place,
    state: State,
    plan: Plan,
    outcome: Outcome | None,
    recorder: Recorder,
) -> None:
    """Check that a load did what was planned."""
    sizes = {read.tarball.path: state.host.remotes[read.tarball].size_bytes for read in plan.reads}
    event(f"reads {min(len(sizes), 3)}, {'open' if plan.open_ended else 'closed'}")
    event(f"asks {len(plan.youtube)}")
    event(f"places {place.example.places}: {min(len(plan.entries), 3)}")
    doubted = {
        lies.tarball.path
        for lies in plan.entries.values()
        if place.example.places in ("wrong", "changed")
        or lies.tarball.path in place.damaged | place.lost
    }
    lost = set(plan.chosen) - set(plan.refused) - clips_of(outcome)

    # The clips that are planned are there then, but for those that proved not to be had.
    if outcome is not None and not plan.open_ended:
        assert {name for _, name in lost} <= excused(request, place, state, outcome)
        if not request.chooses and not place.damaged:
            assert {name for _, name in clips_of(outcome)} == planned_names(place, state, plan)
        # What is to be fetched again, but cannot be had any more, stays as it was.
        kept = place.example.refetch and bool(place.lost | place.damaged | place.known)
        if request.chooses and not lost and not kept:
            assert clips_of(outcome) == set(plan.chosen) - set(plan.refused) - differing(outcome)

    # YouTube is asked for what is planned, and for more only in place of what was lost.
    if plan.youtube:
        assert recorder.asked[0] == len(plan.youtube)
    if not (lost or doubted):
        assert recorder.asked == ([len(plan.youtube)] if plan.youtube else [])

    # The tarballs that are planned are read, and no others, unless clips had to be replaced, or
    # come from there as YouTube does not give them.
    read, refused = recorder.read, bool(plan.youtube) and place.example.youtube != "good"
    assert set(sizes) <= set(read)
    if outcome is not None and not (plan.open_ended or (request.chooses and lost) or refused):
        assert set(sizes) <= set(read) <= set(sizes) | doubted
        if not doubted:  # and the clips that lie where they should come by one request each
            assert outcome.fetched["entries"] == len(plan.entries)
            assert outcome.fetched_bytes["entries"] == sum(
                lies.entry.span_bytes for lies in plan.entries.values()
            )
        # One that does not read well is read twice before it is left out.
        times = {path: 1 + (path in place.damaged) for path in sizes}
        assert all(read.count(path) <= times[path] for path in sizes)
        there = doubted - place.lost
        sizes |= {path: (place.root / "600" / path).stat().st_size for path in there}
        times |= dict.fromkeys(doubted, 2)
        assert outcome.fetched_bytes["cvdf"] <= sum(
            size * times[path] for path, size in sizes.items()
        )

    # Planned anew, nothing more is to come than what failed, and passes or is asked for again.
    if outcome is not None and not request.retry_errors:
        after, rest = plan_of(request, place)
        paths = {each.tarball.path for each in (*rest.reads, *rest.entries.values())}
        assert paths <= {*outcome.failures, *place.lost, *place.damaged}
        # (Chosen clips of a tarball that is gone are asked for again where their places are known.)
        if request.chooses and not paths.isdisjoint(place.lost):
            return
        assert here_of(after, rest) >= files_of(outcome) - differing_files(outcome)
        if outcome.is_whole and outcome.settled:
            assert not rest.youtube
            assert not rest.reads
            assert not rest.entries


def excused(request: Request, place: Place, state: State, outcome: Outcome) -> set[str]:
    """Return the file names of clips that no plan could know not to be had."""
    view = request.ledger.view(place.example.split)
    names = {row.file_name for row in view.others if row.reason}
    names |= {answer.file_name for answer in view.answers if answer.kind != "have"}
    names |= {clip.file_name for clip in outcome.missing if clip.reason == "youtube_blocked"}
    if request.limits.max_samples and request.limits.max_per_class:
        # In place of one that is lost, its class's next may come, and rank before another class's.
        names |= {path.name for path in (place.root / "clips").rglob("*.mp4")}
    for tarball, clips in place.host.clips[place.example.split].items():
        if place.path_of(tarball) in place.damaged | place.lost:
            names |= {*clips, *state.host.listing.get(tarball, ())}
    return names


def planned_names(place: Place, state: State, plan: Plan) -> set[str]:
    """Return the file names that a plan for whole classes is to bring."""
    names = {name for _, name in here_of(state, plan)}
    names |= {c[1] for c, lies in plan.entries.items() if lies.tarball.path not in place.lost}
    for read in plan.reads:
        held = place.host.clips[place.example.split][read.tarball.name]
        names |= set(held) if read.wanted is None else read.wanted.intersection(held)
    return names


def differing(outcome: Outcome) -> set[Candidate]:
    odd = [clip for clip in outcome.missing if clip.reason == "differs"]
    return {(clip.label, clip.file_name) for clip in odd}


def differing_files(outcome: Outcome) -> set[tuple[str, str]]:
    return {(f"{outcome.split}/{label}", name) for label, name in differing(outcome)}


def streamed_clips(request: Request, place: Place) -> set[Candidate] | None:
    """Return what a stream gives; None where it cannot, or is to raise over what is missing."""
    try:
        shards = stream_split(request, place.example.split)
        rows = [clip_of(row) for shard in shards for row in shard.records()]
    except Kinetics600Error as error:
        event(f"stream: {type(error).__name__}")
        return None
    assert len(rows) == len(set(rows))
    return set(rows)


def listed_clips(request: Request, place: Place) -> set[Candidate] | None:
    """Return the clips of a table of metadata; None where it cannot be had."""
    try:
        rows = metadata_rows(request, place.example.split)
    except Kinetics600Error as error:
        event(f"metadata: {type(error).__name__}")
        return None
    return {clip_of(row) for row in rows}


def check_rows(
    request: Request,
    place: Place,
    state: State,
    plan: Plan,
    outcome: Outcome | None,
    streamed: set[Candidate] | None,
    listed: set[Candidate] | None,
) -> None:
    """Check that a stream and a table of metadata have the clips that a load brings."""
    sound = not (place.damaged or place.lost or place.known)
    if outcome is None or place.example.refetch or "youtube" in request.sources or not sound:
        return
    loaded, mixed = clips_of(outcome), place.example.split == "test"
    if not request.chooses:
        assert streamed is None or streamed == loaded
        # The host's list does not name all that is in its tarballs.
        unlisted = [c for c in loaded if c[1] not in state.host.listing.get(c[0], ())]
        assert listed is None or mixed or loaded.difference(unlisted) <= listed
    elif not plan.open_ended:
        assert streamed is None or streamed == loaded.intersection(plan.chosen)
        assert listed is None or mixed or listed == set(plan.chosen)
