from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import kinetics600
from k600.dataset.labels import NAMES
from k600.dataset.splits import SPLITS
from k600.miniature import CLASSES, Miniature, make_clip, make_miniature, make_tarball
from tests.conftest import Load
from tests.servers import web_server


def names(rows: Any) -> list[str]:
    return [os.path.basename(row["video"]["path"]) for row in rows]


@pytest.mark.parametrize("split", SPLITS)
def test_clips_come_as_bytes_and_nothing_is_stored(
    split: str,
    mirror_options: dict[str, Any],
    load: Load,
    folders: dict[str, Any],
    miniature: Miniature,
) -> None:
    rows = list(load(split, streaming=True, **mirror_options)[split])
    made = {n: data for clips in miniature.clips[split].values() for n, data in clips.items()}
    pairs = [(n, data) for clips in miniature.clips[split].values() for n, data in clips.items()]
    assert len(made) <= len(pairs)
    assert sorted(zip(names(rows), [row["video"]["bytes"] for row in rows], strict=True)) == sorted(
        pairs
    )
    assert not os.path.exists(folders["data_dir"])
    if split == "test":
        labels = {n: None if c is None else NAMES.index(c) for n, c in miniature.labels.items()}
        assert dict(zip(names(rows), [row["label"] for row in rows], strict=True)) == labels


def test_a_shard_is_a_tarball_and_a_class(load: Load) -> None:
    ds = load("train", streaming=True)["train"]
    assert ds.num_shards == len(CLASSES)
    assert ds.features == kinetics600.features()
    labels = [row["label"] for row in ds]
    assert labels == sorted(labels)


def test_clips_in_the_store_come_from_there_in_the_same_order(
    load: Load, miniature: Miniature
) -> None:
    with web_server(miniature.root.parent) as server:
        mirror = f"{server.url}/600"
        before = list(load("train", streaming=True, mirror=mirror)["train"])
        load("train", mirror=mirror)
        server.requests.clear()
        after = list(load("train", streaming=True, mirror=mirror)["train"])
        assert not [path for _, path in server.requests if path.endswith(".tar.gz")]
    assert names(after) == names(before)
    assert [row["label"] for row in after] == [row["label"] for row in before]
    assert all(row["video"]["bytes"] is None for row in after)


def test_a_tarball_that_is_stored_in_part_is_streamed_whole(
    load: Load, folders: dict[str, Any]
) -> None:
    before = list(load("train", streaming=True)["train"])
    ds = load("train")["train"]
    os.unlink(ds[7]["video"]["path"])
    after = list(load("train", streaming=True)["train"])
    assert names(after) == names(before)


def test_only_what_is_stored_is_streamed_with_source_local(load: Load) -> None:
    load("train", classes=CLASSES[:2])
    rows = list(load("train", streaming=True, source="local", mirror="/nowhere")["train"])
    assert len(rows) == 10
    with pytest.raises(kinetics600.Kinetics600Error, match="not one of the clips"):
        load("validation", streaming=True, source="local", mirror="/nowhere")


def test_classes_choose_shards_and_in_the_test_split_rows(load: Load, miniature: Miniature) -> None:
    assert load("train", streaming=True, classes=CLASSES[:2])["train"].num_shards == 2
    chosen = CLASSES[4]
    rows = list(load("test", streaming=True, classes=[chosen])["test"])
    assert set(names(rows)) == {n for n, label in miniature.labels.items() if label == chosen}


def test_a_bad_clip_is_left_out_with_a_word_or_an_error(
    load: Load, lines: pytest.LogCaptureFixture
) -> None:
    assert len(list(load("validation", streaming=True)["validation"])) == 30
    assert "emptyclip00_000000_000010.mp4 is left out: empty" in lines.text
    assert "cutoffclip0_000000_000010.mp4 is left out: truncated" in lines.text
    with pytest.raises(kinetics600.Kinetics600Error, match="left out"):
        list(load("validation", streaming=True, on_missing="raise")["validation"])


def test_a_tarball_that_proves_damaged_is_told_at_its_end(
    load: Load, own_miniature: Miniature, lines: pytest.LogCaptureFixture
) -> None:
    path = own_miniature.root / "train/zumba.tar.gz"
    data = path.read_bytes()
    path.write_bytes(data[:-8] + bytes(4) + data[-4:])
    options = {"streaming": True, "mirror": str(own_miniature.root)}
    assert len(list(load("train", **options)["train"])) >= 9  # the last came with the news
    assert "CRC" in lines.text
    assert "may be damaged" in lines.text
    with pytest.raises(kinetics600.Kinetics600Error, match="CRC"):
        list(load("train", on_missing="raise", **options)["train"])


def test_a_missing_tarball_is_told_and_the_others_come(
    load: Load, own_miniature: Miniature, lines: pytest.LogCaptureFixture
) -> None:
    (own_miniature.root / "train/zumba.tar.gz").unlink()
    rows = list(load("train", streaming=True, mirror=str(own_miniature.root))["train"])
    assert len(rows) == 5
    assert "train/zumba.tar.gz is left out" in lines.text


def test_a_stream_resumes_where_its_state_was_taken(load: Load) -> None:
    ds = load("train", streaming=True)["train"]
    iterator = iter(ds)
    first = [next(iterator) for _ in range(8)]
    state = ds.state_dict()
    rest = list(iterator)
    other = load("train", streaming=True)["train"]
    other.load_state_dict(state)
    assert names(other) == names(rest)
    assert len(first) + len(rest) == 30


def test_nodes_share_the_stream_without_overlap(load: Load) -> None:
    from datasets.distributed import split_dataset_by_node

    ds = load("train", streaming=True)["train"]
    parts = [names(split_dataset_by_node(ds, rank=rank, world_size=2)) for rank in range(2)]
    assert len(parts[0]) == len(parts[1]) == 15
    assert sorted(parts[0] + parts[1]) == sorted(names(ds))


def test_a_shuffle_is_a_permutation_that_its_seed_fixes(load: Load) -> None:
    ds = load("train", streaming=True)["train"]
    keys = [(row["label"], name) for row, name in zip(ds, names(ds), strict=True)]

    def shuffled(seed: int) -> list[tuple[int, str]]:
        rows = list(ds.shuffle(seed=seed, buffer_size=7))
        return list(zip([row["label"] for row in rows], names(rows), strict=True))

    assert shuffled(1) == shuffled(1) != shuffled(2)
    assert sorted(shuffled(1)) == sorted(keys)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_data_loading_workers_share_the_shards(start: str, load: Load, s3: Any) -> None:
    torch_data = pytest.importorskip("torch.utils.data")
    options = {"mirror": "s3://kinetics/600", "mirror_options": {"endpoint_url": s3.url}}
    ds = load("train", streaming=True, **options)["train"]
    expected = names(ds)  # and this process has used s3fs before it forks
    loader = torch_data.DataLoader(
        ds, num_workers=2, batch_size=None, multiprocessing_context=start
    )
    assert sorted(names(loader)) == sorted(expected)


def test_a_stream_can_be_pickled(load: Load) -> None:
    import pickle

    ds = load("train", streaming=True)["train"]
    assert names(pickle.loads(pickle.dumps(ds))) == names(ds)


def test_the_stored_order_is_kept_for_a_plain_tar_too(load: Load, own_miniature: Miniature) -> None:
    path = own_miniature.root / "train/zumba.tar.gz"
    clips = own_miniature.clips["train"]["zumba"]
    path.write_bytes(make_tarball(dict(reversed(clips.items())), gzipped=False))
    options = {"classes": "zumba", "mirror": str(own_miniature.root)}
    streamed = names(load("train", streaming=True, **options)["train"])
    assert streamed == list(reversed(clips))
    load("train", **options)
    shutil.rmtree(own_miniature.root / "train")
    assert names(load("train", streaming=True, source="local", **options)["train"]) == sorted(clips)


@pytest.mark.parametrize("limits", [{}, {"max_samples": 7}])
def test_retry_errors_has_a_stream_ask_again_for_what_the_store_proved_bad(
    limits: dict[str, Any], tmp_path: Path, load: Load
) -> None:
    host = make_miniature(tmp_path / "host")
    label = CLASSES[0]  # of its clips in the validation split one is empty and one is cut off
    asked = {"classes": label, "mirror": str(host.root), "source": "cvdf", **limits}
    load("validation", **asked)
    mended = {f"{i}_000000_000010.mp4": make_clip(900) for i in ("emptyclip00", "cutoffclip0")}
    tarball = host.root / "val" / f"{label}.tar.gz"
    tarball.write_bytes(make_tarball({**host.clips["validation"][label], **mended}))

    def streamed(**options: Any) -> set[str]:
        return set(names(load("validation", streaming=True, **asked, **options)["validation"]))

    assert not streamed() & mended.keys()
    assert streamed(retry_errors=True) >= mended.keys()
