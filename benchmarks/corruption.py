"""Seven ways in which a tarball can be damaged, and which readers notice.

A reader caught it if it failed, or gave other clips than it should: what must not happen is that
damaged clips, or fewer of them, come without a word.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Figures, Way, child, python
from benchmarks.report import Aim, Column, Table
from benchmarks.settings import Settings

__all__ = ["measure"]

_TRAILER = 8  # gzip's: CRC-32 and size


def _flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "flipped bit": lambda data: _flipped(data, len(data) // 2),
    "bad CRC": lambda data: _flipped(data, len(data) - _TRAILER),
    "bad size": lambda data: _flipped(data, len(data) - 4),
    "cut in half": lambda data: data[: len(data) // 2],
    "cut before the trailer": lambda data: data[:-_TRAILER],
    "cut in the trailer": lambda data: data[:-4],
    "junk behind": lambda data: data + bytes(range(1, 256)) * 4,
}
"""What is done to a tarball's bytes."""

COLUMNS = (
    *(Column(name, name) for name in DAMAGES),
    Column("caught", "caught of 7", 0),
    Column("wall_s", "wall s, 8 tarballs"),
)
OURS, STREAM = "ours, to disk", "ours, as a stream"


def measure(settings: Settings) -> list[Table]:
    host = settings.host(1, 24)
    [path] = host.tarballs
    data = (host.root / path).read_bytes()
    made = settings.work / "damaged"
    damages: list[Callable[[bytes], bytes]] = [lambda data: data, *DAMAGES.values()]
    for number, damage in enumerate(damages):
        root = made / str(number)
        shutil.copytree(host.root, root)
        (root / path).write_bytes(damage(data))
    readers = {
        OURS: "ours",
        STREAM: "ours_streamed",
        "tar zxf": "tar",
        "tarfile, r:gz (torchvision, FiftyOne)": "tarfile",
        "DownloadManager": "manager",
        "iter_archive": "iter_archive",
        "webdataset builder of datasets": "builder",
        "webdataset": "webdataset",
    }
    arguments = {
        "folder": "{folder}",
        "made": str(made),
        "path": path,
        "clips": len(host.checksums),
    }
    ways = [
        Way(name, python("corruption", "read", reader=reader, **arguments), _accepts_intact)
        for name, reader in readers.items()
    ]
    rows = settings.in_turns(ways, most=1)
    return [
        Table(
            "Damaged tarballs",
            f"A tarball of {len(data) / 1e6:.0f} MB with one damage each. A damage is caught if "
            "the reader fails or complains; every reader must take the intact tarball.",
            rows,
            COLUMNS,
            aims=(Aim("of 7 caught", OURS, "caught", 7), Aim("streaming", STREAM, "caught", 7)),
        )
    ]


def _accepts_intact(folder: Path, figures: Figures) -> bool:
    return figures["intact"] == "passed"


def read(reader: str, folder: str, made: str, path: str, clips: int) -> Callable[[], Figures]:
    """Let a reader have each of the tarballs; note which it refuses."""
    count = READERS[reader]()

    def work() -> Figures:
        found: Figures = {}
        for number, name in enumerate(("intact", *DAMAGES)):
            place = Path(folder, str(number))
            place.mkdir()
            try:
                passed = count(Path(made, str(number)), path, place) == clips
            except Exception:
                passed = False
            found[name] = "passed" if passed else "caught"
        return {**found, "caught": sum(found[name] == "caught" for name in DAMAGES)}

    return work


Count = Callable[[Path, str, Path], int]
"""Reads `path` below a root, has a folder to work in, and returns how many clips came."""


def _ours(*, streaming: bool = False) -> Count:
    import datasets

    import kinetics600

    datasets.disable_progress_bars()
    kinetics600.logger.setLevel("CRITICAL")

    def count(root: Path, path: str, folder: Path) -> int:
        ds = kinetics600.load_dataset(
            "validation",
            mirror=root.as_uri(),
            data_dir=str(folder / "clips"),
            cache_dir=str(folder / "cache"),
            source="cvdf",
            on_missing="raise",
            streaming=streaming,
        )
        return sum(1 for _ in ds)

    return count


def _tar() -> Count:
    def count(root: Path, path: str, folder: Path) -> int:
        command = ["tar", "zxf", str(root / path), "-C", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise OSError(done.stderr.strip())
        return len(list(folder.rglob("*.mp4")))

    return count


def _tarfile() -> Count:
    def count(root: Path, path: str, folder: Path) -> int:
        with tarfile.open(root / path, "r:gz") as tar:
            tar.extractall(folder, filter="data")
        return len(list(folder.rglob("*.mp4")))

    return count


def _manager() -> Count:
    import datasets

    datasets.disable_progress_bars()

    def count(root: Path, path: str, folder: Path) -> int:
        config = datasets.DownloadConfig(cache_dir=str(folder / "cache"))
        manager = datasets.DownloadManager(download_config=config, record_checksums=False)
        extracted = manager.download_and_extract(str(root / path))
        return len(list(Path(extracted).rglob("*.mp4")))

    return count


def _iter_archive() -> Count:
    import datasets

    def count(root: Path, path: str, folder: Path) -> int:
        manager = datasets.StreamingDownloadManager()
        return sum(len(file.read()) > 0 for _, file in manager.iter_archive(str(root / path)))

    return count


def _builder() -> Count:
    import datasets

    def count(root: Path, path: str, folder: Path) -> int:
        files = {"train": [str(root / path)]}
        ds = datasets.load_dataset("webdataset", data_files=files, split="train", streaming=True)
        return sum(1 for _ in ds.cast_column("mp4", datasets.Video(decode=False)))

    return count


def _webdataset() -> Count:
    import webdataset

    def count(root: Path, path: str, folder: Path) -> int:
        urls = [str(root / path)]
        return sum(1 for _ in webdataset.WebDataset(urls, shardshuffle=False, empty_check=False))

    return count


READERS: dict[str, Callable[[], Count]] = {
    "ours": _ours,
    "ours_streamed": lambda: _ours(streaming=True),
    "tar": _tar,
    "tarfile": _tarfile,
    "manager": _manager,
    "iter_archive": _iter_archive,
    "builder": _builder,
    "webdataset": _webdataset,
}

if __name__ == "__main__":
    child({"read": read})
