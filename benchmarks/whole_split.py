"""A whole split onto the disk: this loader beside the ways that others take."""

from __future__ import annotations

from functools import partial

from benchmarks.measure import Way, python
from benchmarks.peers import S5CMD, SCRIPTS, UNTAR
from benchmarks.report import Aim, Column, Table
from benchmarks.settings import (
    HTTP,
    LINK,
    MB_PER_S,
    S3,
    Settings,
    mirror_of,
    per_gigabyte,
    same_clips,
    urls_of,
)
from benchmarks.tarballs import Host

__all__ = ["measure", "shape_of"]

COLUMNS = (
    Column("wall_s", "wall s", spread=True),
    Column("cpu_s_per_gb", "CPU s/GB"),
    Column("disk_x", "peak disk x"),
    Column("memory_mb", "memory MB", 0),
)
SCRIPTS_ROW = "CVDF's scripts"
BEST = f"{HTTP}, 2 workers"
AIMS = (
    Aim("CVDF's scripts, wall", BEST, "wall_s", 8, SCRIPTS_ROW),
    Aim("CVDF's scripts, CPU", BEST, "cpu_s", 5, SCRIPTS_ROW),
    Aim("FiftyOne's loop, wall", BEST, "wall_s", 3.5, "FiftyOne's loop"),
    Aim("torchvision, 1 worker, wall", BEST, "wall_s", 3.5, "torchvision's loop, 1 worker"),
    Aim("DownloadManager, wall", BEST, "wall_s", 3, "DownloadManager, 1 worker"),
    Aim("torchvision, as many workers", BEST, "wall_s", 1.8, "torchvision's loop, 2 workers"),
    Aim("DownloadManager, as many", BEST, "wall_s", 1.8, "DownloadManager, 2 workers"),
    Aim("CPU s/GB, fastest route", BEST, "cpu_s_per_gb", 1.25, at_most=True),
    Aim("CPU s/GB, s3fs", f"{S3}, 2 workers", "cpu_s_per_gb", 1.9, at_most=True),
    Aim("peak disk", BEST, "disk_x", 1.05, at_most=True),
    Aim("memory MB, http", BEST, "memory_mb", 64, at_most=True),
    Aim("memory MB, s3fs", f"{S3}, 2 workers", "memory_mb", 64, at_most=True),
)
"""What a whole split from a server on the same machine should reach."""


def measure(settings: Settings) -> list[Table]:
    host = settings.host(4, 300)
    one = settings.host(1, 1000)
    return [
        _loopback(settings, host),
        _light(settings, host),
        _untar(settings, host),
        *_paced(settings, host, one),
    ]


def ours(host: Host, url: str, name: str, workers: int) -> Way:
    """Return our way over one of the two kinds of mirror that a server is."""
    arguments = mirror_of(name, url, host) | {"num_workers": workers}
    return Way(
        f"{name}, {_workers(workers)}",
        python("ours", "to_disk", folder="{folder}", **arguments),
        same_clips(host),
        per_gigabyte(host.clip_bytes),
    )


def scripts(host: Host, url: str, settings: Settings) -> Way:
    """Return CVDF's way."""
    listed = settings.work / f"urls-{host.root.parent.name}"
    listed.write_text("\n".join(urls_of(host, url)) + "\n")
    return _to_disk(SCRIPTS_ROW, host, ["sh", "-c", SCRIPTS, "sh", "{folder}", str(listed)], "wget")


def pools(host: Host, url: str, workers: int) -> list[Way]:
    """Return the ways that take a number of workers."""
    more = {"folder": "{folder}", "urls": urls_of(host, url), "workers": workers}
    said = _workers(workers)
    return [
        _to_disk(f"torchvision's loop, {said}", host, python("peers", "torchvision", **more)),
        _to_disk(f"DownloadManager, {said}", host, python("peers", "manager", **more)),
    ]


def _to_disk(name: str, host: Host, command: list[str], needs: str = "") -> Way:
    finish = per_gigabyte(host.clip_bytes)
    return Way(name, command, same_clips(host), finish, needs=needs)


def everyone(settings: Settings, host: Host, url: str) -> list[Way]:
    """Return all ways from a server to files, this loader's and the others'."""
    fiftyone = python("peers", "fiftyone", folder="{folder}", urls=urls_of(host, url))
    way = partial(ours, host, url)
    return [
        scripts(host, url, settings),
        way(HTTP, 2),
        _to_disk("FiftyOne's loop", host, fiftyone),
        way(S3, 2),
        *pools(host, url, 1),
        way(HTTP, 1),
        *pools(host, url, 2),
        way(S3, 1),
    ]


def _loopback(settings: Settings, host: Host) -> Table:
    paths = [str(host.root / path) for path in host.tarballs]
    finish = per_gigabyte(host.clip_bytes)
    mean = host.clip_bytes // len(host.checksums)
    count = len(host.checksums) // len(host.tarballs)
    files = {"folder": "{folder}", "tarballs": len(paths), "clips": count, "size_bytes": mean}
    floor = python("peers", "write", **files, flushed=False)
    flushed = python("peers", "write", **files, flushed=True)
    url = settings.near(host)
    s5cmd = ["sh", "-c", S5CMD, "sh", "{folder}", url, host.key]
    ways = [
        *everyone(settings, host, url),
        _to_disk("s5cmd, then tar", host, s5cmd, "s5cmd"),
        Way("memcpy", python("peers", "memcpy", size_bytes=host.clip_bytes), finish=finish),
        Way("inflate by ISA-L alone", python("peers", "inflate", paths=paths), finish=finish),
        Way("write from memory alone", floor, finish=finish),
        Way("write from memory, flushed", flushed, finish=finish),
    ]
    return Table(
        "Whole split to disk, loopback",
        f"{shape_of(host)} from SeaweedFS on loopback; wall and CPU without imports, without the "
        "server.",
        settings.in_turns(ways),
        COLUMNS,
        BEST,
        AIMS,
    )


def _light(settings: Settings, host: Host) -> Table:
    with settings.light() as server:
        rows = settings.in_turns(everyone(settings, host, server.url))
    return Table(
        "Whole split to disk, a server that costs little",
        f"{shape_of(host)} from a server on loopback that has the kernel copy the bytes; wall and "
        "CPU without imports, without the server.",
        rows,
        COLUMNS,
        BEST,
        AIMS,
    )


def _untar(settings: Settings, host: Host) -> Table:
    paths = [str(host.root / path) for path in host.tarballs]
    root = {"root": str(host.root), "paths": host.tarballs}
    own = python("ours", "untar", folder="{folder}", **root)
    local = {"mirror": host.root.as_uri(), "options": {}, "num_workers": 1}
    loader = python("ours", "to_disk", folder="{folder}", **local)
    peer = python("peers", "untar_tarfile", folder="{folder}", paths=paths)
    ways = [
        _to_disk("tar zxf", host, ["sh", "-c", UNTAR, "sh", "{folder}", *paths]),
        _to_disk("ours", host, own),
        _to_disk("ours, load_dataset", host, loader),
        _to_disk("tarfile, r:gz", host, peer),
    ]
    rows = settings.in_turns(ways)
    return Table(
        "Untar alone",
        f"{shape_of(host)} on the local disk, unpacked to files.",
        rows,
        COLUMNS,
        "ours",
        (Aim("tar zxf, CPU", "ours", "cpu_s", 5.5, "tar zxf"),),
    )


def _paced(settings: Settings, host: Host, one: Host) -> list[Table]:
    tables = []
    with settings.far() as server:
        way = partial(ours, host, server.url)
        ways = [way(HTTP, 2), *pools(host, server.url, 2), way(S3, 2)]
        rows = settings.in_turns(ways, most=2)
    for found in rows.values():
        for run in found:
            if "mb_per_s" in run:
                run["line_percent"] = 100 * run["mb_per_s"] / (2 * MB_PER_S)
    percent = Column("line_percent", "% of 2 connections", 0)
    tables.append(
        Table(
            "Whole split to disk, paced link",
            f"{shape_of(host)}; {LINK}.",
            rows,
            (*COLUMNS, percent),
            BEST,
            (
                Aim("torchvision, wall", BEST, "wall_s", 1.5, "torchvision's loop, 2 workers"),
                Aim("DownloadManager, wall", BEST, "wall_s", 1.5, "DownloadManager, 2 workers"),
                Aim("% of the line rate", BEST, "line_percent", 95),
            ),
        )
    )
    with settings.far() as server:
        way = partial(ours, one, server.url)
        ways = [scripts(one, server.url, settings), way(HTTP, 1), way(S3, 1)]
        rows = settings.in_turns(ways, most=2)
    best = f"{HTTP}, 1 worker"
    tables.append(
        Table(
            "One whole tarball, paced link",
            f"{shape_of(one)}; {LINK}.",
            rows,
            COLUMNS,
            best,
            (
                Aim("wget + tar, wall", best, "wall_s", 8, SCRIPTS_ROW),
                Aim("wget + tar, wall, s3fs", f"{S3}, 1 worker", "wall_s", 8, SCRIPTS_ROW),
            ),
        )
    )
    return tables


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


def shape_of(host: Host) -> str:
    """Say how large a host is."""
    count, clips = len(host.tarballs), len(host.checksums)
    mean = host.tarball_bytes / count / 1e6
    return f"{count} tarball{'s' * (count > 1)} of {mean:,.0f} MB, {clips:,} clips"
