"""What was published and is gone or damaged since: the same command finds and mends it."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import fsspec
import huggingface_hub.constants
import pytest

import kinetics600
from k600.errors import DestinationTakenError, IncompleteError
from k600.errors.text import counted
from k600.miniature import Miniature, make_clip, make_tarball
from tests.conftest import Command
from tests.fleets import of_any_mirror
from tests.hub import TOKEN, loopback_hub
from tests.servers import S3Server

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")

Files = dict[str, bytes]


@dataclass(frozen=True)
class Place:
    """Somewhere to publish to, and how to look at what is there, and to spoil it."""

    options: Mapping[str, Any]
    """What leads `publish` there."""
    files: Callable[[], Files]
    write: Callable[[str, bytes], object]
    delete: Callable[[str], object]

    def shards(self) -> Files:
        return {path: data for path, data in self.files().items() if path.startswith("data/")}


@pytest.fixture(params=["s3", "hub"])
def far_place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        root = f"kinetics/{tmp_path.name}"
        fs = fsspec.filesystem("s3", **server.options, use_listings_cache=False)
        yield Place(
            {"to": f"s3://{root}", "to_options": server.options},
            lambda: {p.removeprefix(f"{root}/"): fs.cat_file(p) for p in fs.find(root)},
            lambda path, data: server.put(f"{root}/{path}", data),
            lambda path: server.delete(f"{root}/{path}"),
        )
    else:
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        with loopback_hub() as hub:
            monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
            template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
            monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

            def commit(path: str, data: bytes | None) -> None:
                repo = hub.repos["owner/clips"]
                files = {p: oid for p, oid in repo.commits[repo.head].items() if p != path}
                repo.commit(files if data is None else {**files, path: hub.store(data)})

            yield Place(
                {"to": "hf://datasets/owner/clips"},
                lambda: hub.files("owner/clips"),
                commit,
                lambda path: commit(path, None),
            )


def folder(root: Path) -> Place:
    return Place(
        {"to": str(root)},
        lambda: {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        },
        lambda path, data: (root / path).write_bytes(data),
        lambda path: (root / path).unlink(),
    )


def one_deleted(place: Place) -> int:
    place.delete(min(place.shards()))
    return 1


def all_deleted(place: Place) -> int:
    shards = place.shards()
    for path in shards:
        place.delete(path)
    return len(shards)


def one_emptied(place: Place) -> int:
    place.write(max(place.shards()), b"")
    return 1


def one_zeroed(place: Place) -> int:
    path, data = max(place.shards().items())
    place.write(path, bytes(len(data)))
    return 1


Damage = Callable[[Place], int]


@pytest.fixture
def options(miniature: Miniature, tmp_path: Path) -> dict[str, Any]:
    return {"mirror": str(miniature.root), "data_dir": str(tmp_path / "clips")}


def publish_embedded(place: Place, **options: Any) -> Any:
    more = {"kind": "embedded", "i_have_the_rights": True, "mix": 2, "shard_size_mb": 1}
    return kinetics600.publish(None, "validation", **place.options, **more, **options).splits[0]


def publish_metadata(place: Place, **options: Any) -> Any:
    return kinetics600.publish(None, "validation", **place.options, **options).splits[0]


def fleet(place: Place, **options: Any) -> Any:
    more: dict[str, Any] = {"shards_multiple_of": 4, "workers": 1, **place.options, **options}
    if more["to"].startswith("hf://"):
        more |= {"work": str(Path(options["data_dir"]).parent / "work"), "i_have_the_rights": True}
    return kinetics600.fleet(split="validation", **more).splits[0]


def fleet_of_tars(place: Place, **options: Any) -> Any:
    return fleet(place, format="webdataset", **options)


@pytest.fixture(scope="module")
def made(miniature: Miniature, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a folder that one of the above has finished, the same one each time."""

    @functools.cache
    def made(make: Callable[..., Any]) -> Path:
        root = tmp_path_factory.mktemp("made") / "published"
        options = {"mirror": str(miniature.root), "data_dir": str(root.parent / "clips")}
        make(folder(root), **options)
        return root

    return made


@pytest.mark.parametrize("spoil", [one_deleted, all_deleted, one_emptied, one_zeroed])
@pytest.mark.parametrize("make", [publish_embedded, publish_metadata, fleet, fleet_of_tars])
def test_the_same_command_makes_again_what_is_gone_or_damaged_in_a_folder(
    make: Callable[..., Any],
    spoil: Damage,
    made: Callable[..., Path],
    tmp_path: Path,
    options: dict[str, Any],
    lines: pytest.LogCaptureFixture,
) -> None:
    place = folder(shutil.copytree(made(make), tmp_path / "published"))
    mends(make, spoil, place, options, lines)
    ds = datasets.load_dataset(place.options["to"], "validation", split="validation")
    assert len(ds) == 30 if make is not publish_metadata else 29


def one_deleted_and_another_zeroed(place: Place) -> int:
    several = len(place.shards()) > 1
    return one_zeroed(place) + (one_deleted(place) if several else 0)


@pytest.mark.parametrize("make", [publish_embedded, publish_metadata, fleet])
def test_and_in_a_bucket_and_on_the_hub(
    make: Callable[..., Any],
    far_place: Place,
    options: dict[str, Any],
    lines: pytest.LogCaptureFixture,
) -> None:
    make(far_place, **options)
    mends(make, one_deleted_and_another_zeroed, far_place, options, lines)


def mends(
    make: Callable[..., Any],
    spoil: Damage,
    place: Place,
    options: dict[str, Any],
    lines: pytest.LogCaptureFixture,
) -> None:
    before = place.files()
    lost = spoil(place)
    lines.clear()
    done = make(place, **options)
    assert done.mended_shards == lost
    assert f"{lost} of {counted(done.shards, 'shard')} at " in lines.text
    assert place.files() == before
    lines.clear()
    assert make(place, **options).mended_shards == 0
    assert "damaged" not in lines.text
    assert place.files() == before


@pytest.mark.parametrize("make", [publish_embedded, fleet])
def test_a_shard_that_the_mirror_cannot_give_again_is_named_and_the_others_stay(
    make: Callable[..., Any], tmp_path: Path, options: dict[str, Any], own_miniature: Miniature
) -> None:
    place = folder(tmp_path / "published")
    options["mirror"] = str(own_miniature.root)
    make(place, **options)
    one_zeroed(place)
    before = place.files()
    tarball = own_miniature.root / "val/zumba.tar.gz"
    data = tarball.read_bytes()
    tarball.write_bytes(make_tarball({"newclip0001_000000_000010.mp4": make_clip(1)}))
    for _ in range(2):
        with pytest.raises(IncompleteError, match=r"again.* once .* in another place|to another"):
            make(place, **options)
        left = place.files()
        assert {path: left[path] for path in before} == before
        assert place.shards().keys() == {path for path in before if path.startswith("data/")}
    tarball.write_bytes(data)
    if make is publish_embedded:
        assert make(place, **options).mended_shards == 1


def test_a_tarball_that_the_mirror_has_by_now_does_not_change_what_is_done(
    tmp_path: Path, options: dict[str, Any], own_miniature: Miniature
) -> None:
    place = folder(tmp_path / "published")
    tarball = own_miniature.root / "val/zumba.tar.gz"
    tarball.rename(tmp_path / "away")
    options["mirror"] = str(own_miniature.root)
    done = fleet(place, **options)
    assert done.missing == {"tarball_not_found": 1}
    before = place.files()
    (tmp_path / "away").rename(tarball)
    one_zeroed(place)
    again = fleet(place, **options)
    assert (again.mended_shards, again.missing) == (1, done.missing)
    assert place.files() == before


def test_a_fleet_s_shard_is_made_again_from_a_copy_of_its_tarball_with_another_etag(
    tmp_path: Path, options: dict[str, Any], own_miniature: Miniature
) -> None:
    place = folder(tmp_path / "published")
    options["mirror"] = str(own_miniature.root)
    fleet(place, **options)
    one_zeroed(place)
    before = place.files()
    tarball = own_miniature.root / "val/zumba.tar.gz"
    stat = tarball.stat()
    os.utime(tarball, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    assert fleet(place, **options).mended_shards == 1
    after = place.files()
    new = after.keys() - before.keys()
    assert {path.rpartition("/")[0] for path in new} == {".kinetics600/validation/units"}
    assert len(new) == 1
    lost = max(path for path in before if path.startswith("data/"))
    for path in before.keys() - {lost}:
        assert of_any_mirror(path, after[path]) == of_any_mirror(path, before[path])
    name = hashlib.sha256(after[lost]).hexdigest()[:16]
    assert lost.endswith(f"-{name}.parquet")
    assert fleet(place, **options).mended_shards == 0


def test_of_a_fleet_only_the_tarballs_of_the_lost_shards_are_read_again(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    place = folder(tmp_path / "published")
    done = kinetics600.fleet(place.options["to"], "validation", workers=1, shards_multiple_of=15,
                             **options).splits[0]  # fmt: skip
    assert (done.shards, done.fetched_tarballs) == (15, 6)
    before = place.files()
    path = min(place.shards())
    place.delete(path)
    manifest = before[".kinetics600/validation/manifest.parquet"]
    done = kinetics600.fleet(place.options["to"], "validation", workers=1, shards_multiple_of=15,
                             **options).splits[0]  # fmt: skip
    assert done.fetched_tarballs == len(tarballs_in(manifest, path.rpartition("/")[2])) < 6
    assert place.files() == before


def tarballs_in(manifest: bytes, shard: str) -> set[str]:
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(pyarrow.BufferReader(manifest)).to_pylist()
    return {row["tarball"] for row in rows if row["shard"] == shard}


@pytest.mark.parametrize("spoilt", [None, b"", b"{"])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (fleet, ".kinetics600/validation/manifest.parquet"),
        (fleet, ".kinetics600/validation/done.json"),
        (fleet, "index/validation.parquet"),
        (fleet_of_tars, "index/validation.parquet"),
        (publish_embedded, "index/validation.parquet"),
    ],
)
def test_notes_and_indexes_are_made_again_too(
    make: Callable[..., Any],
    spoilt: bytes | None,
    name: str,
    made: Callable[..., Path],
    tmp_path: Path,
    options: dict[str, Any],
) -> None:
    place = folder(shutil.copytree(made(make), tmp_path / "published"))
    before = place.files()
    place.delete(name)
    if spoilt is not None:
        place.write(name, spoilt)
    make(place, **options)
    assert place.files() == before


def test_what_was_sent_by_a_killed_run_is_looked_at_too(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    """Neither the split's nor the group's marker came to be; the shard is there, as zeros."""
    place = folder(tmp_path / "published")
    publish_embedded(place, **options)
    before = place.files()
    for path in before:
        if path.endswith(("done.json", "00000.json")):
            place.delete(path)
    for path, data in place.shards().items():
        place.write(path, bytes(len(data)))
    done = publish_embedded(place, **options)
    assert (done.new_shards, done.mended_shards) == (done.shards, done.shards - 1)
    assert place.files() == before


def own_of(place: Place, name: str) -> dict[str, bytes]:
    """Return the notes of a place in a folder, or with a name."""
    files = place.files().items()
    return {
        path: data for path, data in files if path.startswith(f".kinetics600/validation/{name}")
    }


@pytest.mark.parametrize("told", [{}, {"shards": [{"name": 3}], "unlabelled": 0}])
@pytest.mark.parametrize("name", ["done.json", "groups/00001.json", "units/", "run.json"])
def test_a_note_that_is_json_but_no_note_is_made_again_or_refused(
    name: str,
    told: dict[str, Any],
    made: Callable[..., Path],
    tmp_path: Path,
    options: dict[str, Any],
) -> None:
    make = fleet if name == "units/" else publish_embedded
    place = folder(shutil.copytree(made(make), tmp_path / "published"))
    before = place.files()
    place.write(min(own_of(place, name)), json.dumps(told).encode())
    one_zeroed(place)
    if name == "run.json":
        with pytest.raises(DestinationTakenError, match=r"run\.json is damaged"):
            make(place, **options)
    else:
        make(place, **options)
        assert place.files() == before


def from_another_run(place: Place) -> None:
    for path in own_of(place, "groups/"):
        marker = json.loads(place.files()[path])
        for shard in marker["shards"]:
            shard["name"] = shard["name"][:-12] + "0000.parquet"
        place.write(path, json.dumps(marker).encode())


def two_swapped(place: Place) -> None:
    (one, its), (other, others) = [*own_of(place, "groups/").items()][:2]
    place.write(one, others)
    place.write(other, its)


def one_twice(place: Place) -> None:
    (one, _), (_, others) = [*own_of(place, "groups/").items()][:2]
    place.write(one, others)


@pytest.mark.parametrize("with_done", [True, False])
@pytest.mark.parametrize("spoil", [from_another_run, two_swapped, one_twice])
def test_a_group_s_marker_that_tells_of_other_shards_costs_no_shard(
    spoil: Callable[[Place], None],
    with_done: bool,
    made: Callable[..., Path],
    tmp_path: Path,
    options: dict[str, Any],
) -> None:
    place = folder(shutil.copytree(made(publish_embedded), tmp_path / "published"))
    before = place.files()
    spoil(place)
    one_zeroed(place)
    if not with_done:
        place.delete(".kinetics600/validation/done.json")
    publish_embedded(place, **options)
    assert place.files() == before


@pytest.mark.parametrize("lost", [1, 6])
def test_a_fleet_s_shard_is_made_again_although_notes_of_tarballs_are_gone(
    lost: int, made: Callable[..., Path], tmp_path: Path, options: dict[str, Any]
) -> None:
    place = folder(shutil.copytree(made(fleet), tmp_path / "published"))
    before = place.files()
    for path in sorted(own_of(place, "units/"))[:lost]:
        place.delete(path)
    one_zeroed(place)
    assert fleet(place, **options).mended_shards == 1
    assert place.files() == before


def test_labels_that_cannot_be_had_do_not_make_a_split_half_without(
    miniature: Miniature, tmp_path: Path, options: dict[str, Any]
) -> None:
    place = folder(tmp_path / "published")
    how = {"kind": "embedded", "i_have_the_rights": True, **place.options, **options}
    kinetics600.publish(None, "test", **how, test_labels=str(miniature.test_labels))
    for path in place.shards():
        place.delete(path)
    with pytest.raises(DestinationTakenError, match=r"labels was '\w+', now"):
        kinetics600.publish(None, "test", **how, test_labels=str(tmp_path / "none.csv"))
    done = kinetics600.publish(None, "test", **how, test_labels=str(miniature.test_labels))
    assert done.splits[0].mended_shards == 1


def test_a_place_of_an_older_release_which_noted_no_labels_is_gone_on_with(
    miniature: Miniature, tmp_path: Path, options: dict[str, Any]
) -> None:
    place = folder(tmp_path / "published")
    how = {"kind": "embedded", "i_have_the_rights": True, **place.options, **options}
    how["test_labels"] = str(miniature.test_labels)
    kinetics600.publish(None, "test", **how)
    path = ".kinetics600/test/run.json"
    run = json.loads(place.files()[path])
    del run["labels"]
    place.write(path, json.dumps(run).encode())
    one_zeroed(place)
    assert kinetics600.publish(None, "test", **how).splits[0].mended_shards == 1


def test_shards_without_the_note_of_what_was_asked_for_are_nobody_s(
    made: Callable[..., Path], tmp_path: Path, options: dict[str, Any]
) -> None:
    place = folder(shutil.copytree(made(publish_embedded), tmp_path / "published"))
    place.delete(".kinetics600/validation/run.json")
    before = place.files()
    with pytest.raises(DestinationTakenError, match=r"run\.json is gone"):
        publish_embedded(place, **options, classes=["zumba"])
    assert place.files() == before


def test_the_command_line_says_what_it_made_again(
    tmp_path: Path,
    miniature: Miniature,
    command: Command,
) -> None:
    for name, more, said in (
        ("publish", ["--embed", "--i-have-the-rights"], "1 of them new, 1 that were gone or"),
        ("fleet", ["--workers", "1", "--shards-multiple-of", "4"], "; 1 shard made again"),
    ):
        place = folder(tmp_path / name)
        words = [name, "validation", "--to", place.options["to"], *more]
        words += ["--mirror", str(miniature.root), "--data-dir", str(tmp_path / "clips")]

        def run(*more: str) -> tuple[str, str]:
            done = command(*words, *more, env={"COLUMNS": "300"})  # noqa: B023
            assert done.returncode == 3  # the host lacks some of its clips
            return done.stdout, done.stderr

        run()
        one_zeroed(place)
        assert said in run()[1]
        one_deleted(place)
        assert json.loads(run("--json")[0])["splits"][0]["mended_shards"] == 1
