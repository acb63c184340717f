"""Clips out of tarballs as a stream: how many a second, at what cost, and when the first one."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from benchmarks.measure import Figures, Way, python
from benchmarks.report import Aim, Column, Table
from benchmarks.settings import HTTP, LINK, S3, Settings, mirror_of, urls_of
from benchmarks.streams import mark
from benchmarks.tarballs import Host
from benchmarks.whole_split import shape_of

__all__ = ["measure", "tails_of"]

COLUMNS = (
    Column("clips_per_s", "clips/s", 0, spread=True),
    Column("wall_s", "wall s", spread=True),
    Column("cpu_s_per_gb", "CPU s/GB"),
    Column("first_s", "first clip after s"),
    Column("memory_mb", "memory MB", 0),
)
BUILDER, LIBRARY, ARCHIVE = "webdataset builder of datasets", "webdataset", "iter_archive"
AIMS = (
    Aim("packaged webdataset builder, clips/s", HTTP, "clips_per_s", 15, BUILDER, True),
    Aim("the same through s3fs", S3, "clips_per_s", 7, BUILDER, True),
)
"""What a stream from a server on the same machine should reach."""


def measure(settings: Settings) -> list[Table]:
    host = settings.host(1, 300)
    near = settings.in_turns(_ways(host, settings.near(host)))
    with settings.light() as server:
        light = settings.in_turns(_ways(host, server.url))
    with settings.far() as server:
        far = settings.in_turns(_ways(host, server.url), most=2)
    return [
        Table(
            "Streaming, loopback",
            f"{shape_of(host)} from SeaweedFS on loopback, every byte of every clip in memory. The "
            "peers are given the tarball's address, ours the class.",
            near,
            COLUMNS,
            HTTP,
            AIMS,
        ),
        Table(
            "Streaming, a server that costs little",
            f"{shape_of(host)} from a server on loopback that has the kernel copy the bytes.",
            light,
            COLUMNS,
            HTTP,
            AIMS,
        ),
        Table(
            "Streaming, paced link",
            f"{shape_of(host)}; {LINK}.",
            far,
            COLUMNS,
            HTTP,
            (Aim("packaged webdataset builder, first clip", HTTP, "first_s", 5, BUILDER),),
        ),
    ]


def _ways(host: Host, url: str) -> list[Way]:
    tails = tails_of(host)
    expected = sum(mark(name, tail) for name, tail in tails.items())

    def right(folder: Path, figures: Figures) -> bool:
        return bool(figures["clips"] == len(tails) and figures["sum"] == expected)

    def finish(figures: Figures) -> None:
        figures["clips_per_s"] = figures["clips"] / figures["wall_s"]
        figures["cpu_s_per_gb"] = figures["cpu_s"] / (figures["bytes"] / 1e9)

    peers = {
        BUILDER: python("streams", "webdataset_builder", urls=urls_of(host, url)),
        LIBRARY: python("streams", "webdataset_library", urls=urls_of(host, url)),
        ARCHIVE: python("streams", "iter_archive", urls=urls_of(host, url)),
    }
    own = {
        name: python("ours", "stream", **mirror_of(name, url, host), classes=list(host.clips))
        for name in (HTTP, S3)
    }
    return [Way(name, command, right, finish) for name, command in (own | peers).items()]


def tails_of(host: Host) -> dict[str, bytes]:
    """Return the last bytes of each clip by file name."""
    tails = {}
    for path in host.tarballs:
        with tarfile.open(host.root / path, "r:gz") as tar:
            for entry in tar:
                if entry.isfile():
                    data = tar.extractfile(entry) or io.BytesIO()
                    tails[entry.name.rpartition("/")[2]] = data.read()[-64:]
    return tails
