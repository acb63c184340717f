"""A miniature of the host, for the demo and tests: its layout and flaws, with small H.264 clips.

The clips show a drawn scene and the word MINIATURE, so that none is mistaken for one of Kinetics;
the first five of a class also its name, their split and number.
"""

from __future__ import annotations

from k600.miniature.clips import make_clip
from k600.miniature.host import (
    CLASSES,
    MACOS,
    PLAIN,
    URL,
    Miniature,
    make_miniature,
    make_tarball,
)

__all__ = [
    "CLASSES",
    "MACOS",
    "PLAIN",
    "URL",
    "Miniature",
    "make_clip",
    "make_miniature",
    "make_tarball",
]
