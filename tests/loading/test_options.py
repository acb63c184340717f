"""An option is declared once: configuration, checks, cache key and secrets follow from that."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import datasets
import pytest

import kinetics600
from k600.checks.doctor import check_environment
from k600.errors import OptionError
from k600.loading.options import OPTIONS, check_options
from k600.loading.request import make_request
from k600.youtube.options import YouTubeOptions

OTHER: dict[str, Any] = {
    "classes": "zumba",
    "max_samples": 3,
    "max_per_class": 2,
    "balanced": True,
    "shuffle": True,
    "shuffle_clips": True,
    "seed": 51,
    "exclude_overlap": True,
    "source": "cvdf",
    "data_dir": "/elsewhere",
    "short_side": 256,
    "encode": "training",
    "crf": 25,
    "frame_step": 4,
    "mirror": "/mirror",
    "mirror_options": {"auto_mkdir": True},
    "test_labels": "/labels.csv",
    "index": "/index.parquet",
    "num_workers": 3,
    "decode": True,
    "on_missing": "skip",
    "retry_errors": True,
    "audio": False,
    "cookies": __file__,
    "cookies_from_browser": "firefox",
    "proxy": "http://user:hunter2@127.0.0.1:1",
    "yt_dlp_options": {"socket_timeout": 60},
    "patience_seconds": 5,
    "requests_per_hour": 5,
}
"""A value for each option that is not its default; `manifest` takes a file."""


def key(**options: Any) -> dict[str, Any]:
    return make_request("test", default_data_dir="/default", **options).cache_key("/default")


def test_each_has_another_value_to_be_tried_with() -> None:
    assert {*OTHER, "manifest"} == OPTIONS.keys()
    assert all(value != OPTIONS[name].default for name, value in OTHER.items())


def test_the_configuration_has_each_with_its_default_and_its_help() -> None:
    config = kinetics600.Kinetics600Config(name="train")
    inherited = {field.name for field in dataclasses.fields(datasets.BuilderConfig)}
    own = {field.name for field in dataclasses.fields(config)} - inherited
    assert own | {"data_dir"} == OPTIONS.keys()
    docs = inspect.getdoc(kinetics600.Kinetics600Config) or ""
    for name, option in OPTIONS.items():
        assert getattr(config, name) == option.default
        assert f"    {name}: {option.help}" in docs
        assert option.help.endswith(".")


@pytest.mark.parametrize("name", OTHER)
def test_a_configuration_shows_what_is_no_secret(name: str) -> None:
    shown = repr(kinetics600.Kinetics600Config(name="train", **{name: OTHER[name]}))
    assert (f"{name}=" in shown) is not OPTIONS[name].is_secret
    assert "hunter2" not in shown


def test_what_youtube_is_asked_with_hides_the_same_secrets() -> None:
    shown = {field.name: field.repr for field in dataclasses.fields(YouTubeOptions)}
    hidden = {name for name in shown.keys() & OPTIONS.keys() if not shown[name]}
    assert hidden == {name for name in shown.keys() & OPTIONS.keys() if OPTIONS[name].is_secret}


@pytest.mark.parametrize("name", OTHER)
def test_only_what_is_declared_so_tells_cached_rows_apart(name: str) -> None:
    chosen: dict[str, Any] = {"max_samples": 9, "shuffle": name == "seed"}
    if name in ("crf", "frame_step"):  # alone, they are not allowed
        chosen["encode"] = "training"
    other = {**chosen, name: OTHER[name]}
    assert (key(**other) != key(**chosen)) is OPTIONS[name].in_cache_key


@pytest.mark.parametrize("name", OPTIONS)
def test_none_is_the_default(name: str) -> None:
    given = check_options({name: None})
    assert given == check_options({})
    assert given[name] == OPTIONS[name].default


@pytest.mark.parametrize("name", OPTIONS)
def test_what_is_of_another_type_is_refused_by_name(name: str) -> None:
    with pytest.raises(OptionError, match=f"^{name}: "):
        check_options({name: object()})


def test_the_variables_that_set_defaults_are_those_that_doctor_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variables = {option.variable: name for name, option in OPTIONS.items() if option.variable}
    assert check_environment(dict.fromkeys(variables, "/somewhere")).state == "ok"
    for variable, name in variables.items():
        monkeypatch.setenv(variable, "/somewhere")
        assert check_options({})[name] == "/somewhere"
        assert check_options({name: "/given"})[name] == "/given"
