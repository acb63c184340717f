"""What is said of the dataset in words and published numbers: `dataset_infos.json`, read."""

from __future__ import annotations

import json
import logging
from functools import cache
from pathlib import Path
from typing import Any

logger = logging.getLogger("kinetics600")

# A wheel carries the file inside the package, a checkout at the top beside `kinetics600.py`.
_K600 = Path(__file__).parent.parent
_PLACES = (_K600 / "dataset_infos.json", _K600.parent / "dataset_infos.json")


def read_info(config_name: str) -> dict[str, Any]:
    """Return what `dataset_infos.json` says of a configuration; empty if it cannot be read.

    It only describes the dataset, so it is never the cause of a failed load.
    """
    return dict(_read_all().get(config_name, {}))


@cache
def _read_all() -> dict[str, dict[str, Any]]:
    for place in _PLACES:
        try:
            infos = json.loads(place.read_text("utf-8"))
            return {name: dict(info) for name, info in infos.items()}
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError, AttributeError) as error:
            logger.warning("kinetics600: %s cannot be read (%s)", place, error)
    return {}
