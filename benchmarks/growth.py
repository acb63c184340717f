"""What the loader costs as work grows: more tarballs, and a larger one."""

from __future__ import annotations

from benchmarks.measure import Figures, Way, python
from benchmarks.report import Aim, Column, Table
from benchmarks.settings import HTTP, S3, Settings, mirror_of, per_gigabyte, same_clips
from benchmarks.tarballs import Host

__all__ = ["measure"]

COLUMNS = (
    Column("tarballs", "tarballs", 0),
    Column("gigabytes", "GB"),
    Column("wall_s", "wall s", spread=True),
    Column("ms_per_tarball", "CPU ms a tarball", 1),
    Column("cpu_s_per_gb", "CPU s/GB"),
    Column("memory_mb", "memory MB", 0),
)
BYTES = 100_000
"""Of a small clip: what 600 tarballs cost should not drown in what their bytes cost."""


def measure(settings: Settings) -> list[Table]:
    small = settings.host(600, 4, clip_bytes=BYTES)
    middle, large = settings.host(1, 300), settings.host(1, 1000)
    labels = list(small.clips)
    url = settings.near(small, middle, large)
    ways = []
    for name in (HTTP, S3):
        ways += [
            _way(name, url, _part(small, labels[:count]), f"{count} small")
            for count in (1, 10, 100, 600)
        ]
        ways.append(_way(name, url, middle, "one of 300 MB"))
        ways.append(_way(name, url, large, "one of 1 GB"))
    rows = settings.in_turns(ways)
    return [
        Table(
            "Cost as work grows",
            f"SeaweedFS on loopback, 2 workers; a small tarball is {BYTES * 4 / 1e6:.1f} MB.",
            rows,
            COLUMNS,
            aims=(
                Aim(
                    "CPU a tarball, 600 beside 100",
                    f"{HTTP}, 100 small",
                    "ms_per_tarball",
                    1.1,
                    f"{HTTP}, 600 small",
                    at_most=True,
                ),
                Aim(
                    "memory MB, one of 1 GB", f"{HTTP}, one of 1 GB", "memory_mb", 64, at_most=True
                ),
                Aim("memory MB, 600 small", f"{HTTP}, 600 small", "memory_mb", 64, at_most=True),
                Aim(
                    "CPU a GB, 1 GB beside 300 MB",
                    f"{HTTP}, one of 300 MB",
                    "cpu_s_per_gb",
                    1.1,
                    f"{HTTP}, one of 1 GB",
                    at_most=True,
                ),
            ),
        )
    ]


def _part(host: Host, labels: list[str]) -> Host:
    clips = {label: host.clips[label] for label in labels}
    size = host.clip_bytes * len(labels) // len(host.clips)
    return Host(host.root, clips, size, 0)


def _way(name: str, url: str, host: Host, said: str) -> Way:
    more = {"classes": list(host.clips), "num_workers": 2}
    arguments = mirror_of(name, url, host) | more
    command = python("ours", "to_disk", folder="{folder}", **arguments)

    def finish(figures: Figures) -> None:
        per_gigabyte(host.clip_bytes)(figures)
        figures["tarballs"] = len(host.clips)
        figures["gigabytes"] = host.clip_bytes / 1e9
        figures["ms_per_tarball"] = 1000 * figures["cpu_s"] / len(host.clips)

    return Way(f"{name}, {said}", command, same_clips(host), finish)
