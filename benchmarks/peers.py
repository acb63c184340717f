"""Other ways to bring tarballs onto the disk, and what the machine itself can do.

Those that install run for real; of torchvision and FiftyOne, which bring torch and a database
along, here are their own loops, step by step, with the same libraries.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import urllib.parse
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pool
from pathlib import Path

from benchmarks.measure import REPOSITORY, Figures, child, kill_at
from benchmarks.paced_server import PacedServer

Work = Callable[[], "Figures | None"]

SCRIPTS = r"""
set -eu
cd "$1"; mkdir -p tar/val val
# k600_downloader.sh: every line of the path list through wget, one after the other
wget -q -c -i "$2" -P tar/val
# k600_extractor.sh: every tarball through tar
for file in tar/val/*.gz; do
  folder="$(basename "$file" .tar.gz | tr ' ' '_')"; mkdir -p "val/$folder"
  tar zxf "$file" -C "val/$folder"
done
"""
"""CVDF's two scripts; arguments: folder, list of URLs."""

S5CMD = r"""
set -eu
cd "$1"; mkdir -p tar val
s5cmd --log error --no-sign-request --endpoint-url "$2" cp "s3://$3/val/*.tar.gz" tar/
for file in tar/*.gz; do
  folder="$(basename "$file" .tar.gz | tr ' ' '_')"; mkdir -p "val/$folder"
  tar zxf "$file" -C "val/$folder"
done
"""
"""The fastest downloader for S3 in front of `tar`; arguments: folder, endpoint, place."""

EACH = r"""
set -eu
cd "$1"
while IFS="$(printf '\t')" read -r url label name; do
  mkdir -p "val/$label"
  wget -q -O part.tar.gz "$url"
  tar xzf part.tar.gz -C "val/$label" "./$name"
  rm part.tar.gz
done < "$2"
"""
"""One clip of each tarball, fetched whole; arguments: folder, list of URL, class and clip."""

PIPED = r"""
set -eu
cd "$1"
while IFS="$(printf '\t')" read -r url label name; do
  mkdir -p "val/$label"
  wget -q -O - "$url" | tar xzf - --occurrence=1 -C "val/$label" "./$name"
done < "$2"
"""
"""The same, and nothing is fetched behind the clip."""

UNTAR = r"""
set -eu
folder="$1"; shift
for file in "$@"; do
  mkdir -p "$folder/$(basename "$file" .tar.gz)"
  tar zxf "$file" -C "$folder/$(basename "$file" .tar.gz)"
done
"""
"""`tar` over local tarballs; arguments: folder, tarballs."""


def fiftyone(folder: str, urls: list[str]) -> Work:
    """FiftyOne's loop: download all in series, then extract all, and move each to its class."""
    import requests

    def work() -> None:
        session = requests.Session()
        paths = []
        for url in urls:
            path = f"{folder}/{urllib.parse.unquote(url.rpartition('/')[2])}"
            with session.get(url, stream=True) as response, open(path, "wb") as file:
                response.raise_for_status()
                for chunk in response.iter_content(chunk_size=64 * 1024):
                    file.write(chunk)
            paths.append(path)
        os.mkdir(f"{folder}/validation")
        for path in paths:
            extracted = path.replace(".tar.gz", "")
            with tarfile.open(path, "r:gz") as tar:
                tar.extractall(extracted, filter="data")
            os.remove(path)
            shutil.move(extracted, f"{folder}/validation/{os.path.basename(extracted)}")

    return work


def torchvision(folder: str, urls: list[str], workers: int) -> Work:
    """The loop of torchvision's `Kinetics(download=True)`: each tarball, by a pool."""

    def work() -> None:
        os.mkdir(f"{folder}/tars")
        os.mkdir(f"{folder}/val")
        tasks = [(url, f"{folder}/tars", f"{folder}/val") for url in urls]
        if workers == 1:
            for task in tasks:
                _download_and_extract(task)
        else:
            with Pool(workers) as pool:
                pool.map(_download_and_extract, tasks)

    return work


def _download_and_extract(task: tuple[str, str, str]) -> None:
    url, tars, target = task
    headers = {"User-Agent": "pytorch/vision"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers, method="HEAD")):
        pass  # it follows redirects first
    path = f"{tars}/{url.rpartition('/')[2]}"
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as response:
        with open(path, "wb") as file:
            while chunk := response.read(32 * 1024):
                file.write(chunk)
    with tarfile.open(path, "r:gz") as tar:
        tar.extractall(target, filter="data")


def manager(folder: str, urls: list[str], workers: int) -> Work:
    """`DownloadManager.download_and_extract` of `datasets`, as `load_dataset` sets it up."""
    import datasets
    import fsspec.implementations.http  # noqa: F401

    datasets.disable_progress_bars()

    def work() -> None:
        procs = workers if workers > 1 else None
        config = datasets.DownloadConfig(cache_dir=f"{folder}/cache", num_proc=procs)
        datasets.DownloadManager(
            download_config=config, record_checksums=False
        ).download_and_extract(urls)

    return work


def memcpy(size_bytes: int) -> Work:
    """Copy that many bytes within memory."""
    block = bytearray(os.urandom(8 << 20))
    target = memoryview(bytearray(len(block)))

    def work() -> None:
        for _ in range(size_bytes // len(block)):
            target[:] = block

    return work


def inflate(paths: list[str]) -> Work:
    """Unzip local tarballs with ISA-L into one buffer, checksums included, and nothing else."""
    from isal import igzip

    buffer = bytearray(128 << 10)

    def work() -> None:
        for path in paths:
            with open(path, "rb") as raw, igzip.IGzipFile(fileobj=raw, mode="rb") as file:
                while file.readinto(buffer):
                    pass

    return work


def write(folder: str, tarballs: int, clips: int, size_bytes: int, flushed: bool) -> Work:
    """Write as many files of that size from memory, a folder for each tarball.

    With `flushed` they come onto the disk, and leave the kernel's cache, as ours do.
    """
    from k600.store.files import flush, flush_all

    data = os.urandom(size_bytes)

    def work() -> None:
        for tarball in range(tarballs):
            os.mkdir(f"{folder}/{tarball}")
            paths: list[Path] = []
            with ThreadPoolExecutor(1) as disk:
                for clip in range(clips):
                    path = Path(folder, str(tarball), f"{clip}.mp4")
                    with open(path, "wb", buffering=0) as file:
                        file.write(data)
                    paths.append(path)
                    if flushed and (len(paths) * size_bytes >= 8 << 20 or clip == clips - 1):
                        disk.submit(flush_all, paths)
                        paths = []
            if flushed:
                flush(Path(folder, str(tarball)))

    return work


def untar_tarfile(folder: str, paths: list[str]) -> Work:
    """Unpack local tarballs with `tarfile`, as torchvision, FiftyOne and `datasets` do."""

    def work() -> None:
        for path in paths:
            with tarfile.open(path, "r:gz") as tar:
                tar.extractall(f"{folder}/{Path(path).stem}", filter="data")

    return work


def ranges(parts: list[tuple[str, int, int]], connections: int) -> Work:
    """Fetch byte ranges by bare connections, and do nothing with what comes: the link alone."""
    import http.client
    from concurrent.futures import ThreadPoolExecutor

    def fetch(some: list[tuple[str, int, int]]) -> None:
        host = urllib.parse.urlsplit(some[0][0]).netloc
        connection, buffer = http.client.HTTPConnection(host), bytearray(1 << 20)
        for url, start, end in some:
            path = urllib.parse.urlsplit(url).path
            connection.request("GET", path, headers={"Range": f"bytes={start}-{end - 1}"})
            response = connection.getresponse()
            while response.readinto(buffer):
                pass
        connection.close()

    def work() -> None:
        dealt = [part for part in (parts[n::connections] for n in range(connections)) if part]
        with ThreadPoolExecutor(connections) as pool:
            list(pool.map(fetch, dealt))

    return work


def again(server: str, kill_at_bytes: int, command: list[str]) -> Work:
    """Run a command that was killed once more."""
    killed = kill_at(command, PacedServer(server), kill_at_bytes)

    def work() -> Figures:
        subprocess.run(command, check=True, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
        return killed

    return work


if __name__ == "__main__":
    child(
        {
            "fiftyone": fiftyone,
            "torchvision": torchvision,
            "manager": manager,
            "memcpy": memcpy,
            "inflate": inflate,
            "write": write,
            "untar_tarfile": untar_tarfile,
            "ranges": ranges,
            "again": again,
        }
    )
