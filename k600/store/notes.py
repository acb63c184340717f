"""Numbers that this machine noted beside the clips: what it found out, and may try out again."""

from __future__ import annotations

import json
import math
import platform
from dataclasses import dataclass

from k600.store.store import Store


@dataclass(frozen=True, slots=True)
class MachineNotes:
    """A number for each thing that this machine knows. They may be lost at any time."""

    store: Store
    file: str
    """A name for the file, such as `link-rates.json`; each use has its own."""

    def recall(self, key: str) -> float | None:
        """Return what was noted, a number above 0; None if nothing was."""
        return self._read().get(_of_this_machine(key))

    def note(self, key: str, number: float | None) -> None:
        """Note a number in place of what was noted, or nothing."""
        notes, own_key = self._read(), _of_this_machine(key)
        if number is not None:
            notes[own_key] = number
        elif notes.pop(own_key, None) is None:
            return
        self.store.write_own(self.file, json.dumps(notes).encode())

    def _read(self) -> dict[str, float]:
        """Return all notes, also of other machines; a file that is none of ours holds none."""
        try:
            found = json.loads(self.store.read_own(self.file) or b"{}")
            notes = {str(key): float(number) for key, number in dict(found).items()}
        except (ValueError, TypeError, OverflowError, RecursionError):
            return {}
        return {key: number for key, number in notes.items() if 0 < number < math.inf}


def _of_this_machine(key: str) -> str:
    return f"{platform.node()} {key}"
