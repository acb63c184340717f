"""What a ledger knows, made of single rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from k600.dataset.clip import Tarball
from k600.store.rows import AdoptedRow, AnswerRow, ClipRow, LedgerView, StoredGroup, TarballRow


def view_of(
    tarballs: Mapping[str, TarballRow],
    clips: Iterable[ClipRow],
    answers: Sequence[AnswerRow] = (),
    adopted: Sequence[AdoptedRow] = (),
) -> LedgerView:
    """Return the view for single rows of clips, with their sizes."""
    sizes: dict[tuple[Tarball, str, str], dict[str, int]] = {}
    others = []
    for clip in clips:
        if clip.state == "have":
            key = (clip.tarball, clip.folder, clip.source)
            sizes.setdefault(key, {})[clip.file_name] = clip.size_bytes
        else:
            others.append(clip)

    groups = [StoredGroup(*key, frozenset(found), found) for key, found in sizes.items()]
    return LedgerView(tarballs, groups, others, answers, adopted)
