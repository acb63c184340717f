from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from k600.dataset.labels import NAMES
from k600.loading.selection import Candidate, Limits, choose_clips, walk_clips, walk_order

tables = st.dictionaries(
    st.sampled_from(["abseiling", "yoga", "zumba", "tie dying"]),
    st.lists(st.text("abcdef", min_size=1, max_size=3), max_size=8),
)
limits = st.builds(
    Limits,
    max_samples=st.none() | st.integers(1, 20),
    max_per_class=st.none() | st.integers(1, 5),
    balanced=st.booleans(),
    shuffle=st.booleans(),
    seed=st.integers(0, 5),
)


def everything(names: dict[str, list[str]]) -> set[Candidate]:
    return {(label, name) for label, files in names.items() for name in files}


@given(tables, limits)
def test_the_order_of_the_candidates_does_not_matter(
    names: dict[str, list[str]], asked: Limits
) -> None:
    turned = {label: files[::-1] for label, files in reversed(names.items())}
    assert choose_clips(names, asked) == choose_clips(turned, asked)


@given(tables, limits)
def test_the_limits_hold_and_nothing_is_left_out_without_cause(
    names: dict[str, list[str]], asked: Limits
) -> None:
    chosen = choose_clips(names, asked)
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= everything(names)
    per_class = Counter(label for label, _ in everything(names))
    most = sum(min(count, asked.max_per_class or count) for count in per_class.values())
    assert len(chosen) == min(most, asked.max_samples or most)
    if asked.max_per_class:
        assert all(n <= asked.max_per_class for n in Counter(label for label, _ in chosen).values())


@given(tables, st.integers(1, 20), st.booleans(), st.booleans(), st.integers(0, 3))
def test_n_clips_are_the_first_of_n_plus_1(
    names: dict[str, list[str]], count: int, balanced: bool, shuffle: bool, seed: int
) -> None:
    fewer, more = (
        choose_clips(names, Limits(max_samples=n, balanced=balanced, shuffle=shuffle, seed=seed))
        for n in (count, count + 1)
    )
    assert more[: len(fewer)] == fewer


@given(tables, st.integers(1, 20))
def test_balance_differs_by_one_at_most_until_a_class_is_spent(
    names: dict[str, list[str]], count: int
) -> None:
    chosen = Counter(
        label for label, _ in choose_clips(names, Limits(max_samples=count, balanced=True))
    )
    for label, files in names.items():
        if chosen[label] < len(set(files)):
            assert chosen[label] >= max(chosen.values(), default=0) - 1


@given(tables, limits, st.data())
def test_dead_candidates_are_replaced_by_the_next(
    names: dict[str, list[str]], asked: Limits, data: st.DataObject
) -> None:
    candidates = sorted(everything(names))
    dead = set(data.draw(st.lists(st.sampled_from(candidates)))) if candidates else set()
    chosen = choose_clips(names, asked, dead=dead)
    living = {
        label: [name for name in files if (label, name) not in dead]
        for label, files in names.items()
    }
    assert chosen == choose_clips(living, asked)


def test_without_shuffle_what_is_in_the_store_comes_first() -> None:
    names = {"yoga": ["a", "b"], "zumba": ["c", "d"]}
    here = {"yoga": ["b"], "zumba": ["d"]}
    asked = Limits(max_samples=3)
    assert choose_clips(names, asked) == [("yoga", "a"), ("yoga", "b"), ("zumba", "c")]
    assert choose_clips(names, asked, here=lambda label: here[label]) == [
        ("yoga", "b"),
        ("zumba", "d"),
        ("yoga", "a"),
    ]
    seeded = Limits(max_samples=3, shuffle=True)
    assert choose_clips(names, seeded) == choose_clips(
        names, seeded, here=lambda label: here[label]
    )


def test_a_seeded_choice_is_the_same_on_every_machine() -> None:
    names = {label: [f"{number:03d}" for number in range(50)] for label in NAMES[:4]}
    asked = Limits(max_samples=4, shuffle=True, seed=51)
    assert choose_clips(names, asked) == FIXED
    other = choose_clips(names, Limits(max_samples=4, shuffle=True, seed=52))
    assert other != FIXED


FIXED: list[Candidate] = [
    ("abseiling", "005"),
    ("acting in play", "030"),
    ("air drumming", "030"),
    ("acting in play", "034"),
]


@given(tables, limits, st.integers(1, 600))
def test_a_walk_keeps_the_limits_and_the_order(
    names: dict[str, list[str]], asked: Limits, classes: int
) -> None:
    members = sorted(everything(names), key=lambda candidate: candidate[1])
    chosen = walk_clips(members, asked, classes=classes)
    assert chosen == [candidate for candidate in members if candidate in set(chosen)]
    assert len(chosen) <= (asked.max_samples or len(members))
    counts = Counter(label for label, _ in chosen)
    if asked.max_per_class:
        assert all(count <= asked.max_per_class for count in counts.values())
    if not asked.limited:
        assert chosen == members


@given(tables, limits, st.integers(0, 30))
def test_a_walk_that_goes_on_keeps_what_it_has(
    names: dict[str, list[str]], asked: Limits, known: int
) -> None:
    members = sorted(everything(names))
    some = walk_clips(members[:known], asked, classes=4)
    assert walk_clips(members, asked, classes=4)[: len(some)] == some


@given(st.sets(st.integers(0, 59).map("part_{}".format)), st.integers(0, 9))
def test_the_way_through_the_tarballs_is_fixed_by_the_seed(parts: set[str], seed: int) -> None:
    shuffled = Limits(shuffle=True, seed=seed)
    assert walk_order(parts, shuffled) == walk_order(sorted(parts), shuffled)
    assert set(walk_order(parts, shuffled)) == parts
    numbers = [int(part.removeprefix("part_")) for part in walk_order(parts, Limits())]
    assert numbers == sorted(numbers)
