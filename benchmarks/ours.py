"""Ways of this loader, each for a fresh process: `python -m benchmarks.ours WAY ARGUMENTS`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.measure import Figures, child
from benchmarks.streams import Seen

Work = Callable[[], "Figures | None"]


def _quiet() -> Any:
    import datasets

    import kinetics600

    datasets.disable_progress_bars()
    kinetics600.logger.setLevel("ERROR")
    return kinetics600


def _imported(mirror: str) -> None:
    """Import what the mirror's file system needs: not part of the work."""
    import fsspec

    import k600.mirror.mirror  # noqa: F401

    fsspec.get_filesystem_class(fsspec.utils.get_protocol(mirror))


def to_disk(folder: str, mirror: str, options: Mapping[str, Any], **more: Any) -> Work:
    """Load a split: clips on disk, rows in Arrow."""
    kinetics600 = _quiet()
    _imported(mirror)

    def work() -> Figures:
        start = time.time()
        ds = kinetics600.load_dataset(
            "validation",
            data_dir=f"{folder}/clips",
            cache_dir=f"{folder}/cache",
            mirror=mirror,
            mirror_options=options,
            source="cvdf",
            **more,
        )
        paths = [row["path"] for row in ds["video"]] if len(ds) < 100 else []
        first = min((os.stat(path).st_mtime for path in paths), default=start)
        return {"clips": len(ds), "first_s": first - start}

    return work


def stream(mirror: str, options: Mapping[str, Any], most: int | None = None, **more: Any) -> Work:
    """Iterate over a stream of clips."""
    kinetics600 = _quiet()
    _imported(mirror)

    def work() -> Figures:
        seen = Seen()
        ds = kinetics600.load_dataset(
            "validation", streaming=True, mirror=mirror, mirror_options=options, **more
        )
        for row in ds if most is None else ds.take(most):
            seen.add(row["video"]["path"], row["video"]["bytes"])
        return seen.figures()

    return work


def untar(folder: str, root: str, paths: list[str]) -> Work:
    """Unpack local tarballs with the loader's reader alone: no store, no ledger, no rows."""
    from k600.mirror.mirror import Mirror
    from k600.tarballs.archive import Members

    def work() -> None:
        mirror = Mirror(Path(root).as_uri())
        for number, path in enumerate(paths):
            os.mkdir(f"{folder}/{number}")
            remote = mirror.head(path)
            with mirror.open(remote) as raw:
                for member in Members(raw, remote.size_bytes, name=remote.url):
                    with open(f"{folder}/{number}/{member.file_name}", "wb", buffering=0) as file:
                        for chunk in member.chunks:
                            file.write(chunk)

    return work


if __name__ == "__main__":
    child({"to_disk": to_disk, "stream": stream, "untar": untar})
