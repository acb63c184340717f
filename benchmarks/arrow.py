"""Rows of a whole train split in Arrow: made, and opened again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.full_store import TRAIN_CLIPS, FullStore, make_full_store
from benchmarks.measure import Figures, Way, python
from benchmarks.report import Aim, Column, Table
from benchmarks.settings import Settings

__all__ = ["measure"]

COLUMNS = (
    Column("rows", "rows", 0),
    Column("wall_s", "wall s", 3, spread=True),
    Column("us_per_row", "µs a row", 1),
    Column("cpu_s", "CPU s"),
    Column("memory_mb", "memory MB", 0),
)
BARE, BARE_WARM = "bare builder with a Video column", "bare builder, warm"
FOLDER = "videofolder, fewer files"


def measure(settings: Settings) -> list[Table]:
    full = settings.pick(TRAIN_CLIPS, 60), settings.pick(600, 3)
    few = settings.pick(14_250, 20), settings.pick(20, 2)
    store = make_full_store(settings.folder, clips=full[0], classes=full[1])
    part = make_full_store(settings.folder, clips=few[0], classes=few[1])
    ours = {"data_dir": str(store.data_dir), "mirror": store.mirror.as_uri()}
    bare = {"data_dir": str(store.data_dir)}
    of_part = {"data_dir": str(part.data_dir)}
    ours_of_part = of_part | {"mirror": part.mirror.as_uri()}
    kept = {name: str(settings.work / f"cache-{name}") for name in ("ours", "bare")}
    cold = "{folder}/cache"
    first = [
        _way("ours, for the warm run", store, "load", **ours, cache_dir=kept["ours"]),
        _way("bare, for the warm run", store, "bare_builder", **bare, cache_dir=kept["bare"]),
    ]
    settings.in_turns(first, most=1)
    ways = [
        _way("ours", store, "load", **ours, cache_dir=cold),
        _way(BARE, store, "bare_builder", **bare, cache_dir=cold, repeats=2),
        _way("ours, warm", store, "load", **ours, cache_dir=kept["ours"]),
        _way(BARE_WARM, store, "bare_builder", **bare, cache_dir=kept["bare"]),
        _way("ours, fewer files", part, "load", **ours_of_part, cache_dir=cold),
        _way(FOLDER, part, "videofolder", **of_part, cache_dir=cold, repeats=2),
    ]
    rows = settings.in_turns(ways)
    return [
        Table(
            "Rows in Arrow",
            f"{store.clips:,} clips in {store.classes} folders to rows, from a store that is "
            "complete (the check that it is included); videofolder on "
            f"{part.clips:,} of them, as it takes minutes for all.",
            rows,
            COLUMNS,
            "ours",
            (
                Aim("cold, s", "ours", "wall_s", 5, at_most=True),
                Aim("warm, s", "ours, warm", "wall_s", 0.05, at_most=True),
                Aim("warm, memory MB", "ours, warm", "memory_mb", 100, at_most=True),
                Aim("bare builder, wall", "ours", "wall_s", 1, BARE),
                Aim("videofolder, the same files, wall", "ours, fewer files", "wall_s", 1, FOLDER),
            ),
        )
    ]


def _way(
    name: str, store: FullStore, way: str, *, repeats: int | None = None, **arguments: str
) -> Way:
    command = python("rows", way, **arguments)
    return Way(name, command, all_rows(store.clips), per_row, repeats=repeats)


def all_rows(count: int) -> Callable[[Path, Figures], bool]:
    """Return a check that there are as many rows as there should be."""
    return lambda folder, figures: bool(figures["rows"] == count)


def per_row(figures: Figures) -> None:
    """Add the time for a row."""
    figures["us_per_row"] = 1e6 * figures["wall_s"] / figures["rows"]
