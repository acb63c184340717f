"""What fixes the shards of a published split, to the byte: its request, and how rows are mixed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from k600.dataset.clip import TestLabels
from k600.dataset.splits import Split
from k600.errors.text import short_hash
from k600.loading.request import Request
from k600.progress import Progress
from k600.publish.destination import Destination
from k600.publish.options import PublishOptions
from k600.store.store import META_DIR
from k600.video.encoding import describe_encoding

PUBLISHED_FORMATS = {"metadata": 3, "embedded": 2, "webdataset": 2, "index": 1}
"""What a published row of each kind means: with another number, places begun before are refused."""


@dataclass(frozen=True, slots=True)
class SplitJob:
    """One split to publish, and how."""

    request: Request
    split: str
    destination: Destination
    how: PublishOptions
    progress: Progress

    def own(self, name: str) -> str:
        """Return the path of a marker of the split."""
        return f"{META_DIR}/{self.split}/{name}"

    def describe(
        self, groups: Sequence[Sequence[str]] = (), labels: TestLabels | None = None
    ) -> dict[str, Any]:
        """Return what fixes the shards to the byte; `groups` and `labels` if clips are embedded."""
        description = describe(self.request, self.split, self.how.kind)
        if self.how.kind == "index":  # of all that is known
            return {name: description[name] for name in ("format", "kind", "split")}
        if self.how.kind == "embedded":
            description |= {
                "shard_size_mb": self.how.shard_size_mb,
                "mix": self.how.mix,
                "tarballs": digest_of_names([name for group in groups for name in group]),
            }
            if Split(self.split).is_mixed:
                description["labels"] = digest_of_labels(labels or {})
        return description


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
