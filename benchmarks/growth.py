"""What the loader costs as work grows: more tarballs, and a larger one."""

from __future__ import annotations

from benchmarks.measure import Figures, Way, in_turns, python
from benchmarks.report import Aim, Column, Table
from benchmarks.settings import Settings, per_gigabyte, same_clips
from benchmarks.tarballs import Host
from benchmarks.whole_split import HTTP, S3, mirror_of
from tests.servers import s3_server

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
    large = settings.host(1, 1000), settings.host(1, 300)
    labels = list(small.clips)
    with s3_server(settings.work / "s3") as server:
        for host, bucket in ((small, "small"), (large[0], "large"), (large[1], "middle")):
            server.make_bucket(bucket)
            server.upload(host.root, f"{bucket}/600")
        ways = []
        for name in (HTTP, S3):
            for count in (1, 10, 100, 600):
                some = _part(small, labels[:count])
                ways.append(_way(name, server.url, "small", some, f"{count} small"))
            ways.append(_way(name, server.url, "middle", large[1], "one of 300 MB"))
            ways.append(_way(name, server.url, "large", large[0], "one of 1 GB"))
        rows = in_turns(ways, settings.repeats, settings.work)
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


def _way(name: str, url: str, bucket: str, host: Host, said: str) -> Way:
    arguments = mirror_of(name, url)
    arguments["mirror"] = str(arguments["mirror"]).replace("kinetics", bucket)
    more = {"classes": list(host.clips), "num_workers": 2}
    command = python("ours", "to_disk", folder="{folder}", **arguments, **more)

    def finish(figures: Figures) -> None:
        per_gigabyte(host.clip_bytes)(figures)
        figures["tarballs"] = len(host.clips)
        figures["gigabytes"] = host.clip_bytes / 1e9
        figures["ms_per_tarball"] = 1000 * figures["cpu_s"] / len(host.clips)

    return Way(f"{name}, {said}", command, same_clips(host), finish)
