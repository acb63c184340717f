"""Where single clips lie in their tarballs, as far as ledger, manifest and index know."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from k600.clip import Place, Tarball
from k600.loading.index import IndexFile
from k600.loading.selection import Candidate
from k600.mirror.mirror import is_strong_etag
from k600.store.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Places:
    """What is known of one split's places; read for the clips that are asked for.

    What it says is true of an object with the ETag that a place names: whoever reads it checks
    that. An index that cannot be had or read is an error once something is asked of it
    (`k600.loading.index`).
    """

    split: str
    ledger: Ledger
    """The request's: what is known of its mirror."""
    manifest: Mapping[Candidate, Place] = field(default_factory=dict)
    """What the request's manifest says."""
    index: IndexFile | None = None
    every_mirror: Ledger | None = None
    """The same ledger, of all mirrors: an object of another one may be the same."""

    def find(self, clips: Iterable[Candidate]) -> Mapping[Candidate, Place]:
        """Return the places of clips as far as they are known: to the ledger, else to the manifest,
        else to the index, else at another mirror, under an ETag that says the same everywhere.
        """
        found, _ = self._find(clips)
        return found

    def tarballs_of(self, clips: Iterable[Candidate]) -> Mapping[Candidate, Tarball]:
        """Return the tarballs that hold clips, also those that no place in it is known of."""
        places, tarballs = self._find(clips)
        return tarballs | {clip: place.tarball for clip, place in places.items()}

    def members(
        self, tarballs: Collection[str], objects: Mapping[str, tuple[str, int]]
    ) -> Mapping[str, Sequence[str]]:
        """Return the file names of all clips of tarballs, in each one's order, by its name.

        A tarball of which the index does not know every clip is left out, and one that has another
        ETag or size there than `objects` say: who chooses clips by this chooses the same as who has
        read the tarball.
        """
        index = self.index.of(self.split) if self.index is not None and tarballs else None
        return index.members(self.split, tarballs, objects) if index is not None else {}

    def indexed(self, tarballs: Collection[str]) -> Any:
        """Return all clips of those tarballs of which the index has every one: a table
        (`k600.loading.index.Index.clips`), None without an index.
        """
        index = self.index.of(self.split) if self.index is not None and tarballs else None
        return None if index is None else index.clips(self.split, tarballs)

    def _find(
        self, clips: Iterable[Candidate]
    ) -> tuple[dict[Candidate, Place], dict[Candidate, Tarball]]:
        clips, tarballs = [*clips], dict[Candidate, Tarball]()
        found = {clip: self.manifest[clip] for clip in clips if clip in self.manifest}
        found |= self.ledger.places(self.split, clips)
        left = [clip for clip in clips if clip not in found]
        if left and self.index is not None and (index := self.index.of(self.split)) is not None:
            places, tarballs = index.places(self.split, left)
            found |= places
        left = [clip for clip in left if clip not in found]
        if left and self.every_mirror is not None:
            elsewhere = self.every_mirror.places(self.split, left)
            found |= {clip: p for clip, p in elsewhere.items() if is_strong_etag(p.etag)}
        return found, tarballs
