"""The table of all clips of a request: those that are there, and those that are not, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from k600.dataset.clip import Clip, parse_file_name
from k600.dataset.reasons import BAD_FILE_REASONS
from k600.dataset.splits import UNLABELED
from k600.loading.columns import CLIP_TABLE, place_values
from k600.loading.manifest import Manifest, differing, sha256_of
from k600.loading.outcome import Missing, Outcome
from k600.loading.request import Request
from k600.loading.rows import StoredClip, StoredShard


def clip_table(
    request: Request,
    outcome: Outcome,
    *,
    hashes: bool = True,
    on_clip: Callable[[], object] = lambda: None,
) -> list[dict[str, Any]]:
    """Return a row for every clip of one split, with the columns of `CLIP_TABLE`.

    With `hashes`, every file is read. `on_clip` is called after each clip that is in the store.
    """
    ledger = request.ledger
    checks = {row.path: row for row in ledger.checks(outcome.split)}
    seen = ledger.clips(outcome.split)
    tarballs = {(row.folder, row.file_name): row.tarball.name for row in seen}

    def row_of(found: StoredClip) -> dict[str, Any]:
        row = _row(
            found.clip,
            "have",
            source=found.source,
            tarball=tarballs.get((found.folder, found.clip.file_name), ""),
            size_bytes=found.path.stat().st_size,
            sha256=sha256_of(found.path) if hashes else "",
            fps=found.fps,
        )
        check = checks.get(found.place)
        if check is not None and check.size_bytes == row["size_bytes"]:
            row["state"] = {"ok": "have", "short": "short"}.get(check.verdict, "corrupt")
            row["reason"] = "" if check.verdict == "ok" else check.verdict
            for name in ("duration_seconds", "width", "height", "fps"):
                row[name] = getattr(check, name)
        on_clip()
        return row

    with ThreadPoolExecutor() as pool:
        stored = [found for shard in outcome.shards for found in shard.clips()]
        rows = list(pool.map(row_of, stored))

    clips = [found.clip for found in stored]
    for missing in outcome.missing:
        if (clip := _clip_of(missing)) is not None:
            state = "corrupt" if missing.reason in BAD_FILE_REASONS else "missing"
            rows.append(_row(clip, state, reason=missing.reason, tarball=missing.tarball))
            clips.append(clip)

    places = ledger.places(outcome.split, [clip.candidate for clip in clips])
    for row, clip in zip(rows, clips, strict=True):
        if (place := places.get(clip.candidate)) is not None:
            row |= {"tarball": place.tarball.name, **place_values(place)}
    return sorted(rows, key=lambda row: (row["label"], row["youtube_id"], row["time_start"]))


def count_rows(rows: Iterable[Mapping[str, Any]]) -> tuple[int, dict[str, int]]:
    """Return how many clips of a table are in the store, and how many are not, by reason."""
    rows = list(rows)
    missing = [row["reason"] for row in rows if row["state"] not in ("have", "short")]
    return len(rows) - len(missing), dict(Counter(missing))


def check_manifest(
    manifest: Manifest, split: str, shards: Iterable[StoredShard]
) -> dict[Clip, str]:
    """Return the clips of a manifest that are `not_fetched`, or whose file `differs`."""
    rows = manifest.of(split)
    files = {found.clip: found.path for shard in shards for found in shard.clips()}
    there = {clip: files[clip] for clip in rows if clip in files}
    other = set(differing(rows, there))
    found = {clip: "differs" if clip in other else "not_fetched" for clip in rows}
    return {clip: why for clip, why in found.items() if clip in other or clip not in there}


def _row(clip: Clip, state: str, **more: Any) -> dict[str, Any]:
    return {
        **dict.fromkeys(column.name for column in CLIP_TABLE),
        **dict.fromkeys(("reason", "source", "tarball", "sha256"), ""),
        **asdict(clip),
        "label": clip.label or "",
        "state": state,
        **more,
    }


def _clip_of(missing: Missing) -> Clip | None:
    """Return the clip that is missing; None for a whole tarball that no list describes."""
    times = parse_file_name(missing.file_name)
    if times is None:
        return None
    label = missing.label if missing.label != UNLABELED else ""
    return Clip(missing.split, label or None, *times)
