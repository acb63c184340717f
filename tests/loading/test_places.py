"""Where clips lie in their tarballs: noted by whoever reads one, remembered, and found again."""

from __future__ import annotations

import csv
import io
import itertools
import os
import random
import re
import tarfile
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow.parquet
import pytest

import kinetics600
from k600.dataset.clip import Clip, Entry, Place, Tarball
from k600.errors import ManifestError, Stopped
from k600.loading.columns import INDEX, MANIFEST, PLACE, place_values
from k600.loading.index import IndexFile
from k600.loading.manifest import ManifestRow, read_manifest, write_table
from k600.loading.places import Places
from k600.loading.state import State, read_state
from k600.miniature import PLAIN, Miniature
from k600.mirror.mirror import Mirror
from k600.progress import no_progress
from k600.store.ledger import Ledger
from k600.store.rows import TarballRow
from k600.store.store import Store
from k600.tarballs.extract import TarballExtractor, TarballRead
from k600.tarballs.one_clip import read_clip
from tests.conftest import Command, Load

CLASS = "surfing water"
ENTRIES = [Entry(n, 512, 9, 9, n) for n in range(5)]


def state_of(split: str, **options: Any) -> State:
    return read_state(kinetics600.make_request(split, **options), split, keep=True)


def options_of(host: Miniature, folders: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"mirror": str(host.root), "data_dir": folders["data_dir"], **more}


@pytest.mark.parametrize(("split", "label"), [("train", CLASS), ("validation", PLAIN)])
def test_a_load_notes_where_each_clip_of_a_tarball_lies(
    split: str, label: str, load: Load, miniature: Miniature, folders: dict[str, Any]
) -> None:
    load(split, classes=label)
    state = state_of(split, **options_of(miniature, folders))
    host = miniature.clips[split][label]
    places = state.places.find((label, name) for name in [*host, "none"])
    assert len(places) == len(host)
    for (_, name), place in places.items():
        assert read_clip(state.request.mirror, place, name) == host[name]
    assert {place.packing for place in places.values()} == {"tar" if label == PLAIN else "gzip"}


def test_an_early_stop_notes_what_it_has_passed(
    load: Load, miniature: Miniature, folders: dict[str, Any]
) -> None:
    load("validation", classes=PLAIN, max_samples=2, source="cvdf")
    state = state_of("validation", **options_of(miniature, folders))
    assert [row.state for row in state.known.tarballs.values()] == ["partial"]
    passed = [(PLAIN, clip.file_name) for clip in state.known.clips() if clip.state == "have"]
    places = state.places.find(passed)
    assert len(passed) == len(places) == 2
    for (label, name), place in places.items():
        data = read_clip(state.request.mirror, place, name)
        assert data == miniature.clips["validation"][label][name]


@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_what_came_before_a_reading_broke_off_is_noted(mode: str, tmp_path: Path) -> None:
    tarball, chance = Tarball("train", "zumba"), random.Random(1)
    clips = {f"{n:011}_000000_000010.mp4": chance.randbytes(400_000) for n in range(30)}
    (tmp_path / "600/train").mkdir(parents=True)
    with tarfile.open(tmp_path / "600" / tarball.path, mode) as tar:  # type: ignore[call-overload]
        for name, data in clips.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

    mirror, store, stop = Mirror(str(tmp_path / "600")), Store.at(tmp_path / "clips"), Event()
    store.prepare()
    ledger = Ledger(store.ledger_path, mirror.identity)
    read_bytes = itertools.count()
    with store.incoming() as incoming, no_progress(0, "") as bar:
        extractor = TarballExtractor(
            mirror,
            store,
            ledger,
            incoming,
            labels={},
            listing={},
            stop=stop,
            on_bytes=lambda count, tarball: next(read_bytes) > 1 and stop.set(),
            bar=bar,
            planned={},
            ahead_bytes=2 << 20,
        )
        with pytest.raises(Stopped):
            extractor.extract_tarball(TarballRead(tarball), mirror.head(tarball.path))

    places = ledger.places("train", [("zumba", name) for name in clips])
    assert 0 < len(places) < len(clips)
    for (_, name), place in places.items():
        assert read_clip(mirror, place, name) == clips[name]


def test_of_a_damaged_tarball_nothing_is_noted_and_of_a_replaced_one_what_is_true_now(
    own_miniature: Miniature, load: Load, folders: dict[str, Any]
) -> None:
    path = own_miniature.root / f"train/{CLASS}.tar.gz"
    sound = path.read_bytes()
    clips = [(CLASS, name) for name in own_miniature.clips["train"][CLASS]]
    options = options_of(own_miniature, folders)

    def known() -> dict[tuple[str, str], Place]:
        return kinetics600.make_request("train", **options).ledger.places("train", clips)

    path.write_bytes(sound[:-8] + bytes(4) + sound[-4:])
    with pytest.raises(kinetics600.errors.NoClipsError):
        load("train", classes=CLASS, **options)
    assert known() == {}
    path.write_bytes(sound)
    load("train", classes=CLASS, **options)
    first = known()
    assert len(first) == len(clips)
    os.utime(path, (1e9, 1e9))
    load("train", classes=CLASS, download_mode="force_redownload", **options)
    assert known().keys() == first.keys()
    assert {place.etag for place in known().values()} != {p.etag for p in first.values()}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_manifest_says_where_its_clips_lie_also_to_a_store_that_knows_nothing(
    suffix: str, load: Load, miniature: Miniature, folders: dict[str, Any], tmp_path: Path
) -> None:
    ds = load("validation", classes=[CLASS, PLAIN])["validation"]
    path = kinetics600.save_manifest(ds, tmp_path / f"chosen.{suffix}")
    elsewhere = {"data_dir": str(tmp_path / "other"), "manifest": path}
    state = state_of("validation", mirror=str(miniature.root), **elsewhere)
    clips = [*state.origin]
    places = state.places.find(clips)
    assert len(places) == len(ds)
    for (label, name), place in places.items():
        data = read_clip(state.request.mirror, place, name)
        assert data == miniature.clips["validation"][label][name]


def test_the_table_of_clips_says_it_too_also_of_clips_that_are_gone(
    load: Load,
    miniature: Miniature,
    folders: dict[str, Any],
    command: Command,
    tmp_path: Path,
) -> None:
    ds = load("validation", classes=PLAIN)["validation"]
    Path(ds[0]["video"]["path"]).unlink()
    out = tmp_path / "all.parquet"
    done = command("manifest", "export", "validation", "--class", PLAIN, "--out", str(out),
                   "--data-dir", folders["data_dir"])  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = pyarrow.parquet.read_table(out).to_pylist()
    placed = [row for row in rows if row["state"] == "have" or row["entry_offset"] is not None]
    assert len(placed) == len(ds)
    assert {row["original_bytes"] for row in placed if row["size_bytes"] is None} != {None}
    index = IndexFile(str(out), Mirror(str(miniature.root)), Store.at(tmp_path), False, False)
    names = miniature.clips["validation"][PLAIN]
    places = Places("validation", Ledger(tmp_path / "none.sqlite"), index=index)
    assert len(places.find((PLAIN, name) for name in names)) == len(names)


def test_places_change_no_manifest_s_digest_and_an_older_one_loads(
    load: Load, tmp_path: Path
) -> None:
    ds = load("validation", classes=[CLASS, PLAIN])["validation"]
    path = Path(kinetics600.save_manifest(ds, tmp_path / "chosen.csv"))
    rows = [*csv.DictReader(path.read_text().splitlines())]
    names = [column.name for column in PLACE]
    assert all(row["entry_offset"] and row["crc32"] for row in rows)
    older = write_table(
        [{name: row[name] for name in row if name not in names} for row in rows],
        tmp_path / "older.csv",
        [column for column in MANIFEST if column.name not in names],
    )
    empty = tmp_path / "empty.csv"
    blank = [{**row, **dict.fromkeys(names, "")} for row in rows]
    write_table(blank, empty, MANIFEST)
    found = [read_manifest(each) for each in (path, older, empty)]
    assert len({manifest.digest for manifest in found}) == 1
    assert [sum(row.place is not None for row in each.rows) for each in found] == [len(rows), 0, 0]


@pytest.mark.parametrize(
    ("column", "value"),
    [("span_bytes", "-1"), ("crc32", "sum"), ("packing", "zip"), ("entry_offset", "1e99"),
     ("tarball_bytes", "3"), ("tarball_etag", "")],
)  # fmt: skip
def test_a_place_in_a_manifest_that_cannot_be_is_one_clear_error(
    column: str, value: str, load: Load, tmp_path: Path
) -> None:
    ds = load("validation", classes=PLAIN)["validation"]
    path = Path(kinetics600.save_manifest(ds, tmp_path / "chosen.csv"))
    rows = [*csv.DictReader(path.read_text().splitlines())]
    rows[0][column] = value
    write_table(rows, path, MANIFEST)
    with pytest.raises(
        ManifestError, match=rf"manifest: row 1 of '{re.escape(str(path))}': .*{column}"
    ):
        read_manifest(path)


def test_the_ledger_comes_before_the_index_and_that_before_the_manifest(tmp_path: Path) -> None:
    tarball = Tarball("train", "zumba")
    names = [f"{number:011}_000000_000010.mp4" for number in range(4)]
    ledger = Ledger(tmp_path / "ledger.sqlite", "s3://kinetics/600")
    entries = {names[0]: ENTRIES[0]}
    ledger.record(TarballRow(tarball, "done", "one", 99), [], packing="tar", entries=entries)
    second = Place(tarball, "two", 99, "tar", ENTRIES[1])
    rows_of = [ManifestRow(Clip.at(("zumba", name), "train"), place=second) for name in names]
    manifest = {row.clip.candidate: row for row in rows_of}
    rows = []
    for name in names[:3]:
        row = {"split": "train", "label": "zumba", "youtube_id": name[:11], "tarball": "zumba"}
        place = Place(tarball, "three", 99, "tar", ENTRIES[2])
        rows.append({**row, "time_start": 0, "time_end": 10, **place_values(place)})
    path = write_table(rows, tmp_path / "index.csv", INDEX)
    index = IndexFile(str(path), Mirror("s3://kinetics/600"), Store.at(tmp_path), False, False)
    places = Places("train", ledger, manifest, index)
    found = places.find(("zumba", name) for name in names)
    assert {name: place.etag for (_, name), place in found.items()} == {
        names[0]: "one",
        names[1]: "three",
        names[2]: "three",
        names[3]: "two",
    }
    assert {*places.tarballs_of(("zumba", name) for name in names).values()} == {tarball}
    placed, alone = places.look_up(("zumba", name) for name in names)
    assert ({place.tarball for place in placed.values()}, alone) == ({tarball}, {})


def test_a_manifest_keeps_its_places_where_a_program_made_floats_of_a_column_with_gaps(
    tmp_path: Path,
) -> None:
    place = Place(Tarball("train", "zumba"), "one", 99, "tar", ENTRIES[1])
    rows = []
    for name in ("00000000000_000000_000010.mp4", "00000000001_000000_000010.mp4"):
        clip = Clip.at(("zumba", name), "train")
        rows.append(ManifestRow(clip, "cvdf", "zumba", 9, "", place=place if rows else None))
    path = Path(write_table([row.as_plain() for row in rows], tmp_path / "some.csv", MANIFEST))
    head, gap, line = path.read_text().splitlines()
    fields = line.split(",")
    floats = [f"{field}.0" if field.isdecimal() else field for field in fields[5:]]
    path.write_text("\n".join([head, gap, ",".join([*fields[:5], *floats])]) + "\n")
    assert ",99.0," in path.read_text()
    assert [row.place for row in read_manifest(path).rows] == [None, place]


def test_another_mirror_s_object_may_be_the_same_if_its_etag_is_no_date(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    for name, etag in (("zumba", "1a2b"), ("yoga", "Mon, 30 Nov 2026 13:00:00 GMT")):
        row = TarballRow(Tarball("train", name), "done", etag, 99)
        entries = {"a": ENTRIES[0]}
        Ledger(path, "s3://other/600").record(row, [], packing="tar", entries=entries)
    own = Ledger(path, "s3://kinetics/600")
    found = Places("train", own, every_mirror=Ledger(path)).find([("zumba", "a"), ("yoga", "a")])
    assert [*found] == [("zumba", "a")]


def test_an_index_that_nothing_asks_for_is_not_opened(
    load: Load, folders: dict[str, Any], tmp_path: Path
) -> None:
    load("validation", classes=PLAIN)
    missing = str(tmp_path / "no such index.parquet")
    cache = {"cache_dir": str(tmp_path / "cache2")}
    again = load("validation", classes=PLAIN, index=missing, **{**folders, **cache})
    assert len(again["validation"]) > 0
