"""What else `datasets.load_dataset` takes: it is applied or refused, never ignored."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

import kinetics600
from k600.errors import OptionError
from k600.fleet.options import FleetOptions
from k600.gallery.page import write_gallery
from k600.loading.options import own_options
from k600.miniature import Miniature
from k600.publish.options import PublishOptions
from tests.conftest import Load

APPLIED = {
    "path",
    "name",
    "split",
    "data_dir",
    "cache_dir",
    "download_mode",
    "keep_in_memory",
    "streaming",
    "num_proc",
    "storage_options",
    "verification_mode",  # there are no counts to verify against
    "save_infos",  # the same
}
WITHOUT_TIMES = {k: v for k, v in kinetics600.features().items() if not k.startswith("time")}
REFUSED = [
    ({"data_files": "clips/*.mp4"}, "data_files: .*data_dir=…"),
    ({"revision": "main"}, "revision: .*pip install"),
    ({"token": "hf_secret"}, "token: .*mirror_options={'token'"),
    ({"token": True}, "token: "),
    ({"features": datasets.Features(WITHOUT_TIMES)}, "features: 'time_start', 'time_end'.*ds.cast"),
    ({"features": kinetics600.features(decode=True)}, "features: 'video'.*=False.*Pass decode="),
    ({"download_config": datasets.DownloadConfig(max_retries=9)}, "download_config: 'max_retries'"),
    ({"download_config": datasets.DownloadConfig(token="hf_secret")}, "download_config: 'token'"),
    (
        {"download_config": datasets.DownloadConfig(storage_options={"s3": {"anon": True}})},
        "download_config: 'storage_options'.*pass storage_options=…",
    ),
    ({"storage_options": {"anon": True}}, "storage_options: 'anon' .* expected {'file': {…}}"),
    ({"storage_options": {"file": 3}}, "storage_options: a int .* 'file'"),
    ({"base_path": "x"}, "base_path: .*mirror=…"),
    ({"config_id": "mine"}, "config_id: "),
    ({"version": "2.0.0"}, "version: no such option"),
]


def test_every_argument_of_load_dataset_is_applied_or_refused() -> None:
    taken = set(inspect.signature(datasets.load_dataset).parameters) - {"config_kwargs"}
    assert taken == APPLIED | {name for options, _ in REFUSED for name in options if name in taken}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(("options", "words"), REFUSED)
def test_it_is_refused_with_what_to_do_instead(
    load: Load, options: dict[str, Any], words: str, streaming: bool
) -> None:
    with pytest.raises(OptionError, match=words) as caught:
        load("train", split="train", streaming=streaming, **options)
    assert "hf_secret" not in str(caught.value)


def test_inspection_refuses_them_as_well(miniature: Miniature, folders: dict[str, Any]) -> None:
    for options in ({"revision": "main"}, {"token": "hf_secret"}, {"data_files": "x"}):
        with pytest.raises(OptionError, match=f"{next(iter(options))}: "):
            datasets.get_dataset_config_names("kinetics600", **options)
        with pytest.raises(OptionError, match=f"{next(iter(options))}: "):
            datasets.load_dataset_builder("kinetics600", "train", **options, **folders)
    builder = datasets.load_dataset_builder("kinetics600", "train", **folders)
    with pytest.raises(OptionError, match="download_config: 'proxies'"):
        builder.download_and_prepare(download_config=datasets.DownloadConfig(proxies={"http": "x"}))
    with pytest.raises(OptionError, match="base_path"):
        builder.as_streaming_dataset("train", base_path="x")


@pytest.mark.parametrize("streaming", [False, True])
def test_what_changes_nothing_may_be_said(load: Load, streaming: bool) -> None:
    rows = load(
        "train",
        split="train",
        streaming=streaming,
        features=kinetics600.features(),
        token=False,
        revision=None,
        download_config=datasets.DownloadConfig(),
        storage_options={"file": {}},
        decode=None,
        source=None,
    )
    assert len(list(rows)) == 30
    assert rows.features == kinetics600.features()


COUNTS = {
    "max_samples": 4,
    "max_per_class": 2,
    "seed": 51,
    "num_workers": 2,
    "patience_seconds": 3,
    "requests_per_hour": 9,
    "short_side": 256,
    "crf": 25,
    "frame_step": 4,
}


def test_numpy_numbers_are_numbers(folders: dict[str, Any]) -> None:
    flags = {"shuffle": True, "balanced": True, "retry_errors": True, "audio": True}
    folders["encode"] = "training"
    usual = kinetics600.Kinetics600(config_name="train", **COUNTS, **flags, **folders)
    numpys: dict[str, Any] = {name: np.int64(value) for name, value in COUNTS.items()}
    numpys |= {name: np.bool_(value) for name, value in flags.items()}
    same = kinetics600.Kinetics600(config_name="train", decode=np.False_, **numpys, **folders)
    assert same.config_id == usual.config_id
    assert same._request == usual._request
    assert type(same._request.limits.seed) is int
    assert same.info.features == kinetics600.features()
    assert kinetics600.make_request("train", seed=np.uint8(3)).limits.seed == 3
    for wrong in (np.float64(4.0), np.bool_(True), np.array([4]), np.int64(0)):
        with pytest.raises(OptionError, match="max_samples: "):
            kinetics600.make_request("train", max_samples=wrong)
    for wrong in (np.int64(1), np.array([True])):
        with pytest.raises(OptionError, match="shuffle: .* True or False"):
            kinetics600.make_request("train", shuffle=wrong)


def test_options_of_one_function_are_checked_as_those_of_a_load(tmp_path: Path) -> None:
    place = str(tmp_path / "place")
    for options, words in (
        ({"shard_size_md": 3}, "shard_size_md: no such option; did you mean 'shard_size_mb'"),
        ({"kind": "embeded"}, "kind: 'embeded' is not allowed; did you mean 'embedded'"),
        ({"to_options": "key"}, "to_options: a str is not allowed, expected a dict"),
        ({"token": 3}, "token: a int is not allowed, expected text"),
        ({"with_loader": 1}, "with_loader: 1 is not allowed, expected True or False"),
    ):
        with pytest.raises(OptionError, match=words):
            kinetics600.publish(None, "train", to=place, **options)
    with pytest.raises(OptionError, match="tasks: 1001 is not allowed"):
        kinetics600.fleet(place, "train", tasks=1_001)
    with pytest.raises(OptionError, match="to: 3 is not allowed, expected a path"):
        kinetics600.build_index(to=3)
    assert not (tmp_path / "place").exists()


def test_numpy_numbers_are_numbers_everywhere_else(
    load: Load, folders: dict[str, Any], miniature: Miniature, tmp_path: Path
) -> None:
    sizes = {"shard_size_mb": np.int64(5), "mix": np.int64(2)}
    assert own_options(PublishOptions, sizes)[0] == PublishOptions(shard_size_mb=5, mix=2)
    how, _ = own_options(FleetOptions, {"shards_multiple_of": np.int64(2)})
    assert how == FleetOptions(shards_multiple_of=2)
    rows = load("train", split="train")
    page = write_gallery(rows, tmp_path / "page.html", most=np.int64(1))
    assert rows[0]["youtube_id"] in page.read_text()
    kinetics600.publish(
        None,
        "train",
        to=str(tmp_path / "shards"),
        kind="embedded",
        i_have_the_rights=True,
        shard_size_mb=np.int64(5),
        mix=np.int64(2),
        data_dir=folders["data_dir"],
        mirror=str(miniature.root),
    )
