from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from k600.dataset.clip import Tarball
from k600.loading.reads import plan_reads
from k600.store.rows import ClipRow, TarballRow
from k600.tarballs.extract import TarballRead
from tests.ledger_views import view_of

ZUMBA, YOGA = Tarball("train", "zumba"), Tarball("train", "yoga")


def row(tarball: Tarball, state: str) -> TarballRow:
    return TarballRow(tarball, state, "etag", 5)


def clip(tarball: Tarball, name: str, state: str) -> ClipRow:
    return ClipRow(tarball, 0, f"train/{tarball.name}", name, state, "", "", 1)


def plan(rows, clips, here, **options):  # type: ignore[no-untyped-def]
    known = view_of({row.tarball.name: row for row in rows}, clips)
    copies = options.pop("copies", {})
    there = {folder: {*names} - copies.get(folder, set()) for folder, names in here.items()}
    return plan_reads([ZUMBA, YOGA], known, lambda folder: there.get(folder, ()), **options)


def test_what_is_unknown_is_read_whole() -> None:
    assert plan([], [], {}) == [TarballRead(ZUMBA), TarballRead(YOGA)]
    for state in ("started", "partial"):
        assert plan([row(ZUMBA, state)], [], {}) == [TarballRead(ZUMBA), TarballRead(YOGA)]


def test_what_is_done_and_there_is_not_read() -> None:
    rows = [row(ZUMBA, "done"), row(YOGA, "done")]
    clips = [clip(ZUMBA, "a", "have"), clip(YOGA, "b", "bad"), clip(YOGA, "c", "absent")]
    assert plan(rows, clips, {"train/zumba": {"a"}}) == []


def test_what_vanished_is_read_up_to_the_last_of_it() -> None:
    rows = [row(ZUMBA, "done"), row(YOGA, "done")]
    clips = [clip(ZUMBA, "a", "have"), clip(ZUMBA, "b", "have"), clip(ZUMBA, "c", "skipped")]
    needs = plan(rows, clips, {"train/zumba": {"a"}})
    assert needs == [TarballRead(ZUMBA, frozenset("bc"), until_found=True)]
    assert plan(rows, clips, {"train/zumba": {"a"}}, wanted=frozenset("ac")) == [
        TarballRead(ZUMBA, frozenset("c"), until_found=True)
    ]


def test_proved_failures_are_asked_again_only_on_request() -> None:
    rows = [row(ZUMBA, "done"), row(YOGA, "done")]
    clips = [clip(ZUMBA, "a", "absent"), clip(YOGA, "b", "bad")]
    assert plan(rows, clips, {}) == []
    assert plan(rows, clips, {}, retry_errors=True) == [TarballRead(ZUMBA), TarballRead(YOGA)]


def test_a_condemned_tarball_is_planned_and_its_etag_decides() -> None:
    assert plan([row(ZUMBA, "damaged"), row(YOGA, "done")], [], {}) == [TarballRead(ZUMBA)]


def test_clips_that_came_from_a_tarball_without_its_end_are_no_reason_not_to_read_it() -> None:
    here, listing = {"train/zumba": {"a"}, "train/yoga": {"b"}}, {"zumba": ["a"], "yoga": ["b"]}
    few = row(ZUMBA, "partial")
    assert plan([few], [clip(ZUMBA, "a", "skipped")], here, listing=listing) == []
    brought = clip(ZUMBA, "a", "have")._replace(source="cvdf")
    assert plan([few], [brought], here, listing=listing) == [TarballRead(ZUMBA)]


def test_copies_are_read_anew_where_the_originals_are_asked_for() -> None:
    here, listing = {"train/zumba": {"a"}, "train/yoga": {"b", "c"}}, {"zumba": ["a"]}
    clips = [clip(YOGA, "b", "have"), clip(YOGA, "c", "have")]
    copies = {"train/zumba": {"a"}, "train/yoga": {"c"}}
    rows = [row(YOGA, "done")]
    assert plan(rows, clips, here, listing=listing) == []
    assert plan(rows, clips, here, listing=listing, copies=copies) == [
        TarballRead(ZUMBA),
        TarballRead(YOGA, frozenset("c"), until_found=True),
    ]


def test_everything_is_read_again_on_request() -> None:
    rows = [row(ZUMBA, "done"), row(YOGA, "done")]
    assert plan(rows, [], {}, refetch=True) == [TarballRead(ZUMBA), TarballRead(YOGA)]


states = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from(["have", "bad", "skipped", "absent"])),
    unique_by=lambda pair: pair[0],
)


@given(states, st.sets(st.sampled_from("abcdef")), st.sets(st.sampled_from("abcdef")))
def test_after_carrying_out_a_plan_there_is_nothing_left_to_plan(
    members: list[tuple[str, str]], here: set[str], wanted: set[str]
) -> None:
    rows = [row(ZUMBA, "done"), row(YOGA, "done")]
    clips = [clip(ZUMBA, name, state) for name, state in members]
    asked = frozenset(wanted)
    for need in plan(rows, clips, {"train/zumba": here}, wanted=asked):
        assert need.until_found
        assert need.wanted
        assert need.wanted <= asked - here
        here = here | need.wanted
    assert plan(rows, clips, {"train/zumba": here}, wanted=asked) == []
