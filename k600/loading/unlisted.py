"""A few clips of the test split from its tarballs: walked through, as no list says what they hold.

The tarballs are gone through in a fixed order (that of their numbers, or one that the seed gives)
and each is read no further than to the last clip that is still lacking.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from k600.clip import Tarball, TestLabels, label_of
from k600.labels import NAMES
from k600.loading.from_tarballs import FromTarballs
from k600.loading.request import Request
from k600.loading.selection import Candidate, share_of, walk_clips, walk_order
from k600.loading.state import State, wanted_names
from k600.splits import UNLABELED
from k600.tarballs.extract import TarballRead

__all__ = ["Walk"]


@dataclass(frozen=True, slots=True)
class Walk:
    """A walk through the test tarballs."""

    request: Request
    first: Sequence[Candidate] = ()
    """Clips that are there already and count."""

    def find(self, state: State, tarballs: FromTarballs) -> tuple[State, list[Candidate]]:
        """Read tarballs, one after the other, until there are enough clips.

        Args:
            state: How things stand.
            tarballs: Reads them.

        Returns:
            How they stand then, and the clips that are there.
        """
        failed: set[str] = set()
        while True:
            chosen, needs = self.step(state, failed)
            if not needs:
                return state, [c for c in chosen if state.place_of(c) is not None]
            failed |= {tarball.name for tarball in tarballs.read(needs, state)}
            state = state.now()

    def step(
        self, state: State, failed: Collection[str] = ()
    ) -> tuple[list[Candidate], list[TarballRead]]:
        """Choose among the clips known by now; say what to read next, if anything."""
        limits, known, labels = self.request.limits, state.known, state.labels
        wanted = wanted_names(self.request, "test", labels)
        classes = len(self.request.classes or NAMES)
        clips = {name: (label, name) for label, name in self.first}
        if not limits.shuffle:
            clips |= self._there(state)
        unread, before = "", 0
        for name in walk_order([tarball.name for tarball in state.lists.tarballs()], limits):
            if name in failed:
                continue
            before = len(walk_clips([*clips.values()], limits, classes=classes))
            for clip in state.ledger.clips("test", name):
                usable = clip.state in ("have", "skipped")
                if usable and (wanted is None or clip.file_name in wanted):
                    candidate = (label_of(clip.file_name, labels), clip.file_name)
                    clips.setdefault(clip.file_name, candidate)
            row = known.tarballs.get(name)
            if row is None or row.state != "done":
                unread = name
                break
        chosen = walk_clips([*clips.values()], limits, classes=classes)
        counted = limits.balanced or limits.max_per_class is not None
        if counted:
            wanted = self._of_short_classes(chosen, labels)
            unread = unread if wanted else ""
        if unread and len(chosen) != limits.max_samples:
            # Where classes are counted, no number of clips says when a tarball gives no more.
            most = None if counted else (limits.max_samples or 0) - before
            return chosen, [
                TarballRead(
                    Tarball("test", unread), wanted, until_found=most is not None, most=most
                )
            ]
        lacking = {name for label, name in chosen if state.place_of((label, name)) is None}
        where: dict[Tarball, set[str]] = {}
        for clip in known.clips():
            if clip.file_name in lacking and clip.tarball.name not in failed:
                where.setdefault(clip.tarball, set()).add(clip.file_name)
        return chosen, [
            TarballRead(tarball, frozenset(names), until_found=True)
            for tarball, names in where.items()
        ]

    def _of_short_classes(self, chosen: list[Candidate], labels: TestLabels) -> frozenset[str]:
        """Return the file names of the classes of which there are too few by now."""
        limits, names = self.request.limits, self.request.classes or NAMES
        counts = Counter(label for label, _ in chosen)
        share = share_of(limits, classes=len(names))
        short = {label for label in names if share is None or counts[label] < share}
        return frozenset(
            f"{youtube_id}_{start:06d}_{end:06d}.mp4"
            for (youtube_id, start, end), label in labels.items()
            if label in short
        )

    def _there(self, state: State) -> dict[str, Candidate]:
        """Return the clips that are in the store, in the dataset's order."""
        found: dict[str, Candidate] = {}
        for folder in self.request.folders("test"):
            for name in sorted(state.inventory.names(folder)):
                label = label_of(name, state.labels)
                label = folder.partition("/")[2] if label == UNLABELED else label
                if self.request.classes is None or label in self.request.classes:
                    found.setdefault(name, (label, name))
        return found
