"""What a run brought: the counts, what is missing and why, in words and as a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from rich.filesize import decimal

from k600.dataset.reasons import OPEN_REASONS, PASSING_REASONS, REASONS, WATCHED_REASONS
from k600.errors.text import counted, csv_text
from k600.loading.rows import StoredShard, digest_of
from k600.loading.sources import WORDS


class Missing(NamedTuple):
    """A clip that was asked for and is not there."""

    split: str
    label: str
    """Class name; empty where unknown."""
    file_name: str
    """Empty for all clips of a tarball whose names no list gives."""
    tarball: str
    reason: str
    """A key of `REASONS`."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What there is for a request in one split after everything was tried."""

    split: str
    shards: tuple[StoredShard, ...]
    """The clips that are there, in the dataset's order."""
    missing: tuple[Missing, ...]
    fetched: Counter[str] = field(default_factory=Counter)
    """By source, what came in this run: tarballs that were read, clips one by one."""
    fetched_bytes: Counter[str] = field(default_factory=Counter)
    """Bytes that came for it."""
    stamps: dict[str, int] = field(default_factory=dict)
    """When each folder looked at last changed, taken just before the look (`Store.stamp`)."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Reason, by path, for each tarball that could not be read in this run."""
    asked: int | None = None
    """How many clips a limited request could have brought; None for a request without limits, and
    where a tarball that could not be read may hold more of them."""
    replaced: Mapping[str, int] = field(default_factory=dict)
    """How many candidates of a limited request were passed over, by reason."""
    offline: bool = False
    """Whether clips may be missing only because the network was not to be used."""
    labelled: bool = True
    """False if the labels of the test split could not be had."""
    report: str = ""
    """Path of the CSV that names every missing clip; empty if none is missing."""
    is_known: bool = False
    """Whether the last report in the store named the same ones."""

    @property
    def clips(self) -> int:
        """How many clips there are."""
        return sum(len(shard.names) for shard in self.shards)

    @property
    def settled(self) -> bool:
        """Whether the same call could find nothing more, as far as is known."""
        return (
            self.labelled
            and not self.failures
            and (self.is_full or not self.offline)
            and not any(clip.reason in OPEN_REASONS | WATCHED_REASONS for clip in self.missing)
        )

    @property
    def may_bring_more(self) -> bool:
        """Whether the same call may soon bring more: something failed that passes by itself."""
        reasons = {clip.reason for clip in self.missing} | set(self.failures.values())
        return bool(reasons & PASSING_REASONS) or (self.offline and not self.is_full)

    @property
    def is_whole(self) -> bool:
        """Whether every clip that was asked for is there."""
        return not self.missing and self.is_full

    @property
    def digest(self) -> str:
        """Fingerprint of the rows."""
        return digest_of(self.shards)

    @property
    def is_full(self) -> bool:
        """Whether there are as many clips as a request with limits asked for."""
        return self.asked is None or self.clips >= self.asked

    def as_plain(self) -> dict[str, object]:
        """Return the counts as plain data, for JSON."""
        fetched = Counter[str]()
        for source, words in WORDS.items():
            count, size_bytes = words.fetched
            fetched[count] += self.fetched[source]
            fetched[size_bytes] += self.fetched_bytes[source]
        return {
            "split": self.split,
            "here_clips": self.clips,
            "wanted_clips": self._wanted_clips(),
            "sources": dict(self._sources()),
            "missing": dict(Counter(clip.reason for clip in self.missing)),
            "replaced": dict(self.replaced),
            **fetched,
            "report": self.report,
        }

    def _wanted_clips(self) -> int | None:
        """Return how many clips were asked for; None where a tarball's are not known."""
        if self.asked is not None:
            return self.asked
        unknown = any(not clip.file_name for clip in self.missing)
        return None if unknown else self.clips + len(self.missing)

    def summary(self) -> str:
        """Return one line: what is there, from where, and what is missing."""
        origin = ", ".join(f"{n:,} from {source}" for source, n in sorted(self._sources().items()))
        fetched = [
            f"{counted(self.fetched[source], words.noun)} {words.came}, "
            f"{decimal(self.fetched_bytes[source])}"
            for source, words in WORDS.items()
            if self.fetched[source]
        ]
        return (
            f"kinetics600 {self.split}: {counted(self.clips, 'clip')}"
            + (f" of {self.asked:,} asked for" if self.asked is not None else "")
            + (f" ({origin})" if origin else "")
            + f"; {'; '.join(fetched) or 'nothing fetched'}; "
            + (f"{len(self.missing):,} missing" if self.missing else "none missing")
            + "".join(f"; {n:,} replaced: {reason}" for reason, n in self.replaced.items())
        )

    def _sources(self) -> Counter[str]:
        sources = Counter[str]()
        for shard in self.shards:
            sources.update(shard.sources.values())
        return sources

    def missing_text(self, *, brief: bool | None = None) -> str:
        """Return which clips and labels are missing, and why; empty if none is.

        Args:
            brief: Say it in one line; by default if it was reported before.
        """
        brief = self.is_known if brief is None else brief
        return "\n".join(filter(None, (self._missing_clips(brief=brief), self._missing_labels())))

    def _missing_labels(self) -> str:
        count = sum(len(shard.names) for shard in self.shards if shard.label is None)
        if self.labelled or not count:
            return ""
        return (
            f"kinetics600 {self.split}: {counted(count, 'clip')} with the label None, as the list "
            "of labels could not be had. The next call asks for it again"
        )

    def _missing_clips(self, *, brief: bool) -> str:
        begin = f"kinetics600 {self.split}:"
        only = f"only {self.clips:,} of {counted(self.asked or 0, 'clip')} could be had"
        if not (self.missing or self.is_full):
            why = "there are no more such clips"
            if self.offline:
                why = "no more are in the store, and the network is not to be used"
            return f"{begin} {only}: {why}"
        if not self.missing:
            failed = Counter(self.failures.values())
            return "\n".join(
                f"{begin} {counted(count, 'tarball')} could not be read again "
                f"({reason}: {REASONS[reason]}); the clips that are there stay as they were"
                for reason, count in failed.items()
            )

        whole = sum(not clip.file_name for clip in self.missing)
        alone = len(self.missing) - whole
        parts = [counted(alone, "clip")] if alone else []
        parts += [f"all clips of {counted(whole, 'tarball')}"] if whole else []
        what = f"{' and '.join(parts)} missing"
        if self.asked is not None:
            what = f"{only}, {what}"

        counts = Counter(clip.reason for clip in self.missing)
        reasons = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        if brief:
            named = ", ".join(f"{n:,} {reason}" for reason, n in reasons)
            see = f"; see {self.report}" if self.report else ""
            return f"{begin} {what}, as before: {named}{see}"
        width = max(map(len, counts))
        lines = [f"  {n:>9,}  {reason:<{width}}  {REASONS[reason]}" for reason, n in reasons]
        see = f"Every one is named in {self.report}. " if self.report else ""
        advice = "retry_errors=True asks again for those proved not to be had."
        return "\n".join([f"{begin} {what}:", *lines, f"  {see}{advice}"])


def missing_csv(missing: Iterable[Missing]) -> bytes:
    """Return the full report: a CSV with a row for every missing clip; all its cells are text."""
    return csv_text([Missing._fields, *missing]).encode()
