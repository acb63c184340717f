"""What all groups of benchmarks are given: where to work, how often, how large, and servers."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from isal import isal_zlib

from benchmarks.measure import Figures, Way, in_turns, python, run
from benchmarks.paced_server import PacedServer, paced_server
from benchmarks.quick import run_forked
from benchmarks.tarballs import Host, make_host, under_many_names
from tests.servers import S3Server, s3_server

__all__ = [
    "HTTP",
    "LINK",
    "S3",
    "Settings",
    "mirror_of",
    "per_gigabyte",
    "same_clips",
    "url_of",
    "urls_of",
]

S3, HTTP = "ours, s3://", "ours, http://"
"""The two kinds of mirror that an S3 server is; names of our rows begin with them."""

LATENCY_MS, MB_PER_S = 40, 50
LINK = f"{LATENCY_MS} ms to the first byte, {MB_PER_S} MB/s a connection"


@dataclass
class Settings:
    """One run of benchmarks."""

    folder: Path
    """Where made tarballs are kept for the next time."""
    work: Path
    """Where ways work; empty at the start, gone at the end."""
    repeats: int
    quick: bool
    """Tiny sizes, to see that everything works: the figures mean nothing."""
    stack: ExitStack
    """Ends with the run, and the S3 server with it."""
    _near: S3Server | None = None
    _uploaded: set[str] = field(default_factory=set)

    def pick(self, usual: int, quick: int) -> int:
        """Return a size."""
        return quick if self.quick else usual

    def host(
        self, tarballs: int, clips: int, *, clip_bytes: int = 1_000_000, mixed: bool = False
    ) -> Host:
        """Return a host of that shape; with `quick` a tiny one."""
        if self.quick:
            tarballs, clips, clip_bytes = min(tarballs, 3), min(clips, 12), 60_000
        return make_host(
            self.folder, tarballs=tarballs, clips=clips, clip_bytes=clip_bytes, mixed=mixed
        )

    def copies(self, host: Host, tarballs: int) -> Host:
        """Return a host whose tarballs are all the first one of another; with `quick` a few."""
        return under_many_names(host, self.pick(tarballs, min(tarballs, 3)))

    def index(self, host: Host, *, copies: bool = False) -> Path:
        """Return an index of a host; of one whose tarballs are copies, only the first is read."""
        path = self.work / f"index-{host.root.parent.name}.parquet"
        labels = list(host.clips)
        more = {"to": str(path), "labels": labels, "copies": copies, "folder": "{folder}"}
        with self.light() as server:
            self.prepare("index", **mirror_of(HTTP, server.url, host), **more)
        return path

    def prepare(self, way: str, **arguments: Any) -> None:
        """Run one of our ways once, for what it leaves behind."""
        start = run_forked if self.quick else None
        figures = run(Way(way, python("ours", way, **arguments)), self.work / "run", start)
        if "failed" in figures:
            raise RuntimeError(f"{way}: {figures['failed']}")

    def near(self, *hosts: Host) -> str:
        """Return the address of an S3 server on loopback that has these hosts."""
        if self._near is None:
            self._near = self.stack.enter_context(s3_server(self.work.parent / "s3"))
        for host in hosts:
            if host.key not in self._uploaded:
                self._near.upload(host.root, host.key)
                self._uploaded.add(host.key)
        return self._near.url

    def far(self) -> AbstractContextManager[PacedServer]:
        """Serve all hosts over a paced link until the block ends."""
        return paced_server({"kinetics": self.folder}, LATENCY_MS, MB_PER_S)

    def light(self) -> AbstractContextManager[PacedServer]:
        """Serve all hosts on loopback, for little of the machine's time, until the block ends."""
        return paced_server({"kinetics": self.folder}, 0, math.inf)

    def in_turns(
        self, ways: Iterable[Way], *, most: int = 1000, times: int = 1
    ) -> dict[str, list[Figures]]:
        """Run ways in turns and return the figures of each.

        Args:
            ways: What takes turns.
            most: Rounds at most, if more are wanted.
            times: How many times as many rounds as are wanted, for what differs by little.
        """
        start = run_forked if self.quick else None
        rounds = self.repeats if self.quick else times * self.repeats
        return in_turns(ways, min(rounds, most), self.work, start)


def mirror_of(name: str, url: str, host: Host) -> dict[str, object]:
    """Return the arguments that lead our way to a server, as S3 or by plain GETs."""
    if name == S3:
        options = {"anon": True, "endpoint_url": url}
        return {"mirror": f"s3://{host.key}", "options": options}
    return {"mirror": f"{url}/{host.key}", "options": {}}


def urls_of(host: Host, url: str) -> list[str]:
    """Return the addresses of the tarballs on a server."""
    return [url_of(host, url, label) for label in host.clips]


def url_of(host: Host, url: str, label: str) -> str:
    """Return the address of one tarball on a server."""
    return f"{url}/{host.key}/{quote(f'val/{label}.tar.gz')}"


def same_clips(host: Host) -> Callable[[Path, Figures], bool]:
    """Return a check that a folder holds exactly the host's clips, wherever, byte by byte."""
    expected = host.checksums

    def right(folder: Path, figures: Figures) -> bool:
        found: dict[str, int] = {}
        for root, _, names in os.walk(folder):
            for name in names:
                if name.endswith(".mp4"):
                    if name in found:
                        return False
                    found[name] = isal_zlib.crc32(Path(root, name).read_bytes())
        return found == expected

    return right


def per_gigabyte(size_bytes: int) -> Callable[[Figures], None]:
    """Return what adds the figures that are relative to the bytes of the clips."""

    def finish(figures: Figures) -> None:
        figures["cpu_s_per_gb"] = figures["cpu_s"] / (size_bytes / 1e9)
        figures["disk_x"] = figures["disk_bytes"] / size_bytes
        figures["mb_per_s"] = size_bytes / 1e6 / figures["wall_s"]

    return finish
