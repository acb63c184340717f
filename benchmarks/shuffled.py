"""A stream of all clips in one random order, beside the stream of tarball after tarball."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.measure import Figures, Way, python
from benchmarks.report import Aim, Column, Table
from benchmarks.settings import HTTP, LINK, S3, Settings, mirror_of
from benchmarks.streaming import tails_of
from benchmarks.streams import mark
from benchmarks.whole_split import shape_of

__all__ = ["measure"]

COLUMNS = (
    Column("clips_per_s", "clips/s", 0, spread=True),
    Column("wall_s", "wall s", spread=True),
    Column("classes", "least classes in 64 clips", 0),
    Column("sent_x", "x of the clips' bytes"),
    Column("cpu_s_per_gb", "CPU s/GB"),
    Column("first_s", "first clip after s"),
    Column("memory_mb", "memory MB", 0),
)
IN_A_ROW = 64
SHUFFLED, SEQUENTIAL = f"{HTTP}, shuffle_clips", f"{HTTP}, tarball after tarball"


def measure(settings: Settings) -> list[Table]:
    host = settings.copies(settings.host(4, 300), 600)
    index, most = settings.index(host, copies=True), settings.pick(1200, 20)
    shuffle = {"shuffle_clips": True, "seed": 1, "index": str(index)}
    label, names = next(iter(host.clips.items()))
    tails = tails_of(replace(host, clips={label: names}))

    def right(folder: Path, figures: Figures) -> bool:
        came, labels = figures.pop("names"), figures.pop("labels")
        rows = range(0, max(len(labels) - IN_A_ROW, 0) + 1, IN_A_ROW)
        figures["classes"] = min(len({*labels[row : row + IN_A_ROW]}) for row in rows)
        expected = sum(mark(name, tails[name]) for name in came)
        return len(came) == most and figures["sum"] == expected

    with settings.far() as server:

        def finish(figures: Figures) -> None:
            figures["clips_per_s"] = figures["clips"] / figures["wall_s"]
            figures["cpu_s_per_gb"] = figures["cpu_s"] / (figures["bytes"] / 1e9)
            figures["sent_x"] = server.sent()["bytes"] / figures["bytes"]

        def way(name: str, kind: str, **more: object) -> Way:
            arguments = mirror_of(kind, server.url, host) | more
            command = python("ours", "stream", most=most, in_order=True, **arguments)
            return Way(name, command, right, finish, before=server.sent)

        rows = settings.in_turns(
            [
                way(SEQUENTIAL, HTTP),
                way(SHUFFLED, HTTP, **shuffle),
                way(f"{S3}, shuffle_clips", S3, **shuffle),
            ]
        )
    return [
        Table(
            "A shuffled stream, paced link",
            f"The first {most:,} clips of {shape_of(host)}, which are copies of one file; {LINK}.",
            rows,
            COLUMNS,
            SEQUENTIAL,
            (
                Aim(
                    "clips/s of the sequential stream",
                    SHUFFLED,
                    "clips_per_s",
                    0.8,
                    SEQUENTIAL,
                    True,
                ),
                Aim("least classes in 64 clips", SHUFFLED, "classes", 50),
            ),
        )
    ]
