"""The real lists, where they lie beside the checkout; they are not part of the project."""

from __future__ import annotations

from pathlib import Path

import pytest

_FOLDER = Path(__file__).parent.parent.parent / "shared" / "kinetics600"

needs_shared = pytest.mark.skipif(
    not _FOLDER.is_dir(), reason="the real lists are not in ../shared/kinetics600"
)


def shared(name: str) -> Path:
    return _FOLDER / name
