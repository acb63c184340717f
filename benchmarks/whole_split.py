"""Whole split to disk, side by side: CVDF's own way (`wget`, then `tar xzf`) and this loader.

    python -m benchmarks.whole_split [--tarballs 4] [--clips 150] [--repeats 3] [--json FILE]

Makes realistic tarballs (real H.264 of about 1.4 MB a clip, gzip -6), serves them from a real
S3-compatible server on loopback, and runs both ways on them in turns, each in a fresh process
and an empty folder. Reported are medians with the least and the most. Needs `wget` and `tar`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

from k600.labels import NAMES
from k600.miniature import URL, make_clip_of_size, make_tarball
from tests.servers import S3Server, s3_server

WAYS = {"floor": -1, "scripts": 0, "ours, 1 worker": 1, "ours, 2 workers": 2}
"""Ways by name, with the number of workers of ours."""

FLOOR = """
import os, sys
folder, tarballs, clips, size = sys.argv[1], *map(int, sys.argv[2:])
data = os.urandom(size)
for tarball in range(tarballs):
    os.mkdir(f"{folder}/{tarball}")
    for clip in range(clips):
        with open(f"{folder}/{tarball}/{clip}.mp4", "wb", buffering=0) as file:
            file.write(data)
"""

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

OURS = r"""
import re, sys
import datasets
import kinetics600, k600.remote, s3fs
def peak():  # of this program alone: ru_maxrss would count its parent, too
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1])
base = peak()
datasets.disable_progress_bars()
kinetics600.logger.setLevel("WARNING")
folder, mirror, endpoint, workers = sys.argv[1:]
kinetics600.load_dataset(
    "validation", data_dir=folder + "/clips", cache_dir=folder + "/cache", mirror=mirror,
    mirror_options={"anon": True, "endpoint_url": endpoint}, num_workers=int(workers),
)
print((peak() - base) / 1024)
"""


def make_host(server: S3Server, tarballs: int, clips: int) -> tuple[int, list[str]]:
    """Store the tarballs and lists of a validation split; return bytes of clips and URLs."""
    names = list(NAMES[:tarballs])
    pool = [make_clip_of_size(seed, 1_400_000) for seed in range(24)]
    listing = ["val:", *names, ""]
    total = 0
    for number, name in enumerate(names):
        members = {
            f"{number:05d}_{index:05d}_000000_000010.mp4": pool[(index + number) % len(pool)]
            for index in range(clips)
        }
        total += sum(map(len, members.values()))
        server.put(f"kinetics/600/val/{name}.tar.gz", make_tarball(members))
        listing += [f"val/{name}:", *members, ""]
    paths = "".join(f"{URL}/val/{name}.tar.gz\n" for name in names)
    server.put("kinetics/600/val/k600_val_path.txt", paths.encode())
    server.put("kinetics/600/annotations/val.txt", ("\n".join(listing) + "\n").encode())
    folder = f"{server.url}/kinetics/600/val"
    return total, [f"{folder}/{urllib.parse.quote(name)}.tar.gz" for name in names]


class PeakDisk:
    """Watches how much a folder grows at most."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.peak = folder, 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakDisk:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.25):
            size = 0
            for root, _, files in os.walk(self.folder):
                for name in files:
                    try:
                        size += os.stat(os.path.join(root, name)).st_size
                    except FileNotFoundError:
                        continue
            self.peak = max(self.peak, size)


def run(command: list[str], folder: Path) -> dict[str, float]:
    """Run a command; return its wall and CPU seconds, peak disk and what it printed last."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    with PeakDisk(folder) as disk:
        result = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    printed = result.stdout.split()
    memory = float(printed[-1]) if printed else float("nan")
    return {"wall_s": wall, "cpu_s": cpu, "disk_bytes": disk.peak, "memory_mb": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tarballs", type=int, default=4)
    parser.add_argument("--clips", type=int, default=150)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="k600-bench-"))
    rows: dict[str, list[dict[str, float]]] = {}
    try:
        with s3_server(base / "s3") as server:
            total, urls = make_host(server, options.tarballs, options.clips)
            (base / "urls").write_text("\n".join(urls) + "\n")
            imports = run([sys.executable, "-c", "import kinetics600"], base / "none")
            for _ in range(options.repeats):
                for name, workers in WAYS.items():
                    folder = base / "run"
                    folder.mkdir()
                    if workers < 0:
                        shape = (options.tarballs, options.clips)
                        size = total // (options.tarballs * options.clips)
                        arguments = [str(folder), *map(str, (*shape, size))]
                        found = run([sys.executable, "-c", FLOOR, *arguments], folder)
                    elif workers:
                        arguments = [str(folder), "s3://kinetics/600", server.url, str(workers)]
                        found = run([sys.executable, "-c", OURS, *arguments], folder)
                        found["wall_s"] -= imports["wall_s"]
                        found["cpu_s"] -= imports["cpu_s"]
                    else:
                        script = ["sh", "-c", SCRIPTS, "sh", str(folder), str(base / "urls")]
                        found = run(script, folder)
                    rows.setdefault(name, []).append(found)
                    shutil.rmtree(folder)
                    os.sync()
    finally:
        shutil.rmtree(base, ignore_errors=True)
    report(rows, total, options)


def report(
    rows: dict[str, list[dict[str, float]]], total: int, options: argparse.Namespace
) -> None:
    """Print a Markdown table, and write the single figures if asked to."""
    gigabytes = total / 1e9
    peer = statistics.median(found["wall_s"] for found in rows["scripts"])
    print(
        f"{options.tarballs} tarballs, {gigabytes:.2f} GB of clips, {options.repeats} runs each, "
        f"{os.cpu_count()} CPUs, Python {platform.python_version()}; wall and CPU without imports"
    )
    print("\n| way | wall s (least to most) | times faster | CPU s/GB | peak disk | memory MB |")
    print("|---|---|---|---|---|---|")
    for name, runs in rows.items():
        wall = [found["wall_s"] for found in runs]
        cpu = statistics.median(found["cpu_s"] for found in runs) / gigabytes
        disk = statistics.median(found["disk_bytes"] for found in runs) / total
        memory = statistics.median(found["memory_mb"] for found in runs)
        median = statistics.median(wall)
        print(
            f"| {name} | {median:.2f} ({min(wall):.2f} to {max(wall):.2f}) | {peer / median:.1f} "
            f"| {cpu:.2f} | {disk:.2f}x | {memory:.0f} |"
        )
    if options.json:
        options.json.write_text(json.dumps({"clip_bytes": total, "runs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
