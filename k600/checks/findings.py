"""What a verification found: the clips that are bad or short, what became of them, and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

FATES: dict[str, str] = {
    "reported": "it is where it was",
    "quarantined": "it was moved aside; the next load fetches it again",
    "left_out": "it belongs to another tool and stays, but is not served; a load fetches another",
    "repaired": "it was fetched again, and is good now",
    "bad_at_source": "the source has the same bytes; it is left out (retry_errors asks again)",
}
"""What may become of a bad clip, in words."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A clip that is bad or short."""

    split: str
    folder: str
    """`<split>/<class name>`."""
    file_name: str
    path: str
    """Where the file is or was, relative to the store."""
    verdict: str
    """A key of `k600.video.probe.VERDICTS`."""
    detail: str
    fate: str = "reported"
    """A key of `FATES`."""
    why: str = ""
    """Why it was not put aside or repaired, where that was asked for."""


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What was found in one split."""

    split: str
    classes: Mapping[str, Mapping[str, int]]
    """How many clips of each verdict, by class, as it is after all repairs."""
    bad: tuple[Finding, ...]
    """Every clip that was found bad, repaired or not."""
    short: tuple[Finding, ...]
    reused: int
    """How many clips were not checked, as an earlier run had done so."""

    @property
    def verdicts(self) -> Counter[str]:
        return sum((Counter(counts) for counts in self.classes.values()), Counter[str]())

    @property
    def clips(self) -> int:
        """How many clips there are or should be."""
        return self.verdicts.total()

    def as_plain(self) -> dict[str, Any]:
        classes = [{"label": name, "verdicts": dict(n)} for name, n in self.classes.items()]
        return {
            "split": self.split,
            "checked_clips": self.clips,
            "reused_clips": self.reused,
            "verdicts": dict(self.verdicts),
            "classes": classes,
            "bad": [asdict(finding) for finding in self.bad],
            "short": [asdict(finding) for finding in self.short],
        }


@dataclass(frozen=True, slots=True)
class Report:
    """What `verify_clips` found."""

    depth: str
    """`quick` or `deep`."""
    splits: tuple[SplitReport, ...]
    seconds: float

    @property
    def bad(self) -> tuple[Finding, ...]:
        """The clips that are still bad."""
        found = [finding for split in self.splits for finding in split.bad]
        return tuple(finding for finding in found if finding.fate != "repaired")

    @property
    def clips(self) -> int:
        return sum(split.clips for split in self.splits)

    @property
    def reused(self) -> int:
        return sum(split.reused for split in self.splits)

    @property
    def clips_per_second(self) -> float:
        """Of those that were checked in this run."""
        return (self.clips - self.reused) / self.seconds if self.seconds else 0.0

    def as_plain(self) -> dict[str, Any]:
        return {
            "depth": self.depth,
            "good": not self.bad,
            "checked_clips": self.clips,
            "reused_clips": self.reused,
            "seconds": round(self.seconds, 3),
            "clips_per_second": round(self.clips_per_second, 2),
            "splits": [split.as_plain() for split in self.splits],
        }
