"""New clips of one tarball on their way to their names in the store: written, checked, named.

A clip's file is flushed, then the ledger gets its row (size, CRC-32, tarball), and only then it is
renamed. So each file of ours with a clip's name has a row; a row without a file is a missing clip.
With the rows, in the same transaction, it is written where reading may go on behind them.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from k600.clip import Entry
from k600.errors import EncoderError
from k600.store.files import Flushing
from k600.store.ledger import Ledger
from k600.store.rows import CheckpointRow, ClipRow, TarballRow
from k600.store.store import Incoming
from k600.translate import store_error, translate_errors
from k600.video.cut import CutError
from k600.video.probe import box_problem
from k600.video.resize import resize_clip

logger = logging.getLogger("kinetics600")


def write_clip(
    incoming: Incoming, chunks: Iterable[bytes | memoryview], row: ClipRow, short_side: int | None
) -> tuple[Path, int, str | None]:
    """Write a clip to an unfinished file, checked and resized, and return what `Incoming.write`
    does; `not_encoded` is a problem that is not the clip's fault.
    """
    part, size, problem = incoming.write(chunks, box_problem)
    if problem is not None or short_side is None:
        return part, size, problem

    smaller = incoming.new_part()
    try:
        with open(part, "rb") as source, translate_errors(store_error, smaller):
            made = resize_clip(source, smaller, short_side)
    except (CutError, EncoderError) as error:
        part.unlink()
        smaller.unlink(missing_ok=True)
        if isinstance(error, CutError):
            return part, size, error.code
        logger.warning("%s/%s is left out: %s", row.tarball.path, row.file_name, error)
        return part, size, "not_encoded"
    if not made:
        return part, size, None
    part.unlink()
    return smaller, smaller.stat().st_size, None


@dataclass(frozen=True, slots=True)
class Milestone:
    """What is known of a tarball up to a place where reading of it may go on."""

    checkpoint: CheckpointRow
    rows: Sequence[ClipRow]
    """Of the members since the last milestone that are no new clips."""
    entries: Mapping[str, Entry]


class Arrivals:
    """Flushes, records and renames finished files. A context manager.

    Only `finish` proves that the files added last have their names.
    """

    def __init__(self, ledger: Ledger, incoming: Incoming, begun: TarballRow) -> None:
        """Begin with nothing; `begun` is the tarball's row once a clip of it came."""
        self._ledger, self._incoming, self._begun = ledger, incoming, begun
        self._flushing = Flushing(self._give_names)
        self._unnamed: dict[Path, tuple[Path, ClipRow]] = {}
        """By unfinished file: the path that it will have, and its row."""
        self._waiting: list[Path] = []
        """Those of them that wait until the reading is proved."""
        self._named: list[Path] = []
        self._added = self._recorded = 0
        self._milestones: deque[tuple[int, Milestone]] = deque()
        """Each with how many clips were added before it."""

    def __enter__(self) -> Arrivals:
        self._flushing.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._flushing.__exit__(*error)

    def add(self, part: Path, path: Path, row: ClipRow, *, wait: bool) -> None:
        """Add a finished file that will lie at `path`, with `wait` once the reading is proved."""
        self._unnamed[part] = path, row
        if wait:
            self._waiting.append(part)
        else:
            self._added += 1
            self._flushing.add(part, row.size_bytes)

    @property
    def are_waiting(self) -> bool:
        """Whether clips wait until the reading is proved."""
        return bool(self._waiting)

    def pass_milestone(self, milestone: Milestone) -> None:
        """Record a milestone once all that was added before it is recorded."""
        self._milestones.append((self._added, milestone))

    def finish(self, *, proved: bool) -> None:
        """Return once all files have their names; those that wait only if the reading is proved."""
        for part in self._waiting if proved else ():
            _, row = self._unnamed[part]
            self._flushing.add(part, row.size_bytes)
        self._flushing.finish()

    def roll_back(self) -> None:
        """Remove all that came."""
        for path in (*self._named, *self._unnamed):
            path.unlink(missing_ok=True)

    def _give_names(self, parts: Sequence[Path]) -> list[Path]:
        """Record files, then rename them; return their new paths."""
        arrived = [self._unnamed.pop(part) for part in parts]
        self._recorded += len(parts)
        rows, entries = [row for _, row in arrived], dict[str, Entry]()
        checkpoint = None
        while self._milestones and self._milestones[0][0] <= self._recorded:
            _, passed = self._milestones.popleft()
            rows += passed.rows
            entries |= passed.entries
            checkpoint = passed.checkpoint
        packing = checkpoint.packing if checkpoint else ""
        more: dict[str, Any] = {"packing": packing, "entries": entries, "checkpoint": checkpoint}
        self._ledger.record(self._begun, rows, replace=False, **more)
        for part, (path, _) in zip(parts, arrived, strict=True):
            self._incoming.place(part, path)
            self._named.append(path)
        return [path for path, _ in arrived]
