from __future__ import annotations

from pathlib import Path

import pytest

import k600.dataset.labels
import kinetics600
from k600.dataset.labels import (
    NAMES,
    canonical,
    class_lists,
    find_classes,
    id2label,
    label2id,
    label_id,
)
from k600.errors import UnknownClassError
from tests.shared import needs_shared, shared


def test_there_are_600_different_names_in_byte_order() -> None:
    assert len(set(NAMES)) == 600
    assert [name.encode() for name in NAMES] == sorted(name.encode() for name in NAMES)


@needs_shared
def test_the_names_are_those_of_the_real_label_map() -> None:
    assert list(NAMES) == shared("classes.txt").read_text().splitlines()


def test_ids_and_names_are_each_other_s_inverse() -> None:
    assert [label2id()[id2label()[number]] for number in range(600)] == list(range(600))
    assert kinetics600.labels()[label_id("zumba")] == "zumba"


def fiftyone(name: str) -> str:
    return name


def cvdf(name: str) -> str:
    return name.replace(" ", "_")


def torchvision(name: str) -> str:
    return cvdf(name).translate({ord(sign): None for sign in "'()"})


def test_ids_of_other_tools_are_as_the_page_on_them_says() -> None:
    assert sorted(NAMES, key=cvdf) == list(NAMES)  # mmaction2 numbers its names so
    theirs = sorted(NAMES, key=torchvision)
    assert {name for name, other in zip(NAMES, theirs, strict=True) if name != other} == {
        *("curling (sport)", "curling hair"),
        *("hugging (not baby)", "hugging baby"),
    }


@pytest.mark.parametrize("spelling", [fiftyone, cvdf, torchvision, str.upper])
def test_every_class_is_known_in_every_folder_spelling(spelling) -> None:
    assert [canonical(spelling(name)) for name in NAMES] == list(NAMES)


def test_an_unknown_class_is_answered_with_names_that_have_such_a_word() -> None:
    with pytest.raises(UnknownClassError, match=r"mean 'surfing crowd' or 'surfing water'\?"):
        canonical("surfin")


def test_an_unknown_class_is_answered_with_the_nearest_names() -> None:
    with pytest.raises(UnknownClassError, match=r"'springbord diving'.*'springboard diving'"):
        canonical("springbord diving")


@pytest.mark.parametrize(
    ("name", "classes", "missing", "among"),
    [
        ("kinetics-sounds", 31, ("fingerpicking", "patting", "typing"), "dribbling basketball"),
        (
            "mini-kinetics-200",
            194,
            (
                "balloon blowing",
                "cleaning floor",
                "cooking chicken",
                "filling eyebrows",
                "skiing (not slalom or crosscountry)",
                "using computer",
            ),
            "dyeing hair",
        ),
    ],
)
def test_a_published_subset_is_asked_for_by_its_name(
    name: str, classes: int, missing: tuple[str, ...], among: str
) -> None:
    found = class_lists()[name]
    assert (len(found.classes), found.missing) == (classes, missing)
    assert among in found.classes
    assert set(found.classes) <= set(NAMES)
    assert "https://" in found.source

    asked = kinetics600.make_request("validation", classes=name.replace("-", "_").upper())
    assert asked.classes == found.classes
    assert kinetics600.labels(name) == list(found.classes)
    assert find_classes(name) == (list(found.classes), True)


def test_every_line_of_a_list_is_a_class_or_says_what_it_is_here() -> None:
    folder = Path(k600.dataset.labels.__file__).with_name("class_lists")
    assert {file.stem for file in folder.iterdir()} == class_lists().keys()
    for file in folder.iterdir():
        lines = [line for line in file.read_text("utf-8").splitlines() if line[0] != "#"]
        assert lines == sorted(set(lines))
        for line in lines:
            theirs, renamed, ours = line.partition(" =")
            assert (theirs in NAMES) is not bool(renamed)
            assert not ours or ours.strip() in NAMES


def test_a_subset_joins_other_classes_and_a_misspelled_one_is_answered_with_its_name() -> None:
    asked = kinetics600.make_request("train", classes=["kinetics-sounds", "zumba", "singing"])
    assert asked.classes is not None
    assert len(asked.classes) == 32
    with pytest.raises(UnknownClassError, match="did you mean 'mini-kinetics-200'"):
        kinetics600.make_request("train", classes="mini-kinetics-20")


def test_what_a_subset_lacks_here_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    k600.dataset.labels._tell_missing.cache_clear()
    with caplog.at_level("INFO", logger="kinetics600"):
        for _ in range(2):
            kinetics600.make_request("train", classes="kinetics-sounds")
    (line,) = caplog.messages
    assert line.endswith("not there: fingerpicking, patting, typing")
