"""A table of what was tried and what happened: run `python -m tests.faults.report`.

It runs this suite, and further arguments go on to pytest: `-m "slow or not slow"` is the long size.
Every test notes its trials (the fixture `note`), and what it compared; no number stands here.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Line:
    """All trials of one fault."""

    times: int = 0
    recovered: int = 0
    refused: int = 0
    said: Counter[str] = field(default_factory=Counter)
    bytes_lost: int = 0
    bytes_twice: int = 0
    longest_seconds: float = 0.0


@dataclass
class Table:
    """A plugin of pytest that collects what tests note."""

    lines: dict[str, Line] = field(default_factory=dict)
    failed: int = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failed += report.failed
        if report.when != "call":
            return
        for name, trial in report.user_properties:
            if name == "trial":
                assert isinstance(trial, dict)
                self._add(**trial)

    def _add(
        self,
        fault: str,
        times: int = 1,
        recovered: int = 0,
        refused: int = 0,
        said: str = "",
        bytes_lost: int = 0,
        bytes_twice: int = 0,
        seconds: float = 0.0,
    ) -> None:
        line = self.lines.setdefault(fault, Line())
        line.times += times
        line.recovered += recovered
        line.refused += refused
        line.said[said] += bool(said)
        line.bytes_lost += bytes_lost
        line.bytes_twice = max(line.bytes_twice, bytes_twice)
        line.longest_seconds = max(line.longest_seconds, seconds)

    def __str__(self) -> str:
        head = "fault | times | recovered | one clear error | bytes lost | bytes twice | longest"
        rows = [f"| {head} |", "|---|---|---|---|---|---|---|"]
        for fault, line in self.lines.items():
            said = ", ".join(word for word, count in line.said.items() if count)
            refused = f"{line.refused} {said}".strip() if line.refused or said else ""
            rows.append(
                f"| {fault} | {line.times} | {line.recovered or ''} | {refused} "
                f"| {line.bytes_lost} | {line.bytes_twice or ''} | {line.longest_seconds:.1f} s |"
            )
        return "\n".join(rows)


def main() -> int:
    table = Table()
    options = ["-q", "--no-header", str(Path(__file__).parent), *sys.argv[1:]]
    status: Any = pytest.main(options, plugins=[table])
    print(f"\n{table}\n\n{table.failed} tests failed.")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
