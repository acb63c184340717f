"""Account for every clip of a request: what the store has, and what is missing and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from k600.clip import UNLABELED, Tarball, parse_file_name
from k600.errors import DamagedTarballError, Kinetics600Error
from k600.ledger import Ledger
from k600.lists import Listing, TestLabels
from k600.outcome import Missing
from k600.records import StoredShard
from k600.request import Request

__all__ = ["Failure", "missing_clips", "stored_shards"]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a tarball could not be read in this run."""

    reason: str
    """A key of `k600.outcome.REASONS`."""
    error: Kinetics600Error


def stored_shards(
    request: Request, split: str, ledger: Ledger, labels: TestLabels
) -> list[StoredShard]:
    """Return what is in the store for the request, folder by folder in id order."""
    sources: dict[str, dict[str, str]] = {}
    for row in ledger.clips(split):
        if row.state == "have":
            sources.setdefault(row.folder, {})[row.file_name] = row.source
    shards = []
    for folder in request.folders(split):
        name = folder.partition("/")[2]
        label = None if name == UNLABELED else name
        names = sorted(request.store.inventory(folder))
        if split == "test" and request.classes is not None:
            chosen = set(request.classes)
            names = [n for n in names if labels.get(_times(n), label) in chosen]
        if names:
            known = sources.get(folder, {})
            shards.append(
                StoredShard(
                    request.store,
                    split,
                    label,
                    folder,
                    tuple(names),
                    {n: known[n] for n in names if n in known},
                    labels,
                )
            )
    return shards


def missing_clips(
    request: Request,
    split: str,
    ledger: Ledger,
    listing: Listing,
    wanted: frozenset[str] | None,
    tarballs: Iterable[Tarball],
    failures: Mapping[Tarball, Failure],
    shards: Iterable[StoredShard],
) -> list[Missing]:
    """Name every clip that was asked for and is not there."""
    here = {shard.folder: set(shard.names) for shard in shards}
    asked = set(tarballs)
    missing: dict[tuple[str, str], Missing] = {}
    for row in ledger.clips(split):
        if row.tarball not in asked or (wanted is not None and row.file_name not in wanted):
            continue
        if row.state in ("bad", "absent") and row.file_name not in here.get(row.folder, ()):
            label = row.folder.partition("/")[2]
            missing[row.folder, row.file_name] = Missing(
                split,
                "" if label == UNLABELED else label,
                row.file_name,
                row.tarball.name,
                row.reason,
            )
    broken = dict(failures)
    for row_ in ledger.tarballs(split).values():
        if row_.state == "damaged" and row_.tarball in asked and row_.tarball not in broken:
            broken[row_.tarball] = Failure("tarball_damaged", DamagedTarballError(row_.detail))
    for tarball in (t for t in tarballs if t in broken):
        failure = broken[tarball]
        folder = f"{split}/{tarball.label}"
        names = [n for n in listing.get(tarball.name, ()) if n not in here.get(folder, ())]
        if tarball.label is not None and not names and here.get(folder) and listing:
            continue  # all that is listed is there all the same
        for name in names or [""]:
            key = (folder, name) if tarball.label else (tarball.name, name)
            missing.setdefault(
                key,
                Missing(
                    split,
                    tarball.label or "",
                    name,
                    tarball.name,
                    failure.reason,
                    str(failure.error),
                ),
            )
    return list(missing.values())


def _times(file_name: str) -> tuple[str, int, int]:
    times = parse_file_name(file_name)
    assert times is not None  # the inventory holds nothing else
    return times
