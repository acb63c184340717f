"""`shuffle_clips`: all clips in one seeded order, each by a request of its own."""

from __future__ import annotations

import dataclasses
import io
import pickle
import shutil
import struct
import tarfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any
from zlib import crc32

import av
import pytest
from datasets.distributed import split_dataset_by_node

import kinetics600
from k600.dataset.clip import Clip, Entry, Place, Tarball, parse_file_name
from k600.dataset.labels import NAMES
from k600.hf import OrderedExamples
from k600.loading.columns import INDEX, place_values
from k600.loading.manifest import write_table
from k600.miniature import CLASSES as MINIATURE_CLASSES
from k600.miniature import URL, Miniature, make_clip, make_miniature, make_tarball
from k600.mirror.mirror import Mirror
from k600.store.rows import ClipRow, TarballRow
from tests.conftest import Load
from tests.servers import web_server

CLASSES = list(NAMES[100:112])


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Miniature:
    """A miniature whose `train` has twelve classes of nine clips each, in plain tars."""
    host = make_miniature(tmp_path_factory.mktemp("host"), clips_per_class=1, flaws=False)
    videos = [make_clip(seed) for seed in (1, 2)]
    train = {}
    for number, label in enumerate(CLASSES):
        names = (f"class{number:02d}_{n:03d}_{n:06d}_{n + 10:06d}.mp4" for n in range(9))
        train[label] = {name: _marked(videos[number % 2], name) for name in names}
    _write_train(host.root, train)
    for name, clips in host.clips["test"].items():
        data = make_tarball(clips, gzipped=False)
        (host.root / "test" / f"{name}.tar.gz").write_bytes(data)
    return dataclasses.replace(host, clips={**host.clips, "train": train})


def _marked(video: bytes, words: str) -> bytes:
    """Return a video with a box that no player looks at, so that no other has its bytes."""
    return video + struct.pack(">I4s", 8 + len(words), b"free") + words.encode()


def _write_train(root: Path, clips: Mapping[str, Mapping[str, bytes]]) -> None:
    lists = {
        "annotations/train.txt": ["train:", *clips, ""]
        + [line for name in clips for line in (f"train/{name}:", *clips[name], "")],
        "train/k600_train_path.txt": [f"{URL}/train/{name}.tar.gz" for name in clips],
    }
    for path, lines in lists.items():
        (root / path).write_text("".join(f"{line}\n" for line in lines))
    for name in clips:
        data = make_tarball(clips[name], gzipped=False)
        (root / "train" / f"{name}.tar.gz").write_bytes(data)


def places_of(host: Miniature, split: str, tarball: str) -> dict[str, Entry]:
    """Return where the clips of a plain tar lie."""
    path = host.root / Tarball(split, tarball).path
    entries = {}
    with tarfile.open(path) as tar:
        for member in tar:
            if member.isfile():
                data = host.clips[split][tarball][Path(member.name).name]
                start, size = member.offset_data - tarfile.BLOCKSIZE, member.size
                span = tarfile.BLOCKSIZE + size
                entry = Entry(start, tarfile.BLOCKSIZE, span, size, crc32(data))
                entries[Path(member.name).name] = entry
    return entries


def note_places(
    host: Miniature,
    folders: dict[str, Any],
    split: str = "train",
    *,
    mirror: str | None = None,
    but: str = "",
    wrong: str = "",
    **options: Any,
) -> None:
    """Have a ledger know where the clips of a host lie, as after a pass that stored none.

    One tarball may be left out (`but`), and one clip's entry be that of its neighbour (`wrong`).
    """
    mirror = mirror or str(host.root)
    options = {"mirror": mirror, "data_dir": folders["data_dir"], **options}
    request = kinetics600.make_request(split, **options)
    request.store.prepare()
    for name in host.clips[split].keys() - {but}:
        tarball = Tarball(split, name)
        remote = request.mirror.head(tarball.path)
        entries = places_of(host, split, name)
        if wrong in entries:
            entries[wrong] = next(entry for clip, entry in entries.items() if clip != wrong)
        folder = f"{split}/{tarball.label or '_unlabeled'}"
        rows = [
            ClipRow(tarball, number, folder, clip, "skipped", "", "", entry.size_bytes, entry.crc32)
            for number, (clip, entry) in enumerate(entries.items())
        ]
        row = TarballRow(tarball, "done", remote.etag, remote.size_bytes)
        request.ledger.record(row, rows, packing="tar", entries=entries)


@pytest.fixture
def shuffled(host: Miniature, folders: dict[str, Any], load: Load) -> Any:
    """A shuffled stream of `train` of that host, whose places are known."""
    note_places(host, folders)

    def shuffled(**options: Any) -> Any:
        fixed = {"streaming": True, "shuffle_clips": True, "mirror": str(host.root)}
        return load("train", **{**fixed, "test_labels": str(host.test_labels), **options})["train"]

    return shuffled


Key = tuple[int, str]


def keys(rows: Any) -> list[Key]:
    """Return the class and the file name of each row."""
    return [(row["label"], Path(row["video"]["path"]).name) for row in rows]


def all_keys(host: Miniature, split: str = "train") -> list[Key]:
    clips = host.clips[split]
    return sorted((NAMES.index(label), name) for label in clips for name in clips[label])


def test_the_order_is_one_seeded_permutation_of_all_clips(
    shuffled: Any, host: Miniature, folders: dict[str, Any], load: Load
) -> None:
    ds = shuffled(seed=1)
    rows = list(ds)
    assert sorted(keys(rows)) == all_keys(host) != keys(rows)
    for row in rows:
        path = Path(row["video"]["path"])
        assert path.parent.parent == Path("train")
        assert row["video"]["bytes"] == host.clips["train"][NAMES[row["label"]]][path.name]
        assert (row["source"], row["split"]) == ("cvdf", "train")
    assert keys(shuffled(seed=1)) == keys(rows) != keys(shuffled(seed=2))
    assert keys(shuffled()) == keys(shuffled(seed=0))


def test_the_order_is_the_same_on_every_machine(shuffled: Any) -> None:
    ds = shuffled(seed=51)
    first = [name[5:11] for _, name in keys(ds.take(6))]
    ds.set_epoch(1)
    second = [name[5:11] for _, name in keys(ds)][:6]
    assert first == ["00_003", "08_000", "01_005", "00_004", "07_000", "05_008"]
    assert second == ["06_000", "04_001", "01_002", "11_001", "11_008", "02_002"]


def test_a_clip_more_or_less_moves_no_other(shuffled: Any, host: Miniature) -> None:
    some = keys(shuffled(classes=CLASSES[:6]))
    assert len(some) == 54
    chosen = set(some)
    assert [key for key in keys(shuffled()) if key in chosen] == some


def test_clips_in_a_row_are_of_many_classes(shuffled: Any) -> None:
    order = keys(shuffled())
    for start in range(0, len(order) - 36, 12):
        assert len({label for label, _ in order[start : start + 36]}) >= 9


def test_a_shard_is_a_stretch_of_the_order(shuffled: Any) -> None:
    ds = shuffled()
    assert ds.num_shards == 24  # of 108 clips
    order = keys(ds)
    parts = [keys(ds.shard(24, number)) for number in range(24)]
    assert [key for part in parts for key in part] == order
    assert {len(part) for part in parts} == {4, 5}


def test_nodes_and_their_workers_see_each_clip_once(shuffled: Any) -> None:
    ds = shuffled()
    nodes = [split_dataset_by_node(ds, rank=rank, world_size=2) for rank in range(2)]
    assert nodes[0].num_shards == 12
    parts = [keys(node) for node in nodes]
    assert [len(part) for part in parts] == [54, 54]
    assert sorted(parts[0] + parts[1]) == sorted(keys(ds))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_data_loading_workers_of_two_nodes_see_each_clip_once(start: str, shuffled: Any) -> None:
    torch_data = pytest.importorskip("torch.utils.data", exc_type=ImportError)
    ds = shuffled()
    seen: dict[int, list[Key]] = {0: [], 1: []}
    for rank in range(2):
        node = split_dataset_by_node(ds, rank=rank, world_size=2)
        loader = torch_data.DataLoader(
            node,
            num_workers=2,
            batch_size=None,
            multiprocessing_context=start,
            persistent_workers=True,
        )
        for epoch in range(2):
            node.set_epoch(epoch)
            seen[epoch] += keys(loader)
    assert sorted(seen[0]) == sorted(seen[1]) == sorted(keys(ds))
    assert seen[0] != seen[1]


def test_each_epoch_has_an_order_of_its_own(shuffled: Any) -> None:
    ds = shuffled(seed=3)
    first = keys(ds)
    ds.set_epoch(1)
    second = keys(ds)
    assert sorted(second) == sorted(first) != second
    apart = [abs(second.index(key) - place) for place, key in enumerate(first)]
    assert sum(apart) / len(apart) > len(first) / 6  # a third, if nothing of the first is left

    again, other = shuffled(seed=3), shuffled(seed=4)
    again.set_epoch(1)
    other.set_epoch(1)
    assert keys(again) == second != keys(other)
    ds.set_epoch(0)
    assert keys(ds) == first


def test_nodes_and_epochs_go_together(shuffled: Any) -> None:
    ds = shuffled()
    nodes = [split_dataset_by_node(ds, rank=rank, world_size=4) for rank in range(4)]
    epochs = []
    for epoch in range(2):
        for node in nodes:
            node.set_epoch(epoch)
        epochs.append([keys(node) for node in nodes])
        assert sorted(key for part in epochs[-1] for key in part) == sorted(keys(ds))
    assert set(epochs[0][0]) != set(epochs[1][0])  # a node has other clips in each epoch


def test_a_part_that_was_split_off_stays_the_same_in_every_epoch(shuffled: Any) -> None:
    ds = shuffled()
    held_out, rest = ds.shard(4, 0), ds.shard(4, 1)
    before = keys(held_out)
    assert not {*before} & {*keys(rest)}
    for epoch in (1, 2):
        held_out.set_epoch(epoch)
        assert sorted(keys(held_out)) == sorted(before) != keys(held_out)

    again = ds.shard(4, 0).shard(2, 1)
    inner = keys(again)
    again.set_epoch(1)
    assert sorted(keys(again)) == sorted(inner) != keys(again)


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_stream_goes_on_where_its_state_was_taken(epoch: int, shuffled: Any) -> None:
    ds, states = shuffled(), {}
    ds.set_epoch(epoch)
    order = []
    for done, row in enumerate(ds, 1):
        order += keys([row])
        states[done] = ds.state_dict()
    for done in (1, 4, 5, 54, 107, 108):
        other = shuffled()
        other.set_epoch(epoch)
        other.load_state_dict(states[done])
        assert keys(other) == order[done:]


def test_a_node_goes_on_where_its_state_was_taken(shuffled: Any) -> None:
    node = split_dataset_by_node(shuffled(), rank=1, world_size=3)
    iterator = iter(node)
    for _ in range(20):
        next(iterator)
    state = node.state_dict()
    rest = keys(iterator)
    other = split_dataset_by_node(shuffled(), rank=1, world_size=3)
    other.load_state_dict(state)
    assert keys(other) == rest
    assert len(rest) == 16


def test_nothing_is_read_again_that_was_done(
    host: Miniature, folders: dict[str, Any], load: Load
) -> None:
    with web_server(host.root.parent) as server:
        mirror = f"{server.url}/600"
        note_places(host, folders, mirror=mirror)
        ds = load("train", streaming=True, shuffle_clips=True, mirror=mirror)["train"]
        iterator = iter(ds)
        for _ in range(100):
            next(iterator)
        state = ds.state_dict()
        iterator.close()
        server.requests.clear()
        ds.load_state_dict(state)
        assert len(list(ds)) == 8
        again = [path for _, path in server.requests if path.endswith(".tar.gz")]
        assert 8 <= len(again) <= 10  # `datasets` 4.6 goes on a batch, of one, before


def test_a_shuffle_on_top_is_a_permutation(shuffled: Any) -> None:
    ds = shuffled()
    mixed = ds.shuffle(seed=5, buffer_size=10)
    once = keys(mixed)
    assert sorted(once) == sorted(keys(ds)) != once
    assert keys(ds.shuffle(seed=5, buffer_size=10)) == once
    mixed.set_epoch(1)
    assert sorted(keys(mixed)) == sorted(once) != keys(mixed)


def test_take_and_skip_part_the_stream(shuffled: Any) -> None:
    ds = shuffled()
    order = keys(ds)
    assert keys(ds.take(10)) == order[:10]
    assert keys(ds.skip(100)) == order[100:]
    assert keys(ds.repeat(2)) == order * 2
    examples = OrderedExamples(ds._ex_iterable.kwargs["shards"])
    assert [keys(row for _, row in examples) for _ in range(2)] == [order] * 2


def test_a_shard_is_two_numbers_beside_what_all_share(shuffled: Any) -> None:
    ds = shuffled()
    order = keys(ds)
    shards = ds._ex_iterable.kwargs["shards"]
    together = len(pickle.dumps(shards))
    assert together - len(pickle.dumps(shards[:1])) < 60 * len(shards)
    assert together < 200 * len(order)
    assert keys(pickle.loads(pickle.dumps(ds))) == order


def test_clips_that_are_in_the_store_are_read_there(
    shuffled: Any, host: Miniature, load: Load
) -> None:
    before = keys(shuffled())
    load("train", classes=CLASSES[:2], mirror=str(host.root), source="cvdf")
    rows = list(shuffled())
    assert keys(rows) == before
    stored = [row for row in rows if row["video"]["bytes"] is None]
    assert {NAMES[row["label"]] for row in stored} == {*CLASSES[:2]}
    for row in stored:
        path = Path(row["video"]["path"])
        assert path.read_bytes() == host.clips["train"][NAMES[row["label"]]][path.name]

    offline = list(shuffled(source="local"))
    assert keys(offline) == keys(stored)


def test_a_stored_clip_that_is_gone_by_its_turn_is_named(
    shuffled: Any, host: Miniature, load: Load, lines: pytest.LogCaptureFixture
) -> None:
    load("train", classes=CLASSES[:1], mirror=str(host.root), source="cvdf")
    ds = shuffled()
    strict = shuffled(on_missing="raise")
    path = next(row["video"]["path"] for row in ds if row["video"]["bytes"] is None)
    Path(path).unlink()
    assert len(list(ds)) == 107
    assert f"{Path(path).name} is left out" in lines.text
    with pytest.raises(kinetics600.errors.IncompleteError, match="is left out"):
        list(strict)


def test_a_wrong_entry_is_named_and_gives_no_wrong_clip(
    host: Miniature, folders: dict[str, Any], load: Load, lines: pytest.LogCaptureFixture
) -> None:
    label = CLASSES[3]
    wrong = sorted(host.clips["train"][label])[2]
    note_places(host, folders, wrong=wrong)
    options = {"streaming": True, "shuffle_clips": True, "mirror": str(host.root)}
    rows = list(load("train", **options)["train"])
    assert {*all_keys(host)} - {*keys(rows)} == {(NAMES.index(label), wrong)}
    assert f"train/{label}.tar.gz/{wrong} is left out" in lines.text
    with pytest.raises(kinetics600.errors.IncompleteError, match=wrong):
        list(load("train", on_missing="raise", **options)["train"])
    lines.clear()
    assert len(list(load("train", on_missing="skip", **options)["train"])) == 107
    assert "left out" not in lines.text


def test_a_tarball_that_was_replaced_is_named_once(
    host: Miniature,
    folders: dict[str, Any],
    load: Load,
    tmp_path: Path,
    lines: pytest.LogCaptureFixture,
) -> None:
    mirror, label = shutil.copytree(host.root, tmp_path / "600"), CLASSES[5]
    note_places(host, folders, mirror=str(mirror))
    ds = load("train", streaming=True, shuffle_clips=True, mirror=str(mirror))["train"]
    other = make_tarball(dict(reversed(host.clips["train"][label].items())), gzipped=False)
    (mirror / "train" / f"{label}.tar.gz").write_bytes(other)
    assert keys(ds) == [key for key in keys(ds) if key[0] != NAMES.index(label)]
    assert len(keys(ds)) == 99
    lines.clear()
    list(ds)
    assert lines.text.count(f"the clips of train/{label}.tar.gz are left out") == 1
    assert "kinetics600 index build" in lines.text


@pytest.mark.parametrize("says_so", [True, False], ids=["by its ETags", "by its clips"])
@pytest.mark.parametrize("classes", [None, [CLASSES[5]]])
def test_an_index_of_other_tarballs_is_an_error_and_no_empty_stream(
    host: Miniature,
    folders: dict[str, Any],
    load: Load,
    tmp_path: Path,
    classes: list[str] | None,
    says_so: bool,
) -> None:
    mirror = shutil.copytree(host.root, tmp_path / "600")
    if says_so:
        note_places(host, folders, mirror=str(mirror))
    for label, clips in host.clips["train"].items():
        other = make_tarball({"read me": b"once more", **clips}, gzipped=False)
        (mirror / "train" / f"{label}.tar.gz").write_bytes(other)
    if not says_so:
        note_places(host, folders, mirror=str(mirror))

    options = {"streaming": True, "shuffle_clips": True, "mirror": str(mirror), "classes": classes}
    ds = load("train", on_missing="skip", **options)["train"]
    with pytest.raises(kinetics600.errors.MirrorError, match="index build train") as caught:
        list(ds)
    word = "was replaced: expected ETag" if says_so else "is not where its entry says"
    assert word in str(caught.value)


def test_what_a_load_has_read_is_an_index(
    load: Load, folders: dict[str, Any], miniature: Miniature
) -> None:
    loaded = keys(load("validation")["validation"])
    for folder in Path(folders["data_dir"], "validation").iterdir():
        shutil.rmtree(folder)
    rows = list(load("validation", streaming=True, shuffle_clips=True)["validation"])
    assert sorted(keys(rows)) == sorted(loaded)
    clips = miniature.clips["validation"]
    for row in rows:
        own = clips[NAMES[row["label"]]]
        assert row["video"]["bytes"] == own[Path(row["video"]["path"]).name]


def test_without_places_the_error_says_how_many_and_how_to_get_them(
    host: Miniature, folders: dict[str, Any], load: Load
) -> None:
    options = {"streaming": True, "shuffle_clips": True, "mirror": str(host.root)}
    with pytest.raises(kinetics600.errors.OptionError) as error:
        load("train", **options)
    assert "108 of 108 clips" in str(error.value)
    assert "index=" in str(error.value)
    assert "kinetics600 index build train" in str(error.value)

    note_places(host, folders, but=CLASSES[0])
    with pytest.raises(kinetics600.errors.OptionError, match="9 of 108 clips"):
        load("train", **options)
    assert len(list(load("train", classes=CLASSES[1:3], **options)["train"])) == 18


def write_index(
    host: Miniature, path: Path, *, mirror: str = "", without: str = "", twice: bool = False
) -> str:
    """Write an index of `train` of a host; one clip may have a row without a place."""
    split, at = "train", Mirror(mirror or str(host.root))
    rows: list[dict[str, Any]] = []
    for name, clips in host.clips[split].items():
        tarball = Tarball(split, name)
        remote = at.head(tarball.path)
        for file_name, entry in places_of(host, split, name).items():
            clip = Clip(split, tarball.label, *(parse_file_name(file_name) or ()))
            place = Place(tarball, remote.etag, remote.size_bytes, "tar", entry)
            of_place = place_values(None if file_name == without else place, len(clips))
            names = ("split", "label", "youtube_id", "time_start", "time_end")
            of_clip = {each: getattr(clip, each) for each in names}
            rows += [{**of_clip, "tarball": name, **of_place, "tarball_clips": len(clips)}]
    return str(write_table([*rows, *rows[:5]] if twice else rows, path, INDEX))


def test_who_stops_waits_for_no_request_that_nobody_answers(
    host: Miniature, load: Load, tmp_path: Path
) -> None:
    permits = threading.Semaphore(0)

    def hold(method: str, path: str) -> None:
        if method == "GET" and path.endswith(".tar.gz"):
            permits.acquire()

    with web_server(host.root.parent, hold=hold) as server, ThreadPoolExecutor(1) as pool:
        mirror = f"{server.url}/600"
        index = write_index(host, tmp_path / "index.parquet", mirror=mirror)
        options = {"streaming": True, "shuffle_clips": True, "mirror": mirror, "index": index}
        rows = iter(load("train", **options)["train"])
        limit = threading.Timer(60, permits.release, [200])
        limit.start()
        reading = pool.submit(lambda: [next(rows) for _ in range(20)])
        while wait([reading], timeout=0.05).not_done:
            permits.release()  # so slowly that there are always others that wait for an answer
        reading.result()
        started = time.monotonic()
        rows.close()
        assert time.monotonic() - started < 20  # a request may take thirty seconds
        limit.cancel()
        permits.release(200)


def test_an_index_is_all_it_takes(
    host: Miniature, folders: dict[str, Any], load: Load, tmp_path: Path
) -> None:
    with web_server(host.root.parent) as server:
        mirror = f"{server.url}/600"
        index = write_index(host, tmp_path / "index.parquet", mirror=mirror)
        server.requests.clear()
        options = {"streaming": True, "shuffle_clips": True, "mirror": mirror, "index": index}
        ds = load("train", classes=CLASSES, **options)["train"]
        assert server.requests == []
        order = keys(ds)
        assert sorted(order) == all_keys(host)
        assert [path.endswith(".tar.gz") for _, path in server.requests] == [True] * 108
        assert keys(load("train", **options)["train"]) == order
    assert not Path(folders["data_dir"]).exists()


def test_an_index_that_has_clips_twice_gives_each_once(
    shuffled: Any, host: Miniature, tmp_path: Path
) -> None:
    index = write_index(host, tmp_path / "index.parquet", twice=True)
    order = keys(shuffled(index=index, data_dir=str(tmp_path / "new")))
    assert sorted(order) == all_keys(host)
    assert order == keys(shuffled())


def test_a_clip_that_cannot_be_read_alone_is_named(
    shuffled: Any, host: Miniature, tmp_path: Path, lines: pytest.LogCaptureFixture
) -> None:
    label = CLASSES[7]
    name = sorted(host.clips["train"][label])[4]
    index = write_index(host, tmp_path / "index.csv", without=name)
    options = {"index": index, "data_dir": str(tmp_path / "new")}
    rows = keys(shuffled(**options))
    assert {*all_keys(host)} - {*rows} == {(NAMES.index(label), name)}
    assert "1 of 108 clips left out, as none can be read without all that lies before" in lines.text
    with pytest.raises(kinetics600.errors.IncompleteError, match="left out, as none can be read"):
        shuffled(on_missing="raise", **options)


def test_numbers_of_a_stranger_give_no_wrong_clip(
    shuffled: Any, host: Miniature, tmp_path: Path, lines: pytest.LogCaptureFixture
) -> None:
    index = Path(write_index(host, tmp_path / "index.csv"))
    head, first, second, *rest = index.read_text().splitlines()
    huge = first.split(",")
    huge[-4] = str((1 << 63) - 1)  # skip_bytes
    negative = second.split(",")
    negative[-5] = "-1"  # entry_offset
    index.write_text("\n".join([head, ",".join(huge), ",".join(negative), *rest]) + "\n")
    rows = list(shuffled(index=str(index), data_dir=str(tmp_path / "new")))
    assert len(rows) == 106
    assert lines.text.count("is left out") == 2


def test_limits_choose_the_clips_that_are_shuffled(shuffled: Any, host: Miniature) -> None:
    several = keys(shuffled(max_per_class=2))
    assert len(several) == 24
    assert len({label for label, _ in several}) == 12
    few = keys(shuffled(max_samples=7, shuffle=True, seed=5))
    assert len({*few}) == 7
    assert {*few} <= {*all_keys(host)}
    assert [key for key in keys(shuffled(seed=5)) if key in {*few}] == few


def test_a_manifest_chooses_the_clips_and_proves_them(
    shuffled: Any, host: Miniature, load: Load, tmp_path: Path, folders: dict[str, Any]
) -> None:
    loaded = load("train", max_per_class=1, mirror=str(host.root), source="cvdf")["train"]
    path = kinetics600.save_manifest(loaded, tmp_path / "some.csv")
    text = Path(path).read_text()
    streamed = shuffled(manifest=path)
    assert sorted(keys(streamed)) == sorted(keys(loaded))

    folders["data_dir"] = str(tmp_path / "elsewhere")
    note_places(host, folders)
    assert keys(shuffled(manifest=path, data_dir=folders["data_dir"])) == keys(streamed)
    digest = text.splitlines()[1].split(",")[8]
    assert len(digest) == 64
    Path(path).write_text(text.replace(digest, "1" * 64))
    with pytest.raises(kinetics600.errors.IncompleteError, match="not the one in the manifest"):
        list(shuffled(manifest=path, data_dir=folders["data_dir"], on_missing="raise"))


def test_clips_are_made_smaller_on_the_way(
    shuffled: Any, host: Miniature, folders: dict[str, Any]
) -> None:
    note_places(host, folders, short_side=48)
    ds = shuffled(short_side=48, classes=CLASSES[0])
    assert keys(ds) == keys(shuffled(classes=CLASSES[0]))
    for row in ds.take(2):
        with av.open(io.BytesIO(row["video"]["bytes"])) as video:
            assert (video.streams.video[0].width, video.streams.video[0].height) == (64, 48)
            assert row["fps"] == float(video.streams.video[0].average_rate)


def test_the_test_split_is_shuffled_and_labelled(
    host: Miniature, folders: dict[str, Any], load: Load
) -> None:
    note_places(host, folders, "test")
    options = {
        "streaming": True,
        "shuffle_clips": True,
        "mirror": str(host.root),
        "test_labels": str(host.test_labels),
    }
    rows = list(load("test", **options)["test"])
    labels = {name: None if c is None else NAMES.index(c) for name, c in host.labels.items()}
    assert {name: label for label, name in keys(rows)} == labels
    assert len(rows) == len(labels)
    chosen = MINIATURE_CLASSES[4]
    some = list(load("test", classes=[chosen], **options)["test"])
    assert {name for _, name in keys(some)} == {n for n, c in host.labels.items() if c == chosen}
    few = list(load("test", max_samples=5, shuffle=True, source="cvdf", **options)["test"])
    assert len({*keys(few)}) == 5


def test_it_is_refused_where_it_means_nothing(load: Load, tmp_path: Path) -> None:
    with pytest.raises(kinetics600.errors.OptionError, match="shuffle_clips: True is for streams"):
        load("train", shuffle_clips=True)
    with pytest.raises(kinetics600.errors.OptionError, match="shuffle_clips: True is for streams"):
        kinetics600.publish(str(tmp_path / "out"), "train", shuffle_clips=True)
    with pytest.raises(kinetics600.errors.OptionError, match="shuffle_clips: 1 is not allowed"):
        load("train", streaming=True, shuffle_clips=1)
