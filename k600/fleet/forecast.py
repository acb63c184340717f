"""`--estimate`: the sizes of a request's tarballs, and the simulation of a run on them."""

from __future__ import annotations

from dataclasses import dataclass

from k600.errors import OptionError
from k600.fleet.estimate import Rates, Simulation, enough_workers, simulate
from k600.fleet.job import FleetRecipe
from k600.fleet.places import Places
from k600.fleet.units import check_fleet, find_units, make_job, tarballs_to_read
from k600.loading.request import Request

__all__ = ["FleetForecast", "forecast_fleet"]

WORKERS = (1, 10, 100, 1_000)


@dataclass(frozen=True, slots=True)
class FleetForecast:
    """What a run of the fleet would take."""

    tarballs: int
    tarball_bytes: int
    enough_workers: int
    """More than these hardly help."""
    simulations: tuple[Simulation, ...]
    """By number of workers, ascending."""


def forecast_fleet(
    request: Request,
    recipe: FleetRecipe,
    *,
    workers: int | None = None,
    network_mb_s: float = 50.0,
    dollars_per_hour: float = 0.05,
    offline: bool = False,
) -> FleetForecast:
    """Ask the mirror how large the tarballs are, and play the run through. Nothing is written.

    Args:
        request: Which tarballs.
        recipe: Size of the shards.
        workers: Play it for these, too; None for 1, 10, 100, 1,000 and as many as are enough.
        network_mb_s: What a worker reads or writes in a second, in units of 1,000,000 bytes.
        dollars_per_hour: What a worker costs.
        offline: Never cross a network.

    Raises:
        OptionError: A value is not allowed.
        MirrorError, ListError: The sizes cannot be had.
    """
    recipe.check()
    check_fleet(request, offline=offline)
    if not network_mb_s > 0:
        raise OptionError(f"network: {network_mb_s} is not allowed, expected MB/s above 0")
    if not dollars_per_hour >= 0:
        raise OptionError(f"price: {dollars_per_hour} is not allowed, expected dollars, 0 or more")
    places = Places(work="", options={})  # nothing is written
    sizes: list[int] = []
    for split in request.splits:
        job = make_job(request, split, recipe, places, with_labels=False)
        tarballs = tarballs_to_read(request, split)
        units, _ = find_units(tarballs, job, on_missing=request.on_missing)
        sizes += [unit.size_bytes for unit in units]
    rates = Rates(network_bytes_per_second=network_mb_s * 1e6, dollars_per_hour=dollars_per_hour)
    if request.short_side is not None:
        rates = rates.shrinking()
    shard_bytes = recipe.shard_size_mb * 1_000_000
    enough = enough_workers(sizes, shard_bytes=shard_bytes, rates=rates)
    numbers = sorted({*WORKERS, enough, *([workers] if workers else [])})
    return FleetForecast(
        len(sizes),
        sum(sizes),
        enough,
        tuple(simulate(sizes, n, shard_bytes=shard_bytes, rates=rates) for n in numbers),
    )
