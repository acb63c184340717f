"""A published dataset: how fast clips become one, and how fast they stream out of it again.

    python -m benchmarks.published [--tarballs 4] [--clips 300] [--repeats 3] [--folder FOLDER]

`kinetics600.publish` embeds the clips of tarballs on the local disk into Parquet in a folder, and
`datasets`, without this loader, streams them: every byte of every clip in memory, no decoding.
Beside it stands the same stream straight from the tarballs. Prints a Markdown table of medians with
the least and the most.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import datasets

import kinetics600
from benchmarks.tarballs import make_host


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tarballs", type=int, default=4)
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where made tarballs are kept")
    options = parser.parse_args()
    datasets.disable_progress_bars()
    kinetics600.logger.setLevel("WARNING")
    with tempfile.TemporaryDirectory(prefix="k600-bench-") as made:
        kept = options.folder or Path(made, "hosts")
        kept.mkdir(parents=True, exist_ok=True)
        host = make_host(kept, tarballs=options.tarballs, clips=options.clips)
        source = {"mirror": str(host.root), "data_dir": f"{made}/clips"}
        rows: dict[str, list[tuple[float, float]]] = {}
        for repeat in range(options.repeats):
            place = f"{made}/published-{repeat}"
            ways: dict[str, Callable[[], object]] = {
                "publish --embed, to a folder": lambda place=place: kinetics600.publish(
                    None, "validation", to=place, kind="embedded", i_have_the_rights=True, **source
                ),
                "stream of what was published": lambda place=place: count(
                    datasets.load_dataset(place, "validation", split="validation", streaming=True)
                ),
                "stream of the tarballs": lambda: count(
                    kinetics600.load_dataset("validation", streaming=True, **source)
                ),
            }
            for name, way in ways.items():
                wall, cpu = time.perf_counter(), time.process_time()
                way()
                found = (time.perf_counter() - wall, time.process_time() - cpu)
                rows.setdefault(name, []).append(found)
    clips, gigabytes = options.tarballs * options.clips, host.clip_bytes / 1e9
    print(f"{clips:,} clips of {gigabytes:.2f} GB in {options.tarballs} tarballs\n")
    print("| way | clips/s (least to most) | CPU s/GB |\n|---|---|---|")
    for name, runs in rows.items():
        rates = sorted(clips / wall for wall, _ in runs)
        cpu = statistics.median(cpu for _, cpu in runs) / gigabytes
        median = statistics.median(rates)
        print(f"| {name} | {median:.0f} ({rates[0]:.0f} to {rates[-1]:.0f}) | {cpu:.2f} |")


def count(stream: datasets.IterableDataset) -> int:
    """Read a stream to its end, bytes and all; return how many clips it held."""
    raw = stream.cast_column("video", datasets.Video(decode=False))
    return sum(len(row["video"]["bytes"]) > 0 for row in raw)


if __name__ == "__main__":
    main()
