from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from k600.dataset.labels import NAMES
from k600.dataset.splits import SPLITS
from k600.errors import Kinetics600Error, OptionError, UnknownSplitError
from k600.loading.options import check_option_names
from k600.loading.request import Request, make_request

DEFAULT = "/default"


def request(name: str = "validation", **options: Any) -> Request:
    return make_request(name, default_data_dir=DEFAULT, **options)


def key(name: str = "validation", **options: Any) -> dict[str, Any]:
    return request(name, **options).cache_key(DEFAULT)


def test_defaults() -> None:
    asked = request()
    assert asked.splits == ("validation",)
    assert asked.classes is None
    assert str(asked.mirror) == "s3://kinetics/600"
    assert asked.store.root == Path(DEFAULT)
    assert asked.num_workers >= 1
    assert request("all").splits == SPLITS


def test_the_environment_sets_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINETICS600_MIRROR", "s3://mine/600/")
    monkeypatch.setenv("KINETICS600_HOME", "/home/of/clips")
    assert str(request().mirror) == "s3://mine/600"
    assert request().store.root == Path("/home/of/clips")
    assert request(mirror="file:///x", data_dir="/y").store.root == Path("/y")
    assert key() == {"data_dir": "/home/of/clips", "mirror": "s3://mine/600"}


def test_the_key_holds_only_what_tells_rows_apart() -> None:
    assert key() == {}
    assert key(classes=None, num_workers=7, source="auto") == {}
    assert key(mirror="https://s3.amazonaws.com/kinetics/600/") == {}
    assert key(mirror="file:///x") == key(mirror="/x/") == {"mirror": "/x"}
    assert key(data_dir=DEFAULT, on_missing="skip", retry_errors=True, seed=3) == {}
    assert key(classes=list(NAMES)) == {}
    assert key(classes=["zumba", "yoga"]) == key(classes=("yoga", "zumba", "yoga"))
    assert key(classes="zumba") == key(classes=["Zumba"]) == {"classes": ["zumba"]}
    assert key(source="local", mirror="/x") == {"source": "local"}
    assert key(data_dir="/x/../y") == {"data_dir": "/y"}
    assert key(test_labels="/a.csv") == {}
    assert key("test", test_labels="/a.csv") == {"test_labels": "/a.csv"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": "zomba"}, ["classes", "'zomba'", "'zumba'", "kinetics600.labels()"]),
        ({"classes": []}, ["classes", "empty"]),
        ({"classes": [3]}, ["classes", "3", "class names"]),
        ({"classes": 3}, ["classes", "3", "list"]),
        ({"source": "cdvf"}, ["source", "'cdvf'", "'cvdf'", "'local'"]),
        ({"on_missing": "ignore"}, ["on_missing", "'ignore'", "'warn'", "'skip'"]),
        ({"num_workers": 0}, ["num_workers", "0", "at least 1"]),
        ({"num_workers": -2}, ["num_workers", "-2", "at least 1"]),
        ({"num_workers": 1.5}, ["num_workers", "1.5", "whole number"]),
        ({"max_samples": 0}, ["max_samples", "0", "at least 1"]),
        ({"max_per_class": 0}, ["max_per_class", "0", "at least 1"]),
        ({"balanced": "yes"}, ["balanced", "'yes'", "True or False"]),
        ({"max_samples": "ten"}, ["max_samples", "'ten'", "whole number"]),
        ({"seed": -1}, ["seed", "-1", "at least 0"]),
        ({"shuffle": "yes"}, ["shuffle", "'yes'", "True or False"]),
        ({"retry_errors": 1}, ["retry_errors", "1", "True or False"]),
        ({"mirror_options": "anon"}, ["mirror_options", "dict"]),
        ({"mirror": 3}, ["mirror", "3", "URL"]),
        ({"data_dir": 3}, ["data_dir", "3", "path"]),
        ({"data_dir": os.fsdecode(b"/clips\xff")}, ["data_dir", "'/clips\\udcff'", "UTF-8"]),
        ({"mirror": "/mirror\0"}, ["mirror", "'/mirror\\x00'", "UTF-8"]),
        ({"test_labels": 3}, ["test_labels", "3"]),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(options: Any, words: list[str]) -> None:
    with pytest.raises(OptionError) as caught:
        request(**options)
    assert isinstance(caught.value, ValueError)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_missing_or_unknown_configuration_lists_them_all() -> None:
    with pytest.raises(
        UnknownSplitError,
        match=r"'train', 'validation', 'test', 'all': .*\(.*\), or, of a part, .*split='val",
    ):
        request(None)  # type: ignore[arg-type]
    with pytest.raises(UnknownSplitError, match="did you mean 'validation'"):
        request("val")
    with pytest.raises(UnknownSplitError, match="did you mean 'train'"):
        request("trian")


def test_an_unknown_option_is_answered_with_the_nearest() -> None:
    with pytest.raises(Kinetics600Error, match=r"clases: no such option.*'classes'"):
        check_option_names(["clases"])
