"""Which tarball holds a clip, and where in it, as far as ledger, manifest and index know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from k600.dataset.clip import Place, Tarball
from k600.dataset.splits import Split
from k600.loading.index import Index, IndexFile
from k600.loading.selection import Candidate
from k600.mirror.identity import is_strong_etag
from k600.store.ledger import Ledger
from k600.store.rows import LedgerView

if TYPE_CHECKING:
    from k600.loading.manifest import ManifestRow


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
    origin: Mapping[Candidate, ManifestRow] = field(default_factory=dict)
    """What the request's manifest says of the clips; empty without one."""
    index: IndexFile | None = None
    every_mirror: Ledger | None = None
    """The same ledger, of all mirrors: an object of another one may be the same."""

    def find(self, clips: Iterable[Candidate]) -> Mapping[Candidate, Place]:
        """Return the places of clips as far as they are known: to the ledger, else to the index,
        else to the manifest, else at another mirror, under an ETag that says the same everywhere.
        """
        places, _ = self.look_up(clips)
        return places

    def look_up(
        self, clips: Iterable[Candidate]
    ) -> tuple[Mapping[Candidate, Place], Mapping[Candidate, Tarball]]:
        """Return what `find` does, and the tarballs of those clips that cannot be read alone, as
        the index says.
        """
        clips, tarballs = [*clips], dict[Candidate, Tarball]()
        found = {**self.ledger.places(self.split, clips)}
        left = [clip for clip in clips if clip not in found]
        if left and (index := self.opened_index()) is not None:
            places, tarballs = index.places(self.split, left)
            found |= places

        # A manifest may come from another mirror: the index is of this one.
        rows = {clip: self.origin[clip] for clip in left if clip in self.origin}
        told = {clip: row.place for clip, row in rows.items() if row.place is not None}
        found = {**told, **found}
        left = [clip for clip in left if clip not in found]
        if left and self.every_mirror is not None:
            elsewhere = self.every_mirror.places(self.split, left)
            found |= {clip: p for clip, p in elsewhere.items() if is_strong_etag(p.etag)}
        return found, {clip: t for clip, t in tarballs.items() if clip not in found}

    def tarballs_of(
        self, clips: Iterable[Candidate], known: LedgerView | None = None
    ) -> dict[Candidate, Tarball]:
        """Return the tarballs that hold clips, as far as anything says which.

        In the test split, which mixes classes, that in which a clip was seen comes first, then the
        manifest's, then what `look_up` finds; but none that was read to its end without the clip.
        `known` is what the ledger says, if that was read already.
        """
        if not Split(self.split).is_mixed:
            return {clip: Tarball(self.split, clip[0]) for clip in clips}

        clips, known = [*clips], known or self.ledger.view(self.split)
        members = [row for row in known.clips() if row.state != "absent"]
        seen = {row.file_name: row.tarball for row in reversed(members)}  # stored ones come first
        rows = {clip: self.origin[clip] for clip in clips if clip in self.origin}
        told = {clip: Tarball(self.split, row.tarball) for clip, row in rows.items() if row.tarball}
        places, alone = self.look_up(c for c in clips if c[1] not in seen and c not in told)
        told |= {**alone, **{clip: place.tarball for clip, place in places.items()}}
        done = known.done
        found = {clip: tarball for clip, tarball in told.items() if tarball.name not in done}
        return found | {clip: seen[clip[1]] for clip in clips if clip[1] in seen}

    def opened_index(self) -> Index | None:
        """Return the index of the split, which has whole tarballs, too; None if there is none."""
        return None if self.index is None else self.index.of(self.split)
