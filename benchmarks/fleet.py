"""The fleet on this machine, 1 and 2 workers, from and to a real S3 server on loopback; and what
the measured rates mean for all of Kinetics-600 on 1 to 1,000 workers.

    python -m benchmarks.fleet [--tarballs 4] [--clips 300] [--repeats 3] [--network 100]

The tarballs are those of `tarballs.py`: real H.264 of about 1.4 MB a clip, gzip -6. Each run is a
fresh process with an empty destination; reported are medians with the least and the most. CPU is
that of the run and all its workers, without imports, and without the server's.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.tarballs import make_host
from k600.fleet.estimate import Rates, enough_workers, simulate
from tests.servers import s3_server

OURS = r"""
import contextlib, dataclasses, json, re, sys, time
import kinetics600, s3fs
import k600.fleet.split, k600.fleet.stages
from k600.fleet.options import FleetOptions
from k600.fleet.run import run_fleet
from k600.progress import Bar

class Clock(Bar):
    def __init__(self, tarballs):
        self.left, self.marks = tarballs, []
    @contextlib.contextmanager
    def __call__(self, total, description, *, unit="B"):
        yield self
    def update(self, n, part=""):
        self.left -= 1
        if self.left == 0:
            self.marks.append((time.perf_counter(), time.process_time()))

def main():
    endpoint, to, workers, tarballs, mb = sys.argv[1:]
    options = {"anon": True, "endpoint_url": endpoint}
    request = kinetics600.make_request(
        "validation", mirror="s3://kinetics/600", mirror_options=options, data_dir="/nonexistent")
    clock = Clock(int(tarballs))
    request = dataclasses.replace(request, progress=clock)
    start = (time.perf_counter(), time.process_time())
    how = FleetOptions(
        to=to, to_options=options, shard_size_mb=int(mb), workers=int(workers))
    run_fleet(request, how)
    (read,) = clock.marks
    peak = int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1])
    print(json.dumps({
        "read_s": read[0] - start[0], "read_cpu_s": read[1] - start[1],
        "merge_s": time.perf_counter() - read[0], "merge_cpu_s": time.process_time() - read[1],
        "memory_mb": peak / 1024,
    }))

if __name__ == "__main__":
    main()
"""

SIZES = [1_080_000_000] * 600 + [72_000_000] * 600 + [1_470_000_000] * 60
"""About the real tarballs: train, validation, test."""
SUBREAPER = 36  # Linux' PR_SET_CHILD_SUBREAPER


def run(program: Path, *arguments: object) -> dict[str, float]:
    """Run a program and wait for all that it started; return what it printed, wall and CPU."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    command = [sys.executable, str(program), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    wall = time.perf_counter() - start
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, 0):
            pass
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": wall, "cpu_s": cpu, **json.loads(done.stdout or "{}")}


def measure(options: argparse.Namespace) -> tuple[float, dict[int, list[dict[str, float]]]]:
    """Return the gigabytes of clips, and the runs by number of workers."""
    runs: dict[int, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="k600-bench-") as folder:
        program, imports = Path(folder, "ours.py"), Path(folder, "imports.py")
        program.write_text(OURS)
        imports.write_text(OURS.partition("class Clock")[0])
        # The server is started by another process, so that waiting for all does not mean it.
        with s3_server(Path(folder, "s3")) as server:
            host = make_host(
                Path(folder, "host"),
                tarballs=options.tarballs,
                clips=options.clips,
                clip_bytes=1_400_000,
            )
            server.upload(host.root, "kinetics/600")
            server.make_bucket("shards")
            for repeat in range(options.repeats):
                for workers in (1, 2):
                    child, parent = os.pipe()
                    if (pid := os.fork()) == 0:
                        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
                        idle = run(imports)
                        to = f"s3://shards/{workers}-{repeat}"
                        found = run(
                            program, server.url, to, workers, options.tarballs, options.shard_mb
                        )
                        found["cpu_s"] -= idle["cpu_s"]
                        os.write(parent, json.dumps(found).encode())
                        os._exit(0)
                    os.close(parent)
                    with os.fdopen(child) as pipe:
                        runs.setdefault(workers, []).append(json.load(pipe))
                    os.waitpid(pid, 0)
    return host.clip_bytes / 1e9, runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tarballs", type=int, default=4)
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--shard-mb", type=int, default=200)
    parser.add_argument("--network", type=float, default=100.0, help="MB/s of a worker")
    options = parser.parse_args()
    gigabytes, runs = measure(options)
    print(
        f"{options.tarballs} tarballs, {gigabytes:.2f} GB of clips, {options.repeats} runs each, "
        f"{os.cpu_count()} CPUs, Python {platform.python_version()}\n"
    )
    print("| workers | read s | merge s | tarballs a minute | CPU s/GB | memory MB |")
    print("|---|---|---|---|---|---|")
    for workers, found in runs.items():
        seconds = [one["read_s"] + one["merge_s"] for one in found]
        middle = {name: statistics.median(one[name] for one in found) for name in found[0]}
        rates = sorted(60 * options.tarballs / each for each in seconds)
        memory = f"{middle['memory_mb']:.0f}" if workers == 1 else ""
        print(
            f"| {workers} | {middle['read_s']:.1f} | {middle['merge_s']:.1f} "
            f"| {statistics.median(rates):.1f} ({rates[0]:.1f} to {rates[-1]:.1f}) "
            f"| {middle['cpu_s'] / gigabytes:.2f} | {memory} |"
        )
    alone = {n: statistics.median(one[n] for one in runs[1]) / gigabytes for n in runs[1][0]}
    rates = Rates(
        network=options.network,
        read_cpu_seconds_per_gb=alone["read_cpu_s"],
        merge_cpu_seconds_per_gb=alone["merge_cpu_s"],
    )
    print(
        f"\nCPU s/GB alone: reading {rates.read_cpu_seconds_per_gb:.2f}, merging "
        f"{rates.merge_cpu_seconds_per_gb:.2f}\n\nAll of Kinetics-600, {sum(SIZES) / 1e9:.0f} GB, "
        f"at these rates and {options.network:g} MB/s for each worker:\n"
    )
    enough = enough_workers(SIZES, shard_bytes=500_000_000, rates=rates)
    print("| workers | minutes | reading | planning | merging | slowest tarball s | busy | $ |")
    print("|---|---|---|---|---|---|---|---|")
    for workers in sorted({1, 10, 100, 1_000, enough}):
        one = simulate(SIZES, workers, shard_bytes=500_000_000, rates=rates)
        print(
            f"| {workers:,} | {one.seconds / 60:,.1f} | {one.read_seconds / 60:,.1f} "
            f"| {one.plan_seconds / 60:.1f} | {one.merge_seconds / 60:,.1f} "
            f"| {one.slowest_tarball_seconds:.0f} | {one.busy_share:.0%} | {one.dollars:.2f} |"
        )
    print(f"\nMore than {enough:,} workers hardly help.")


if __name__ == "__main__":
    main()
