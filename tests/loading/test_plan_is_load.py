"""What the plan says is what the load then does, for random hosts, stores and requests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

import kinetics600
from k600.clip import Clip, parse_file_name
from k600.errors import Kinetics600Error
from k600.loading.ask_host import settle
from k600.loading.estimate import forecast_split
from k600.loading.fetch import fetch_split
from k600.loading.manifest import ManifestRow, write_manifest
from k600.loading.outcome import Outcome
from k600.loading.plan import Plan, make_plan
from k600.loading.request import Request
from k600.loading.state import State, read_state
from k600.miniature import MACOS, PLAIN, Miniature, make_miniature
from k600.progress import Bar

CLASSES = [MACOS, PLAIN, "zumba"]
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "classes": st.lists(st.sampled_from(CLASSES), min_size=1, max_size=2, unique=True),
        "max_samples": st.integers(1, 9),
        "max_per_class": st.integers(1, 4),
        "shuffle": st.booleans(),
        "balanced": st.booleans(),
        "seed": st.integers(0, 3),
        "retry_errors": st.booleans(),
        "source": st.sampled_from(["cvdf", "cvdf", "local"]),
    },
)
"""Options of a request for clips of the tarballs."""


@dataclass
class Recorder:
    """A progress that writes down which tarballs were read."""

    read: list[str] = field(default_factory=list)

    @contextmanager
    def __call__(self, total: int, description: str, *, unit: str = "B") -> Iterator[Bar]:
        recorder = self

        class Recording(Bar):
            def begin(self, part: str, total: int) -> None:
                recorder.read.append(part)

        yield Recording()


@dataclass
class Place:
    """A host and a store of one example."""

    host: Miniature
    root: Path

    def request(self, split: str, *, labels: bool = True, **options: Any) -> Request:
        known = self.host.test_labels if labels else self.root / "nowhere"
        if "max_samples" not in options and "max_per_class" not in options:
            options = {k: v for k, v in options.items() if k not in ("shuffle", "balanced", "seed")}
        return kinetics600.make_request(
            split,
            **{
                "mirror": str(self.root / "600"),
                "test_labels": str(known),
                "data_dir": str(self.root / "clips"),
                "source": "cvdf",
                "num_workers": 2,
                **options,
            },
        )

    def tarballs(self) -> list[Path]:
        return sorted((self.root / "600").rglob("*.tar.gz"))

    def stored(self) -> list[Path]:
        return sorted((self.root / "clips").rglob("*.mp4"))

    def path_of(self, path: str) -> Path:
        return self.root / "600" / path


class Host:
    """Holds a miniature of which hypothesis is not to show every byte."""

    def __init__(self, miniature: Miniature) -> None:
        self.miniature = miniature


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return Host(make_miniature(tmp_path_factory.mktemp("host"), classes=CLASSES))


def plan_of(request: Request, split: str, *, refetch: bool = False) -> tuple[State, Plan]:
    state = read_state(request, split, offline=False, keep=False)
    return settle(state, lambda each: make_plan(each, refetch=refetch), refetch=refetch)


def load(
    request: Request, split: str, *, refetch: bool = False
) -> tuple[Outcome | None, list[str]]:
    """Load; return what came of it, None if there is no clip, and the tarballs that were read."""
    recorder = Recorder()
    try:
        return fetch_split(request, split, progress=recorder, refetch=refetch), recorder.read
    except Kinetics600Error as error:
        event(f"load: {type(error).__name__}")
        return None, recorder.read


def files_of(outcome: Outcome | None) -> set[tuple[str, str]]:
    shards = outcome.shards if outcome else ()
    return {(shard.folder, name) for shard in shards for name in shard.names}


def here_of(plan: Plan) -> set[tuple[str, str]]:
    return {(folder, name) for folder, names in plan.here.items() for name in names}


@dataclass(frozen=True)
class Example:
    """What happens before the load, and what it is to bring."""

    split: str
    labels: bool
    """Whether the labels of test clips can be had."""
    earlier: dict[str, Any] | None
    """The request of an earlier load, if there was any."""
    vanished: list[int]
    """Which of the clips in the store are gone again."""
    missing: int | None
    """Which tarball the host has no more."""
    damaged: int | None
    """Which one has a byte flipped."""
    options: dict[str, Any]
    frozen: list[int]
    """Which clips a manifest asks for instead; none for a request without a manifest."""
    says_where: bool
    """Whether the manifest says which tarball holds a clip."""
    refetch: bool


EXAMPLES = st.builds(
    Example,
    split=st.sampled_from(["train", "validation", "test"]),
    labels=st.booleans(),
    earlier=st.none() | REQUESTS,
    vanished=st.lists(st.integers(0, 30), max_size=3),
    missing=st.none() | st.integers(0, 9),
    damaged=st.none() | st.integers(0, 9),
    options=REQUESTS,
    frozen=st.just([]) | st.lists(st.integers(0, 30), max_size=6),
    says_where=st.booleans(),
    refetch=st.sampled_from([False, False, True]),
)


def prepare(place: Place, example: Example) -> tuple[dict[str, Any], set[str]]:
    """Make the host and the store of an example; return the options and the damaged tarballs."""
    if example.earlier is not None:
        try:
            load(
                place.request(example.split, labels=example.labels, **example.earlier),
                example.split,
            )
        except Kinetics600Error:
            event("no earlier request")
    for number in example.vanished if (stored := place.stored()) else ():
        stored[number % len(stored)].unlink(missing_ok=True)

    tarballs, damaged = place.tarballs(), set[str]()
    if example.missing is not None:
        tarballs.pop(example.missing % len(tarballs)).unlink()
    if example.damaged is not None:
        path = tarballs[example.damaged % len(tarballs)]
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
        damaged.add(path.relative_to(place.root / "600").as_posix())

    if not example.frozen:
        return example.options, damaged
    options = {k: v for k, v in example.options.items() if k in ("retry_errors", "source")}
    return {**options, "manifest": write_example(place, example)}, damaged


def write_example(place: Place, example: Example) -> str:
    """Write the manifest of an example."""
    clips = place.host.clips[example.split]
    known = [(tarball, name) for tarball, files in clips.items() for name in sorted(files)]
    rows = {}
    for number in example.frozen:
        tarball, name = known[number % len(known)]
        times = parse_file_name(name)
        assert times is not None
        label = place.host.labels[name] if example.split == "test" else tarball
        clip = Clip(example.split, label, *times)
        rows[clip] = ManifestRow(clip, "cvdf", tarball if example.says_where else "")
    return str(write_manifest(rows.values(), place.root / "chosen.csv"))


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(example=EXAMPLES)
def test_what_the_plan_says_is_what_the_load_then_does(
    host: Host, tmp_path_factory: pytest.TempPathFactory, example: Example
) -> None:
    place = Place(host.miniature, tmp_path_factory.mktemp("example"))
    shutil.copytree(host.miniature.root, place.root / "600")
    options, damaged = prepare(place, example)
    split, labels, refetch = example.split, example.labels, example.refetch
    request = place.request(split, labels=labels, **options)
    try:
        state, plan = plan_of(request, split, refetch=refetch)
    except Kinetics600Error as error:  # a plan that cannot be made is no load, either
        event(f"plan: {type(error).__name__}")
        with pytest.raises(type(error)):
            fetch_split(request, split, progress=Recorder(), refetch=refetch)
        return

    sizes = {read.tarball.path: state.host.remotes[read.tarball].size_bytes for read in plan.reads}
    if not refetch:
        forecast = forecast_split(request, split)
        assert (forecast.tarballs, forecast.tarball_bytes) == (len(sizes), sum(sizes.values()))
    outcome, read = load(request, split, refetch=refetch)
    event(f"reads {min(len(sizes), 3)}, {'open' if plan.open_ended else 'closed'}")

    # The clips that are planned are there then, but for those that proved not to be had.
    there = {name for _, name in files_of(outcome)}
    lost = {name for _, name in plan.chosen} - there
    if outcome is not None and not plan.open_ended:
        bad = {row.file_name for row in request.ledger.view(split).others if row.reason}
        failed = set(outcome.failures) | {place_of(split, clip.tarball) for clip in outcome.missing}
        assert lost <= bad or failed or damaged
        if not plan.reads:
            assert files_of(outcome) <= here_of(plan)

    # The tarballs that are planned are read, and no others, unless clips had to be replaced.
    assert set(sizes) <= set(read)
    replaced = outcome is None or (request.chooses and bool(lost))
    if outcome is not None and not (plan.open_ended or replaced):
        assert set(read) == set(sizes)
        # One that does not read well is read twice before it is left out.
        times = {path: 1 + (path in damaged) for path in sizes}
        assert all(read.count(path) <= times[path] for path in sizes)
        assert outcome.fetched_bytes <= sum(size * times[path] for path, size in sizes.items())

    # Planned anew, nothing more is to come than what failed, and passes or is asked for again.
    if outcome is not None and not request.retry_errors:
        _, rest = plan_of(request, split)
        failed = set(outcome.failures) | {place_of(split, clip.tarball) for clip in outcome.missing}
        assert {each.tarball.path for each in rest.reads} <= failed | damaged
        assert here_of(rest) >= files_of(outcome) - _differing(outcome)


def place_of(split: str, tarball: str) -> str:
    return f"{'val' if split == 'validation' else split}/{tarball}.tar.gz"


def _differing(outcome: Outcome) -> set[tuple[str, str]]:
    return {(f"{c.split}/{c.label}", c.file_name) for c in outcome.missing if c.reason == "differs"}
