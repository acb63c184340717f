"""What the loader does with a full store and its ledger besides moving bytes."""

from __future__ import annotations

from benchmarks.arrow import all_rows, per_row
from benchmarks.full_store import TRAIN_CLIPS, make_full_store
from benchmarks.measure import Way, python
from benchmarks.report import Aim, Column, Table
from benchmarks.settings import Settings

__all__ = ["measure"]

COLUMNS = (
    Column("wall_s", "wall s", 3, spread=True),
    Column("us_per_row", "µs a clip"),
    Column("cpu_s", "CPU s"),
    Column("memory_mb", "memory MB", 0),
    Column("slowest_ms", "slowest transaction ms", 1),
)
RESUME = "resume check of the complete store"


def measure(settings: Settings) -> list[Table]:
    clips, classes = settings.pick(TRAIN_CLIPS, 60), settings.pick(600, 3)
    store = make_full_store(settings.folder, clips=clips, classes=classes)
    place = {"data_dir": str(store.data_dir)}
    shape = {"clips": clips, "classes": classes}
    choices = {"balanced": False, "shuffle": True}, {"balanced": True, "shuffle": True}
    commands = {
        RESUME: python("rows", "resume", **place, mirror=store.mirror.as_uri()),
        "os.walk and stat": python("rows", "walk", **place),
        "inventory": python("rows", "inventory", **place),
        "reading the ledger": python("rows", "known", **place),
        "writing the ledger": python("rows", "record", **shape, folder="{folder}"),
        "choosing 1,000, shuffled": python("rows", "select", **shape, **choices[0]),
        "choosing 1,000, balanced": python("rows", "select", **shape, **choices[1]),
    }
    ways = [Way(name, command, all_rows(clips), per_row) for name, command in commands.items()]
    rows = settings.in_turns(ways)
    return [
        Table(
            "A full store",
            f"{clips:,} clips in {classes} folders and as many tarballs in the ledger.",
            rows,
            COLUMNS,
            RESUME,
            (Aim("resume check, s", RESUME, "wall_s", 1, at_most=True),),
        )
    ]
