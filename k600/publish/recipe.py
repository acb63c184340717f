"""What fixes the shards of a published split, to the byte: its request, and the recipe for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from k600.clip import TestLabels
from k600.errors import OptionError
from k600.loading.request import Request
from k600.progress import Progress
from k600.publish.destination import Destination
from k600.publish.shards import MOST_SHARD_MB
from k600.splits import Split
from k600.store.store import META_DIR
from k600.text import short_hash
from k600.values import whole_number
from k600.video.encoding import describe_encoding

KINDS = ("metadata", "embedded", "index")
"""What one machine publishes. (Tar files are made by a fleet.)"""

PUBLISHED_FORMATS = {"metadata": 3, "embedded": 2, "webdataset": 2, "index": 1}
"""What a published row of each kind means: with another number, places begun before are refused."""

_MOST = {"shard_size_mb": MOST_SHARD_MB, "mix": 600, "shards_multiple_of": 4_096}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How rows become shards."""

    kind: str = "metadata"
    """`metadata`, `embedded` or `webdataset`: with the clips themselves, or `index`: where each
    lies."""
    shard_size_mb: int = 500
    """Bytes of clips in a shard, in units of 1,000,000, 1 to 1,900; of a fleet, on average."""
    mix: int = 16
    """Embedded: tarballs read side by side, 1 to 600: so many classes are in a shard."""
    shards_multiple_of: int = 1
    """Of a fleet: the number of shards is a multiple of this, 1 to 4,096."""

    def check(self) -> None:
        """Raise `OptionError` for a number that is not allowed."""
        for option, most in _MOST.items():
            whole_number(option, getattr(self, option), least=1, most=most)

    @property
    def shard_bytes(self) -> int:
        """Bytes of clips in a shard."""
        return self.shard_size_mb * 1_000_000

    def describe(
        self,
        request: Request,
        split: str,
        groups: Sequence[Sequence[str]] = (),
        labels: TestLabels | None = None,
    ) -> dict[str, Any]:
        """Return what fixes a split's shards to the byte; `groups` and `labels` if embedded."""
        if self.kind == "index":  # of all that is known
            return {"format": PUBLISHED_FORMATS[self.kind], "kind": self.kind, "split": split}
        description = describe(request, split, self.kind)
        if self.kind == "embedded":
            description |= {
                "shard_size_mb": self.shard_size_mb,
                "mix": self.mix,
                "tarballs": digest_of_names([name for group in groups for name in group]),
            }
            if Split(split).is_mixed:
                description["labels"] = digest_of_labels(labels or {})
        return description


@dataclass(frozen=True, slots=True)
class SplitJob:
    """One split to publish, and how."""

    request: Request
    split: str
    destination: Destination
    recipe: Recipe
    progress: Progress
    offline: bool

    @property
    def data(self) -> str:
        """The folder of the split's shards."""
        return f"data/{self.split}"

    def own(self, name: str) -> str:
        """Return the path of a marker of the split."""
        return f"{META_DIR}/{self.split}/{name}"


def rights_error(what: str, *, but: str = "") -> OptionError:
    """Return the error for clips that `what` ("are embedded") without the user's statement."""
    message = (
        f"i_have_the_rights: the videos belong to their authors, so clips {what} only if you "
        "state that you may redistribute them: i_have_the_rights=True"
    )
    return OptionError(f"{message}. {but}" if but else message)


def describe(request: Request, split: str, kind: str) -> dict[str, Any]:
    """Return what decides which clips, and which bytes, a split's shards hold."""
    return {
        "format": PUBLISHED_FORMATS[kind],
        "kind": kind,
        "split": split,
        "classes": None if request.classes is None else [*request.classes],
        **dataclasses.asdict(request.limits),
        "manifest": None if request.manifest is None else request.manifest.digest,
        "source": request.source,
        **describe_encoding(request.encoding),
    }


def digest_of_names(names: Sequence[str]) -> str:
    """Return the number of names and a digest of them in their order."""
    digest = short_hash("\n".join(names))
    return f"{len(names)} ({digest})"


def digest_of_labels(labels: TestLabels) -> str:
    """Return a digest of the labels of test clips, also of none."""
    return short_hash("\n".join(f"{key} {label}" for key, label in sorted(labels.items())))
