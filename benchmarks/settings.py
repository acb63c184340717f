"""What all groups of benchmarks are given: where to work, how often, how large."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from isal import isal_zlib

from benchmarks.measure import Figures
from benchmarks.tarballs import Host, make_host

__all__ = ["Settings", "per_gigabyte", "same_clips"]


@dataclass(frozen=True, slots=True)
class Settings:
    """One run of benchmarks."""

    folder: Path
    """Where made tarballs are kept for the next time."""
    work: Path
    """Where ways work; empty at the start, gone at the end."""
    repeats: int
    quick: bool = False
    """Tiny sizes, to see that everything works: the figures mean nothing."""

    def pick(self, usual: int, quick: int) -> int:
        """Return a size."""
        return quick if self.quick else usual

    def host(
        self, tarballs: int, clips: int, *, clip_bytes: int = 1_000_000, **shape: bool
    ) -> Host:
        """Return a host of that shape; with `quick` a tiny one."""
        if self.quick:
            tarballs, clips, clip_bytes = min(tarballs, 3), min(clips, 12), 60_000
        return make_host(
            self.folder, tarballs=tarballs, clips=clips, clip_bytes=clip_bytes, **shape
        )


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
