"""Other readers of the same tarballs as streams, each for a fresh process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.measure import Figures, child

Work = Callable[[], "Figures | None"]


class Seen:
    """Counts the clips of a stream as they come; made when the work begins."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._first_s = 0.0
        self._clips = self._bytes = self._sum = 0

    def add(self, path: str, data: bytes) -> None:
        """Count a clip; its name and last bytes go into a sum that does not know their order."""
        if not self._clips:
            self._first_s = time.perf_counter() - self._start
        self._clips += 1
        self._bytes += len(data)
        self._sum += mark(path.rpartition("/")[2], data[-64:])

    def figures(self) -> Figures:
        """Return what was seen."""
        return {
            "clips": self._clips,
            "bytes": self._bytes,
            "sum": self._sum,
            "first_s": self._first_s,
        }


def mark(file_name: str, tail: bytes) -> int:
    """Return a number that stands for a clip by its name and last bytes."""
    import zlib

    return zlib.crc32(file_name.encode() + tail)


def webdataset_builder(urls: list[str]) -> Work:
    """The `webdataset` builder that comes with `datasets`, streaming."""
    import datasets
    import datasets.packaged_modules.webdataset.webdataset
    import fsspec.implementations.http  # noqa: F401

    def work() -> Figures:
        seen = Seen()
        ds = datasets.load_dataset(
            "webdataset", data_files={"train": urls}, split="train", streaming=True
        )
        for row in ds.cast_column("mp4", datasets.Video(decode=False)):
            seen.add(f"{row['__key__']}.mp4", row["mp4"]["bytes"])
        return seen.figures()

    return work


def webdataset_library(urls: list[str]) -> Work:
    """`webdataset` itself: it reads URLs through curl."""
    import webdataset

    def work() -> Figures:
        seen = Seen()
        for sample in webdataset.WebDataset(urls, shardshuffle=False, empty_check=False):
            seen.add(f"{sample['__key__']}.mp4", sample["mp4"])
        return seen.figures()

    return work


def iter_archive(urls: list[str]) -> Work:
    """`iter_archive` of the download manager that streams."""
    import datasets
    import fsspec.implementations.http  # noqa: F401

    def work() -> Figures:
        seen = Seen()
        manager: Any = datasets.StreamingDownloadManager()
        for url in urls:
            for path, file in manager.iter_archive(url):
                seen.add(path, file.read())
        return seen.figures()

    return work


if __name__ == "__main__":
    child(
        {
            "webdataset_builder": webdataset_builder,
            "webdataset_library": webdataset_library,
            "iter_archive": iter_archive,
        }
    )
