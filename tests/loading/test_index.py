"""An index: a table of where clips lie on the host, whoever made it and wherever it is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

import kinetics600
from k600.dataset.clip import Clip, Entry, Place, Tarball
from k600.errors import IndexFileError, MirrorNotFoundError, OfflineError
from k600.errors.text import public_url
from k600.loading.columns import INDEX, REPEATING, arrow_schema, place_values
from k600.loading.index import Index, IndexFile, read_index
from k600.loading.manifest import to_parquet, write_table
from k600.mirror.mirror import Mirror
from k600.publish.metadata import index_rows
from k600.store.rows import ClipRow, TarballRow
from k600.store.store import Store
from tests.hub import Repo, environment, loopback_hub
from tests.servers import web_server

ZUMBA, PART = Tarball("train", "zumba"), Tarball("test", "part_7")


def name_of(number: int) -> str:
    return f"{number:011}_000003_000013.mp4"


def row(number: int, tarball: Tarball, entry: Entry | None, /, **more: Any) -> dict[str, Any]:
    clip = Clip(tarball.split, tarball.label or "yoga", f"{number:011}", 3, 13)
    of_clip = ("split", "label", "youtube_id", "time_start", "time_end")
    place = (
        None if entry is None else Place(tarball, f"etag of {tarball.name}", 10**6, "gzip", entry)
    )
    found = {name: getattr(clip, name) for name in of_clip} | {"tarball": tarball.name}
    return {**found, **place_values(place, more.pop("tarball_clips", None)), **more}


ENTRIES = {
    number: Entry(1000 * number, 512, 600, 70 + number, 2**32 - number - 1) for number in range(9)
}
ROWS = [
    *(row(number, ZUMBA, ENTRIES[number]) for number in range(3)),
    *(row(number, PART, ENTRIES[number], tarball_clips=3) for number in (5, 4)),
    row(6, PART, None),
    row(1, Tarball("test", "part_8"), ENTRIES[1], tarball_clips=2),
]
Write = Callable[[Sequence[Mapping[str, Any]]], Path]


@pytest.fixture(params=[".parquet", ".csv"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Write:
    return lambda rows: write_table(rows, tmp_path / f"index{request.param}", INDEX)


def opened(path: Path) -> Index:
    return read_index(path.read_bytes(), str(path))


def file_at(address: str, store: Path, *, offline: bool = False, keep: bool = True) -> IndexFile:
    return IndexFile(address, Mirror("s3://kinetics/600"), Store.at(store), offline, keep)


def test_it_says_where_the_clips_lie_that_are_asked_for(write: Write) -> None:
    index = opened(write(ROWS))
    asked = [("zumba", name_of(1)), ("zumba", name_of(8)), ("yoga", name_of(2))]
    places, tarballs = index.places("train", asked)
    assert places == {asked[0]: Place(ZUMBA, "etag of zumba", 10**6, "gzip", ENTRIES[1])}
    assert tarballs == {asked[0]: ZUMBA}
    assert index.places("validation", asked) == ({}, {})


def test_of_test_clips_it_says_the_tarball_also_where_they_cannot_be_read_alone(
    write: Write,
) -> None:
    asked = [("yoga", name_of(5)), ("_unlabeled", name_of(6)), ("yoga", name_of(2))]
    places, tarballs = opened(write(ROWS)).places("test", asked)
    assert {clip: place.entry for clip, place in places.items()} == {asked[0]: ENTRIES[5]}
    assert tarballs == dict.fromkeys(asked[:2], PART)


def test_only_of_tarballs_that_it_has_whole_it_says_what_is_in_them_and_in_which_order(
    write: Write,
) -> None:
    index = opened(write(ROWS))
    parts = {"part_7": [name_of(5), name_of(4), name_of(6)]}
    asked = ["part_7", "part_8", "part_9"]
    assert index.members("test", asked, {}) == parts
    assert index.members("test", asked, {"part_7": ("etag of part_7", 10**6)}) == parts
    assert index.members("test", asked, {"part_7": ("etag of part_7", 10**6 - 1)}) == {}
    assert index.members("train", ["zumba"], {}) == {}


def test_it_may_be_a_table_with_more_columns_in_another_order_and_of_other_types(
    tmp_path: Path,
) -> None:
    table = pyarrow.Table.from_pylist(ROWS, schema=arrow_schema(INDEX))
    table = table.append_column("sha256", [["ab" * 32] * len(ROWS)]).drop(["tarball_clips"])
    for number, name in enumerate(("crc32", "split", "youtube_id")):
        kind = (pyarrow.int64(), pyarrow.large_string(), pyarrow.string_view())[number]
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(kind))
    path = tmp_path / "more.parquet"
    pyarrow.parquet.write_table(table.select([*reversed(table.column_names)]), path)
    places, _ = opened(path).places("train", [("zumba", name_of(0))])
    assert [place.entry for place in places.values()] == [ENTRIES[0]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"entry_offset": 10**6}, "600 bytes from 1000000 are not within a tarball of 1000000"),
        ({"entry_offset": -1}, "entry_offset"),
        ({"span_bytes": 0}, "span_bytes"),
        ({"span_bytes": None}, "span_bytes: None is no whole number"),
        ({"skip_bytes": -1}, "skip_bytes"),
        ({"original_bytes": -5}, "original_bytes"),
        ({"crc32": None}, "crc32"),
        ({"packing": "zip"}, "packing: 'zip' is not one of gzip, tar"),
        ({"packing": None}, "packing"),
        ({"tarball_etag": "one\r\nX-More: 1"}, "tarball_etag"),
        ({"tarball_etag": ""}, "tarball_etag"),
        ({"tarball_bytes": -1}, "tarball_bytes"),
        ({"tarball": "../../etc/passwd"}, "tarball: '../../etc/passwd' is not 'part_<number>'"),
    ],
)
def test_a_row_of_a_stranger_s_is_an_error_once_it_is_used(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    rows = [row(1, PART, ENTRIES[1], **change), row(2, PART, ENTRIES[2])]
    path = write_table(rows, tmp_path / "bad.parquet", INDEX)
    index = opened(path)
    assert len(index.places("test", [("yoga", name_of(2))])[0]) == 1
    with pytest.raises(IndexFileError) as caught:
        index.places("test", [("yoga", name_of(1))])
    assert str(caught.value).startswith(f"index: '{path}' holds a row of no clip: ")
    assert words in str(caught.value)


def test_clips_of_no_clip_s_name_are_in_no_tarball(tmp_path: Path) -> None:
    rows = [row(1, PART, ENTRIES[1], tarball_clips=1, youtube_id="../../../up")]
    index = opened(write_table(rows, tmp_path / "bad.parquet", INDEX))
    with pytest.raises(IndexFileError, match="is no clip's name"):
        index.members("test", ["part_7"], {})


@pytest.mark.parametrize("trouble", ["garbage", "empty", "column", "text", "nested", "cut off"])
def test_what_is_no_index_is_one_clear_error(trouble: str, write: Write) -> None:
    path = write(ROWS)
    data = path.read_bytes()
    table = pyarrow.Table.from_pylist(ROWS, schema=arrow_schema(INDEX))
    if trouble == "garbage":
        data = b"\0<html>" * 100
    elif trouble == "empty":
        data = b""
    elif trouble == "cut off":
        data = data[: len(data) // 3]
    else:
        names = table.column_names
        if trouble == "column":
            table = table.drop(["span_bytes"])
        else:
            bad = "far" if trouble == "text" else {"far": 1}
            table = table.set_column(names.index("skip_bytes"), "skip_bytes", [[bad] * len(ROWS)])
        if path.suffix == ".csv":
            table = table.to_pylist()
            lines = [",".join(table[0]), *(",".join(map(str, one.values())) for one in table)]
            data = "\n".join(lines).encode()
        else:
            sink = pyarrow.BufferOutputStream()
            pyarrow.parquet.write_table(table, sink)
            data = sink.getvalue().to_pybytes()
    with pytest.raises(IndexFileError) as caught:
        read_index(data, str(path)).places("train", [("zumba", name_of(1))])
    assert str(caught.value).startswith(f"index: '{path}' ")
    assert "\n" not in str(caught.value)


MEASURE = """
import json, resource, sys, time
import pyarrow, pyarrow.compute, pyarrow.parquet
from k600.loading.index import read_index

def most_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

before, begun = most_bytes(), time.process_time()
index = read_index(open(sys.argv[1], "rb").read(), sys.argv[1])
seconds = time.process_time() - begun
places, _ = index.places("train", [("zumba", "00000400000_000003_000013.mp4")])
took = most_bytes() - before
print(json.dumps([seconds, took, index.table.num_rows, len(places)]))
"""


@pytest.mark.parametrize("name", ["tarball_etag", "tarball", "split", "packing", "youtube_id"])
def test_a_long_word_in_every_row_is_held_once(name: str, tmp_path: Path) -> None:
    """A file of less than 1 MB that would take 3 GB."""
    rows = 3_000
    table = pyarrow.Table.from_pylist(ROWS[:1] * rows, schema=arrow_schema(INDEX))
    codes = pyarrow.array([0] * rows, pyarrow.int32())
    column = pyarrow.DictionaryArray.from_arrays(codes, pyarrow.array(["x" * (1 << 20)]))
    table = table.set_column(table.column_names.index(name), name, column)
    path = tmp_path / "bomb.parquet"
    pyarrow.parquet.write_table(table, path, store_schema=False, compression="zstd")
    assert path.stat().st_size < 1 << 20

    done = subprocess.run(
        [sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=False
    )
    if done.returncode:
        assert "IndexFileError" in done.stderr.splitlines()[-1]
        assert len(done.stderr) < 10_000
    else:
        _, most_bytes, _, found = json.loads(done.stdout)
        assert (found, most_bytes < 100e6) == (0, True)


def test_half_a_million_rows_are_40_bytes_each_and_open_at_once_in_little_memory(
    tmp_path: Path,
) -> None:
    """Measured: 0.4 s and 144 MB; here bounds that a loaded machine keeps, too."""
    rows = 530_000
    table = pyarrow.Table.from_pylist([row(0, ZUMBA, ENTRIES[0])], schema=arrow_schema(INDEX))
    table = table.take([0] * rows)
    random = pyarrow.compute.random(rows, initializer=0)
    numbers = {
        "entry_offset": pyarrow.array(range(0, 1_900 * rows, 1_900)),
        "skip_bytes": pyarrow.compute.multiply(random, 70_000).cast(pyarrow.int64(), safe=False),
        "span_bytes": pyarrow.compute.multiply(random, 2e6).cast(pyarrow.int64(), safe=False),
        "original_bytes": pyarrow.compute.multiply(random, 1e6).cast(pyarrow.int64(), safe=False),
        "crc32": pyarrow.compute.multiply(random, 4e9).cast(pyarrow.uint32(), safe=False),
        "tarball_bytes": pyarrow.array([1 << 50] * rows),
        "youtube_id": pyarrow.array([f"{number:011}" for number in range(rows)]),
    }
    for name, values in numbers.items():
        table = table.set_column(table.column_names.index(name), name, values)
    some = table.slice(rows // 2, 20_000)
    assert len(to_parquet(some.to_pylist(), INDEX)) < 40 * some.num_rows

    path = tmp_path / "large.parquet"
    repeating = [column.name for column in INDEX if column.name in REPEATING]
    pyarrow.parquet.write_table(table, path, compression="zstd", use_dictionary=repeating)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True
    )
    seconds, most_bytes, read_rows, found = json.loads(done.stdout)
    assert (read_rows, found) == (rows, 1)
    assert seconds < 5
    assert most_bytes < 200e6


def test_one_from_the_web_is_kept_until_it_changes(tmp_path: Path) -> None:
    write_table(ROWS, tmp_path / "web/index.parquet", INDEX)
    with web_server(tmp_path / "web") as server:
        address = f"{server.url}/index.parquet"
        first = file_at(address, tmp_path / "clips")
        assert [first.of("train"), first.of("test")] == [first.of("train")] * 2
        assert [method for method, _ in server.requests].count("GET") == 1
        server.requests.clear()
        again = file_at(address, tmp_path / "clips").of("train")
        assert again is not None
        assert again.table.equals(first.of("train").table)  # type: ignore[union-attr]
        assert [method for method, _ in server.requests] == ["HEAD"]

        write_table(ROWS[:1], tmp_path / "web/index.parquet", INDEX)
        changed = file_at(address, tmp_path / "clips").of("train")
        assert changed is not None
        assert changed.table.num_rows == 1
        server.requests.clear()
        offline = file_at(address, tmp_path / "clips", offline=True).of("train")
        assert offline is not None
        assert offline.table.num_rows == 1
        assert server.requests == []


@pytest.mark.parametrize("name", ["index.parquet", "my%20index.parquet"])
def test_a_signed_address_is_asked_for_as_it_was_given_and_kept_once(
    name: str, tmp_path: Path
) -> None:
    write_table(ROWS, tmp_path / "web" / name.replace("%20", " "), INDEX)
    with web_server(tmp_path / "web") as server:
        for signature in ("a%2Fb", "c/d"):
            address = f"{server.url}/{name}?X-Signature={signature}&download=true"
            found = file_at(address, tmp_path / "clips").of("train")
            assert found is not None
            assert found.table.num_rows == len(ROWS)
        assert {path.partition("?")[2] for _, path in server.requests} == {
            "X-Signature=a/b&download=true",
            "X-Signature=c/d&download=true",
        }
        assert [method for method, _ in server.requests].count("GET") == 1
        with pytest.raises(MirrorNotFoundError) as caught:
            file_at(f"{server.url}/none.csv?X-Signature=secret", tmp_path / "other").of("train")
        assert "secret" not in str(caught.value)
        assert "secret" not in public_url(f"{server.url}?X-Signature=secret")
    assert len([*(tmp_path / "clips/.kinetics600/lists").iterdir()]) == 1


def test_the_kept_one_serves_where_the_address_does_not_answer(
    tmp_path: Path, lines: pytest.LogCaptureFixture
) -> None:
    write_table(ROWS, tmp_path / "web/index.csv", INDEX)
    with web_server(tmp_path / "web") as server:
        address = f"{server.url}/index.csv"
        assert file_at(address, tmp_path / "clips").of("train") is not None
        (tmp_path / "web/index.csv").unlink()
        assert file_at(address, tmp_path / "clips").of("train") is not None
        assert "so the kept one serves" in lines.text
        with pytest.raises(MirrorNotFoundError) as caught:
            file_at(address, tmp_path / "other").of("train")
        assert str(caught.value).startswith(f"index: {address} cannot be had (it does not exist).")
        assert "KINETICS600_INDEX" in str(caught.value)
        assert "k600_val_path" not in str(caught.value)  # as a mirror's address is to be checked


def test_nothing_is_kept_where_nothing_may_be_written_or_nothing_was_fetched(
    tmp_path: Path,
) -> None:
    path = write_table(ROWS, tmp_path / "web/index.parquet", INDEX)
    with web_server(tmp_path / "web") as server:
        address = f"{server.url}/index.parquet"
        assert file_at(address, tmp_path / "clips", keep=False).of("train") is not None
    assert file_at(str(path), tmp_path / "clips", offline=True).of("train") is not None
    assert not (tmp_path / "clips").exists()
    with pytest.raises(OfflineError, match=rf"^index: {address} cannot be had .*KINETICS600_INDEX"):
        file_at(address, tmp_path / "clips", offline=True).of("train")


def test_a_kept_one_that_is_damaged_is_fetched_anew(
    tmp_path: Path, lines: pytest.LogCaptureFixture
) -> None:
    write_table(ROWS, tmp_path / "web/index.parquet", INDEX)
    with web_server(tmp_path / "web") as server:
        address = f"{server.url}/index.parquet"
        file_at(address, tmp_path / "clips").of("train")
        (kept,) = (tmp_path / "clips").glob(".kinetics600/lists/*-index")
        kept.write_bytes(kept.read_bytes()[:200])
        assert file_at(address, tmp_path / "clips").of("train") is not None
        assert "is damaged" in lines.text
        lines.clear()
        assert file_at(address, tmp_path / "clips").of("train") is not None
        assert lines.records == []


def test_the_option_and_the_environment_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert kinetics600.make_request("train").index is None
    assert kinetics600.make_request("train", index="i.csv").index == str(tmp_path / "i.csv")
    monkeypatch.setenv("KINETICS600_INDEX", "hf://datasets/owner/index")
    assert kinetics600.make_request("train").index == "hf://datasets/owner/index"


FROM_THE_HUB = """
import sys
from k600.loading.index import IndexFile
from k600.mirror.mirror import Mirror
from k600.publish.metadata import index_rows
from k600.store.rows import ClipRow, TarballRow
from k600.store.store import Store

file, folder, offline = sys.argv[1:]
store = Store.at(folder)
index = IndexFile(file, Mirror("s3://kinetics/600"), store, bool(offline), True).of("train")
print(index.table.num_rows)
"""


def test_one_on_the_hub_is_kept_until_it_changes(tmp_path: Path) -> None:
    with loopback_hub() as hub:
        hub.repos["owner/index"] = Repo(private=True)

        def put(rows: Sequence[Mapping[str, Any]]) -> None:
            data = hub.store(to_parquet(rows, INDEX))
            hub.repos["owner/index"].commit({"index.parquet": data})

        def rows_read(offline: str = "") -> tuple[str, bool]:
            hub.requests.clear()
            address = "hf://datasets/owner/index/index.parquet"
            words = [sys.executable, "-c", FROM_THE_HUB, address, tmp_path / "clips", offline]
            env, where = environment(hub, tmp_path), Path(kinetics600.__file__).parent
            done = subprocess.run(words, env=env, cwd=where, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            return done.stdout.strip(), any("/resolve/" in path for _, path in hub.requests)

        put(ROWS)
        assert rows_read() == (str(len(ROWS)), True)
        assert rows_read() == (str(len(ROWS)), False)
        put(ROWS[:2])
        assert rows_read() == ("2", True)
        assert rows_read(offline="yes") == ("2", False)
        assert hub.requests == []


def test_a_video_with_another_name_than_clips_have_makes_no_tarball_incomplete(
    tmp_path: Path,
) -> None:
    folders = {"data_dir": str(tmp_path / "clips"), "mirror": "s3://kinetics/600"}
    request = kinetics600.make_request("test", **folders, test_labels=str(tmp_path / "none.csv"))
    request.store.prepare()
    names = [name_of(1), "holiday.mp4", name_of(0)]
    clips = [
        ClipRow(PART, position, "test/_unlabeled", name, "skipped", "", "", 9)
        for position, name in enumerate(names)
    ]
    whole = TarballRow(PART, "done", "etag", 10**6)
    entries = {name_of(0): ENTRIES[0]}
    request.ledger.record(whole, clips, packing="gzip", entries=entries)

    rows = index_rows(request, "test", {})
    index = opened(write_table(rows, tmp_path / "index.parquet", INDEX))
    assert index.members("test", ["part_7"], {}) == {"part_7": [name_of(1), name_of(0)]}
