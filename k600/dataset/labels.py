"""The 600 class names, their ids, and every spelling they have on disks in the wild.

The canonical order is the byte-sorted order of DeepMind's own label map (`class_names.txt`,
one name a line); a class's id is its line, from 0. The host's path lists are ordered
otherwise at two places, so an id is never taken from the order of a file.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from k600.errors import UnknownClassError, nearest

NAMES: tuple[str, ...] = tuple(
    (Path(__file__).with_name("class_names.txt")).read_text("utf-8").splitlines()
)
"""The 600 class names in canonical order; `NAMES[i]` is the class with id `i`."""

logger = logging.getLogger("kinetics600")

_IDS = {name: index for index, name in enumerate(NAMES)}


def label2id() -> dict[str, int]:
    """Return a new `{class name: id}` of all 600 classes, ids 0 to 599."""
    return dict(_IDS)


def id2label() -> dict[int, str]:
    """Return a new `{id: class name}` of all 600 classes, ids 0 to 599."""
    return dict(enumerate(NAMES))


def label_id(name: str) -> int:
    """Return the id (0 to 599) of a canonical class name, or raise `UnknownClassError`."""
    try:
        return _IDS[name]
    except KeyError:
        raise _unknown(name) from None


def canonical(spelling: str) -> str:
    """Return the canonical name for any spelling of a class found in the wild.

    These are the name itself and FiftyOne's folders (unchanged), those of CVDF's extractor and
    mmaction2 (spaces become `_`) and torchvision's (`'`, `(` and `)` are dropped as well), in any
    letter case. Any other is an `UnknownClassError` that names the nearest ones.

    Example:
        >>> canonical("tying_knot_not_on_a_tie")
        'tying knot (not on a tie)'
    """
    if spelling in _IDS:
        return spelling
    name = _SPELLINGS.get(_fold(spelling))
    if name is None:
        raise _unknown(spelling)
    return name


@dataclass(frozen=True, slots=True)
class ClassList:
    """A list of classes that others published, for another release of Kinetics, by its name."""

    name: str
    source: str
    """Who published it, and where."""
    classes: tuple[str, ...]
    """Those of it that Kinetics-600 has, in the order of ids."""
    missing: tuple[str, ...]
    """Those that it has not, as the source spells them."""


@cache
def class_lists() -> Mapping[str, ClassList]:
    """Return every published list of classes (`class_lists/*.txt`) by its name."""
    files = sorted(Path(__file__).with_name("class_lists").glob("*.txt"))
    return {file.stem: _read_list(file) for file in files}


def named_classes(name: str) -> tuple[str, ...]:
    """Return the canonical names that a class's spelling, or a list's name, stands for.

    Example:
        >>> named_classes("tie_dying"), len(named_classes("kinetics-sounds"))
        (('tie dying',), 31)
    """
    found = _list_named(name)
    if found is None:
        return (canonical(name),)
    _tell_missing(found.name)
    return found.classes


def find_classes(query: str) -> tuple[list[str], bool]:
    """Return the classes that match a query, and whether they contain it (else they resemble it).

    The name of a list finds the classes of the list. Letter case, `_`, `-` and punctuation do not
    matter; a number is an id as well. Names that contain the query are in the order of ids, similar
    ones nearest first.

    Example:
        >>> find_classes("knot_not")
        (['tying knot (not on a tie)'], True)
    """
    if (listed := _list_named(query)) is not None:
        return list(listed.classes), True
    plain = {name: _plain(name) for name in NAMES}
    wanted = _plain(query)
    found = [name for name in NAMES if wanted in plain[name]] if wanted or not query else []
    if query.strip().isdecimal() and int(query) < len(NAMES) and NAMES[int(query)] not in found:
        found.append(NAMES[int(query)])
    if found or not wanted:
        return found, True
    near = {of: name for name, of in plain.items()}
    close = difflib.get_close_matches(wanted, near, n=5, cutoff=0.65)
    if not close:  # one word may be near a word of a long name
        words = {word for of in near for word in of.split()}
        alike = set(difflib.get_close_matches(wanted, words, n=5, cutoff=0.75))
        close = [of for of in near if alike & set(of.split())][:5]
    return [near[of] for of in close], False


def _fold(spelling: str) -> str:
    return spelling.casefold().replace("_", " ").translate({ord(c): None for c in "'()"})


_SPELLINGS = {_fold(name): name for name in NAMES}


def _list_named(name: str) -> ClassList | None:
    return class_lists().get(name.casefold().replace("_", "-").replace(" ", "-"))


def _read_list(file: Path) -> ClassList:
    lines = file.read_text("utf-8").splitlines()
    ours, missing = set(), []
    for line in lines:
        theirs, renamed, name = line.partition(" =")
        if line.startswith("#"):
            continue
        if renamed and not name:
            missing.append(theirs)
        else:
            ours.add(name.strip() or theirs)
    classes = tuple(name for name in NAMES if name in ours)
    return ClassList(file.stem, lines[0].removeprefix("# "), classes, tuple(missing))


@cache
def _tell_missing(name: str) -> None:
    """Log once which classes of a list Kinetics-600 has not."""
    found = class_lists()[name]
    if found.missing:
        logger.info(
            f"classes: {name!r} stands for the {len(found.classes)} of its classes that are in "
            f"Kinetics-600; not there: {', '.join(found.missing)}"
        )


def _unknown(name: object) -> UnknownClassError:
    text = _plain(str(name))
    # "surfin" begins a word of "surfing water", which is a better guess than "windsurfing".
    begun = [each for each in NAMES if text and f" {text}" in f" {_plain(each)}"][:3]
    guesses = "; did you mean " + " or ".join(map(repr, begun)) + "?" if begun else ""
    close = guesses or nearest(name, [*NAMES, *class_lists()])
    return UnknownClassError(
        f"classes: {name!r} is not a Kinetics-600 class{close or '.'} "
        "All 600 names: kinetics600.labels(), or `kinetics600 classes`"
    )


def _plain(text: str) -> str:
    """Return the words of a name, folded, with single spaces."""
    kept = "".join(c if c.isalnum() else "" if c in "'’()" else " " for c in text.casefold())
    return " ".join(kept.split())
