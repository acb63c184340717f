"""Values of options, checked alike everywhere; numpy's and torch's scalars are numbers, too."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from k600.errors import OptionError, nearest
from k600.errors.text import listed


def plain(value: Any) -> Any:
    """Return a scalar of numpy or torch as Python's own, and anything else as it is.

    Example:
        >>> import numpy
        >>> plain(numpy.int64(51)), plain("zumba")
        (51, 'zumba')
    """
    return value.item() if getattr(value, "shape", None) == () else value


def whole_number(option: str, value: object, *, least: int, most: int | None = None) -> int:
    """Return an option's value as Python's own integer, from `least` to `most`."""
    number = plain(value)
    is_whole = isinstance(number, int) and not isinstance(number, bool)
    if not is_whole or number < least or (most is not None and number > most):
        allowed = f"of at least {least:,}" if most is None else f"from {least:,} to {most:,}"
        raise OptionError(f"{option}: {value!r} is not allowed, expected a whole number {allowed}")
    return int(number)


def positive(option: str, value: object) -> float:
    """Return an option's value as Python's own number, finite and more than 0."""
    number = plain(value)
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    if not is_number or not 0 < number < math.inf:
        raise OptionError(f"{option}: {value!r} is not allowed, expected a number more than 0")
    return float(number)


def number(option: str, value: object, *, least: float) -> float:
    """Return an option's value as Python's own number, finite and at least so much."""
    found = plain(value)
    is_number = isinstance(found, (int, float)) and not isinstance(found, bool)
    if not is_number or not least <= found < math.inf:
        raise OptionError(
            f"{option}: {value!r} is not allowed, expected a number, {least:,} or more"
        )
    return float(found)


def flag(option: str, value: object) -> bool:
    """Return an option's value as Python's own bool; 1 or "yes" are an `OptionError`."""
    if not isinstance(plain(value), bool):
        raise OptionError(f"{option}: {value!r} is not allowed, expected True or False")
    return bool(plain(value))


def choice(option: str, value: object, allowed: Collection[str]) -> str:
    """Return an option's value, which must be one of a few."""
    if value not in allowed:
        close = nearest(value, allowed) or "."
        raise OptionError(f"{option}: {value!r} is not allowed{close} Allowed: {listed(allowed)}")
    return str(value)
