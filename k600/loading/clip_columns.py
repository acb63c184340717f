"""Clips as columns: where half a million lie, in some 35 MB and with no object for each."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from k600.clip import Clip, Entry, Place, Tarball, parse_file_name
from k600.labels import NAMES
from k600.loading.selection import Candidate
from k600.splits import UNLABELED
from k600.store.rows import SOURCES

_NUMBERS = {name: number for number, name in enumerate((*NAMES, UNLABELED))}
_TYPES = [
    ("file_name", "S35"),  # none is longer
    ("label", "<u2"),  # an id; 600 for none
    ("tarball", "<i4"),  # which of `ClipColumns.objects`; -1 for a clip of the store
    *((name, "<i8") for name in Entry._fields[:-1]),
    ("crc32", "<u4"),
    ("folder", "<u2"),  # of a clip of the store: its class, as `label` says it
    ("source", "u1"),  # of a clip of the store: which of `SOURCES`
]
_OF_ENTRY = {name: "original_bytes" if name == "size_bytes" else name for name in Entry._fields}
_OF_OBJECT = ("tarball", "tarball_etag", "tarball_bytes", "packing")
PLACED = (*_OF_OBJECT, *_OF_ENTRY.values())
"""Columns of an index that a clip with a place has."""

_Object = tuple[str, str, int, str]
"""A tarball's name, with its ETag, its size in bytes and its packing as in `Place`."""


class StoredAt(NamedTuple):
    """Where a clip lies in the store."""

    folder: str
    """`<split>/<class name>`."""
    source: str
    """`cvdf`, `youtube` or `local`."""
    elsewhere: str | None = None
    """Its file, relative to the store, if another tool has put it elsewhere."""


class IndexedClips(NamedTuple):
    """Clips of the host as an index has them."""

    rows: Any
    """A table, as `k600.loading.index.Index.clips` returns it."""
    labels: npt.NDArray[np.uint16]
    """The class of each, as `label_numbers` returns it."""


@dataclass(frozen=True, slots=True)
class ClipColumns:
    """Clips of one split, each of the store or of a tarball."""

    split: str
    columns: npt.NDArray[np.void]
    """A row for each clip, of `_TYPES`."""
    objects: tuple[_Object, ...]
    elsewhere: Mapping[int, str] = field(default_factory=dict)
    """`StoredAt.elsewhere` by row."""
    proofs: npt.NDArray[np.uint8] | None = None
    """The SHA-256 that each of the first clips must have, 32 bytes a row; zeros if not known."""

    def __len__(self) -> int:
        return len(self.columns)

    def clip(self, row: int) -> Clip:
        """Return the clip of a row."""
        values = self.columns[row]
        times = parse_file_name(values["file_name"].decode())
        assert times is not None  # lists, store and index hold no other names
        return Clip(self.split, _label_of(values["label"]), *times)

    def place(self, row: int) -> Place | None:
        """Return where a clip lies on the host; None for one of the store.

        Raises:
            ValueError: It is no place; who made the index may be a stranger.
        """
        values = self.columns[row]
        if values["tarball"] < 0:
            return None
        name, etag, size_bytes, packing = self.objects[values["tarball"]]
        entry = Entry(*(int(values[each]) for each in Entry._fields))
        return Place(Tarball(self.split, name), etag, size_bytes, packing, entry)

    def stored_at(self, row: int) -> StoredAt:
        """Return where a clip of the store lies."""
        values = self.columns[row]
        folder = f"{self.split}/{_label_of(values['folder']) or UNLABELED}"
        return StoredAt(folder, SOURCES[values["source"]], self.elsewhere.get(row))

    def unpacked_bytes(self, row: int) -> int:
        """Return how many bytes a request for a clip unpacks; 0 for one of the store."""
        values = self.columns[row]
        return max(0, int(values["skip_bytes"]) + int(values["size_bytes"]))

    def sha256(self, row: int) -> bytes:
        """Return the SHA-256 that a clip must have; empty if that is not known."""
        if self.proofs is None or row >= len(self.proofs):
            return b""
        proof = self.proofs[row].tobytes()
        return proof if any(proof) else b""


def make_clip_columns(
    split: str,
    *,
    stored: Mapping[Candidate, StoredAt],
    places: Mapping[Candidate, Place],
    indexed: IndexedClips | None = None,
    proofs: Mapping[Candidate, str] = MappingProxyType({}),
) -> ClipColumns:
    """Return clips as columns.

    Args:
        split: The split of all of them.
        stored: Where clips lie in the store.
        places: Where others lie on the host.
        indexed: Others of the host, all with a place.
        proofs: The SHA-256, in hexadecimal, that clips must have; empty or left out if not known.
    """
    sources = {name: number for number, name in enumerate(SOURCES)}
    nowhere = (0,) * len(Entry._fields)
    rows: list[tuple[object, ...]] = []
    for (label, name), at in stored.items():
        folder = _NUMBERS[at.folder.partition("/")[2]]
        of_store = (folder, sources[at.source])
        rows.append((name.encode(), _NUMBERS[label], -1, *nowhere, *of_store))
    elsewhere = {n: at.elsewhere for n, at in enumerate(stored.values()) if at.elsewhere}

    objects: dict[_Object, int] = {}
    for (label, name), place in places.items():
        facts = (place.tarball.name, place.etag, place.tarball_bytes, place.packing)
        number = objects.setdefault(facts, len(objects))
        rows.append((name.encode(), _NUMBERS[label], number, *place.entry, 0, 0))
    columns = np.array(rows, dtype=_TYPES)

    hashes = None
    if any(proofs.values()):
        clips = itertools.chain(stored, places)
        digests = b"".join(bytes.fromhex(proofs.get(clip) or "00" * 32) for clip in clips)
        hashes = np.frombuffer(digests, np.uint8).reshape(-1, 32)
    if indexed is not None:
        columns = np.concatenate([columns, _columns_of(indexed, objects)])
    return ClipColumns(split, columns, (*objects,), elsewhere, hashes)


def label_numbers(labels: Iterable[str]) -> npt.NDArray[np.uint16]:
    """Return the id of each class name; 600 for `_unlabeled` and what is none."""
    return np.array([_NUMBERS.get(label, len(NAMES)) for label in labels], np.uint16)


def _columns_of(indexed: IndexedClips, objects: dict[_Object, int]) -> npt.NDArray[np.void]:
    """Return the columns of an index's clips; add what their tarballs are to the objects."""
    rows = indexed.rows
    columns = np.zeros(len(rows), _TYPES)
    columns["file_name"] = rows["file_name"].to_numpy()
    columns["label"] = indexed.labels
    for name, source in _OF_ENTRY.items():
        columns[name] = rows[source].to_numpy()

    # The rows of a tarball mostly say the same of it.
    facts = rows.select(_OF_OBJECT).append_column("row", [np.arange(len(rows))])
    whole = facts.group_by([*_OF_OBJECT]).aggregate([("row", "list")])
    values = (whole[name].to_pylist() for name in (*_OF_OBJECT, "row_list"))
    for name, etag, size_bytes, packing, own in zip(*values, strict=True):
        number = objects.setdefault((name, etag, size_bytes, packing), len(objects))
        columns["tarball"][own] = number
    return columns


def _label_of(number: int) -> str | None:
    return NAMES[number] if number < len(NAMES) else None
