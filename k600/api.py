"""What the loader does beside loading: `kinetics600.publish`, `fleet`, `gallery` and the like.

Each turns its arguments into a request and plain values, and hands them to the part that does the
work, which is imported where it is used.
"""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from k600.dataset.labels import NAMES, named_classes
from k600.fleet.options import FleetOptions
from k600.hf import Video, default_data_dir, plain_errors, progress
from k600.loading.manifest import ManifestRow, manifest_rows, write_manifest
from k600.loading.options import (
    check_option_names,
    own_options,
    takes_options,
)
from k600.loading.request import Request
from k600.loading.request import make_request as request_of
from k600.progress import Progress
from k600.publish.options import IndexOptions, PublishOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from k600.fleet.run import Fleet
    from k600.loading.keywords import FleetKeywords, IndexKeywords, Options, PublishKeywords
    from k600.publish.index import IndexedSplit
    from k600.publish.run import Published


def labels(of: str | None = None) -> list[str]:
    """Return the 600 class names in canonical order: the place in the list is the id.

    Args:
        of: Only those of a published subset: `kinetics-sounds` or `mini-kinetics-200`.

    Raises:
        UnknownClassError: There is no such subset.
    """
    return list(NAMES if of is None else named_classes(of))


@takes_options()
def make_request(split: str, **options: Unpack[Options]) -> Request:
    """Return the request that `load_dataset("kinetics600", split, **options)` would carry out.

    For tools that look at or fetch clips without making a dataset of them (`k600.loading.fetch`).

    Raises:
        OptionError: One of its kinds; an option is unknown or has a value that is not allowed.
    """
    check_option_names(options)
    request = request_of(
        split, default_data_dir=default_data_dir(None), progress=progress, **options
    )
    request.check_no_stream()
    return request


def save_manifest(ds: Any, path: str | os.PathLike[str]) -> str:
    """Freeze a loaded dataset into a file: `manifest=path` loads exactly its clips elsewhere.

    Args:
        ds: A `Dataset` that `load_dataset` returned, also filtered or sorted, or a `DatasetDict`.
        path: The file to write; its suffix says how: `.csv` or `.parquet`.

    Returns:
        The path, absolute. A row for each clip: what it is, where it came from, its size in bytes
        and its SHA-256.

    Raises:
        ManifestError: A clip's file cannot be read, or the manifest not be written.
        DiskFullError: The volume where it goes is full.
    """
    parts = ds.values() if isinstance(ds, Mapping) else [ds]
    rows: list[ManifestRow] = []
    for part in parts:
        rows += manifest_rows(part.cast_column("video", Video(decode=False)))
    return str(write_manifest(rows, path))


class Gallery:
    """A page of clips that was written; a notebook shows it in place."""

    def __init__(self, path: str) -> None:
        self.path = path
        """Where it is."""

    def __repr__(self) -> str:
        return f"Gallery({self.path!r})"

    def _repr_html_(self) -> str:
        with open(self.path, encoding="utf-8") as file:
            page = html.escape(file.read())
        style = "width: 100%; height: 800px; border: 0"
        allowed = "allow-scripts allow-downloads"
        return f'<iframe srcdoc="{page}" style="{style}" sandbox="{allowed}"></iframe>'


def gallery(
    ds: Any,
    path: str | os.PathLike[str] = "kinetics600-gallery.html",
    *,
    title: str = "Kinetics-600",
    most: int = 500,
) -> Gallery:
    """Write one self-contained page of a dataset's clips: thumbnails by class, click to play.

    Args:
        ds: What `load_dataset` returned, of whichever kind.
        path: The file to write.
        title: Title of the page.
        most: Most clips to show, the first ones; `ds.shuffle()` first shows all classes.

    Returns:
        An object that a notebook shows as the page, with its `path`.

    Raises:
        OptionError: There is no clip in `ds`.
        StoreError: The file cannot be written.
    """
    from k600.gallery.page import write_gallery

    return Gallery(str(write_gallery(ds, path, title=title, most=most)))


@takes_options(PublishOptions)
def publish(
    repo: str | None,
    split: str = "all",
    *,
    progress: Progress = progress,
    **options: Unpack[PublishKeywords],
) -> Published:
    """Publish a dataset that loads without this loader; the same call again goes on.

    Args:
        repo: `USER/NAME` on the Hub, or a folder or URL; with `to`, only what the card calls it.
        split: `train`, `validation`, `test` or `all`.
        progress: Opens progress bars; by default those of `datasets`.
        **options: The fields of `Kinetics600Config`; `seed` fixes the mixing, too.

    Raises:
        Kinetics600Error: One of its kinds; see `k600.errors`.
    """
    from k600.publish.run import publish as carry_out

    with plain_errors():
        how, wanted = own_options(PublishOptions, options)
        request = replace(make_request(split, **wanted), progress=progress)
        return carry_out(request, repo, how)


@takes_options(IndexOptions)
def build_index(split: str = "all", **options: Unpack[IndexKeywords]) -> list[IndexedSplit]:
    """Read tarballs once to know where each clip lies, and store none; the same call goes on.

    What is known is kept in `data_dir`, and loads from there get single clips by one request each.

    Args:
        split: `train`, `validation`, `test` or `all`.
        **options: The fields of `Kinetics600Config`.

    Raises:
        Kinetics600Error: One of its kinds; see `k600.errors`.
    """
    from k600.publish.index import build_index as carry_out
    from k600.publish.index import write_index

    with plain_errors():
        how, wanted = own_options(IndexOptions, options)
        request = make_request(split, **wanted)
        built = carry_out(request)
        if how.to is not None:
            write_index(request, how)
        return built


@takes_options(FleetOptions)
def fleet(
    to: str,
    split: str,
    *,
    progress: Progress = progress,
    **options: Unpack[FleetKeywords],
) -> Fleet:
    """Turn tarballs into class-mixed training shards, with many workers; a rerun goes on.

    Args:
        to: A folder that all workers see, any URL that fsspec writes to, or
            `hf://datasets/USER/NAME`.
        split: `train`, `validation`, `test` or `all`.
        progress: Opens progress bars; by default those of `datasets`.
        **options: The fields of `Kinetics600Config`; `seed` fixes the order of the clips.

    Raises:
        Kinetics600Error: One of its kinds; see `k600.errors`.
    """
    from k600.fleet.run import run_fleet

    with plain_errors():
        how, wanted = own_options(FleetOptions, {"to": to, **options})
        request = replace(make_request(split, **wanted), progress=progress)
        return run_fleet(request, how)
