from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import kinetics600
from k600.checks.status import Counts, SplitStatus, StoreStatus, count_clips, read_status
from k600.dataset.clip import Clip, Tarball
from k600.dataset.reasons import YOUTUBE_KINDS
from k600.miniature import Miniature
from k600.store.ledger import Ledger
from k600.store.rows import AdoptedRow, AnswerRow, CheckRow, ClipRow, LedgerView, TarballRow
from k600.store.store import Store
from tests.conftest import Load
from tests.ledger_views import view_of

A, B, C, D, E = (f"clip{letter}000000_000000_000010.mp4" for letter in "abcde")
ZUMBA = Tarball("train", "zumba")


def member(name: str, state: str, source: str = "cvdf", label: str = "zumba") -> ClipRow:
    reason = {"bad": "empty", "absent": "not_in_tarball"}.get(state, "")
    tarball = Tarball("train", label)
    return ClipRow(tarball, 0, f"train/{label}", name, state, reason, source, 100)


def answer(name: str, kind: str, size_bytes: int = 0) -> AnswerRow:
    return AnswerRow("train/zumba", name, kind, "code", "", "1", size_bytes, 1, 1, "", "")


def adopted(name: str, problem: str = "") -> AdoptedRow:
    return AdoptedRow("train/zumba", name, f"train/zumba/{name}", 30, 1, problem)


def known(*rows: Any, state: str = "done") -> LedgerView:
    tarballs = {"zumba": TarballRow(ZUMBA, state, "", 1)} if state else {}

    def of(kind: type) -> list[Any]:
        return [row for row in rows if isinstance(row, kind)]

    return view_of(tarballs, of(ClipRow), of(AnswerRow), of(AdoptedRow))


def counts(rows: LedgerView, here: set[str], **options: Any) -> Counts:
    options = {"listing": {}, "tarballs": None, "size_of": lambda label, name: 7, **options}
    return count_clips("train", rows, {"zumba": here}, **options).counts


def here(source: str, here_bytes: int, **more: Any) -> Counts:
    return Counts(1, here_bytes, {source: 1}, **more)


def missing(*reasons: str, **more: Any) -> Counts:
    return Counts(missing=Counter(reasons), **more)


@pytest.mark.parametrize(
    ("rows", "stored", "expected"),
    [
        ([member(A, "have")], {A}, here("cvdf", 100)),
        ([member(A, "have")], set(), missing("not_fetched")),
        ([member(A, "have", "local")], {A}, here("local", 100)),
        ([member(A, "skipped")], set(), missing("not_fetched")),
        ([member(A, "bad")], set(), missing("empty")),
        ([member(A, "bad")], {A}, here("local", 7, unchecked_clips=1)),
        ([member(A, "absent")], set(), missing("not_in_tarball")),
        ([answer(A, "have", 50)], {A}, here("youtube", 50)),
        (
            [answer(A, "have", 50), member(A, "skipped")],
            {A},
            here("youtube", 50),
        ),
        ([adopted(A)], {A}, here("local", 30)),
        ([adopted(A)], set(), Counts()),  # taken away by those who brought it
        ([adopted(A, "truncated")], set(), missing("truncated")),
        *[([answer(A, kind)], set(), missing(f"youtube_{kind}")) for kind in YOUTUBE_KINDS],
        ([answer(A, "gone"), member(A, "bad")], set(), missing("empty")),
        ([answer(A, "gone"), member(A, "absent")], set(), missing("not_in_tarball")),
        ([answer(A, "gone"), member(A, "skipped")], set(), missing("youtube_gone")),
        ([answer(A, "gone"), adopted(A)], {A}, here("local", 30)),
    ],
)
def test_a_clip_counts_once_for_the_first_that_holds(
    rows: list[Any], stored: set[str], expected: Counts
) -> None:
    assert counts(known(*rows), stored) == expected


def test_a_clip_that_failed_verification_is_missing_though_it_is_here() -> None:
    failed = {"zumba": {A: "damaged"}}
    found = counts(known(member(A, "have"), member(B, "have")), {A, B}, failed=failed)
    assert found == here("cvdf", 100, missing={"damaged": 1}, failed_clips=1)


@pytest.mark.parametrize("state", ["started", "partial", "done"])
def test_a_clip_without_a_row_is_nobodys_that_a_run_brought(state: str) -> None:
    found = counts(known(state=state), {A})
    assert (found.sources, found.unchecked_clips) == ({"local": 1}, 1)


def test_the_total_is_of_the_list_and_what_else_there_is_and_unknown_without_a_list() -> None:
    listing = {"zumba": [A, B, C], "yoga": [D]}
    rows = known(member(A, "have"), member(B, "bad"))
    files = {"zumba": {A, E}, "yoga": set[str]()}
    found = count_clips("train", rows, files, listing=listing, tarballs=2)
    assert found.wanted_clips == 5 == found.counts.known_clips
    assert found.counts.here_clips == 2
    assert found.counts.missing == {"empty": 1, "not_fetched": 2}
    assert [(one.label, one.wanted_clips, one.tarball_state) for one in found.classes] == [
        ("zumba", 4, "done"),
        ("yoga", 1, ""),
    ]
    assert not found.complete
    unknown = count_clips("train", rows, files, listing={}, tarballs=None)
    assert unknown.wanted_clips is None
    assert unknown.listed_tarballs is None
    assert not unknown.complete


def test_all_listed_and_here_is_complete() -> None:
    rows = known(member(A, "have"))
    found = count_clips("train", rows, {"zumba": {A}}, listing={"zumba": [A]}, tarballs=1)
    assert found.complete
    assert found.classes[0].complete


@pytest.mark.parametrize(("tarballs", "complete"), [(1, True), (2, False), (None, False)])
def test_the_test_split_is_complete_once_all_of_its_tarballs_are(
    tarballs: int | None, complete: bool
) -> None:
    part = Tarball("test", "part_0")
    rows = [ClipRow(part, 0, "test/_unlabeled", A, "have", "", "cvdf", 1)]
    split = view_of({"part_0": TarballRow(part, "done", "", 1)}, rows)
    files = {"zumba": {A}, "_unlabeled": {A}}  # as it came without its label, and with
    found = count_clips("test", split, files, listing={}, tarballs=tarballs)
    assert found.counts.here_clips == found.counts.known_clips == 1
    assert found.wanted_clips is None
    assert found.complete is complete


def test_what_youtube_refuses_is_counted_by_reason() -> None:
    rows = known(answer(A, "gone"), answer(B, "region"), answer(C, "region"), answer(D, "gone"))
    found = count_clips("train", rows, {"zumba": {D}}, listing={}, tarballs=None)
    assert found.counts.missing == {"youtube_gone": 1, "youtube_region": 2}
    assert found.counts.here_clips == 1


def look(folders: dict[str, Any], miniature: Miniature, split: str, **options: Any) -> SplitStatus:
    return look_all(folders, miniature, split, **options).splits[0]


def look_all(
    folders: dict[str, Any], miniature: Miniature, split: str, **options: Any
) -> StoreStatus:
    options = {"mirror": str(miniature.root), **options}
    return read_status(kinetics600.make_request(split, data_dir=folders["data_dir"], **options))


def snapshot(folder: str) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes())
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def test_a_whole_split(load: Load, folders: dict[str, Any], miniature: Miniature) -> None:
    load("validation")
    before = snapshot(folders["data_dir"])
    found = look(folders, miniature, "validation")
    size = sum(p.stat().st_size for p in Path(folders["data_dir"]).glob("validation/*/*"))
    missing = {"empty": 1, "truncated": 1, "not_in_tarball": 2}
    assert found.counts == Counts(30, size, {"cvdf": 30}, missing=missing)
    assert found.wanted_clips == 34
    assert not found.complete
    assert (found.listed_tarballs, found.tarball_states["done"]) == (6, 6)
    assert snapshot(folders["data_dir"]) == before
    assert look(folders, miniature, "validation", classes="zumba").classes[0].counts == Counts()
    assert look(folders, miniature, "validation", classes="surfing water").complete


def test_a_store_of_all_splits(load: Load, folders: dict[str, Any], miniature: Miniature) -> None:
    load("all")
    train, validation, test = look_all(folders, miniature, "all").splits
    assert train.complete
    assert not validation.complete
    assert (test.counts.here_clips, test.wanted_clips, test.complete) == (12, None, True)
    assert sum(one.counts.here_clips for one in test.classes) == 12
    only = look(folders, miniature, "test", classes="surfing water")
    assert [one.label for one in only.classes] == ["surfing water"]


def test_a_store_that_holds_some_classes(
    load: Load, folders: dict[str, Any], miniature: Miniature
) -> None:
    load("train", classes=["surfing water", "tie dying"])
    (Path(folders["data_dir"]) / "train/surfing water").joinpath(
        sorted(miniature.clips["train"]["surfing water"])[0]
    ).unlink()
    found = look(folders, miniature, "train")
    assert (found.counts.here_clips, found.wanted_clips) == (9, 30)
    assert found.counts.missing == {"not_fetched": 21}
    assert (found.listed_tarballs, found.tarball_states["done"]) == (6, 2)
    one = look(folders, miniature, "train", classes="surfing water")
    assert (one.counts.here_clips, one.wanted_clips, one.listed_tarballs) == (4, 5, 1)
    assert one.counts.missing == {"not_fetched": 1}


def test_answers_of_youtube(load: Load, folders: dict[str, Any], miniature: Miniature) -> None:
    load("train", classes="tie dying")
    ledger = Ledger(Store.at(folders["data_dir"]).ledger_path)
    names = sorted(miniature.clips["train"]["surfing water"])
    for name, kind in zip(names, ("gone", "clip", "blocked", "auth"), strict=False):
        clip = Clip("train", "surfing water", name[:11], int(name[12:18]), int(name[19:25]))
        ledger.record_answer(clip, kind, "code", "words", "2026.08.19")
    found = look(folders, miniature, "train", classes="surfing water")
    kinds = ("gone", "clip", "blocked", "auth")
    assert found.counts == missing("not_fetched", *(f"youtube_{kind}" for kind in kinds))


def test_a_file_that_verify_found_bad(
    load: Load, folders: dict[str, Any], miniature: Miniature
) -> None:
    load("train", classes="tie dying")
    store = Store.at(folders["data_dir"])
    name = sorted(miniature.clips["train"]["tie dying"])[0]
    path = f"train/tie dying/{name}"
    status = os.stat(store.root / path)
    row = CheckRow(
        "train/tie dying", name, path, status.st_size, status.st_mtime_ns,
        "deep", "damaged", "", 0, 0, 0, 0, "2026-11-23T13:15:00",
    )  # fmt: skip
    Ledger(store.ledger_path).record_files("train", [row])
    assert look(folders, miniature, "train", classes="tie dying").counts.missing == {"damaged": 1}
    os.utime(store.root / path)  # another file by now
    assert look(folders, miniature, "train", classes="tie dying").complete


def test_trees_of_other_tools_count_before_any_load(
    load: Load, folders: dict[str, Any], miniature: Miniature
) -> None:
    root = Path(folders["data_dir"])
    clips = miniature.clips["validation"]
    for place, label in (
        ("val/surfing_water", "surfing water"),  # torchvision
        ("val", "tie dying"),  # flat, as CVDF's extractor leaves it
        ("validation/springboard diving", "springboard diving"),  # FiftyOne
    ):
        (root / place).mkdir(parents=True, exist_ok=True)
        for name, data in clips[label].items():
            (root / place / name).write_bytes(data)
    found = look(folders, miniature, "validation")
    assert found.counts.sources == {"local": 10}
    assert (found.counts.unchecked_clips, found.classless_clips) == (10, 5)
    assert found.counts.here_bytes == sum(
        len(data)
        for label in ("surfing water", "springboard diving")
        for data in clips[label].values()
    )
    (next((root / "val/surfing_water").iterdir())).write_bytes(b"")
    load("validation", classes=["surfing water"], source="local")
    load("validation", classes=["zumba", "tie dying", "surfing water"])  # brings the list
    after = look(folders, miniature, "validation")
    assert (after.wanted_clips, after.counts.here_clips) == (29, 15)
    assert after.counts.unchecked_clips == 5  # FiftyOne's, which were not asked for
    assert after.classless_clips == 5  # a file name that two classes have tells none
    one = look(folders, miniature, "validation", classes="surfing water")
    assert one.complete
    assert one.counts.sources == {"local": 4, "cvdf": 1}


def test_a_bad_file_in_another_tree_is_corrupt_until_it_is_gone(
    load: Load, folders: dict[str, Any], miniature: Miniature
) -> None:
    root = Path(folders["data_dir"])
    (root / "val/zumba").mkdir(parents=True)
    (root / "val/zumba" / A).write_bytes(b"no clip")
    (root / "val/zumba" / B).write_bytes(next(iter(miniature.clips["train"]["tie dying"].values())))
    load("validation", classes=["zumba", "tie dying"])
    assert look(folders, miniature, "validation", classes="zumba").counts.missing == {"not_mp4": 1}
    (root / "val/zumba" / A).unlink()
    assert look(folders, miniature, "validation", classes="zumba").counts.missing == {}


def test_no_store_and_a_list_of_another_mirror(
    load: Load, folders: dict[str, Any], miniature: Miniature
) -> None:
    nothing = look_all(folders, miniature, "all")
    assert not nothing.exists
    assert not Path(folders["data_dir"]).exists()
    assert all(split.counts == Counts() and split.wanted_clips is None for split in nothing.splits)
    load("train", classes="tie dying")
    other = look(folders, miniature, "train", mirror="file:///somewhere/else")
    assert other.other_list
    assert (other.counts.here_clips, other.other_mirror_clips, other.wanted_clips) == (0, 5, None)
    shutil.rmtree(Path(folders["data_dir"]) / ".kinetics600")
    bare = look(folders, miniature, "train")
    assert (bare.other_list, bare.counts.unchecked_clips) == (False, 5)


def test_each_folder_is_listed_once(
    load: Load, folders: dict[str, Any], miniature: Miniature, monkeypatch: pytest.MonkeyPatch
) -> None:
    load("train", classes="tie dying")
    looked: list[str] = []
    original = Store.inventory

    def inventory(self: Store, folder: str, *more: Any) -> set[str]:
        looked.append(folder)
        return original(self, folder, *more)

    monkeypatch.setattr(Store, "inventory", inventory)
    assert look(folders, miniature, "train").counts.here_clips == 5
    assert len(looked) == len(set(looked)) == 600


def test_counts_add_up() -> None:
    total = Counts.sum([here("cvdf", 5), here("youtube", 2), missing("empty", "youtube_gone")])
    assert total == Counts(2, 7, {"cvdf": 1, "youtube": 1}, missing={"empty": 1, "youtube_gone": 1})
    assert (total.missing_clips, total.known_clips) == (2, 4)
    assert total.count_missing({"empty", "damaged"}) == 1
