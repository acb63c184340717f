"""Every error the loader raises on purpose, as one tree.

    Kinetics600Error
    ├── OptionError (ValueError)              an option's value is not allowed
    │   ├── UnknownClassError                 no such class name
    │   ├── UnknownSplitError                 no such configuration
    │   ├── ManifestError                     a manifest that cannot be read or written
    │   └── IndexFileError                    an index that cannot be read
    ├── MissingDependencyError (ImportError)  an optional package is needed
    ├── MirrorError (OSError)                 the host cannot serve what was asked
    │   ├── MirrorNotFoundError               nothing at that address
    │   ├── MirrorDeniedError                 the host refuses access
    │   ├── MirrorUnreachableError            no answer, or the connection keeps failing
    │   ├── MirrorChangedError                the object was replaced while it was read
    │   ├── MirrorRangesError                 the host sends no byte ranges, only whole objects
    │   └── OfflineError                      the network is needed but switched off
    ├── YouTubeError (OSError)                YouTube as a whole gives no clips
    ├── ListError (ValueError)                a list of the host is truncated or not a list
    ├── DamagedTarballError (ValueError)      a tarball that fails gzip's or tar's own checks
    │   └── NoTarballError                    what came is no tarball at all: the line's fault
    ├── EntryError (ValueError)               a clip does not lie where its entry says
    ├── EncoderError (RuntimeError)           a clip that can be decoded cannot be encoded
    ├── StoreError (OSError)                  the folder of clips cannot be used
    │   └── DiskFullError                     not enough room on its volume
    ├── DestinationError (OSError)            the place to publish to cannot be used
    │   ├── DestinationDamagedError           what a run left there to go on with is damaged
    │   ├── DestinationDeniedError            no token, or one that may not write there
    │   └── DestinationTakenError             it holds something else, or another request
    ├── IncompleteError (RuntimeError)        clips are missing and that may not be
    │   └── NoClipsError                      not one of the clips asked for is there
    └── Stopped                               a run was told to stop (Ctrl-C); nothing is wrong

Each also inherits the builtin that a caller would expect. Messages say which option, the
value it had, what is allowed, and what to do next.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from typing import Any

from k600.errors.text import printable_lines


class Kinetics600Error(Exception):
    """Base of every error raised on purpose; its words are safe to show, whosever they are."""

    def __str__(self) -> str:
        return printable_lines(super().__str__())


class OptionError(Kinetics600Error, ValueError):
    """An option has a value that is not allowed."""


class UnknownClassError(OptionError):
    """A class name is none of the 600, in any known spelling."""


class UnknownSplitError(OptionError):
    """A configuration or split name is not one of `train`, `validation`, `test`, `all`."""


class ManifestError(OptionError):
    """A manifest cannot be read or written, or names what is no clip."""


class IndexFileError(OptionError):
    """An index cannot be read, or one of its rows is none of a clip in a tarball."""


class MissingDependencyError(Kinetics600Error, ImportError):
    """An optional package is needed; the message says how to install it."""


class MirrorError(Kinetics600Error, OSError):
    """The host of the tarballs cannot serve what was asked."""


class MirrorNotFoundError(MirrorError):
    """Nothing is stored at that address."""


class MirrorDeniedError(MirrorError):
    """The host refuses access (S3 without list rights says so for a missing object, too)."""


class MirrorUnreachableError(MirrorError):
    """No answer, or the connection kept failing after every retry."""


class MirrorChangedError(MirrorError):
    """The object was replaced by another while it was being read."""


class MirrorRangesError(MirrorError):
    """The host sends no byte ranges, only whole objects."""


class OfflineError(MirrorError):
    """The network is needed, but `HF_DATASETS_OFFLINE` or `source="local"` forbids it."""


class YouTubeError(Kinetics600Error, OSError):
    """YouTube refuses this address, or cannot be reached, and `source="youtube"` was given."""


class ListError(Kinetics600Error, ValueError):
    """A list of the host is truncated, or is no list at all."""


class DamagedTarballError(Kinetics600Error, ValueError):
    """A tarball fails gzip's or tar's own checks, or is not a tarball."""


class NoTarballError(DamagedTarballError):
    """What came in a tarball's place is none: a web page, zeros, nothing."""


class EntryError(Kinetics600Error, ValueError):
    """A clip does not lie in its tarball where its entry says: the tarball has to be read."""


class EncoderError(Kinetics600Error, RuntimeError):
    """A clip that can be decoded cannot be encoded anew: never the clip's fault."""


class StoreError(Kinetics600Error, OSError):
    """The folder that holds the clips cannot be used."""


class DiskFullError(StoreError):
    """The store's volume has not enough room."""


class DestinationError(Kinetics600Error, OSError):
    """The place to publish to cannot be used."""


class DestinationDamagedError(DestinationError):
    """What a run left at the place to publish to, to go on with, is gone or damaged."""


class DestinationDeniedError(DestinationError):
    """There is no token for the place to publish to, or one that may not write there."""


class DestinationTakenError(DestinationError):
    """The place to publish to holds something else, or what another request made."""


class IncompleteError(Kinetics600Error, RuntimeError):
    """Clips are missing and `on_missing="raise"` was given."""


class NoClipsError(IncompleteError):
    """Not one of the clips asked for could be had."""

    def __init__(self, message: str, *, settled: bool = False) -> None:
        """Make the error; `settled` if the same call again would find none, either."""
        super().__init__(message)
        self.settled = settled


class Stopped(Kinetics600Error):  # noqa: N818 - nothing is wrong
    """The run was told to stop; what is in the store stays good."""


def need(module: str, what: str) -> Any:
    """Return an optional module; if it is missing or broken, raise an error that says `what` it is.

    Raises:
        MissingDependencyError: With those words, and what importing it said.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        first_line = str(error).strip().partition("\n")[0]
        raise MissingDependencyError(f"{what} ({module}: {first_line})") from error


def nearest(value: object, allowed: Iterable[str], *, most: int = 3) -> str:
    """Return `"; did you mean 'a' or 'b'?"` for the names closest to `value`, or `""`."""
    names = list(allowed)
    folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(str(value).casefold(), folded, n=most, cutoff=0.6)
    if not close:
        return ""
    return "; did you mean " + " or ".join(repr(folded[name]) for name in close) + "?"
