"""Streams of published shards go on exactly where they were left, shuffled or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

import kinetics600
from k600.miniature import Miniature
from k600.train import ClipTransform, collate
from tests.conftest import Load

SMALL = {"num_frames": 2, "stride": 2, "short_side": 32, "crop": 32, "flip": True}


@pytest.fixture(scope="module")
def shards(miniature: Miniature, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three shards of ten clips, each of two classes."""
    folder = tmp_path_factory.mktemp("shards")
    places = {"mirror": str(miniature.root), "data_dir": str(folder / "clips")}
    recipe = {"kind": "embedded", "mix": 2, "i_have_the_rights": True}
    kinetics600.publish(None, "train", to=str(folder / "shards"), **recipe, **places)
    return str(folder / "shards")


def names(ds: Any) -> list[tuple[Any, ...]]:
    return [(row["label"], row["youtube_id"], row["time_start"]) for row in ds]


@pytest.mark.parametrize("is_shuffled", [False, True])
def test_mixed_shards_go_on_at_the_very_next_clip(
    is_shuffled: bool, shards: str, tmp_path: Path
) -> None:
    version = tuple(map(int, datasets.__version__.split(".")[:2]))
    if is_shuffled and version < (5, 2):
        pytest.skip("this datasets loses a clip after .shuffle(buffer_size=1): the page says so")

    def stream() -> Any:
        options = {"streaming": True, "split": "train", "cache_dir": str(tmp_path)}
        ds = datasets.load_dataset(shards, **options)
        ds = ds.cast_column("video", datasets.Video(decode=False))
        ds = ds.shuffle(seed=3, buffer_size=1) if is_shuffled else ds
        ds.set_epoch(2)
        return ds

    whole = names(stream())
    assert len(set(whole)) == 30
    for stop in (0, 1, 9, 10, 13, 29):
        ds = stream()
        rows = iter(ds)
        first = names(next(rows) for _ in range(stop))
        state = ds.state_dict()
        later = stream()
        later.load_state_dict(state)
        assert first + names(later) == whole


def batches(loader: Any) -> list[Any]:
    return [
        list(zip(batch["youtube_id"], batch["time_start"], sums, strict=True))
        for batch in loader
        for sums in [batch["pixel_values"].double().sum((1, 2, 3, 4)).tolist()]
    ]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*set_vital:UserWarning")  # torchdata's
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # one CPU
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["shards", "shuffled shards", "tarballs", "all clips"])
def test_a_stateful_loader_goes_on_at_the_very_next_clip(
    kind: str, workers: int, shards: str, load: Load, miniature: Miniature, tmp_path: Path
) -> None:
    pytest.importorskip("torch", exc_type=ImportError)
    module = pytest.importorskip("torchdata.stateful_dataloader", exc_type=ImportError)
    if kind == "shuffled shards" and tuple(map(int, datasets.__version__.split(".")[:2])) < (5, 2):
        pytest.skip("this datasets has no max_buffer_input_shards, or loses a clip")
    more: dict[str, Any] = {}
    if kind == "all clips":
        more = {"shuffle_clips": True, "seed": 5, "index": str(tmp_path / "places.parquet")}
        places = {"mirror": str(miniature.root), "data_dir": str(tmp_path / "clips")}
        kinetics600.build_index("train", to=more["index"], **places)

    def loader() -> Any:
        """Return a loader as another process would make it."""
        options = {"streaming": True, "split": "train"}
        if "shards" in kind:
            ds = datasets.load_dataset(shards, **options, cache_dir=str(tmp_path))
            ds = ds.cast_column("video", datasets.Video(decode=False))
        else:
            ds = load(**options, data_dir=str(tmp_path / "nothing"), **more)
        if kind == "shuffled shards":
            ds = ds.shuffle(seed=3, buffer_size=1, max_buffer_input_shards=1)
        transform = ClipTransform(**SMALL, keep=("youtube_id", "time_start"))
        ds = ds.map(transform, remove_columns=ds.column_names)
        return module.StatefulDataLoader(ds, batch_size=3, num_workers=workers, collate_fn=collate)

    whole = batches(loader())
    assert len({clip for batch in whole for clip in batch}) == 30
    for stop in (2, 7):
        first = loader()
        rows = iter(first)
        before = batches(next(rows) for _ in range(stop))
        state = first.state_dict()
        del rows
        later = loader()
        later.load_state_dict(state)
        assert before + batches(later) == whole


def test_published_shards_give_the_same_samples_decoded_or_not(shards: str, tmp_path: Path) -> None:
    pytest.importorskip("torchcodec.decoders", exc_type=(ImportError, RuntimeError))
    ds = datasets.load_dataset(shards, split="train", cache_dir=str(tmp_path))
    assert ds.features["video"].decode
    transform = ClipTransform(**SMALL, audio_seconds=0.1, keep=("youtube_id", "time_start"))
    plain = ds.cast_column("video", datasets.Video(decode=False))
    decoded, encoded = (
        batches([collate([rows.with_transform(transform)[n] for n in (0, 7, 29)])])
        for rows in (ds, plain)
    )
    assert decoded == encoded
