"""The lists that describe Kinetics-600, from text to plain data.

A *path list* names the host's tarballs, one URL a line. A *listing* is a dump of `ls -R` over the
unpacked tarballs and names the clips of each class (train and validation). DeepMind's *label list*
is a table that labels the test clips; others have their tarball's name for a label.

`name` is what errors call a list, such as its address. One that is `whole` came with as many bytes
as it has; else a last line without an end counts as truncated.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import unquote

from k600.dataset.clip import Listing, Tarball, TestLabels, clip_names, parse_file_name
from k600.dataset.labels import NAMES, canonical
from k600.dataset.splits import Split
from k600.errors import DamagedTarballError, ListError
from k600.errors.text import counted, text_of
from k600.tarballs.archive import file_in_archive, packing_of

_MOST_LIST_BYTES = 256 << 20  # DeepMind's largest member is some 60 MB
_MOST_LINE_CHARACTERS = 10_000


def parse_path_list(
    text: str, split: str, *, name: str = "path list", whole: bool = False
) -> list[Tarball]:
    """Read a path list: one URL of a tarball a line, spaces and `'()` written as they are.

    Only the part after the mirror's root counts (`val/acting in play.tar.gz`), so the same list
    serves on every mirror. `ListError` is raised if it is empty, truncated, no list, names a
    tarball twice, or something that is no tarball of this split.
    """
    _check_complete(text, name, whole)
    tarballs: dict[Tarball, None] = {}
    folder = Split(split).host_folder
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line:
            continue

        parts = (unquote(line) if "%" in line else line).split("/")
        if len(parts) < 2 or parts[-2] != folder or not parts[-1].endswith(".tar.gz"):
            raise ListError(
                f"{name}: line {number} is {line[:200]!r}, expected the URL of a tarball in "
                f"{folder!r}, ending in '.tar.gz'. The list may be truncated: fetch it again"
            )
        stem = parts[-1].removesuffix(".tar.gz")
        if not Split(split).has_tarball(stem):
            raise ListError(
                f"{name}: line {number} names the tarball {stem[:200]!r}, expected "
                f"{Split(split).tarball_names}"
            )

        tarball = Tarball(split, stem)
        if tarball in tarballs:
            raise ListError(f"{name}: line {number} names the tarball {stem!r} a second time")
        tarballs[tarball] = None
    if not tarballs:
        raise ListError(f"{name}: the list is empty")
    return list(tarballs)


def parse_listing(text: str, split: str, *, name: str = "listing", whole: bool = False) -> Listing:
    """Read an `ls -R` listing of a split's clips.

    Its form: `val:`, the class names one a line, a blank line, then for each class a line
    `val/<class>:`, the file names one a line, a blank line. A line that is no clip's name is
    skipped (the real list of the validation split holds one, a single space).

    `ListError` is raised if it is truncated (a last line without an end that is no clip's name, or
    a class in its head without a block), names an unknown class, or is no listing.
    """
    last = text.rpartition("\n")[2].strip()
    _check_complete(text, name, whole and parse_file_name(last) is not None)

    folder = Split(split).host_folder
    # A pattern that begins with letters is found ten times as fast as one with `^`.
    head, *rest = re.split(rf"\n{folder}/(.*):\r?(?=\n|\Z)", f"\n{text}")
    first, *following = head[1:].splitlines() or [""]
    if first.strip() != f"{folder}:":
        raise ListError(f"{name}: begins with {first[:200]!r}, expected '{folder}:'")

    blocks: dict[str, str] = {}
    for label, block in zip(rest[::2], rest[1::2], strict=True):
        if label not in NAMES:
            number = text[: text.index(f"{folder}/{label}:")].count("\n") + 1
            raise ListError(f"{name}: line {number} names the unknown class {label[:200]!r}")
        blocks[label] = blocks.get(label, "") + block

    classes = [label for label in following if label.strip()]
    if not classes:
        raise ListError(f"{name}: truncated: its head names no class. Fetch the list again")
    without_block = [label for label in classes if label not in blocks]
    if without_block:
        raise ListError(
            f"{name}: truncated: its head names {counted(len(classes), 'class')}, "
            f"{len(without_block):,} of them without a block, the first "
            f"{without_block[0][:200]!r}. Fetch the list again"
        )
    return _Blocks(blocks)


class _Blocks(Mapping[str, Sequence[str]]):
    """File names by class, found in a class's lines when needed: there are 430,000."""

    def __init__(self, blocks: Mapping[str, str]) -> None:
        self._blocks = blocks
        self._names: dict[str, Sequence[str]] = {}

    def __getitem__(self, label: str) -> Sequence[str]:
        if label not in self._names:
            lines = self._blocks[label].splitlines()
            names = clip_names(lines)
            self._names[label] = [line for line in lines if line in names]
        return self._names[label]

    def __iter__(self) -> Iterator[str]:
        return iter(self._blocks)

    def __len__(self) -> int:
        return len(self._blocks)


def parse_test_labels(data: bytes, *, name: str = "test_labels", whole: bool = False) -> TestLabels:
    """Read DeepMind's labels of the test split, from `test.csv` or `kinetics600.tar.gz` with it.

    Its columns are `label,youtube_id,time_start,time_end,split`.
    """
    if packing_of(data[:2]) == "gzip":
        data, whole = _test_csv_of_archive(data, name), True
    try:
        text = text_of(data)
    except UnicodeDecodeError as error:
        packed = f": it is {kind}, expected gzip or CSV" if (kind := packing_of(data)) else ""
        raise ListError(f"{name}: not UTF-8 text ({error}){packed}") from error

    _check_complete(text, name, whole)
    rows = csv.reader(_lines_of_table(text, name))
    header, columns = next(rows, []), ("label", "youtube_id", "time_start", "time_end")
    if not set(columns) <= set(header):
        raise ListError(f"{name}: its columns are {header[:8]}, expected {list(columns)}")

    places = [header.index(column) for column in columns]
    labels: dict[tuple[str, int, int], str] = {}
    for row in filter(None, rows):  # a blank line is none
        try:
            label, youtube_id, start, end = (row[place] for place in places)
            labels[youtube_id, int(start), int(end)] = canonical(label)
        except (IndexError, ValueError) as error:
            raise ListError(f"{name}: line {rows.line_num} is {row!r:.200}: {error}") from error
    if not labels:
        raise ListError(f"{name}: labels not one clip. Fetch the list again")
    return labels


def _test_csv_of_archive(data: bytes, name: str) -> bytes:
    try:
        found = file_in_archive(data, "test.csv", most_bytes=_MOST_LIST_BYTES, name=name)
    except DamagedTarballError as error:
        raise ListError(f"{name}: a broken archive ({error})") from error
    if found is None:
        raise ListError(f"{name}: the archive holds no 'test.csv'")
    return found


def _check_complete(text: str, name: str, whole: bool) -> None:
    """Raise `ListError` for a page, and for a text that is or may be truncated."""
    if text.lstrip()[:1] == "<":
        raise ListError(
            f"{name}: an HTML or XML page came instead of a list: check the mirror's address"
        )
    if not text:
        raise ListError(f"{name}: the list is empty")
    if not whole and not text.endswith("\n"):
        raise ListError(
            f"{name}: truncated: its last line {text[-60:].rpartition(chr(10))[2]!r} has no end. "
            "Fetch the list again"
        )


def _lines_of_table(text: str, name: str) -> Iterator[str]:
    """Yield the lines of a table; raise for one that is too long, holds NUL, or an open quote.

    Python's reader raises its own error, or makes one field of all that follows the quote.
    """
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > _MOST_LINE_CHARACTERS or "\0" in line or line.count('"') % 2:
            raise ListError(f"{name}: line {number} is {line[:200]!r}, expected a row of a table")
        yield line
