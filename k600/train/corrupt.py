"""Clips that cannot be decoded are counted and named, in memory that copies of a transform share.

Data-loading workers have copies of a transform. The epoch, and how many clips were corrupt, are in
shared memory, for the process that trains to set and to read; every worker writes to its own cell.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from k600.errors import Kinetics600Error
from k600.train.decoding import import_torch

logger = logging.getLogger("kinetics600")

_WRITERS = 256  # this process, and workers by their number
_NAMED = 10  # log lines for as many, then one for every hundredth
_ALL_BAD = 20


class CorruptClipError(Kinetics600Error, ValueError):
    """A clip cannot be decoded and `on_corrupt` is `raise`, or not one clip can be."""


def error_text(error: Exception) -> str:
    """Return an error's message on one line, without torchcodec's place in its own source.

    Example:
        >>> error_text(RuntimeError("decodeAVFrame, /src/Decoder.cpp:80, Could not push packet"))
        'Could not push packet'
    """
    return " ".join(re.sub(r"^\w+, \S+:\d+, ", "", str(error)).split())


class Shared:
    """The epoch and the counts that a transform and its copies have in common."""

    def __init__(self, cells: Any = None) -> None:
        if cells is None:
            cells = import_torch().zeros(1 + _WRITERS, dtype=import_torch().int64)
        self.cells = cells.share_memory_()
        self.names: list[str] = []
        self.last: Any = None
        """The last good sample of this process."""
        self._good = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return Shared, (self.cells,)  # a DataLoader's pickler passes the memory, others its values

    def __deepcopy__(self, memo: Any) -> Shared:
        return self  # `datasets` copies transforms along with its datasets

    @property
    def epoch(self) -> int:
        return int(self.cells[0])

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self.cells[0] = epoch

    @property
    def count(self) -> int:
        """How many times a clip was corrupt, in all processes."""
        return int(self.cells[1:].sum())

    def keep(self, sample: Any) -> None:
        self.last = sample
        self._good += 1

    def report(self, name: str, error: Exception, instead: str) -> None:
        """Count and name a corrupt clip; raise `CorruptClipError` if all were corrupt so far."""
        info = import_torch().utils.data.get_worker_info()
        self.cells[1 + (0 if info is None else 1 + info.id % (_WRITERS - 1))] += 1
        self.names.append(name)
        seen = len(self.names)
        if seen >= _ALL_BAD and not self._good:
            raise CorruptClipError(
                f"on_corrupt: not one of the first {seen} clips can be decoded, which is not the "
                f"clips' fault; the last is {name}: {error_text(error)}. Look with `kinetics600 "
                "doctor`"
            ) from error
        if seen <= _NAMED or seen % 100 == 0:
            where = "" if info is None else f" of worker {info.id}"
            logger.warning(f"corrupt clip {seen}{where}, {instead}: {name}: {error_text(error)}")
