"""What has to come from the mirror, decided from what is asked, known and there. Pure.

The decision is per tarball. A tarball that was read to its end once is never read again for
what it was proved not to hold; one whose clips have vanished from the store is read only up
to the last of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from k600.clip import Tarball
from k600.ledger import ClipRow, Known

__all__ = ["MEAN_CLIP_BYTES", "Need", "plan_needs"]

MEAN_CLIP_BYTES = 1_480_000
"""Mean size of a clip: 88 GB over 59,608 files in the test split, the largest of the three."""


@dataclass(frozen=True, slots=True)
class Need:
    """A tarball to read."""

    tarball: Tarball
    wanted: frozenset[str] | None = None
    """File names to store; None for every clip in it."""
    until_found: bool = False
    """Whether reading may stop after the last wanted, with the rest of the tarball unseen."""


def plan_needs(
    tarballs: Iterable[Tarball],
    known: Known,
    here: Callable[[str], Collection[str]],
    *,
    wanted: frozenset[str] | None = None,
    retry_errors: bool = False,
    refetch: bool = False,
) -> list[Need]:
    """Decide which tarballs to read for a request within one split.

    Args:
        tarballs: All that may hold a clip of the request.
        known: What the ledger says of this split.
        here: Returns the file names in a store folder (`<split>/<class name>`).
        wanted: The file names asked for; None for all. (A class of the test split is spread
            over all its tarballs.)
        retry_errors: Ask again for what a tarball was proved not to hold.
        refetch: Ask again for everything.

    Returns:
        The needs, in the order of `tarballs`.
    """
    members: dict[str, list[ClipRow]] = defaultdict(list)
    for clip in known.clips:
        if wanted is None or clip.file_name in wanted:
            members[clip.tarball.name].append(clip)
    needs = []
    for tarball in tarballs:
        row = known.tarballs.get(tarball.name)
        if refetch or row is None or row.state in ("started", "partial"):
            needs.append(Need(tarball, wanted))
            continue
        own = members[tarball.name]
        failed = row.state == "damaged" or any(clip.state in ("bad", "absent") for clip in own)
        if failed and retry_errors:
            needs.append(Need(tarball, wanted))
        elif row.state == "done":
            lacking = frozenset(
                clip.file_name
                for clip in own
                if clip.state in ("have", "skipped") and clip.file_name not in here(clip.folder)
            )
            if lacking:
                needs.append(Need(tarball, lacking, until_found=True))
    return needs
