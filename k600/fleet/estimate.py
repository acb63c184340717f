"""`--estimate`: how long a run takes and what it costs with so many workers, by a small simulation.

Workers take the largest tarball that is left; one assigns the clips; then workers take shards. A
worker reads while it computes, and writes afterwards. Shared bottlenecks (a switch, an own mirror)
are not simulated.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

from k600.fleet.job import check_fleet, make_job
from k600.fleet.options import EstimateOptions, FleetOptions
from k600.fleet.units import find_units, tarballs_to_read
from k600.loading.request import Request
from k600.publish.shards import USUAL_CLIP_BYTES
from k600.video.encoding import Encoding

NEAR_BEST = 1.1
"""Multiple of the shortest possible time that is good enough."""

WORKERS = (1, 10, 100, 1_000)

PUT_GETS = 12.5
"""Price of a PUT in GETs, on S3."""
_PUT_BYTES = 50 << 20  # of s3fs


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates(EstimateOptions):
    """Rates of one worker; measured by `benchmarks/fleet.py`, except for network and prices."""

    read_cpu_seconds_per_gb: float = 5.4
    """Per GB of tarball: from S3, gunzip, tar, boxes, SHA-256, to S3."""
    merge_cpu_seconds_per_gb: float = 8.5
    """Per GB of shard: from S3 in pieces, SHA-256, Parquet, to S3."""
    encode_cpu_seconds_per_gb: float = 0.0
    """Per GB of tarball."""
    encoded_share: float = 1.0
    """Size of clips that were encoded anew, as a share of the original."""
    task_seconds: float = 2.0
    """Overhead of each tarball or shard."""
    plan_seconds_per_gb: float = 0.03
    """Planning and finishing, by one worker alone."""

    def indexing(self) -> Rates:
        """Return the rates of a run that writes no clips, only where each lies."""
        return replace(self, read_cpu_seconds_per_gb=1.8, encoded_share=0.0)

    def encoding(self, encoding: Encoding) -> Rates:
        """Return typical rates where clips are encoded anew, which depend on their size."""
        share = encoding.most_share
        return replace(self, encode_cpu_seconds_per_gb=1_000.0, encoded_share=share)


@dataclass(frozen=True, slots=True)
class Simulation:
    """A simulated run."""

    workers: int
    seconds: float
    """The sum of the next three."""
    read_seconds: float
    plan_seconds: float
    merge_seconds: float
    slowest_tarball_seconds: float
    """Lower bound of `read_seconds`."""
    busy_share: float
    """Share of the workers' time in which they work, 0 to 1."""
    dollars: float
    """Every worker paid until the end."""


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests to the place of a run, if it is a bucket; those to the mirror are not among them."""

    gets: int
    """About one for each clip: a shard is written from a piece of every part."""
    puts: int
    """Of parts, shards and markers; large files go in pieces of 50 MiB."""
    request_dollars: float


@dataclass(frozen=True, slots=True)
class FleetEstimate:
    """The estimate of a run."""

    tarballs: int
    tarball_bytes: int
    enough_workers: int
    """More than these hardly help."""
    simulations: tuple[Simulation, ...]
    """In ascending order of workers."""
    requests: Requests
    """The same for any number of workers."""


def estimate_fleet(request: Request, how: FleetOptions, assumed: EstimateOptions) -> FleetEstimate:
    """Simulate the run for the tarballs' sizes on the mirror. Nothing is written.

    `how.workers` are simulated beside 1, 10, 100, 1,000 and as many as are enough. A PUT is taken
    to cost 12.5 GETs, as on S3.
    """
    check_fleet(request)
    sizes: list[int] = []
    for split in request.splits:
        job = make_job(request, split, how, with_labels=False)
        tarballs = tarballs_to_read(request, split)
        units, _ = find_units(tarballs, job, on_missing=request.on_missing)
        sizes += [unit.size_bytes for unit in units]

    rates = Rates(**asdict(assumed))
    if request.encoding is not None:
        rates = rates.encoding(request.encoding)
    if how.kind == "index":
        rates = rates.indexing()
    enough = enough_workers(sizes, shard_bytes=how.shard_bytes, rates=rates)
    numbers = {*WORKERS, enough, how.workers or enough}
    simulations = [
        simulate(sizes, number, shard_bytes=how.shard_bytes, rates=rates)
        for number in sorted(numbers)
    ]
    requests = count_requests(sizes, shard_bytes=how.shard_bytes, rates=rates)
    return FleetEstimate(len(sizes), sum(sizes), enough, tuple(simulations), requests)


def count_requests(tarball_bytes: Sequence[int], *, shard_bytes: int, rates: Rates) -> Requests:
    """Return about how many requests a run over tarballs of these sizes makes to a bucket.

    Example:
        >>> count_requests([10**9] * 600, shard_bytes=500_000_000, rates=Rates()).gets
        404200
    """
    left = sum(tarball_bytes) * rates.encoded_share
    shards = round(left / shard_bytes)
    clips = round(sum(tarball_bytes) / USUAL_CLIP_BYTES) if left else 0
    # The marker of each, and the beginning, pieces and end of each upload of parts and shards.
    puts = 3 * (len(tarball_bytes) + shards) + round(2 * left / _PUT_BYTES)
    gets = clips + len(tarball_bytes) + 3 * shards  # markers, and the plan of each shard
    dollars = (gets + PUT_GETS * puts) / 1_000 * rates.get_price
    return Requests(gets, puts, dollars)


def simulate(
    tarball_bytes: Sequence[int], workers: int, *, shard_bytes: int, rates: Rates
) -> Simulation:
    """Simulate a run over tarballs of these sizes, by one worker or more.

    Example:
        >>> one, two = (simulate([10**9] * 4, n, shard_bytes=10**9, rates=Rates()) for n in (1, 2))
        >>> round(one.read_seconds / two.read_seconds, 2)
        2.0
    """
    share = rates.encoded_share
    read_cpu = rates.read_cpu_seconds_per_gb + rates.encode_cpu_seconds_per_gb
    reads = [_seconds(size, size * share, read_cpu, rates) for size in tarball_bytes]

    left = sum(tarball_bytes) * share
    shards = max(1, round(left / shard_bytes))
    size = left / shards
    merges = [_seconds(size, size, rates.merge_cpu_seconds_per_gb, rates)] * shards

    read, merge = _makespan(reads, workers), _makespan(merges, workers)
    plan = 2 * rates.task_seconds + rates.plan_seconds_per_gb * left / 1e9
    seconds = read + plan + merge
    return Simulation(
        workers,
        seconds,
        read,
        plan,
        merge,
        max(reads, default=0.0),
        (sum(reads) + sum(merges) + plan) / (seconds * workers),
        seconds / 3600 * workers * rates.price,
    )


def enough_workers(tarball_bytes: Sequence[int], *, shard_bytes: int, rates: Rates) -> int:
    """Return the least number of workers with nearly the shortest possible time."""

    def seconds(workers: int) -> float:
        return simulate(tarball_bytes, workers, shard_bytes=shard_bytes, rates=rates).seconds

    shards = round(sum(tarball_bytes) * rates.encoded_share / shard_bytes)
    numbers = range(1, max(1, len(tarball_bytes), shards) + 1)
    most = seconds(numbers[-1]) * NEAR_BEST
    return numbers[bisect.bisect_left(numbers, True, key=lambda number: seconds(number) <= most)]


def _seconds(read_bytes: float, written_bytes: float, cpu_per_gb: float, rates: Rates) -> float:
    bytes_per_second = rates.network * 1e6  # in each direction
    reading = max(read_bytes / bytes_per_second, cpu_per_gb * read_bytes / 1e9)
    return rates.task_seconds + reading + written_bytes / bytes_per_second


def _makespan(seconds: Iterable[float], workers: int) -> float:
    """Return the total time if each free worker takes the longest task that is left."""
    free = [0.0] * workers
    for each in sorted(seconds, reverse=True):
        heapq.heappush(free, heapq.heappop(free) + each)
    return max(free)
