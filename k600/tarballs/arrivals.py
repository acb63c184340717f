"""New clips of one tarball on their way to their names in the store: written, checked, named.

A clip's file is flushed, then the ledger gets its row (size, CRC-32, tarball), and only then it is
renamed. So each file of ours with a clip's name has a row; a row without a file is a missing clip.
With the rows, in the same transaction, it is written where reading may go on behind them.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from k600.dataset.clip import Entry
from k600.errors import EncoderError
from k600.errors.translate import store_error, translate_errors
from k600.store.files import flush, flush_all
from k600.store.ledger import Ledger
from k600.store.rows import Checkpoint, ClipRow, TarballRow
from k600.store.store import Incoming
from k600.video.cut import CutError
from k600.video.encoding import Encoding
from k600.video.probe import box_problem
from k600.video.reencode import reencode_clip

logger = logging.getLogger("kinetics600")

_BATCH_BYTES = 8 << 20
_RECORDED_BYTES = 64 << 20
"""About how many bytes of flushed files are recorded at a time, in one transaction."""
_MOST_BEHIND = 2
"""Batches that the disk may be behind. (So few fit into a processor's cache.)"""


def write_clip(
    incoming: Incoming,
    chunks: Iterable[bytes | memoryview],
    row: ClipRow,
    encoding: Encoding | None,
) -> tuple[Path, ClipRow]:
    """Write a clip to an unfinished file, checked and encoded; return that, and the clip's row.

    Its state says whether the clip is good. Where it could not be encoded, which is not its fault,
    it is `skipped`, so that the next call tries again.
    """
    part, size, problem = incoming.write(chunks, box_problem)
    if problem is not None:
        return part, row._replace(state="bad", reason=problem, size_bytes=size)
    if encoding is None:
        return part, row._replace(size_bytes=size)

    anew = incoming.new_part()
    try:
        with open(part, "rb") as source, translate_errors(store_error, anew):
            encoded = reencode_clip(source, anew, encoding)
    except (CutError, EncoderError) as error:
        part.unlink()
        anew.unlink(missing_ok=True)
        if isinstance(error, CutError):
            return part, row._replace(state="bad", reason=error.code, size_bytes=size)
        logger.warning("%s/%s is left out: %s", row.tarball.path, row.file_name, error)
        return part, row._replace(state="skipped", reason="not_encoded", source="")
    if not encoded.is_new:
        return part, row._replace(size_bytes=size, fps=encoded.fps)
    part.unlink()
    return anew, row._replace(size_bytes=anew.stat().st_size, fps=encoded.fps)


@dataclass(frozen=True, slots=True)
class Milestone:
    """What is known of a tarball up to a place where reading of it may go on."""

    checkpoint: Checkpoint
    rows: Sequence[ClipRow]
    """Of the members since the last milestone that are no new clips."""
    entries: Mapping[str, Entry]


@dataclass(frozen=True, slots=True)
class _Clip:
    part: Path
    """The unfinished file."""
    path: Path
    """The path that it will have."""
    row: ClipRow


class Arrivals:
    """Flushes, records and renames finished files while the next are written. A context manager.

    Only `finish` proves that the files added last have their names. It and `add` may raise as
    `flush_all` does.
    """

    def __init__(self, ledger: Ledger, incoming: Incoming, begun: TarballRow) -> None:
        """Begin with nothing; `begun` is the tarball's row once a clip of it came."""
        self._ledger, self._incoming, self._begun = ledger, incoming, begun
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="k600-flush")
        self._behind: deque[Future[None]] = deque()

        self._batch: list[_Clip | Milestone] = []
        self._flushed: list[_Clip | Milestone] = []
        """In the order in which they came, as a milestone holds for what is before it."""
        self._batch_bytes = self._flushed_bytes = 0
        self._waiting: list[_Clip] = []
        """Those that wait until the reading is proved."""
        self._files: set[Path] = set()
        self._folders: set[Path] = set()

    def __enter__(self) -> Arrivals:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def add(self, part: Path, path: Path, row: ClipRow, *, wait: bool) -> None:
        """Add a finished file that will lie at `path`, with `wait` once the reading is proved.

        Waits itself if the disk is too far behind.
        """
        clip = _Clip(part, path, row)
        self._files.add(part)
        if wait:
            self._waiting.append(clip)
        else:
            self._put(clip)

    @property
    def are_waiting(self) -> bool:
        """Whether clips wait until the reading is proved."""
        return bool(self._waiting)

    def pass_milestone(self, milestone: Milestone) -> None:
        """Record a milestone once all that was added before it is recorded."""
        self._batch.append(milestone)

    def finish(self, *, proved: bool) -> None:
        """Return once all files, and their names, are on the disk.

        Those that wait get their names only if the reading is proved.
        """
        for clip in self._waiting if proved else ():
            self._put(clip)
        self._begin_batch(last=True)
        while self._behind:
            self._behind.popleft().result()
        for folder in self._folders:
            flush(folder)

    def roll_back(self) -> None:
        """Remove all that came."""
        for path in self._files:
            path.unlink(missing_ok=True)

    def _put(self, clip: _Clip) -> None:
        self._batch.append(clip)
        self._batch_bytes += clip.row.size_bytes
        if self._batch_bytes >= _BATCH_BYTES:
            self._begin_batch(last=False)
            if len(self._behind) > _MOST_BEHIND:
                self._behind.popleft().result()

    def _begin_batch(self, *, last: bool) -> None:
        batch, size_bytes = self._batch, self._batch_bytes
        self._behind.append(self._pool.submit(self._bring, batch, size_bytes, last))
        self._batch, self._batch_bytes = [], 0

    def _bring(self, batch: Sequence[_Clip | Milestone], size_bytes: int, last: bool) -> None:
        flush_all([each.part for each in batch if isinstance(each, _Clip)])
        self._flushed += batch
        self._flushed_bytes += size_bytes
        if last or self._flushed_bytes >= _RECORDED_BYTES:
            self._give_names(
                [each for each in self._flushed if isinstance(each, _Clip)],
                [each for each in self._flushed if isinstance(each, Milestone)],
            )
            self._flushed, self._flushed_bytes = [], 0

    def _give_names(self, clips: Sequence[_Clip], passed: Sequence[Milestone]) -> None:
        """Record files and milestones, then rename the files."""
        if not clips:
            return
        rows, entries = [clip.row for clip in clips], dict[str, Entry]()
        for milestone in passed:
            rows += milestone.rows
            entries |= milestone.entries
        checkpoint = passed[-1].checkpoint if passed else None
        packing = checkpoint.packing if checkpoint else ""
        more: dict[str, Any] = {"packing": packing, "entries": entries, "checkpoint": checkpoint}
        self._ledger.record(self._begun, rows, replace=False, **more)

        for clip in clips:
            self._incoming.place(clip.part, clip.path)
            self._files.add(clip.path)
            self._folders.add(clip.path.parent)
