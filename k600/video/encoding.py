"""How clips are encoded anew as they arrive: the one value that says so, and its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ENCODINGS = ("training",)
"""What `encode` may be."""

_VERSIONS = {None: 1, "training": 1}
"""Raise the number of what gives other frames, times or sizes than before: clips of an older
version are in a store of their own, and are never taken for those of a newer one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How clips are encoded anew as they arrive; None stands for clips as their source has them."""

    short_side: int | None = None
    """Most pixels of the shorter side; None for clips of the size that they have."""
    encode: str | None = None
    """`training`: every clip, so that few frames are decoded to reach any one, each of them fast;
    None: only clips that are too large, as small files."""
    crf: int = 23
    """x264's quality, 0 (lossless) to 51."""
    frame_step: int = 1
    """Every so-many-th frame is kept, from the first on, each at its own time."""

    def leaves(self, width: int, height: int) -> bool:
        """Return whether a clip of so many pixels stays as it is."""
        is_small = self.short_side is None or min(width, height) <= self.short_side
        return self.encode is None and is_small

    @property
    def x264(self) -> Mapping[str, str]:
        """x264's options."""
        # Without the last one, the same frames give other bytes now and then: what x264's
        # assembler makes of a frame's motion depends on where in memory it lies.
        options = {
            "crf": str(self.crf),
            "preset": "veryfast",
            "x264-params": "cpu-independent=1",
        }
        if self.encode is not None:
            options |= {"tune": "fastdecode", "bf": "0", "g": str(self._key_every)}
        return options

    @property
    def _key_every(self) -> int:
        """From how many frames at most one is a key frame, if clips are for training."""
        return 16 if self.frame_step == 1 else 8

    @property
    def words(self) -> str:
        """What clips are like, for people: `H.264, …`."""
        words = ["H.264", f"CRF {self.crf}"]
        if self.short_side is not None:
            words.append(f"the shorter side at most {self.short_side} pixels")
        if self.encode is not None:
            words.append(f"a key frame at least every {self._key_every} frames")
            words.append("no B frames, no CABAC, no deblocking")
        if self.frame_step > 1:
            words.append(f"one of {self.frame_step} frames, each at its own time")
        return ", ".join(words)

    @property
    def most_share(self) -> float:
        """How large clips become on the whole, as a share of what the host's are: rather too much.

        A forecast must not promise more room than there will be. By `benchmarks.training`, of the
        scene that grows most, a smooth one: with `short_side`, of 640 x 360 pixels, which with
        grain are as large as the host's on average; else of 340 x 256. With grain, it is less by a
        third.
        """
        share = 1.0
        if self.short_side is not None:
            of_pixels = 0.45 if self.encode is None else 0.62
            share = min(1.0, of_pixels * (self.short_side / 256) ** 1.5)
        if self.encode is not None:
            of_frames = {1: 1.85, 2: 1.7, 3: 1.7}.get(self.frame_step, 1.2)
            # So many steps of quality for half the bytes; they count for less the coarser it is.
            steps = 6.5 if self.crf < 23 else 7.5
            share *= of_frames * 2 ** ((23 - self.crf) / steps)
        return share

    @property
    def name(self) -> str:
        """All of it in a word, as a folder is called: `short_side_256`, say."""
        words = [] if self.short_side is None else [f"short_side_{self.short_side}"]
        if self.encode is not None:
            words.append(f"{self.encode}_crf_{self.crf}")
        if self.frame_step > 1:
            words.append(f"step_{self.frame_step}")
        if _VERSIONS[self.encode] > 1:
            words.append(f"v{_VERSIONS[self.encode]}")
        return "_".join(words)


CUT = Encoding(crf=18)
"""How clips are encoded that are cut out of longer videos, unless something else is asked for."""


def describe_encoding(encoding: Encoding | None) -> Mapping[str, Any]:
    """Return what to note of how clips are encoded, as JSON.

    Example:
        >>> describe_encoding(Encoding(short_side=256))
        {'short_side': 256}
        >>> describe_encoding(Encoding(encode="training"))
        {'short_side': None, 'encoding': 'training_crf_23'}
    """
    if encoding is None:
        return {"short_side": None}
    described: dict[str, Any] = {"short_side": encoding.short_side}
    if encoding.name != f"short_side_{encoding.short_side}":
        described["encoding"] = encoding.name
    return described
