"""Every public feature as users call it: nothing set but a mirror, and that in the environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kinetics600
from k600.cli import app
from k600.miniature import CLASSES, Miniature
from tests.conftest import contents, expected

SIZES = st.none() | st.integers(1, 3)
OPTIONS = {
    "classes": st.sampled_from([None, "zumba", ["zumba"], ["zumba", "yoga"], kinetics600.labels()]),
    "max_samples": SIZES,
    "max_per_class": SIZES,
    "balanced": st.booleans(),
    "shuffle": st.booleans(),
    "seed": st.none() | st.integers(0, 2),
    "source": st.sampled_from(["auto", "cvdf", "youtube", "local"]),
    "test_labels": st.sampled_from([None, "/a.csv", "https://x.y/labels.tar.gz"]),
    "short_side": st.none() | st.just(256),
    "encode": st.none() | st.just("training"),
    "num_workers": SIZES,
    "mirror": st.sampled_from([None, "s3://kinetics/600", "file:///x"]),
    "mirror_options": st.sampled_from([None, {"anon": True}]),
    "on_missing": st.sampled_from(["warn", "raise", "skip"]),
    "retry_errors": st.booleans(),
    "audio": st.booleans(),
    "decode": st.booleans(),
    "proxy": st.sampled_from([None, "http://127.0.0.1:1"]),
    "yt_dlp_options": st.sampled_from([None, {"socket_timeout": 60}]),
    "patience_seconds": st.integers(0, 2),
    "requests_per_hour": st.integers(1, 2),
}
DEFAULTS = {
    "classes": None,
    "max_samples": None,
    "max_per_class": None,
    "balanced": False,
    "shuffle": False,
    "seed": 0,
    "source": "auto",
    "short_side": None,
    "encode": None,
    "crf": 23,
    "frame_step": 1,
    "on_missing": "warn",
    "mirror": "s3://kinetics/600",
    "patience_seconds": 600,
    "decode": False,
}


@pytest.fixture
def plain(miniature: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Have caches of a test's own, and the mirror in the environment; no option is set."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    monkeypatch.setenv("KINETICS600_MIRROR", str(miniature.root))
    return {"clips": tmp_path / "hf" / "kinetics600-clips"}


@pytest.mark.parametrize("where", ["nothing", "data_dir", "cache_dir", "environment"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([None, "train", "validation", "test", "all"]),
    options=st.fixed_dictionaries({}, optional=OPTIONS),
)
def test_every_choice_of_options_makes_a_builder(
    where: str, name: str | None, options: dict[str, Any], tmp_path: Path
) -> None:
    host = "file:///host" if where == "environment" else DEFAULTS["mirror"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
        if where == "environment":
            patch.setenv("KINETICS600_HOME", str(tmp_path / "home"))
            patch.setenv("KINETICS600_MIRROR", host)
        elif where != "nothing":
            options = {**options, where: str(tmp_path / where)}
        builder = datasets.load_dataset_builder("kinetics600", name, **options)
        limited = options.get("max_samples") or options.get("max_per_class")
        plain = not limited and options.get("source", "auto") == "auto"
        if plain and options.get("classes") in (None, kinetics600.labels()):
            labels = options.get("test_labels") and name not in ("train", "validation")
            own = where in ("data_dir", "environment") or options.get("short_side") or labels
            own = own or options.get("encode")
            own = own or options.get("mirror") not in (None, DEFAULTS["mirror"])
            assert (builder.config_id == (name or "all")) is not bool(own)
        defaults = {**DEFAULTS, "mirror": host}
        same = datasets.load_dataset_builder("kinetics600", name, **{**defaults, **options})
        assert same.cache_dir == builder.cache_dir
        fewer = {"classes": "zumba", "max_samples": 1}
        for option in fewer.keys() - {key for key, value in options.items() if value}:
            other = {**options, option: fewer[option]}
            other = datasets.load_dataset_builder("kinetics600", name, **other)
            assert other.cache_dir != builder.cache_dir


@pytest.mark.parametrize(
    "options",
    [
        {"shuffle": True},
        {"seed": 51},
        {"balanced": True},
        {"classes": kinetics600.labels()},
        {"test_labels": "/no/such.csv"},
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_options_that_change_no_rows_load_what_is_loaded_without(
    plain: dict[str, Any], options: dict[str, Any], streaming: bool
) -> None:
    names = [
        [os.path.basename(row["video"]["path"]) for row in rows]
        for rows in (
            datasets.load_dataset("kinetics600", "train", split="train", streaming=streaming, **o)
            for o in ({}, options)
        )
    ]
    assert names[0] == names[1]
    assert len(names[0]) == 30


def test_two_places_in_one_cache_are_two_datasets(tmp_path: Path) -> None:
    """The default place of another cache is no default here."""
    elsewhere = os.path.join(datasets.config.HF_DATASETS_CACHE, "kinetics600-clips")
    cache = {"cache_dir": str(tmp_path)}
    default = kinetics600.Kinetics600(config_name="train", **cache)
    other = kinetics600.Kinetics600(config_name="train", data_dir=elsewhere, **cache)
    own = str(tmp_path / "kinetics600-clips")
    written_out = kinetics600.Kinetics600(config_name="train", data_dir=own, **cache)
    assert default.cache_dir == written_out.cache_dir != other.cache_dir


def test_load_gallery_manifest_and_request(
    plain: dict[str, Any], miniature: Miniature, tmp_path: Path
) -> None:
    rows = datasets.load_dataset("kinetics600", split="validation")
    assert contents(plain["clips"]) == expected(miniature, "validation")
    page = kinetics600.gallery(rows, tmp_path / "page.html")
    assert rows[0]["youtube_id"] in Path(page.path).read_text()
    chosen = kinetics600.save_manifest(rows.select([3, 5]), tmp_path / "chosen.csv")
    again = datasets.load_dataset("kinetics600", manifest=chosen, split="validation")
    assert again.to_list() == rows.select([3, 5]).to_list()
    request = kinetics600.make_request("validation")
    assert (request.store.root, request.mirror.url) == (plain["clips"], str(miniature.root))


def test_publish(plain: dict[str, Any], tmp_path: Path) -> None:
    kinetics600.publish(None, "train", to=str(tmp_path / "rows"))
    kinetics600.publish(
        None,
        "train",
        to=str(tmp_path / "clips"),
        kind="embedded",
        i_have_the_rights=True,
    )
    for folder in ("rows", "clips"):
        files = str(tmp_path / folder / "data/train/*.parquet")
        assert len(datasets.load_dataset("parquet", data_files=files, split="train")) == 30


def test_fleet(plain: dict[str, Any], tmp_path: Path) -> None:
    kinetics600.fleet(str(tmp_path / "shards"), "train", workers=1)
    files = str(tmp_path / "shards/data/train/*.parquet")
    assert len(datasets.load_dataset("parquet", data_files=files, split="train")) == 30


def test_the_command_line(plain: dict[str, Any], miniature: Miniature) -> None:
    def k600(*arguments: str) -> Any:
        done = CliRunner().invoke(app, [*arguments, "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    before = k600("plan", "train")
    k600("download", "train")
    assert contents(plain["clips"]) == expected(miniature, "train")
    assert k600("plan", "train") != before
    assert k600("status", "train")["complete"]


def test_the_environment_alone_says_where_caches_are(miniature: Miniature, tmp_path: Path) -> None:
    program = """
from datasets import load_dataset
import kinetics600, sys
rows = load_dataset("kinetics600", split="train", classes=sys.argv[1])
print(len(rows), rows[0]["video"]["path"], rows.cache_files[0]["filename"], sep="\\n")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, CLASSES[1]],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "HF_HOME": str(tmp_path / "hf"),
            "KINETICS600_MIRROR": str(miniature.root),
            "PYTHONPATH": str(Path(kinetics600.__file__).parent),
        },
        cwd=tmp_path,
        check=True,
    )
    count, clip, rows = done.stdout.splitlines()
    assert count == "5"
    assert Path(clip).is_relative_to(tmp_path / "hf/datasets/kinetics600-clips")
    assert Path(rows).is_relative_to(tmp_path / "hf/datasets/kinetics600")
