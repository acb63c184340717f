"""Where a run leaves what it makes: shards, and beside them, or elsewhere, parts and notes.

The Hub takes files by commits, some hundred an hour, so a repository there gets shards alone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from k600.errors import OptionError
from k600.publish.destination import Destination, FileDestination
from k600.publish.hub import HubDestination, check_repo_id, repo_of_url
from k600.publish.markers import name_on_card

__all__ = ["OpenPlaces", "Places", "choose_places"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The places of a run, by name: small enough to be sent to every worker."""

    work: str
    """Folder or URL of parts and notes."""
    options: Mapping[str, Any] = field(repr=False)
    """fsspec storage options for it."""
    repo: str = ""
    """Dataset repository on the Hub for the shards; empty where they lie beside the notes."""

    @property
    def name(self) -> str:
        """What the card calls the shards' place."""
        return self.repo or name_on_card(self.work)

    @contextlib.contextmanager
    def open(self, *, shared: bool = True) -> Iterator[OpenPlaces]:
        """Make both ready.

        Args:
            shared: Whether this is one of several workers. Else a folder is locked.

        Raises:
            DestinationError: One cannot be used.
        """
        with contextlib.closing(FileDestination(self.work, self.options, shared=shared)) as work:
            work.prepare()
            if not self.repo:
                yield OpenPlaces(work, work)
                return
            with contextlib.closing(HubDestination(self.repo, private=True)) as hub:
                hub.prepare()
                yield OpenPlaces(work, hub)


@dataclass(frozen=True, slots=True)
class OpenPlaces:
    """The places of a run, ready."""

    work: FileDestination
    shards: Destination

    @property
    def apart(self) -> bool:
        """Whether they are two."""
        return self.shards is not self.work


def choose_places(
    to: str, options: Mapping[str, Any], *, work: str | None, i_have_the_rights: bool
) -> Places:
    """Return the places that options mean.

    Args:
        to: A folder, a URL, or `hf://datasets/USER/NAME`.
        options: fsspec storage options for the folder or URL.
        work: A folder or URL for parts and notes; needed for the Hub.
        i_have_the_rights: The Hub needs it said.

    Raises:
        OptionError: They do not fit together.
    """
    repo = repo_of_url(to)
    if repo is None:
        if work is not None or to.startswith("hf://"):
            raise OptionError(
                f"work: {work!r} is not allowed with to: {to!r}; it is for "
                "'hf://datasets/USER/NAME', where the parts cannot lie beside the shards"
            )
        return Places(work=_absolute(to), options=options)
    check_repo_id(repo)
    if work is None:
        raise OptionError(
            "work: needed with hf://, as the Hub takes files by commits, a few an hour: --work "
            "(work=…) a folder that all workers see, or a bucket, for the parts"
        )
    if not i_have_the_rights:
        raise OptionError(
            "i_have_the_rights: the videos belong to those who made them, so clips go to the Hub "
            "only for who says that they may hand them on: --i-have-the-rights "
            "(i_have_the_rights=True)"
        )
    return Places(work=_absolute(work), options=options, repo=repo)


def _absolute(place: str) -> str:
    return place if "://" in place else os.path.abspath(os.path.expanduser(place))
