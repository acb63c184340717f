"""The fleet on this machine: real processes, from and to a real S3 server, folders and the web."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import fsspec
import pyarrow.parquet
import pytest
from datasets.distributed import split_dataset_by_node
from rich.filesize import decimal

import kinetics600
from k600.dataset.clip import Tarball, file_name_of
from k600.dataset.splits import SPLITS
from k600.errors import (
    DestinationError,
    DestinationTakenError,
    IncompleteError,
    Kinetics600Error,
    MirrorChangedError,
    MissingDependencyError,
    NoClipsError,
    OptionError,
)
from k600.fleet.job import Job, make_job, open_places
from k600.fleet.options import FleetOptions
from k600.fleet.plan import read_plan, write_plan
from k600.fleet.run import Fleet, run_fleet
from k600.fleet.split import prepare_split
from k600.fleet.units import Unit, read_unit, read_units
from k600.loading.columns import place_of
from k600.loading.options import own_options
from k600.miniature import CLASSES, Miniature, make_clip, make_tarball
from k600.mirror.mirror import Mirror
from k600.publish.destination import FileDestination
from k600.publish.markers import to_json
from k600.tarballs.one_clip import read_clip
from tests.conftest import Command
from tests.faults.host import Answer, faulty_host
from tests.faults.test_http import on_clips, served
from tests.fleets import made, stored, wait_for
from tests.hub import environment, loopback_hub
from tests.servers import S3Server, web_server
from tests.without_loader import WITHOUT_LOADER, run_one_class

PROGRAM = Path(sys.executable).with_name("kinetics600")
FOUR = {"shards_multiple_of": 4}
TARS = {"format": "webdataset", "shards_multiple_of": 4}

Run = Callable[..., Fleet]


@pytest.fixture
def run(miniature: Miniature, tmp_path: Path) -> Run:
    """`run_fleet` on the miniature, with one worker unless told otherwise."""

    def run(
        to: Path | str,
        split: str = "validation",
        recipe: dict[str, Any] = FOUR,
        *,
        host: Miniature = miniature,
        to_options: dict[str, Any] | None = None,
        work: str | None = None,
        offline: bool = False,
        workers: int = 1,
        tasks: int | None = None,
        executor: str = "local",
        more: dict[str, Any] | None = None,
        **options: Any,
    ) -> Fleet:
        wanted = {
            "mirror": str(host.root),
            "test_labels": str(host.test_labels),
            "data_dir": str(tmp_path / "clips"),
            **options,
        }
        own = {"to": to, "to_options": to_options, "work": work, "workers": workers, "tasks": tasks}
        own |= {"executor": executor, "executor_options": more, **recipe}
        how, _ = own_options(FleetOptions, own)
        request = replace(kinetics600.make_request(split, **wanted), offline=offline)
        return run_fleet(request, how)

    return run


def clips_of(host: Miniature, split: str) -> list[str]:
    clips = [data for held in host.clips[split].values() for data in held.values()]
    return sorted(hashlib.sha256(data).hexdigest() for data in clips)


def test_four_tasks_make_the_same_bytes_as_one_and_a_rerun_makes_none(
    run: Run, s3: S3Server, miniature: Miniature, tmp_path: Path
) -> None:
    s3.make_bucket("shards")
    host = {"mirror": "s3://kinetics/600", "mirror_options": {"endpoint_url": s3.url}}
    place = {"to_options": s3.options}
    done = run("s3://shards/four", workers=4, tasks=4, **place, **host)
    (split,) = done.splits
    assert (split.tarballs, split.fetched_tarballs, split.clips, split.shards) == (6, 6, 30, 4)
    assert split.missing == {"empty": 1, "truncated": 1}
    four = stored(s3, "shards/four")
    run("s3://shards/one/four", **place, **host)
    assert stored(s3, "shards/one/four") == four
    run(tmp_path / "four")  # another mirror, another place
    assert made(tmp_path / "four") == without_etags(four)
    names = [name.partition("-")[0] for name in four if name.startswith("data/")]
    assert names == [f"data/validation/0000{number}" for number in range(4)]
    assert {name for name in four if name.startswith(".kinetics600")} == {
        f".kinetics600/validation/{name}" for name in ("done.json", "manifest.parquet", "run.json")
    }
    fs = fsspec.filesystem("s3", **s3.options, use_listings_cache=False)
    before = fs.find("shards/four", detail=True)
    (split,) = run("s3://shards/four", workers=4, tasks=4, **place, **host).splits
    assert (split.fetched_tarballs, split.clips) == (0, 30)
    assert fs.find("shards/four", detail=True) == before


NOTE = b"""{
 "format": 2,
 "kind": "embedded",
 "split": "validation",
 "classes": null,
 "max_samples": null,
 "max_per_class": null,
 "balanced": false,
 "shuffle": false,
 "seed": 0,
 "manifest": null,
 "source": "cvdf",
 "short_side": null,
 "shard_size_mb": 500,
 "shards_multiple_of": 4,
 "tarballs": "6 (761db8bae58809de)"
}
"""
"""What is noted of a request; who changes it gives the rows another format."""


def test_a_place_begun_before_goes_on_unless_its_files_mean_something_else(
    run: Run, miniature: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "a"
    notes = place / ".kinetics600/validation"
    notes.mkdir(parents=True)
    (notes / "run.json").write_bytes(NOTE)
    assert run(place).splits[0].clips == 30
    assert (notes / "run.json").read_bytes() == NOTE
    run(tmp_path / "b")
    assert (tmp_path / "b/.kinetics600/validation/run.json").read_bytes() == NOTE

    units = [json.loads(path.read_bytes()) for path in notes.glob("units/*.json")]
    assert len(units) == 6
    for unit in units:
        words = json.dumps([unit["url"], unit["etag"], {"format": 2, "short_side": None}])
        assert unit["key"] == hashlib.sha256(words.encode()).hexdigest()[:16]

    monkeypatch.setattr("k600.fleet.job.PARTS_FORMAT", 2)
    with pytest.raises(DestinationTakenError, match="request: parts_format was None, now 2"):
        run(place)
    (notes / "run.json").write_bytes(NOTE.replace(b'"format": 2', b'"format": 1'))
    with pytest.raises(DestinationTakenError, match="request: format was 1, now 2"):
        run(place)


def without_etags(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return files as if their place had no words of its own for their bytes."""
    path = ".kinetics600/validation/done.json"
    done = json.loads(files[path])
    assert all(shard.pop("etag") for shard in done["shards"])
    return {**files, path: to_json(done)}


def test_a_worker_reads_of_the_plan_what_is_its_own(miniature: Miniature, tmp_path: Path) -> None:
    request = kinetics600.make_request("validation", mirror=str(miniature.root), data_dir=tmp_path)
    job = make_job(request, "validation", FleetOptions(to=str(tmp_path / "out"), **FOUR))
    with open_places(job.how) as places:
        work = prepare_split(request, job, places)
        read_units(job, work.units, places)
        write_plan(job, work.units, {}, places)
        whole = [*read_plan(job, places.work).shards]
        saved = tmp_path / "out" / job.meta_path("plan.clips")
        data = saved.read_bytes()
        begins = json.loads(saved.with_name("plan.json").read_bytes())["begins"]
        for number, (start, end) in enumerate(itertools.pairwise(begins)):
            saved.write_bytes(bytes(start) + data[start:end] + bytes(len(data) - end))
            assert read_plan(job, places.work).shards[number] == whole[number]
        assert [len(clips) for clips in whole] == [7, 8, 7, 8]
        saved.unlink()
        with pytest.raises(DestinationError, match="no plan of 'validation' yet"):
            read_plan(job, places.work).shards[0]


def test_the_manifest_says_where_each_clip_lies_on_the_host(
    run: Run, miniature: Miniature, finished: Path
) -> None:
    table = pyarrow.parquet.read_table(finished / ".kinetics600/validation/manifest.parquet")
    for row in table.to_pylist():
        place = place_of(Tarball(row["split"], row["tarball"]), row)
        name = file_name_of(row["youtube_id"], row["time_start"], row["time_end"])
        assert place is not None
        clip = read_clip(Mirror(str(miniature.root)), place, name)
        assert hashlib.sha256(clip).hexdigest() == row["sha256"]


def test_an_index_of_any_workers_is_what_one_pass_of_this_machine_finds(
    run: Run, miniature: Miniature, tmp_path: Path
) -> None:
    place, recipe = tmp_path / "index", {"format": "index"}
    splits = run(place, "all", recipe, workers=2, tasks=3).splits
    assert [(one.fetched_tarballs, one.clips, one.shards) for one in splits] == [
        (6, 30, 1),
        (6, 32, 1),
        (2, 12, 1),
    ]
    assert not [*place.rglob("parts/*")]
    host = {"mirror": str(miniature.root), "test_labels": str(miniature.test_labels)}
    kinetics600.build_index(to=tmp_path / "one", data_dir=str(tmp_path / "clips"), **host)
    for split in SPLITS:
        tables = [
            pyarrow.parquet.read_table(folder / f"data/{split}/index.parquet").to_pylist()
            for folder in (place, tmp_path / "one")
        ]
        mine, theirs = (sorted(rows, key=lambda row: str([*row.values()])) for rows in tables)
        assert mine == theirs


def test_an_index_that_is_lost_is_made_again_without_reading(run: Run, tmp_path: Path) -> None:
    recipe, table = {"format": "index"}, tmp_path / "a/data/validation/index.parquet"
    run(tmp_path / "a", "validation", recipe)
    before = table.read_bytes()
    (split,) = run(tmp_path / "a", "validation", recipe).splits
    assert split.fetched_tarballs == 0
    table.write_bytes(before[:-1])
    (split,) = run(tmp_path / "a", "validation", recipe).splits
    assert (split.fetched_tarballs, table.read_bytes()) == (0, before)


def test_what_a_finished_tarball_leaves(run: Run, miniature: Miniature, tmp_path: Path) -> None:
    run(tmp_path / "a")
    folder = tmp_path / "a/.kinetics600/validation"
    markers = {}
    for path in folder.glob("units/*.json"):
        said = json.loads(path.read_text())
        markers[said["name"]] = said
    assert {*markers} == {*CLASSES}
    first = markers[CLASSES[0]]
    clips = miniature.clips["validation"][CLASSES[0]]
    assert {clip["file_name"]: clip["sha256"] for clip in first["clips"]} == {
        name: hashlib.sha256(data).hexdigest() for name, data in clips.items()
    }
    assert first["part_bytes"] == sum(map(len, clips.values()))
    assert sorted(reject["reason"] for reject in first["rejects"]) == ["empty", "truncated"]
    assert first["size_bytes"] == (miniature.root / f"val/{CLASSES[0]}.tar.gz").stat().st_size
    manifest = kinetics600.make_request("validation", manifest=folder / "manifest.parquet").manifest
    assert manifest is not None
    assert sorted(row.sha256 for row in manifest.rows) == clips_of(miniature, "validation")
    shards = {path.name for path in (tmp_path / "a/data/validation").iterdir()}
    table = pyarrow.parquet.read_table(folder / "manifest.parquet")
    assert {*table["shard"].to_pylist()} == shards


def test_what_is_written_is_published_from_its_manifest(
    run: Run, miniature: Miniature, tmp_path: Path
) -> None:
    run(tmp_path / "a")
    done = kinetics600.publish(
        None,
        "validation",
        to=str(tmp_path / "b"),
        mirror=str(miniature.root),
        data_dir=str(tmp_path / "clips"),
        source="cvdf",
        manifest=tmp_path / "a/.kinetics600/validation/manifest.parquet",
    )
    assert done.splits[0].clips == 30
    with pytest.raises(DestinationTakenError, match="'validation' of another request: source was"):
        kinetics600.publish(
            None,
            "validation",
            to=str(tmp_path / "a"),
            kind="embedded",
            i_have_the_rights=True,
            mirror=str(miniature.root),
            data_dir=str(tmp_path / "clips"),
        )


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"seed": 1}, "seed was 0, now 1"),
        ({"classes": CLASSES[0]}, "classes was None, now .*tarballs was '6 .* now '1 "),
        ({"short_side": 64}, "short_side was None, now 64"),
        ({"recipe": {}}, "shards_multiple_of was 4, now 1"),
        (
            {"recipe": {"shard_size_mb": 1, "shards_multiple_of": 4}},
            "shard_size_mb was 500, now 1",
        ),
        ({"recipe": TARS}, "holds embedded of 'validation': kind: 'webdataset' is not allowed"),
    ],
)
def test_other_options_are_refused(
    run: Run, finished: Path, changed: dict[str, Any], word: str
) -> None:
    before = made(finished)
    with pytest.raises(DestinationTakenError, match=word):
        run(finished, **changed)
    assert made(finished) == before


@pytest.fixture(scope="module")
def finished(miniature: Miniature, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place where a run was."""
    to = tmp_path_factory.mktemp("fleet") / "finished"
    options = {"mirror": str(miniature.root), "data_dir": str(to.parent / "clips")}
    request = kinetics600.make_request("validation", **options)
    run_fleet(request, FleetOptions(to=str(to), workers=1, **FOUR))
    return to


def test_a_place_that_holds_something_else_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a/data").mkdir(parents=True)
    with pytest.raises(DestinationTakenError, match="holds something else already: 'data'"):
        run(tmp_path / "a")


class Gate:
    """Holds a file of a web server back until it is opened."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, method: str, path: str) -> None:
        if (method, path) == ("GET", self.path):
            self.reached.set()
            self.open.wait(100)


def children(pid: int) -> list[int]:
    """Return the processes that a process started and that live."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z" and int(parent) == pid:
            found.append(int(path.parent.name))
    return found


def workers_of(pid: int) -> list[int]:
    """Return the workers of a run: a child of it starts them."""
    return [worker for child in children(pid) for worker in children(child)]


def command(mirror: str, to: Path) -> list[str]:
    words = [PROGRAM, "fleet", "train", "--to", to, "--mirror", mirror, "--workers", "2"]
    words += ["--shards-multiple-of", "4", "--json", "--data-dir", to.parent / "clips"]
    return [str(word) for word in words]


def started(words: list[str], env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, env=env)


def test_what_a_killed_worker_had_in_hand_is_done_by_another(
    run: Run, miniature: Miniature, tmp_path: Path
) -> None:
    gate = Gate(f"/600/train/{CLASSES[3]}.tar.gz")
    with web_server(miniature.root.parent, hold=gate) as server:
        process = started(command(f"{server.url}/600", tmp_path / "a"))
        assert gate.reached.wait(60)
        os.kill(workers_of(process.pid)[0], signal.SIGKILL)
        half = tmp_path / "a/.kinetics600/.note.json.part"  # as one killed while it wrote leaves it
        half.write_bytes(b'{"spl')
        gate.open.set()
        out, said = process.communicate(timeout=100)
    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert json.loads(out)["splits"][0]["clips"] == 30
    run(tmp_path / "b/a", "train")
    assert made(tmp_path / "a") == made(tmp_path / "b/a")


def test_a_killed_run_leaves_no_process_and_the_next_one_goes_on(
    run: Run, miniature: Miniature, tmp_path: Path
) -> None:
    gate = Gate(f"/600/train/{CLASSES[3]}.tar.gz")
    units = tmp_path / "a/.kinetics600/train/units"
    with web_server(miniature.root.parent, hold=gate) as server:
        words = command(f"{server.url}/600", tmp_path / "a")
        process = started(words)
        assert gate.reached.wait(60)
        wait_for(lambda: len([*units.glob("*.json")]) == 5)
        workers = workers_of(process.pid)
        process.kill()
        process.communicate()
        wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
        assert not (tmp_path / "a/data").exists()
        gate.open.set()
        process = started(words)
        out, said = process.communicate(timeout=100)
    assert process.returncode == 0, said
    split = json.loads(out)["splits"][0]
    assert (split["tarballs"], split["fetched_tarballs"]) == (6, 1)
    run(tmp_path / "b/a", "train")
    assert made(tmp_path / "a") == made(tmp_path / "b/a")


def test_ctrl_c_ends_it_at_once_with_one_line(miniature: Miniature, tmp_path: Path) -> None:
    gate = Gate(f"/600/train/{CLASSES[3]}.tar.gz")
    with web_server(miniature.root.parent, hold=gate) as server:
        process = started(command(f"{server.url}/600", tmp_path / "a"))
        assert gate.reached.wait(60)
        workers = workers_of(process.pid)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
        gate.open.set()
    assert process.returncode in (1, 130)
    assert "Traceback" not in said
    assert not (tmp_path / "a/.kinetics600/publish.lock").exists()


LOADS = (
    WITHOUT_LOADER
    + """
import hashlib, json
import datasets
datasets.disable_progress_bars()
raw = datasets.Video(decode=False)
def hashes(rows, column):
    return sorted(hashlib.sha256(row[column]["bytes"]).hexdigest() for row in rows)
found = {}
for place, column in ((sys.argv[1], "video"), (sys.argv[2], "mp4")):
    ds = datasets.load_dataset(place, split="validation")
    both = datasets.load_dataset(place)
    stream = datasets.load_dataset(place, "validation", split="validation", streaming=True)
    label = "label" if column == "video" else "cls"
    found[column] = {
        "kind": ds.features[column]._type,
        "names": ds.features[label].names,
        "hashes": hashes(ds.cast_column(column, raw), column),
        "streamed": hashes(stream.cast_column(column, raw), column),
        "shards": stream.num_shards,
        "splits": {name: len(part) for name, part in both.items()},
        "unlabelled": sum(value is None for value in both["test"][label]),
    }
ds = datasets.load_dataset(
    "webdataset", data_files={"validation": sys.argv[2] + "/data/validation/*.tar"})["validation"]
found["plain"] = hashes(ds.cast_column("mp4", raw), "mp4")
found["facts"] = ds.select_columns("json")[0]["json"]
found["modules"] = [name for name in sys.modules if name.startswith(("k600", "kinetics"))]
print(json.dumps(found))
"""
)


def test_what_is_written_loads_where_the_loader_is_not_installed(
    run: Run, miniature: Miniature, tmp_path: Path
) -> None:
    for split in ("validation", "test"):
        run(tmp_path / "rows", split)
        run(tmp_path / "tars", split, TARS)
    done = subprocess.run(
        [os.environ.get("K600_TEST_PYTHON", sys.executable), "-I", "-c", LOADS, "./rows", "./tars"],
        env={**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["modules"] == []
    for column in ("video", "mp4"):
        said = found[column]
        assert said["kind"] == "Video"
        assert said["names"] == kinetics600.labels()
        assert said["hashes"] == said["streamed"] == clips_of(miniature, "validation")
        assert said["shards"] == 4
        assert said["splits"] == {"validation": 30, "test": 12}
        assert said["unlabelled"] == sum(label is None for label in miniature.labels.values())
    assert found["plain"] == found["mp4"]["hashes"]
    for place in ("rows", "tars"):
        environment = {**os.environ, "HF_HOME": str(tmp_path / "hf")}
        card = (tmp_path / place / "README.md").read_text("utf-8")
        for old in ('"test"', "index/test"):
            card = card.replace(old, old.replace("test", "validation"))
        one = run_one_class(card, environment, tmp_path)
        clips = miniature.clips["validation"]["surfing water"].values()
        assert one["hashes"] == sorted(hashlib.sha256(data).hexdigest() for data in clips)
    assert {*found["facts"]} == {
        *("label", "youtube_id", "time_start", "time_end", "split", "source"),
        *("tarball", "position", "sha256", "fps"),
    }


def test_to_the_hub_go_shards_alone(miniature: Miniature, tmp_path: Path) -> None:
    words = [PROGRAM, "fleet", "validation", "--to", "hf://datasets/owner/clips", "--workers", "2"]
    words += ["--mirror", miniature.root, "--data-dir", tmp_path / "clips", "--json"]
    words += ["--shards-multiple-of", "4", "--work", tmp_path / "work", "--i-have-the-rights"]
    with loopback_hub() as hub:
        hub.faults = [("POST", "/commit/", 412)] * 2
        found = []
        for _ in range(2):
            process = started([str(word) for word in words], env=environment(hub, tmp_path))
            out, said = process.communicate(timeout=100)
            assert process.returncode == 3, said  # two clips of the host are no good
            found.append(json.loads(out))
            there = hub.files("owner/clips")
            assert len(hub.uploads) == 6  # four shards, the index and the manifest
        commits = []
        for _ in range(2):
            more = [*map(str, words), "--with-loader"]
            process = started(more, env=environment(hub, tmp_path))
            _, said = process.communicate(timeout=100)
            assert process.returncode == 3, said
            commits.append(len(hub.repos["owner/clips"].commits))
        assert commits[0] == commits[1]
        with_loader = hub.files("owner/clips")
        assert {"loader/kinetics600.py", "loader/k600/api.py"} < {*with_loader}
        assert "## The loader" in with_loader["README.md"].decode()
        assert hub.repos["owner/clips"].private
        assert found[0]["address"] == f"{hub.url}/datasets/owner/clips"
        assert found[0]["splits"][0]["shards"] == 4
        assert found[1]["splits"][0]["fetched_tarballs"] == 0
    shards = {name for name in there if name.startswith("data/")}
    assert len(shards) == 4
    assert {*there} - shards == {
        *("README.md", ".gitattributes", "index/validation.parquet"),
        *(f".kinetics600/validation/{name}" for name in ("run.json", "done.json")),
        ".kinetics600/validation/manifest.parquet",
    }
    assert "It is private" in there["README.md"].decode()
    left = {path.name for path in (tmp_path / "work/.kinetics600/validation").iterdir()}
    assert left == {"run.json", "units"}


def test_the_loader_comes_along_if_it_is_asked_for(
    run: Run, finished: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        run(tmp_path / "finished", recipe={**FOUR, "with_loader": True})
    files, without = made(tmp_path / "finished"), made(finished)
    more = {name for name in files if name not in without}
    assert {"loader/kinetics600.py", "loader/README.md", ".kinetics600/loader.json"} < more
    assert all(name.startswith("loader/") for name in more - {".kinetics600/loader.json"})
    assert {name for name in without if files[name] != without[name]} == {"README.md"}
    assert b"## The loader" in files["README.md"]


def test_machines_share_the_shards_evenly_and_every_shard_mixes_classes(
    run: Run, tmp_path: Path
) -> None:
    run(tmp_path / "a", recipe={"shards_multiple_of": 3})
    stream = datasets.load_dataset(str(tmp_path / "a"), "validation", streaming=True)["validation"]
    stream = stream.cast_column("video", datasets.Video(decode=False))
    assert stream.num_shards == 3
    rows = []
    for rank in range(3):
        part = split_dataset_by_node(stream, rank=rank, world_size=3)
        assert part.num_shards == 1
        rows.append([(row["label"], row["youtube_id"], row["time_start"]) for row in part])
        assert len({label for label, _, _ in rows[-1]}) >= 4
    assert [len(part) for part in rows] == [10, 10, 10]
    assert len({row for part in rows for row in part}) == 30


def test_a_script_needs_no_main_and_is_not_run_again_by_its_workers(
    miniature: Miniature, tmp_path: Path
) -> None:
    script = tmp_path / "mine.py"
    script.write_text(
        "import kinetics600, os\n"
        "print('begun')\n"
        "found = kinetics600.fleet('shards', 'validation', workers=2, data_dir='clips',\n"
        f"    mirror={str(miniature.root)!r})\n"
        "print(found.splits[0].clips, os.path.basename(__file__))\n"
    )
    ran = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "begun\n30 mine.py\n"


def test_in_python(miniature: Miniature, tmp_path: Path, finished: Path) -> None:
    done = kinetics600.fleet(
        str(tmp_path / "finished"),
        "validation",
        workers=1,
        shards_multiple_of=4,
        mirror=str(miniature.root),
        data_dir=str(tmp_path / "clips"),
    )
    assert done.splits[0].clips == 30
    assert made(tmp_path / "finished") == made(finished)


def test_clips_are_made_smaller_on_the_way(run: Run, miniature: Miniature, tmp_path: Path) -> None:
    small: Any = {"classes": CLASSES[:2], "short_side": 48, "encode": "training", "frame_step": 2}
    run(tmp_path / "a", workers=2, **small)
    run(tmp_path / "b/a", **small)
    assert made(tmp_path / "a") == made(tmp_path / "b/a")
    table = pyarrow.parquet.read_table(tmp_path / "a/.kinetics600/validation/manifest.parquet")
    assert len(table) == 10
    assert {*table["fps"].to_pylist()} == {2.5}  # half of the miniature's
    (shard, *_) = (tmp_path / "a/data/validation").iterdir()
    assert {*pyarrow.parquet.read_table(shard, columns=["fps"])["fps"].to_pylist()} == {2.5}
    assert "one of 2 frames, each at its own time" in (tmp_path / "a/README.md").read_text()
    assert not {*table["sha256"].to_pylist()} & {*clips_of(miniature, "validation")}


def test_classes_of_the_test_split(run: Run, miniature: Miniature, tmp_path: Path) -> None:
    label = next(label for label in miniature.labels.values() if label)
    run(tmp_path / "a", "test", {}, classes=label)
    (file,) = (tmp_path / "a/data/test").iterdir()
    labels = pyarrow.parquet.read_table(file, columns=["label"])["label"].to_pylist()
    count = [*miniature.labels.values()].count(label)
    assert labels == [kinetics600.label2id()[label]] * count
    assert "a part" in (tmp_path / "a/README.md").read_text()


def test_a_damaged_tarball_leaves_nothing_but_its_reason(
    run: Run, own_miniature: Miniature, tmp_path: Path
) -> None:
    path = own_miniature.root / "train/zumba.tar.gz"
    data = path.read_bytes()
    path.write_bytes(data[:-4] + bytes(4))
    (split,) = run(tmp_path / "a", "train", {}, host=own_miniature).splits
    assert split.missing == {"tarball_damaged": 1}
    assert not split.complete
    assert (split.tarballs, split.clips) == (2, 5)


def test_a_tarball_that_is_replaced_between_two_readings_is_not_taken_for_the_one_planned(
    own_miniature: Miniature, tmp_path: Path
) -> None:
    clips = own_miniature.clips["train"]["zumba"]
    sound = make_tarball(clips)
    damaged = sound[:-8] + bytes(4) + sound[-4:]
    tarball = Tarball("train", "zumba")
    read_to_its_end = False

    def replaced(answer: Answer) -> None:
        nonlocal read_to_its_end
        if answer.path.endswith("zumba.tar.gz"):
            served(answer, *((sound, "B") if read_to_its_end else (damaged, "A")))
            start, end = answer.wanted or (0, 1)
            read_to_its_end |= answer.method == "GET" and start < end and end >= len(damaged)

    with faulty_host(own_miniature.root.parent) as host:
        host.fault = replaced
        mirror = Mirror(f"{host.url}/600")
        job = Job(
            split="train",
            mirror=mirror,
            labels={},
            classes=None,
            encoding=None,
            how=FleetOptions(to=str(tmp_path / "out")),
            seed=0,
            whole=False,
            options={"format": 1},
        )
        unit = Unit.of(tarball, mirror.head(tarball.path), job.options)
        place = FileDestination(str(tmp_path / "out"))
        place.prepare()
        (tmp_path / "scratch").mkdir()
        with pytest.raises(MirrorChangedError, match="was replaced since this run began"):
            read_unit(unit, job, place, tmp_path / "scratch")
    assert not place.names(job.meta_path("units"))


def test_a_portal_s_page_is_no_damaged_tarball_and_leaves_no_marker(
    run: Run, own_miniature: Miniature, tmp_path: Path
) -> None:
    with faulty_host(own_miniature.root.parent) as host:
        host.fault = on_clips(lambda answer: setattr(answer, "body", bytes(len(answer.body))))
        options = {"mirror": f"{host.url}/600"}
        with pytest.raises(Kinetics600Error, match="zumba|surfing"):
            run(tmp_path / "a", "train", {}, host=own_miniature, **options)
        host.fault = None
        (split,) = run(tmp_path / "a", "train", {}, host=own_miniature, **options).splits
    assert split.complete
    assert split.missing == {}


def test_a_tarball_that_was_replaced_is_read_anew(
    run: Run, own_miniature: Miniature, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="shards_multiple_of: 64 is more than the number of"):
        run(tmp_path / "a", "train", {"shards_multiple_of": 64}, host=own_miniature)
    units = tmp_path / "a/.kinetics600/train/units"
    assert len([*units.iterdir()]) == 2
    members = {f"newclip{n:04d}_000000_000010.mp4": make_clip(900 + n) for n in range(70)}
    (own_miniature.root / "train/zumba.tar.gz").write_bytes(make_tarball(members))
    recipe = {"shards_multiple_of": 64}
    (split,) = run(tmp_path / "a", "train", recipe, host=own_miniature).splits
    assert (split.fetched_tarballs, split.clips, split.shards) == (1, 75, 64)


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_part_that_was_changed_or_is_gone_is_read_anew(
    damage: str, run: Run, own_miniature: Miniature, tmp_path: Path
) -> None:
    recipe = {"shards_multiple_of": 64}
    with pytest.raises(OptionError, match="number of clips, which is 10"):
        run(tmp_path / "a", "train", recipe, host=own_miniature)
    own = tmp_path / "a/.kinetics600/train"
    part = max((own / "parts").iterdir())
    if damage == "changed":
        part.write_bytes(bytes(part.stat().st_size))
    else:
        part.unlink()
    members = {f"newclip{n:04d}_000000_000010.mp4": make_clip(900 + n) for n in range(60)}
    names = {json.loads(path.read_text())["name"]: path.stem for path in own.glob("units/*.json")}
    other = next(name for name, key in names.items() if key != part.name)
    (own_miniature.root / f"train/{other}.tar.gz").write_bytes(make_tarball(members))
    (split,) = run(tmp_path / "a", "train", recipe, host=own_miniature).splits
    assert (split.fetched_tarballs, split.clips) == (2, 65)
    run(tmp_path / "b/a", "train", recipe, host=own_miniature)
    assert made(tmp_path / "a") == made(tmp_path / "b/a")


def test_what_is_read_ahead_is_bounded_and_changes_nothing(
    run: Run, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("k600.fleet.merge.AHEAD_BYTES", 1)
    run(tmp_path / "finished")
    assert made(tmp_path / "finished") == made(finished)


def test_a_tarball_that_is_not_there(
    run: Run, own_miniature: Miniature, tmp_path: Path, lines: pytest.LogCaptureFixture
) -> None:
    (own_miniature.root / "train/zumba.tar.gz").unlink()
    with pytest.raises(IncompleteError, match=r"zumba.tar.gz is left out: .* does not exist"):
        run(tmp_path / "a", "train", host=own_miniature, on_missing="raise")
    (split,) = run(tmp_path / "b", "train", {}, host=own_miniature).splits
    assert (split.clips, split.missing) == (5, {"tarball_not_found": 1})
    assert not split.complete
    assert "zumba.tar.gz is left out" in lines.text
    with pytest.raises(NoClipsError):
        run(tmp_path / "c", "train", host=own_miniature, classes="zumba")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"source": "youtube"}, "source: 'youtube' is not allowed: YouTube counts what an address"),
        ({"source": "local"}, "source: 'local' is not allowed"),
        ({"max_samples": 3}, "max_samples, max_per_class, manifest, exclude_overlap: not allowed"),
        ({"executor": "rya"}, "executor: 'rya' is not allowed; did you mean 'ray'"),
        ({"tasks": 0}, "tasks: 0 is not allowed"),
        ({"workers": 0}, "workers: 0 is not allowed, expected a whole number of at least 1"),
        ({"workers": "all"}, "workers: 'all' is not allowed"),
        ({"recipe": {"shard_size_mb": 0}}, "shard_size_mb: 0 is not allowed"),
        ({"recipe": {"shards_multiple_of": 0}}, "shards_multiple_of: 0 is not allowed"),
        ({"to": "hf://datasets/a/b"}, "work: needed with hf://, as the Hub takes files by commits"),
        ({"to": "hf://datasets/a/b", "work": "w"}, "i_have_the_rights: the videos belong"),
        ({"work": "w"}, "work: 'w' is not allowed with to"),
        ({"to": "s4://bucket/x"}, "to: 's4://bucket/x' is not allowed"),
        ({"more": {"wings": 2}}, "executor_options: not allowed with executor: 'local'"),
        ({"mirror": "https://192.0.2.1/600", "offline": True}, "HF_DATASETS_OFFLINE forbids"),
    ],
)
def test_wrong_options(run: Run, tmp_path: Path, options: dict[str, Any], word: str) -> None:
    with pytest.raises(Kinetics600Error, match=word):
        run(**{"to": tmp_path / "a", **options})


def test_an_unknown_format_is_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="format: 'tar' is not allowed"):
        kinetics600.fleet(str(tmp_path / "a"), "train", format="tar")


def test_a_text_is_no_statement_about_rights(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="i_have_the_rights: 'no' is not allowed"):
        kinetics600.fleet(
            "hf://datasets/a/b", "train", work=str(tmp_path / "work"), i_have_the_rights="no"
        )


@pytest.mark.parametrize(
    ("module", "executor", "packages"),
    [("datatrove", "slurm", "datatrove"), ("ray", "ray", "datatrove ray")],
)
def test_without_its_engine_it_says_what_to_install(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    executor: str,
    packages: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=rf"pip install {packages} \("):
        run(tmp_path / "a", executor=executor)
    assert not (tmp_path / "a").exists()


def test_on_the_command_line(miniature: Miniature, tmp_path: Path, command: Command) -> None:
    def said(*words: object, code: int = 0) -> tuple[str, str]:
        host = ["--mirror", miniature.root, "--data-dir", tmp_path / "clips"]
        done = command("fleet", *words, *host)
        assert done.returncode == code, done.stderr
        return done.stdout, " ".join(done.stderr.split())

    _, shown = said("validation", "--to", tmp_path / "a", "--workers", "1", code=3)
    assert "30 clips in 1 shard, from 6 tarballs, 6 of them read now" in shown
    assert "1 truncated" in shown
    assert f"written: {tmp_path / 'a'}" in shown
    out, _ = said("train", "--estimate", "--workers", "3", "--json")
    found = json.loads(out)
    assert found["tarballs"] == 6
    assert [one["workers"] for one in found["simulations"]] == [1, 3, 6, 10, 100, 1000]
    shown, _ = said("train", "--estimate", "--get-price", "1000")
    assert f"6 tarballs, {decimal(found['tarball_bytes'])};" in shown
    assert f"{found['requests']['gets']:,} GETs and {found['requests']['puts']:,} PUTs" in shown
    assert "get-price: -1.0 is not" in said("train", "--estimate", "--get-price=-1", code=2)[1]
    assert not (tmp_path / "clips").exists()
    assert "to: say where to" in said("train", code=2)[1]
    assert "network: 0.0 is not" in said("train", "--estimate", "--network", "0", code=2)[1]
    assert "no JSON object" in said("train", "--to", "x", "--to-options", "[]", code=2)[1]
