"""The options of `publish` and `build_index`, each declared once, as those of a load are."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from k600.errors import OptionError
from k600.loading.options import declare

KINDS = ("metadata", "embedded", "index")
"""What one machine publishes. (Tar files are made by a fleet.)"""

MOST_SHARD_MB = 1_900  # below 2 GB with all that is around the clips


@dataclass(frozen=True, kw_only=True)
class PlaceOptions:
    """Where a dataset is written to."""

    to: str | os.PathLike[str] | None = declare(
        None,
        help="A folder or any URL that fsspec writes to.",
        flag_help="A folder or any fsspec URL instead of the Hub.",
        completes="dir",
    )
    to_options: Mapping[str, Any] | None = declare(
        None,
        help="fsspec storage options for `to`.",
        flag_help="fsspec options for that folder or URL, as JSON.",
        is_secret=True,
    )


@dataclass(frozen=True, kw_only=True)
class IndexOptions(PlaceOptions):
    """The options of `build_index`."""

    to: str | os.PathLike[str] | None = declare(
        None,
        help="Write all that is known there, too: a file (.parquet, .csv), a folder, or a URL.",
        flag_help="Write it there: a file (.parquet, .csv), a folder, a URL or hf://.",
        completes="file",
    )


@dataclass(frozen=True, kw_only=True)
class ShardOptions(PlaceOptions):
    """What `publish` and `fleet` are both told."""

    i_have_the_rights: bool = declare(
        False,
        help="You may redistribute these videos: clips need it said before they are embedded, or "
        "go from a fleet to the Hub.",
        flag_help="You may redistribute these videos.",
    )
    with_loader: bool = declare(False, help="Put this loader there, too, in the folder `loader`.")
    shard_size_mb: int = declare(
        500,
        help="MB of clips in a file, 1 to 1,900; of a fleet, at most on average.",
        flag_help="MB of clips in a file.",
        least=1,
        most=MOST_SHARD_MB,
    )

    @property
    def shard_bytes(self) -> int:
        """Bytes of clips in a shard."""
        return self.shard_size_mb * 1_000_000


@dataclass(frozen=True, kw_only=True)
class PublishOptions(ShardOptions):
    """The options of `publish`."""

    kind: str = declare(
        "metadata",
        help="`metadata`; `embedded`: with the clips themselves; or `index`: where each lies on "
        "the host, as far as `data_dir` knows (`build_index`).",
        allowed=KINDS,
        flag=None,
    )
    private: bool | None = declare(
        None,
        help="Whether only some may see a repository; by default, embedded clips.",
        flag=None,
    )
    mix: int = declare(
        16,
        help="Embedded: tarballs read side by side, so classes in a file, 1 to 600.",
        flag_help="With --embed: tarballs, so classes, in each file.",
        least=1,
        most=600,
    )
    token: str | None = declare(
        None,
        help="Of the Hub; default the one of this machine.",
        is_secret=True,
        flag=None,
    )


def repo_of_url(url: str) -> str | None:
    """Return `USER/NAME` of a `hf://` URL of a dataset repository; None for any other text.

    Example:
        >>> repo_of_url("hf://datasets/owner/clips")
        'owner/clips'
    """
    match = re.fullmatch(r"hf://(?:datasets/)?([^/]+/[^/]+)/?", url)
    return match and match[1]


def absolute_place(place: str) -> str:
    """Return a URL as it is, and a path as an absolute one."""
    return place if "://" in place else str(Path(place).expanduser().absolute())


def rights_error(what: str, *, but: str = "") -> OptionError:
    """Return the error for clips that `what` ("are embedded") without the user's statement."""
    message = (
        f"i_have_the_rights: the videos belong to their authors, so clips {what} only if you "
        "state that you may redistribute them: i_have_the_rights=True"
    )
    return OptionError(f"{message}. {but}" if but else message)
