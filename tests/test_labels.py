from __future__ import annotations

import pytest

import kinetics600
from k600.errors import UnknownClassError
from k600.labels import NAMES, canonical, id2label, label2id, label_id
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


@pytest.mark.parametrize("spelling", [fiftyone, cvdf, torchvision, str.upper])
def test_every_class_is_known_in_every_folder_spelling(spelling) -> None:
    assert [canonical(spelling(name)) for name in NAMES] == list(NAMES)


def test_an_unknown_class_is_answered_with_the_nearest_names() -> None:
    with pytest.raises(UnknownClassError, match=r"'springbord diving'.*'springboard diving'"):
        canonical("springbord diving")
