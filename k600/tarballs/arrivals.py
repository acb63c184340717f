"""New clips of one tarball on their way to their names in the store.

A clip gets its name in three steps: its file is on the disk, the ledger says what it is (size,
CRC-32, tarball), and only then it is renamed. So whatever bears a clip's name and came from here
has a row, and no clock is asked whose it is. A row without its file is a missing clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from k600.store.files import Flushing
from k600.store.ledger import Ledger
from k600.store.rows import ClipRow, TarballRow
from k600.store.store import Incoming

__all__ = ["Arrivals"]


class Arrivals:
    """Brings finished files onto the disk, into the ledger and to their names. A context manager.

    Whoever leaves it before `finish` has returned knows nothing of the files added last.
    """

    def __init__(self, ledger: Ledger, incoming: Incoming, begun: TarballRow) -> None:
        """Begin with nothing; `begun` is what the ledger says of the tarball once a clip came."""
        self._ledger, self._incoming, self._begun = ledger, incoming, begun
        self._flushing = Flushing(self._give_names)
        self._unnamed: dict[Path, tuple[Path, ClipRow]] = {}
        """Files without a name: the name that each will have, and its row."""
        self._waiting: list[Path] = []
        """Those of them that wait until the reading is proved."""
        self._named: list[Path] = []

    def __enter__(self) -> Arrivals:
        self._flushing.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._flushing.__exit__(*error)

    def add(self, part: Path, path: Path, row: ClipRow, *, wait: bool) -> None:
        """Take a finished file that is to lie at `path`, with `wait` once the reading is proved."""
        self._unnamed[part] = path, row
        if wait:
            self._waiting.append(part)
        else:
            self._flushing.add(part, row.size_bytes)

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
        """Write down what files are, then give them their names; return these."""
        arrived = [self._unnamed.pop(part) for part in parts]
        self._ledger.record(self._begun, [row for _, row in arrived], replace=False)
        for part, (path, _) in zip(parts, arrived, strict=True):
            self._incoming.place(part, path)
            self._named.append(path)
        return [path for path, _ in arrived]
