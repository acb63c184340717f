"""The host's lists: fetched once, then kept in the store."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from functools import partial
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from k600.dataset.clip import Listing, Tarball, TestLabels
from k600.dataset.splits import Split
from k600.errors import (
    IndexFileError,
    ListError,
    MirrorDeniedError,
    MirrorError,
    MirrorNotFoundError,
    OfflineError,
)
from k600.errors.text import public_url, short_hash
from k600.mirror.mirror import Mirror
from k600.network import WEB_PORTS
from k600.store.store import Store
from k600.tarballs.lists import parse_listing, parse_path_list, parse_test_labels

logger = logging.getLogger("kinetics600")

T = TypeVar("T")


class KeptLists:
    """The host's lists of one split: those that the store keeps, else the mirror's.

    What fetches a list raises `MirrorError`, or `ListError` if it is truncated or no list.
    """

    def __init__(self, mirror: Mirror, store: Store, split: str, *, keep: bool = True) -> None:
        """Read nothing yet; with `keep`, lists that are fetched are kept."""
        self._mirror, self._store, self._split, self._keep = mirror, store, Split(split), keep
        self._listing: Listing | None = None

    def tarballs(self, *, fetch: bool = False) -> list[Tarball]:
        """Return the tarballs of the path list that is kept; with `fetch`, else of the host's."""
        kept = self._kept("paths", partial(parse_path_list, split=self._split))
        return self.fetch_tarballs() if kept is None and fetch else kept or []

    def fetch_tarballs(self) -> list[Tarball]:
        """Return the tarballs of the host's path list, fetched now."""
        folder = self._split.host_folder
        parse = partial(parse_path_list, split=self._split)
        return self._fetch("paths", f"{folder}/k600_{folder}_path.txt", parse)

    def listing(self, *, fetch: bool = False) -> Listing:
        """Return the file names of each class, as far as they are known by now; with `fetch`, the
        host is asked if they are not.
        """
        if self._listing is None:
            self._listing = self._kept(
                "listing", lambda text: parse_listing(text, self._split) if text else {}
            )
        return self.fetch_listing() if fetch and not self._listing else self._listing or {}

    def fetch_listing(self) -> Listing:
        """Return the host's listing, fetched now; the one that it had before, if it gives none."""
        if self._split.is_mixed:  # test.csv is another list than the tarballs hold
            return {}
        folder = self._split.host_folder
        parse = partial(parse_listing, split=self._split)
        # A mirror may have none; S3 answers "denied" then where listing a bucket is forbidden.
        with contextlib.suppress(MirrorNotFoundError, MirrorDeniedError):
            self._listing = self._fetch("listing", f"annotations/{folder}.txt", parse)

        found = self.listing()
        if not found:  # else it had one before: a portal or a proxy may have refused it
            logger.warning(
                "kinetics600 %s: %s has no list of the clips, so a clip that is not in its "
                "tarball cannot be missed",
                self._split,
                self._mirror,
            )
            self._write("listing", b"")
        return found

    def _fetch(self, kind: str, path: str, parse: Callable[..., T]) -> T:
        """Fetch and keep a list, with an end to its last line."""
        text = self._mirror.read_list(path)
        found = parse(text, name=f"{self._mirror}/{path}", whole=True)
        self._write(kind, f"{text.rstrip()}\n".encode())
        return found

    def _write(self, kind: str, text: bytes) -> None:
        if self._keep:
            self._store.write_own(self._name(kind), text)

    def _kept(self, kind: str, parse: Callable[[str], T]) -> T | None:
        return read_kept(self._store, self._name(kind), lambda data: parse(data.decode()))

    def _name(self, kind: str) -> str:
        return f"lists/{short_hash(self._mirror.identity)}-{self._split}-{kind}"


def read_kept(store: Store, name: str, parse: Callable[[bytes], T]) -> T | None:
    """Return what the store keeps of a host; None, with a warning, if it is damaged."""
    data = store.read_own(name)
    try:
        return None if data is None else parse(data)
    except (IndexFileError, ListError, UnicodeDecodeError) as error:
        logger.warning(
            "data_dir: what '%s' keeps as '%s' is damaged (%s); it is fetched anew where it may be",
            store.root,
            name,
            error,
        )
        return None


def object_at(url: str, mirror: Mirror) -> tuple[Mirror, str]:
    """Return the root and the name of an object at a URL or path, to be read as a mirror's are.

    The mirror's options serve for it, too, if it is on the same host.
    """
    parts = urlsplit(url)
    options = mirror.options if parts[:2] == urlsplit(mirror.url)[:2] else {}
    query = f"?{parts.query}" if parts.scheme in WEB_PORTS and parts.query else ""
    base, _, last = url.removesuffix(query).rpartition("/")
    if parts.scheme in WEB_PORTS:
        last = unquote(last)
    return Mirror(f"{base}{query}" or "/", options), last


def read_test_labels(
    url: str,
    mirror: Mirror,
    store: Store,
    *,
    offline: bool = False,
    keep: bool = True,
    refresh: bool = False,
) -> TestLabels:
    """Return the labels of the test clips; none, with a warning, where the list cannot be reached.

    A list that crossed the network is kept in the store, if `keep`; with `refresh`, it is fetched
    again.
    """
    shown = public_url(url)
    root, last = object_at(url, mirror)
    network = not (root.is_network and offline)

    kept = f"lists/{short_hash(url)}-test-labels"
    read = partial(parse_test_labels, name=f"test_labels: {shown}", whole=True)
    labels = read_kept(store, kept, read)
    if labels is not None and not (network and (refresh or not root.is_network)):
        return labels

    try:
        if not network:
            raise OfflineError(f"{shown} is not kept here, and the network is not to be used")
        data = root.read_small(last, most_bytes=1 << 30)
    except MirrorError as error:
        if labels is None:
            logger.warning(
                "test_labels: the labels of test clips are missing: %s. The next call asks again; "
                "test_labels=… may be a file",
                str(error).partition(". ")[0].removeprefix("mirror: "),  # no advice on tarballs
            )
        return labels or {}

    labels = read(data)
    if keep and root.is_network:
        store.write_own(kept, data)
    return labels
