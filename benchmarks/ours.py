"""Ways of this loader, each for a fresh process: `python -m benchmarks.ours WAY ARGUMENTS`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.measure import Figures, child, kill_at, python
from benchmarks.paced_server import PacedServer
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


def _load(folder: str, mirror: str, options: Mapping[str, Any], **more: Any) -> Any:
    return _quiet().load_dataset(
        "validation",
        data_dir=f"{folder}/clips",
        cache_dir=f"{folder}/cache",
        mirror=mirror,
        mirror_options=options,
        source="cvdf",
        **more,
    )


def to_disk(folder: str, mirror: str, options: Mapping[str, Any], **more: Any) -> Work:
    """Load a split: clips on disk, rows in Arrow."""
    _quiet()
    _imported(mirror)

    def work() -> Figures:
        start = time.time()
        ds = _load(folder, mirror, options, **more)
        paths = [row["path"] for row in ds["video"]] if len(ds) < 100 else []
        first = min((os.stat(path).st_mtime for path in paths), default=start)
        return {"clips": len(ds), "first_s": first - start}

    return work


def stream(
    mirror: str,
    options: Mapping[str, Any],
    most: int | None = None,
    in_order: bool = False,
    **more: Any,
) -> Work:
    """Iterate over a stream of clips, and say perhaps which came in which order."""
    kinetics600 = _quiet()
    _imported(mirror)

    def work() -> Figures:
        seen = Seen()
        names: list[str] = []
        labels: list[int] = []
        ds = kinetics600.load_dataset(
            "validation", streaming=True, mirror=mirror, mirror_options=options, **more
        )
        for row in ds if most is None else ds.take(most):
            seen.add(row["video"]["path"], row["video"]["bytes"])
            names.append(os.path.basename(row["video"]["path"]))
            labels.append(row["label"])
        return seen.figures() | ({"names": names, "labels": labels} if in_order else {})

    return work


def index(
    folder: str,
    mirror: str,
    options: Mapping[str, Any],
    labels: list[str],
    to: str,
    copies: bool,
) -> Work:
    """Make an index; where all tarballs are copies of the first, of that alone, said of each."""
    kinetics600 = _quiet()

    def work() -> None:
        kinetics600.build_index(
            "validation",
            to=to,
            classes=labels[:1] if copies else labels,
            data_dir=folder,
            mirror=mirror,
            mirror_options=options,
        )
        if copies:
            _say_of_each(to, labels, mirror, options)

    return work


def _say_of_each(path: str, labels: list[str], mirror: str, options: Mapping[str, Any]) -> None:
    """Have an index of one tarball say the same of its copies."""
    import pyarrow
    import pyarrow.parquet

    from k600.dataset.clip import Tarball
    from k600.mirror.mirror import Mirror

    of_first = pyarrow.parquet.read_table(path)
    host, tables = Mirror(mirror, dict(options)), []
    for label in labels:
        etag = host.head(Tarball("validation", label).path).etag
        words = {"label": label, "tarball": label, "tarball_etag": etag}
        table = of_first
        for name, word in words.items():
            number = table.schema.get_field_index(name)
            column = pyarrow.array([word] * len(table), pyarrow.string())
            table = table.set_column(number, name, column)
        tables.append(table)
    pyarrow.parquet.write_table(pyarrow.concat_tables(tables), path)


def freeze(folder: str, to: str, **arguments: Any) -> Work:
    """Load some clips, and freeze them into a manifest."""
    kinetics600 = _quiet()

    def work() -> None:
        kinetics600.save_manifest(_load(folder, **arguments), to)

    return work


def repair(folder: str, server: str, **arguments: Any) -> Work:
    """Repair clips that were cut in half; they are loaded before."""
    from k600.checks.verify import verify_clips

    kinetics600 = _quiet()
    for path in (row["path"] for row in _load(folder, **arguments)["video"]):
        os.truncate(path, os.stat(path).st_size // 2)
    limits = ("max_per_class", "shuffle", "seed")
    options = {name: value for name, value in arguments.items() if name not in limits}
    options["mirror_options"] = options.pop("options")
    place = {"data_dir": f"{folder}/clips", "source": "cvdf"}
    request = kinetics600.make_request("validation", **place, **options)
    PacedServer(server).sent()

    def work() -> Figures:
        [split] = verify_clips(request, repair=True).splits
        return {"repaired": sum(finding.fate == "repaired" for finding in split.bad)}

    return work


def without_finding(way: str, **arguments: Any) -> Work:
    """Do as another way does, but do not look where the tarball can be entered."""
    from k600.tarballs import archive
    from k600.tarballs.stored_blocks import StoredBlocks

    class Unseen(StoredBlocks):
        def scan(self, block: memoryview) -> list[memoryview]:
            self.end += len(block)
            return [block] if block else []

        def reached(self, offset: int, position: int) -> None: ...

    archive.StoredBlocks = Unseen  # type: ignore[misc]
    work: Work = globals()[way](**arguments)
    return work


def go_on(folder: str, server: str, kill_at_bytes: int, **arguments: Any) -> Work:
    """Load what a process was loading when it was killed."""
    first = python("ours", "to_disk", folder=folder, **arguments)
    killed = kill_at(first, PacedServer(server), kill_at_bytes)
    work = to_disk(folder, **arguments)
    return lambda: {**(work() or {}), **killed}


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
    child(
        {
            "to_disk": to_disk,
            "stream": stream,
            "untar": untar,
            "index": index,
            "freeze": freeze,
            "repair": repair,
            "go_on": go_on,
            "without_finding": without_finding,
        }
    )
