"""Publishing to a Hub on loopback by the real client, to folders and to S3; and loading it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import filelock
import huggingface_hub.constants
import pyarrow.parquet
import pytest

import k600.cli.publish
import k600.publish.hub
import kinetics600
from k600.dataset.clip import Tarball, file_name_of
from k600.errors import (
    DestinationTakenError,
    IncompleteError,
    Kinetics600Error,
    NoClipsError,
    OfflineError,
    OptionError,
)
from k600.loading.columns import place_of
from k600.loading.options import own_options
from k600.miniature import CLASSES, Miniature, make_clip, make_miniature, make_tarball
from k600.mirror.mirror import Mirror
from k600.progress import Bar
from k600.publish.clips import group_names, shuffle
from k600.publish.options import PublishOptions
from k600.publish.run import Published, publish
from k600.tarballs.one_clip import read_clip
from tests.conftest import Command
from tests.faults.host import faulty_host
from tests.faults.test_http import first, on_clips, spoil
from tests.hub import STRANGER, TOKEN, Hub, RateLimit, environment, loopback_hub
from tests.servers import S3Server
from tests.without_loader import WITHOUT_LOADER, run_one_class

COMMAND = "import k600.cli.publish; from k600.cli import main; main()"
EMBEDDED = {"kind": "embedded", "shard_size_mb": 1, "mix": 2}

# The client hands a file to its HTTP library in a way that this one does not like any more.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")

Publish = Callable[..., Published]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(k600.publish.hub, "FIRST_PAUSE_SECONDS", 0.0)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with loopback_hub() as server:
        yield server


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Miniature:
    """A miniature whose train clips have some hundred kilobytes, so that shards are several."""
    host = make_miniature(tmp_path_factory.mktemp("large"), flaws=False)
    for number, (label, clips) in enumerate(host.clips["train"].items()):
        fat = {name: padded(data, 50 * number + i) for i, (name, data) in enumerate(clips.items())}
        (host.root / f"train/{label}.tar.gz").write_bytes(make_tarball(fat))
        host.clips["train"][label].update(fat)  # type: ignore[attr-defined]
    return host


def padded(clip: bytes, seed: int) -> bytes:
    """Return a clip with a box of noise behind it."""
    noise = hashlib.shake_128(b"%d" % seed).digest(200_000 + 9_000 * (seed % 20))
    return clip + struct.pack(">I", 8 + len(noise)) + b"free" + noise


class _Progress:
    """Counts; a progress bar for tests."""

    def __call__(self, total: int, description: str, *, unit: str = "B") -> Any:
        return self

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None: ...

    def update(self, n: int, part: str = "") -> None: ...

    def begin(self, part: str, total: int) -> None: ...

    def end(self, part: str) -> None: ...


@pytest.fixture
def put(miniature: Miniature, tmp_path: Path, request: pytest.FixtureRequest) -> Publish:
    """`publish` of the miniature, to the loopback Hub if the test has one."""
    hub = request.getfixturevalue("hub") if "hub" in request.fixturenames else None

    def put(
        repo: str | None,
        split: str = "validation",
        recipe: dict[str, Any] | None = None,
        *,
        host: Miniature = miniature,
        more: dict[str, Any] | None = None,
        **options: Any,
    ) -> Published:
        wanted = {"data_dir": str(tmp_path / "clips"), "test_labels": str(host.test_labels)}
        options = {**(recipe or {}), **options}
        called = {"endpoint": options.pop("endpoint")} if "endpoint" in options else {}
        if hub is not None:
            options = {"token": TOKEN, **options}
            called = {"endpoint": hub.url, **called}
        if options.get("kind") == "embedded":
            options = {"i_have_the_rights": True, **options}
        wanted = {"mirror": str(host.root), **wanted, **(more or {})}
        request = kinetics600.make_request(split, **wanted)
        request = replace(request, offline=options.pop("offline", False), progress=_Progress())
        how, _ = own_options(PublishOptions, options)
        return publish(request, repo, how, **called)

    return put


def rows_of(folder: Path, split: str) -> list[dict[str, Any]]:
    files = sorted((folder / "data" / split).glob("*.parquet"))
    return [row for file in files for row in pyarrow.parquet.read_table(file).to_pylist()]


def test_metadata_are_a_row_for_each_clip_with_what_is_known_of_it(
    put: Publish, miniature: Miniature, tmp_path: Path, load: Any
) -> None:
    to = tmp_path / "published"
    done = put(None, to=str(to))
    listed = rows_of(to, "validation")
    assert done.splits[0].clips == len(listed)
    assert {row["sha256"] for row in listed} == {None}
    ds = load("validation", classes=CLASSES[1])["validation"]
    done = put(None, to=str(to))
    assert done.splits[0].new_shards == 1
    rows = rows_of(to, "validation")
    proved = {row["youtube_id"]: row for row in rows if row["sha256"]}
    assert len(proved) == len(ds) == 5
    assert len(rows) == len(listed) + 5  # this tarball's clips are not on the host's list
    for clip in ds:
        row, data = proved[clip["youtube_id"]], Path(clip["video"]["path"]).read_bytes()
        assert row["sha256"] == hashlib.sha256(data).hexdigest()
        assert (row["size_bytes"], row["source"]) == (len(data), "cvdf")
        assert row["tarball"] == kinetics600.id2label()[row["label"]] == CLASSES[1]
        start = f"&t={row['time_start']}s"
        assert row["url"] == f"https://www.youtube.com/watch?v={row['youtube_id']}{start}"
        place = place_of(Tarball("validation", row["tarball"]), row)
        assert place is not None  # the load has found it in passing
        name = file_name_of(row["youtube_id"], row["time_start"], row["time_end"])
        assert read_clip(Mirror(str(miniature.root)), place, name) == data
    assert {row["entry_offset"] for row in rows if row["sha256"] is None} == {None}
    assert [row["label"] for row in rows] == sorted(row["label"] for row in rows)
    assert not list(to.glob("*.py"))
    again = put(None, to=str(to))
    assert again.splits[0].new_shards == 0


def test_metadata_of_test_clips_and_of_a_few(put: Publish, tmp_path: Path, load: Any) -> None:
    put(None, "test", to=str(tmp_path / "a"))
    labelled = rows_of(tmp_path / "a", "test")
    assert labelled
    assert {row["tarball"] for row in labelled} == {None}
    load("test")
    put(None, "test", to=str(tmp_path / "b"))
    rows = rows_of(tmp_path / "b", "test")
    assert len(rows) == 12
    assert {row["tarball"] for row in rows} == {"part_0", "part_1"}
    assert None in {row["label"] for row in rows}
    put(None, to=str(tmp_path / "c"), more={"max_samples": 7, "shuffle": True, "seed": 3})
    assert len(rows_of(tmp_path / "c", "validation")) == 7
    with pytest.raises(NoClipsError):
        put(None, to=str(tmp_path / "d"), more={"source": "local"})


def test_embedded_clips_are_those_of_the_tarballs_mixed_and_always_the_same(
    put: Publish, large: Miniature, tmp_path: Path
) -> None:
    done = put(None, "train", EMBEDDED, host=large, to=str(tmp_path / "a"))
    assert not (tmp_path / "clips" / "train").exists()
    assert done.splits[0].shards >= 9
    rows = rows_of(tmp_path / "a", "train")
    hashes = sorted(hashlib.sha256(row["video"]["bytes"]).hexdigest() for row in rows)
    clips = [data for held in large.clips["train"].values() for data in held.values()]
    assert hashes == sorted(hashlib.sha256(data).hexdigest() for data in clips)
    assert all(
        large.clips["train"][CLASSES[0]].keys() >= {row["video"]["path"]}
        for row in rows
        if row["label"] == kinetics600.label2id()[CLASSES[0]]
    )
    files = sorted((tmp_path / "a/data/train").iterdir())
    mixed_files = 0
    for file in files:
        parquet = pyarrow.parquet.ParquetFile(file)
        assert file.stat().st_size < 1_200_000
        assert file.name.endswith(hashlib.sha256(file.read_bytes()).hexdigest()[:16] + ".parquet")
        assert parquet.metadata.row_group(0).num_rows <= 100
        mixed_files += len(set(parquet.read(["label"])["label"].to_pylist())) > 1
    assert mixed_files >= len(files) / 2
    put(None, "train", EMBEDDED, host=large, to=str(tmp_path / "b"))
    assert [f.name for f in files] == sorted(f.name for f in (tmp_path / "b/data/train").iterdir())
    put(None, "train", EMBEDDED, host=large, to=str(tmp_path / "c"), more={"seed": 1})
    assert {f.name for f in files}.isdisjoint(f.name for f in (tmp_path / "c/data/train").iterdir())


def test_where_clips_lie_is_kept_of_what_was_read_as_a_load_keeps_it(
    put: Publish, tmp_path: Path, miniature: Miniature
) -> None:
    put(None, "train", EMBEDDED, to=str(tmp_path / "whole"))
    a_few = {"max_samples": 3, "data_dir": str(tmp_path / "few")}
    put(None, "train", EMBEDDED, to=str(tmp_path / "chosen"), more=a_few)
    options = {"split": "train", "mirror": str(miniature.root)}
    kinetics600.load_dataset(**options, data_dir=tmp_path / "loaded", cache_dir=tmp_path / "cache")

    clips = [(label, name) for label in CLASSES for name in miniature.clips["train"][label]]
    published, few, loaded = (
        kinetics600.make_request(**options, data_dir=tmp_path / folder).ledger
        for folder in ("clips", "few", "loaded")
    )
    assert published.objects("train") == loaded.objects("train")
    assert len(published.objects("train")) == len(CLASSES)
    known = loaded.places("train", clips)
    assert published.places("train", clips) == known
    assert len(known) > 20
    assert 0 < len(few.objects("train")) < len(CLASSES)
    assert few.places("train", clips).items() < known.items()
    assert not list((tmp_path / "clips").rglob("*.mp4"))


def test_what_had_to_be_left_out_is_named_and_counted(put: Publish, tmp_path: Path) -> None:
    place = tmp_path / "published"
    done = put(None, "validation", EMBEDDED, to=str(place))
    groups = sorted((place / ".kinetics600/validation/groups").iterdir())
    named: dict[str, str] = {}
    for group in groups:
        named |= json.loads(group.read_text())["left_out"]
    assert named == {
        f"val/massaging person's head.tar.gz/{name}_000000_000010.mp4": why
        for name, why in (("cutoffclip0", "truncated"), ("emptyclip00", "empty"))
    }
    assert done.splits[0].missing == {"empty": 1, "truncated": 1}
    assert "| `validation` | 1 | its file is cut off |" in (place / "README.md").read_text(
        encoding="utf-8"
    )
    assert put(None, "validation", EMBEDDED, to=str(place)).splits == (
        replace(done.splits[0], new_shards=0),
    )


def test_a_damaged_tarball_is_left_out_whole(
    own_miniature: Miniature, put: Publish, tmp_path: Path
) -> None:
    tarball = own_miniature.root / "train/zumba.tar.gz"
    data = bytearray(tarball.read_bytes())
    data[-6] ^= 1  # in gzip's checksum: every clip has gone by when it is seen
    tarball.write_bytes(data)
    done = put(None, "train", EMBEDDED, host=own_miniature, to=str(tmp_path / "a"))
    assert done.splits[0].missing == {"tarball_damaged": 1}
    rows = rows_of(tmp_path / "a", "train")
    zumba = kinetics600.label2id()["zumba"]
    assert len(rows) == done.splits[0].clips > 0
    assert zumba not in {row["label"] for row in rows}
    more = {"on_missing": "raise"}
    with pytest.raises(IncompleteError, match="its clips may be damaged"):
        put(None, "train", EMBEDDED, host=own_miniature, to=str(tmp_path / "b"), more=more)


def test_a_tarball_that_came_damaged_once_is_read_again_and_not_left_out(
    own_miniature: Miniature, put: Publish, tmp_path: Path
) -> None:
    put(None, "train", EMBEDDED, host=own_miniature, to=str(tmp_path / "calm"))
    with faulty_host(own_miniature.root.parent) as host:
        host.fault = first(1, on_clips(spoil))
        more = {"mirror": f"{host.url}/600", "data_dir": str(tmp_path / "other")}
        done = put(None, "train", EMBEDDED, host=own_miniature, to=str(tmp_path / "a"), more=more)
        assert host.struck == 1
    assert done.splits[0].missing == {}
    assert rows_of(tmp_path / "a", "train") == rows_of(tmp_path / "calm", "train")


def test_a_tarball_that_is_not_there_is_named(
    own_miniature: Miniature, put: Publish, tmp_path: Path
) -> None:
    (own_miniature.root / "train/zumba.tar.gz").unlink()
    done = put(None, "train", EMBEDDED, host=own_miniature, to=str(tmp_path / "a"))
    assert done.splits[0].missing == {"tarball_not_found": 1}


def test_row_groups_are_bounded(
    put: Publish, large: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("k600.publish.shards.MOST_GROUP_BYTES", 700_000)
    monkeypatch.setattr("k600.publish.shards.MOST_GROUP_ROWS", 2)
    monkeypatch.setattr("k600.publish.clips.BUFFER_ROWS", 3)
    recipe = {"kind": "embedded", "shard_size_mb": 100, "mix": 6}
    put(None, "train", recipe, host=large, to=str(tmp_path / "a"))
    (file,) = (tmp_path / "a/data/train").iterdir()
    parquet = pyarrow.parquet.ParquetFile(file).metadata
    assert {parquet.row_group(i).num_rows for i in range(parquet.num_row_groups)} <= {1, 2}
    assert parquet.num_rows == 30


def test_embedded_from_the_store_without_the_mirror(
    put: Publish, tmp_path: Path, load: Any
) -> None:
    load("validation", classes=list(CLASSES[:2]), on_missing="skip")
    put(None, recipe=EMBEDDED, to=str(tmp_path / "a"), more={"source": "local"})
    rows = rows_of(tmp_path / "a", "validation")
    assert len(rows) == 10
    assert all("/" not in row["video"]["path"] for row in rows)  # no path of this machine
    assert {row["source"] for row in rows} == {"cvdf"}


def test_embedded_rows_say_where_in_their_tarball_they_were(
    put: Publish, large: Miniature, tmp_path: Path, load: Any
) -> None:
    put(None, "train", EMBEDDED, host=large, to=str(tmp_path / "streamed"))
    load("train", mirror=str(large.root))
    put(None, "train", EMBEDDED, host=large, to=str(tmp_path / "stored"), more={"source": "local"})
    for place in ("streamed", "stored"):
        rows = rows_of(tmp_path / place, "train")
        assert len(rows) == 30
        for row in rows:
            names = [*large.clips["train"][row["tarball"]]]
            assert row["video"]["path"] == names[row["position"]]
            assert row["sha256"] == hashlib.sha256(row["video"]["bytes"]).hexdigest()


LOADS = (
    WITHOUT_LOADER
    + """
import hashlib, json
import datasets
from huggingface_hub import DatasetCard
datasets.disable_progress_bars()
found = {"datasets": datasets.__version__, "modules": []}
for repo in sys.argv[1:3]:
    ds = datasets.load_dataset(repo, split="validation")
    stream = datasets.load_dataset(repo, split="validation", streaming=True)
    both = datasets.load_dataset(repo)
    assert len(datasets.load_dataset(repo, "validation")["validation"]) == len(ds)
    if "video" in ds.features:
        found["video"] = ds.features["video"]._type
        ds = ds.cast_column("video", datasets.Video(decode=False))
        stream = stream.cast_column("video", datasets.Video(decode=False))
        found["hashes"] = sorted(hashlib.sha256(r["video"]["bytes"]).hexdigest() for r in ds)
        found["streamed"] = sorted(
            hashlib.sha256(r["video"]["bytes"]).hexdigest() for r in stream)
    found[repo] = {
        "clips": len(ds), "stream": sum(1 for _ in stream), "names": ds.features["label"].names,
        "splits": {name: len(part) for name, part in both.items()},
    }
    for key, more in (("filtered", {}), ("filtered stream", {"streaming": True})):
        label = ds.features["label"].str2int("surfing water")
        some = datasets.load_dataset(
            repo, "validation", split="validation", filters=[("label", "=", label)],
            columns=["label", "youtube_id"], **more)
        found[repo][key] = [row["label"] == label for row in some]
    card = DatasetCard.load(repo)
    if "ENDPOINT" in card.validate.__code__.co_names:
        card.validate()  # older ones ask huggingface.co whatever HF_ENDPOINT says
found["modules"] = [name for name in sys.modules if name.startswith(("k600", "kinetics"))]
print(json.dumps(found))
"""
)


def test_what_is_published_loads_where_the_loader_is_not_installed(
    hub: Hub, put: Publish, miniature: Miniature, tmp_path: Path
) -> None:
    for split in ("validation", "test"):
        put("owner/meta", split)
        put("owner/clips", split, EMBEDDED)
    python = os.environ.get("K600_TEST_PYTHON", sys.executable)
    done = subprocess.run(
        [python, "-I", "-c", LOADS, "owner/meta", "owner/clips"],
        env=environment(hub, tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["modules"] == []
    assert found["video"] == "Video"
    clips = [data for held in miniature.clips["validation"].values() for data in held.values()]
    assert found["hashes"] == found["streamed"]
    assert found["hashes"] == sorted(hashlib.sha256(data).hexdigest() for data in clips)
    for repo, count in (("owner/meta", 29), ("owner/clips", 30)):
        said = found[repo]
        assert said["clips"] == said["stream"] == said["splits"]["validation"] == count
        assert said["names"] == kinetics600.labels()
        assert said["filtered"] == said["filtered stream"] == [True] * 5
    assert found["owner/clips"]["splits"]["test"] == 12
    roots = {path for repo in hub.repos for path in hub.files(repo) if "/" not in path}
    assert roots == {"README.md", ".gitattributes"}


def test_the_card_s_way_reads_one_class_for_its_own_bytes(
    hub: Hub, put: Publish, large: Miniature, tmp_path: Path
) -> None:
    put("owner/clips", "train", EMBEDDED, host=large)
    files = hub.files("owner/clips")
    hub.sent.clear()
    found = run_one_class(files["README.md"].decode(), environment(hub, tmp_path), tmp_path)
    clips = large.clips["train"]["surfing water"]
    assert found["hashes"] == sorted(hashlib.sha256(data).hexdigest() for data in clips.values())
    assert found["ids"] == sorted(name[:11] for name in clips)
    assert {path.partition("/")[0] for path in hub.sent} == {"README.md", "index", "data"}
    data = {path: count for path, count in hub.sent.items() if path.startswith("data/")}
    assert sum(data.values()) == sum(map(len, clips.values()))
    assert sum(len(files[path]) for path in data) > 2 * sum(data.values())  # classes are mixed


BY_NAME = (
    WITHOUT_LOADER
    + """
import datasets
ds = datasets.load_dataset("owner/kinetics600", split="validation")
print(len(ds), ds.features["label"].int2str(ds[0]["label"]))
"""
)


def test_a_repository_with_the_loader_loads_by_its_name_and_by_the_loader(
    hub: Hub, put: Publish, miniature: Miniature, tmp_path: Path
) -> None:
    put("owner/kinetics600", with_loader=True)
    commits = len(hub.repos["owner/kinetics600"].commits)
    put("owner/kinetics600", with_loader=True)
    assert len(hub.repos["owner/kinetics600"].commits) == commits
    files = hub.files("owner/kinetics600")
    assert {path for path in files if "/" not in path} == {"README.md", ".gitattributes"}
    assert not [path for path in files if "pycache" in path]

    card = files["README.md"].decode()
    used = re.search(r"## The loader\n.*?```python\n(.*?)```", card, re.S)
    assert used is not None
    shown = 'print(kinetics600.__file__)\nprint(len(clips["validation"]))\n'
    environ = environment(hub, tmp_path) | {"KINETICS600_MIRROR": str(miniature.root)}
    environ["KINETICS600_HOME"] = str(tmp_path / "own")
    words = []
    for program in (BY_NAME, used[1] + shown):
        done = subprocess.run(
            [sys.executable, "-I", "-c", program],
            env=environ,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        words += done.stdout.split()
    assert words[0] == "29"
    assert Path(words[-2]).parent.name == "loader"
    assert Path(words[-2]).is_relative_to(tmp_path / "hf")
    assert words[-1] == "10"


def test_an_installed_loader_is_published_without_what_lies_beside_it(tmp_path: Path) -> None:
    root, site = Path(kinetics600.__file__).parent, tmp_path / "site-packages"
    shutil.copytree(root / "k600", site / "k600", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "kinetics600.py", site)
    for name in ("README.md", "LICENSE", "pyproject.toml"):
        (site / name).write_text("another package's")
    about = site / "kinetics600-0.1.0.dist-info"
    (about / "licenses").mkdir(parents=True)
    shutil.copy(root / "LICENSE", about / "licenses")
    readme = (root / "README.md").read_text("utf-8")
    head = "Metadata-Version: 2.4\nName: kinetics600\nVersion: 0.1.0\nRequires-Dist: av>=13\n"
    head += "Requires-Dist: ray; extra == 'ray'\n"
    (about / "METADATA").write_text(f"{head}\n{readme}", "utf-8")
    (about / "RECORD").write_text("kinetics600.py,,\n")

    program = f"""
import sys
sys.path.insert(0, {str(site)!r})
from k600.publish.destination import FileDestination
from k600.publish.loader import publish_loader
place = FileDestination({str(tmp_path / "place")!r})
place.prepare()
publish_loader(place)
"""
    subprocess.run([sys.executable, "-I", "-c", program], check=True, cwd=tmp_path)
    loader = tmp_path / "place/loader"
    assert (loader / "README.md").read_text("utf-8") == readme
    assert (loader / "LICENSE").read_bytes() == (root / "LICENSE").read_bytes()
    assert (loader / "requirements.txt").read_text() == "av>=13\n"
    assert (loader / "kinetics600.py").is_file()
    assert (loader / "k600/api.py").is_file()
    assert not (loader / "pyproject.toml").exists()


def test_a_killed_run_goes_on_and_sends_only_what_is_missing(
    hub: Hub, put: Publish, large: Miniature, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", COMMAND, "publish", "owner/clips", "train"]
    command += ["--embed", "--i-have-the-rights", "--shard-size-mb", "1", "--mix", "2"]
    command += ["--mirror", str(large.root), "--data-dir", str(tmp_path / "clips"), "--json"]
    hub.stop_after = 5
    process = subprocess.Popen(command, env=environment(hub, tmp_path), stderr=subprocess.PIPE)
    try:
        assert hub.stopped.wait(100)  # (a busy machine takes its time)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    there = hub.files("owner/clips")
    assert "README.md" not in there
    marked = [path for path in there if "/groups/" in path]
    shards = {s["name"] for path in marked for s in json.loads(there[path])["shards"]}
    seen = {path.rpartition("/")[2] for path in there if path.endswith(".parquet")}
    assert 0 < len(seen) < 5  # some that were sent are in no commit yet, and so not seen
    assert shards == seen
    first = list(hub.uploads)
    hub.stop_after = None
    done = subprocess.run(command, env=environment(hub, tmp_path), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)["splits"][0]
    assert said["shards"] - said["new_shards"] == len(seen)
    assert len(set(hub.uploads)) == len(hub.uploads) == said["shards"] + 1  # the index
    assert len(hub.uploads) > len(first) == 5
    put(None, "train", EMBEDDED, host=large, to=str(tmp_path / "undisturbed"))
    undisturbed = {path.name for path in (tmp_path / "undisturbed/data/train").iterdir()}
    there = hub.files("owner/clips")
    assert {p.rpartition("/")[2] for p in there if p.startswith("data/")} == undisturbed
    assert hub.repos["owner/clips"].private
    assert not [*(tmp_path / "clips").rglob("*.parquet")]  # nothing is left in flight
    before = hub.repos["owner/clips"].head
    hub.requests.clear()
    done = subprocess.run(command, env=environment(hub, tmp_path), capture_output=True, text=True)
    assert hub.requests
    assert not [path for _, path in hub.requests if path.endswith(".parquet")]  # nothing is read
    assert done.returncode == 0, done.stderr
    assert hub.repos["owner/clips"].head == before  # all is there: not one commit
    assert TOKEN not in done.stderr + done.stdout


def test_a_killed_run_into_a_folder_leaves_no_half_shard(
    put: Publish, large: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "published"
    incoming = to / ".kinetics600/incoming"
    put(None, "train", EMBEDDED, host=large, to=str(to))
    names = sorted(path.name for path in (to / "data/train").iterdir())
    (to / "README.md").unlink()  # as if killed in the last group
    (to / ".kinetics600/train/done.json").unlink()
    (to / ".kinetics600/train/groups/00002.json").unlink()
    (to / "data/train" / names[-1]).unlink()
    (to / "data/train/00002-000-0000000000000000.parquet").write_bytes(b"of other bytes")
    incoming.mkdir()
    (incoming / "00002-001.part").write_bytes(b"half")
    kept = (to / "data/train" / names[-2]).stat().st_mtime_ns
    put(None, "train", EMBEDDED, host=large, to=str(to))
    assert sorted(path.name for path in (to / "data/train").iterdir()) == names
    assert (to / "data/train" / names[-2]).stat().st_mtime_ns == kept
    assert not incoming.exists()
    assert (to / "README.md").exists()


def test_another_request_is_refused_and_told_what_differs(put: Publish, tmp_path: Path) -> None:
    to = str(tmp_path / "published")
    put(None, recipe=EMBEDDED, to=to)
    with pytest.raises(Kinetics600Error, match=r"mix was 2, now 3.*Use the same options"):
        put(None, recipe={"kind": "embedded", "shard_size_mb": 1, "mix": 3}, to=to)
    with pytest.raises(Kinetics600Error, match=r"classes was None, now \['zumba'\]"):
        put(None, recipe=EMBEDDED, to=to, more={"classes": "zumba"})
    with pytest.raises(Kinetics600Error, match="kind: 'metadata' is not allowed beside it"):
        put(None, to=to)
    put(None, "test", EMBEDDED, to=to)  # another split beside it is welcome
    assert (tmp_path / "published/README.md").read_text().count("config_name: all") == 2


def test_a_place_that_holds_something_else_is_left_alone(put: Publish, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/README.md").write_text("mine")
    with pytest.raises(Kinetics600Error, match=r"holds something else already: 'README.md'"):
        put(None, to=str(tmp_path / "home"))
    (tmp_path / "file").write_text("")
    with pytest.raises(Kinetics600Error, match="is not a folder"):
        put(None, to=str(tmp_path / "file"))
    with pytest.raises(Kinetics600Error, match=r"to: .*cannot be used"):
        put(None, to="/proc/nowhere/k600")


def test_a_folder_takes_one_run_at_a_time(put: Publish, tmp_path: Path) -> None:
    place = tmp_path / "published"
    script = (
        "import sys; from k600.publish.destination import FileDestination as F; "
        "f = F(sys.argv[1]); "
        "f.prepare(); (f.scratch() / 'shard').write_bytes(b'half'); print(flush=True); input()"
    )
    command = [sys.executable, "-c", script, str(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(DestinationTakenError, match="by another run. Wait for it"):
            put(None, recipe=EMBEDDED, to=str(place))
        assert (place / ".kinetics600/incoming/shard").read_bytes() == b"half"
        other.kill()
    put(None, recipe=EMBEDDED, to=str(place))  # the lock of a dead run is free
    assert not list(place.rglob("*.lock"))
    assert not (place / ".kinetics600/incoming").exists()


def test_a_lock_whose_file_went_with_the_run_before_is_none(
    put: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire = filelock.FileLock.acquire

    def acquire_late(lock: filelock.FileLock, *args: Any, **options: Any) -> Any:
        held = acquire(lock, *args, **options)
        if lock.lock_file.endswith("publish.lock"):
            os.unlink(lock.lock_file)
        return held

    with monkeypatch.context() as patch:
        patch.setattr(filelock.FileLock, "acquire", acquire_late)
        with pytest.raises(DestinationTakenError, match="another run"):
            put(str(tmp_path / "there"))
    assert put(str(tmp_path / "there")).splits[0].new_shards == 1


def test_to_s3(put: Publish, s3: S3Server, tmp_path: Path, large: Miniature) -> None:
    s3.make_bucket("published")
    options = {"to": "s3://published/k600", "to_options": s3.options}
    done = put(None, "train", EMBEDDED, host=large, **options)
    assert done.splits[0].new_shards == done.splits[0].shards
    assert put(None, "train", EMBEDDED, host=large, **options).splits[0].new_shards == 0
    files = [
        f"s3://published/k600/data/train/{name}"
        for name in names_at(s3, "published/k600/data/train")
    ]
    stream = datasets.load_dataset(
        "parquet", data_files=files, streaming=True, storage_options=s3.options, split="train"
    ).cast_column("video", datasets.Video(decode=False))
    assert sum(1 for _ in stream) == 30
    with pytest.raises(Kinetics600Error, match=r"to: s3://published/x cannot be used"):
        put(None, to="s3://published/x", to_options={"endpoint_url": "http://127.0.0.1:9"})


def test_two_runs_into_one_bucket_leave_what_one_would(
    put: Publish, s3: S3Server, large: Miniature
) -> None:
    s3.make_bucket("twice")
    options = {"to_options": s3.options, "host": large}
    put(None, "train", EMBEDDED, to="s3://twice/one", **options)
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(put, None, "train", EMBEDDED, to="s3://twice/both", **options)
            for _ in range(2)
        ]
        done = [run.result().splits[0] for run in runs]
    assert done[0].clips == done[1].clips == 30
    for folder in ("data/train", ".kinetics600/train/groups"):
        assert sorted(names_at(s3, f"twice/one/{folder}")) == sorted(
            names_at(s3, f"twice/both/{folder}")
        )


def names_at(s3: S3Server, folder: str) -> list[str]:
    from s3fs import S3FileSystem

    fs = S3FileSystem(**s3.options, skip_instance_cache=True)
    return [path.rpartition("/")[2] for path in fs.ls(folder, detail=False)]


def test_who_may_see_it(hub: Hub, put: Publish) -> None:
    put("owner/clips", recipe=EMBEDDED)
    assert hub.repos["owner/clips"].private
    assert "It is private" in hub.files("owner/clips")["README.md"].decode()
    put("hf://datasets/owner/meta")
    assert not hub.repos["owner/meta"].private
    put("owner/shut", private=True)
    assert hub.repos["owner/shut"].private
    put("owner/open", recipe=EMBEDDED, private=False)
    assert not hub.repos["owner/open"].private
    with pytest.raises(Kinetics600Error, match="is there already, and public"):
        put("owner/open", recipe=EMBEDDED)
    with pytest.raises(OptionError, match="i_have_the_rights=True"):
        put("owner/clips", recipe=EMBEDDED, i_have_the_rights=False)


def test_without_a_token_or_with_one_that_may_not(hub: Hub, put: Publish) -> None:
    with pytest.raises(Kinetics600Error, match="token: there is no token.*hf auth login"):
        put("owner/meta", token=None)
    with pytest.raises(Kinetics600Error, match="does not know the token") as refused:
        put("owner/meta", token="hf_wrongSecretToken")
    assert "Secret" not in str(refused.value)
    with pytest.raises(Kinetics600Error, match=r"may not write to .*/owner/meta"):
        put("owner/meta", token=STRANGER)
    put("owner/meta")
    with pytest.raises(Kinetics600Error, match=r"may not write to .*/owner/meta") as refused:
        put("owner/meta", "test", token=STRANGER)
    assert "Secret" not in str(refused.value)
    put("owner/shut", private=True)
    with pytest.raises(Kinetics600Error, match=r"'owner/shut' is taken"):
        put("owner/shut", token=STRANGER)


@pytest.mark.parametrize("status", [500, 429])
def test_a_fault_of_the_hub_that_passes(hub: Hub, put: Publish, status: int) -> None:
    asked = [("GET", "whoami"), ("POST", "repos/create"), ("GET", "/api/datasets/owner/meta$")]
    asked += [("POST", "/commit/"), ("PUT", "/upload/"), ("GET", "/tree/"), ("POST", "validate")]
    hub.faults = [(method, pattern, status) for method, pattern in asked]
    put("owner/meta")
    assert hub.faults == []
    assert len(hub.uploads) == 1
    assert "README.md" in hub.files("owner/meta")


def test_a_note_that_the_hub_does_not_give_is_not_taken_for_one_that_is_not_there(
    hub: Hub, put: Publish
) -> None:
    put("owner/meta")
    before = hub.files("owner/meta")
    hub.faults = [("HEAD", "/run.json", 403)] * 4
    with pytest.raises(Kinetics600Error, match="may not write"):
        put("owner/meta", more={"classes": ["zumba"]})
    assert hub.files("owner/meta") == before


def test_a_rate_limit_of_the_hub_is_waited_for_as_long_as_it_says(hub: Hub, put: Publish) -> None:
    asked = ["GET .*whoami", "POST .*repos/create", "POST .*/preupload/", "POST .*/commit/"]
    hub.rate_limits = [RateLimit(pattern, 0.5) for pattern in asked]
    put("owner/meta")
    assert "README.md" in hub.files("owner/meta")
    assert all(limit.refused for limit in hub.rate_limits)


def test_a_hub_that_takes_long_to_fail_is_given_up_before_all_attempts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(k600.publish.hub, "FIRST_PAUSE_SECONDS", 0.0)
    asked: list[str] = []

    def fail() -> None:
        asked.append("")
        raise ConnectionResetError("hung up")

    for patience, attempts in ((60.0, k600.publish.hub.ATTEMPTS), (-1.0, 1)):
        monkeypatch.setattr(k600.publish.hub, "PATIENCE_SECONDS", patience)
        place = k600.publish.hub.HubDestination("owner/clips", private=True)
        with pytest.raises(Kinetics600Error, match="was asked to take it, and failed"):
            place._ask("to take it", fail)
        assert len(asked) == attempts
        asked.clear()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"RateLimit": '"api";r=0;t=26', "RateLimit-Policy": '"api";q=500;w=300'}, 27),
        ({"ratelimit": '"api";r=0;t=26', "Retry-After": "5"}, 27),
        ({"RateLimit": '"api";r=0;t=9000'}, 301),
        ({"RateLimit": '"api";r=0;t=9000', "RateLimit-Policy": '"api";q=5;w=600'}, 601),
        ({"Retry-After": "5"}, 5),
        ({"retry-after": "86400"}, 300),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"Retry-After": "Wed, 21 Oct 2195 07:28:00 GMT"}, 300),
        ({"Retry-After": "soon"}, None),
        ({"RateLimit": "nonsense"}, None),
        ({}, None),
    ],
)
def test_the_hub_says_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert k600.publish.hub._named_pause(headers) == seconds


def test_a_fault_of_the_hub_that_stays(
    hub: Hub, put: Publish, lines: pytest.LogCaptureFixture
) -> None:
    hub.faults = [("GET", "whoami", 503)] * 20
    with pytest.raises(Kinetics600Error, match="answered 503 5 times.*same command goes on"):
        put("owner/meta")
    assert TOKEN not in lines.text
    hub.faults = []
    with pytest.raises(Kinetics600Error, match="who the token is of, and failed"):
        put("owner/meta", endpoint="http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("repo", "options", "word"),
    [
        (None, {}, "repo: say where to"),
        ("meta", {}, "repo: 'meta' is not allowed, expected USER/NAME"),
        ("a/b/c", {}, "repo: 'a/b/c' is not allowed"),
        ("own er/meta", {}, "repo: 'own er/meta' is not allowed"),
        ("s4://bucket/x", {}, "to: 's4://bucket/x' is not allowed"),
        (None, {"to": "s4://bucket/x"}, "to: 's4://bucket/x' is not allowed"),
        ("o/m", {"recipe": {"kind": "video"}}, "kind: 'video' is not allowed"),
        ("o/m", {"recipe": {"shard_size_mb": 2000}}, "shard_size_mb: 2000 is not allowed"),
        ("o/m", {"recipe": {"mix": 0}}, "mix: 0 is not allowed"),
        ("o/m", {"private": "x"}, "private: 'x' is not allowed, expected True or False"),
        ("o/m", {"i_have_the_rights": "no"}, "i_have_the_rights: 'no' is not allowed"),
        ("o/m", {"offline": True}, "HF_HUB_OFFLINE"),
        ("./x", {"recipe": EMBEDDED, "more": {"source": "youtube"}}, "source: 'youtube' cannot"),
    ],
)
def test_wrong_options(
    put: Publish,
    repo: str | None,
    options: dict[str, Any],
    word: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Kinetics600Error) as refused:
        put(repo, **options)
    assert word in str(refused.value)


def test_a_hub_that_alone_is_switched_off_is_said_at_once(
    put: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OfflineError, match="HF_HUB_OFFLINE forbids it. Unset it"):
        put("owner/meta")


@pytest.mark.parametrize("limits", [{"max_samples": 5}, {"max_per_class": 1, "shuffle": True}])
def test_some_clips_of_the_test_split_are_refused_before_anything_is_made(
    put: Publish, tmp_path: Path, limits: dict[str, Any]
) -> None:
    place = tmp_path / "published"
    for split in ("test", "all"):
        with pytest.raises(OptionError, match=r"max_samples, .* publish with source='local'"):
            put(None, split, EMBEDDED, to=str(place), more=limits)
    assert not place.exists()


def test_some_clips_of_the_test_split_from_the_store(
    put: Publish, tmp_path: Path, load: Any, miniature: Miniature
) -> None:
    load("test", max_samples=5)
    more = {"max_samples": 5, "source": "local"}
    published = put(None, "test", EMBEDDED, to=str(tmp_path / "published"), more=more)
    assert [split.clips for split in published.splits] == [5]


def test_shards_that_would_be_too_many(
    put: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("k600.publish.shards.MOST_FILES", 3)
    with pytest.raises(OptionError, match=r"shard_size_mb: 1 would make .* Expected at least"):
        put(None, recipe=EMBEDDED, to=str(tmp_path / "a"))


def test_on_the_command_line(
    miniature: Miniature,
    tmp_path: Path,
    command: Command,
) -> None:
    host = ["--mirror", miniature.root, "--data-dir", tmp_path / "clips"]
    host += ["--test-labels", miniature.test_labels]

    def run(*arguments: object, code: int = 0) -> tuple[str, str]:
        done = command("publish", *arguments, *host, env={"COLUMNS": "300"}, cwd=tmp_path)
        assert done.returncode == code
        return done.stdout, done.stderr

    printed, _ = run("--to", "./all", "--json")
    splits = [one["split"] for one in json.loads(printed)["splits"]]
    assert splits == ["train", "validation", "test"]
    _, said = run("./one", "validation")
    assert "published: ./one" in said
    assert "29 clips in 1 file," in said
    assert run("--to", "./two", "validation", "--quiet") == ("", "")
    for arguments, word in (
        (["./x", "--embed", "--i-have-the-rights"], "split: with --embed"),
        (["./x", "validation", "--embed"], "--i-have-the-rights"),
        (["./x", "val"], "did you mean 'validation'"),
        (["./x", "validation", "--public", "--private"], "only one of"),
        (["nobody", "validation"], "expected USER/NAME"),
        (["--to", "s3://x/y", "validation", "--to-options", "{"], "to-options: this is no JSON"),
    ):
        assert word in run(*arguments, code=2)[1]


def test_grouping_and_mixing_hold_all_and_depend_on_the_seed_alone() -> None:
    names = [f"n{i}" for i in range(600)]
    groups = group_names(names, 16, 0)
    assert len(groups) == 38
    assert {len(group) for group in groups} <= {15, 16}
    assert sorted(name for group in groups for name in group) == sorted(names)
    assert groups == group_names(reversed(names), 16, 0) != group_names(names, 16, 1)
    parts = [[(part, i) for i in range(50)] for part in range(8)]
    held = 0

    def counted(part: list[Any]) -> Iterator[Any]:
        nonlocal held
        for row in part:
            held += 1
            yield row

    rows = []
    for row in shuffle(
        [counted(part) for part in parts],
        seed="7",
        size_of=lambda row: 10,
        most_bytes=300,
        most_rows=100,
    ):
        held -= 1
        assert held <= 32
        rows.append(row)
    assert sorted(rows) == sorted(row for part in parts for row in part)
    assert len({part for part, _ in rows[:40]}) == 8
    assert rows[:3] == [(7, 3), (7, 5), (5, 4)]  # on every machine


def test_the_padding_is_a_whole_clip() -> None:
    import io

    from k600.video.probe import box_problem

    assert box_problem(io.BytesIO(padded(make_clip(1), 1))) is None
