"""What the loader does beside loading: `kinetics600.publish`, `fleet`, `gallery` and the like.

Each turns its arguments into a request and plain values, and hands them to the part that does the
work, which is imported where it is used.
"""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from k600.hf import Video, default_data_dir, plain_errors, progress
from k600.labels import NAMES, named_classes
from k600.loading.manifest import ManifestRow, manifest_rows, write_manifest
from k600.loading.options import check_option_names, takes_options
from k600.loading.request import Request
from k600.loading.request import make_request as request_of
from k600.network import is_offline
from k600.progress import Progress
from k600.values import plain

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from k600.fleet.run import Fleet
    from k600.loading.keywords import Options
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


@takes_options
def make_request(split: str, **options: Unpack[Options]) -> Request:
    """Return the request that `load_dataset("kinetics600", split, **options)` would carry out.

    For tools that look at or fetch clips without making a dataset of them (`k600.loading.fetch`).

    Raises:
        OptionError: One of its kinds; an option is unknown or has a value that is not allowed.
    """
    check_option_names(options)
    request = request_of(split, default_data_dir=default_data_dir(None), **options)
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


@takes_options
def publish(
    repo: str | None,
    split: str = "all",
    *,
    to: str | None = None,
    kind: str = "metadata",
    i_have_the_rights: bool = False,
    private: bool | None = None,
    shard_size_mb: int = 500,
    mix: int = 16,
    token: str | None = None,
    to_options: Mapping[str, Any] | None = None,
    with_loader: bool = False,
    progress: Progress = progress,
    **options: Unpack[Options],
) -> Published:
    """Publish a dataset that loads without this loader; the same call again goes on.

    Args:
        repo: `USER/NAME` on the Hub, or a folder or URL; with `to`, only what the card calls it.
        split: `train`, `validation`, `test` or `all`.
        to: A folder or any URL that fsspec writes to.
        kind: `metadata`; `embedded`: with the clips themselves; or `index`: where each lies on the
            host, as far as `data_dir` knows (`build_index`).
        i_have_the_rights: Embedded clips need it said.
        private: Whether only some may see a repository; by default, embedded clips.
        shard_size_mb: Embedded: MB of clips in a file, 1 to 1,900.
        mix: Embedded: tarballs read side by side, so classes in a file, 1 to 600.
        token: Of the Hub; default the one of this machine.
        to_options: fsspec storage options for `to`.
        with_loader: Put this loader there, too, in the folder `loader`.
        progress: Opens progress bars; by default those of `datasets`.
        **options: The fields of `Kinetics600Config`; `seed` fixes the mixing, too.

    Raises:
        Kinetics600Error: One of its kinds; see `k600.errors`.
    """
    from k600.publish.recipe import Recipe
    from k600.publish.run import publish as carry_out

    with plain_errors():
        return carry_out(
            make_request(split, **options),
            repo,
            to=to,
            recipe=Recipe(kind=kind, shard_size_mb=plain(shard_size_mb), mix=plain(mix)),
            i_have_the_rights=i_have_the_rights,
            private=private,
            token=token,
            to_options=to_options,
            with_loader=with_loader,
            progress=progress,
            offline=is_offline(),
        )


@takes_options
def build_index(
    split: str = "all",
    *,
    to: str | os.PathLike[str] | None = None,
    to_options: Mapping[str, Any] | None = None,
    **options: Unpack[Options],
) -> list[IndexedSplit]:
    """Read tarballs once to know where each clip lies, and store none; the same call goes on.

    What is known is kept in `data_dir`, and loads from there get single clips by one request each.

    Args:
        split: `train`, `validation`, `test` or `all`.
        to: Write all that is known there, too: a file (`.parquet`, `.csv`), a folder, or a URL.
        to_options: fsspec storage options for `to`.
        **options: The fields of `Kinetics600Config`.

    Raises:
        Kinetics600Error: One of its kinds; see `k600.errors`.
    """
    from k600.publish.index import build_index as carry_out
    from k600.publish.index import write_index

    request, offline = make_request(split, **options), is_offline()
    with plain_errors():
        built = carry_out(request, progress=progress, offline=offline)
        if to is not None:
            place = {"to_options": to_options, "offline": offline}
            write_index(request, os.fspath(to), progress=progress, **place)
        return built


@takes_options
def fleet(
    to: str,
    split: str,
    *,
    executor: str = "local",
    workers: int | None = None,
    tasks: int | None = None,
    format: str = "parquet",  # noqa: A002 - as it is called on the command line
    shard_size_mb: int = 500,
    shards_multiple_of: int = 1,
    work: str | None = None,
    i_have_the_rights: bool = False,
    to_options: Mapping[str, Any] | None = None,
    logs: str | None = None,
    executor_options: Mapping[str, Any] | None = None,
    progress: Progress = progress,
    **options: Unpack[Options],
) -> Fleet:
    """Turn tarballs into class-mixed training shards, with many workers; a rerun goes on.

    Args:
        to: A folder that all workers see, any URL that fsspec writes to, or
            `hf://datasets/USER/NAME`.
        split: `train`, `validation`, `test` or `all`.
        executor: `local`, `slurm` or `ray`.
        workers: Tasks at a time; None for one a CPU, or on Slurm and Ray for all.
        tasks: Tasks that the tarballs are dealt to, 1 to 1,000; None for one each.
        format: `parquet`; `webdataset`: tar files; or `index`: no clips, only where each lies.
        shard_size_mb: MB of clips in a shard, at most on average, 1 to 1,900.
        shards_multiple_of: The number of shards is a multiple of this: of the machines that train.
        work: With `hf://`: a folder or URL for what is unfinished.
        i_have_the_rights: With `hf://`: you may hand the videos on.
        to_options: fsspec storage options for `to`, or `work`.
        logs: Slurm: a folder that all machines see, for scripts and logs.
        executor_options: Further parameters of datatrove's executor, such as Slurm's `partition`.
        progress: Opens progress bars; by default those of `datasets`.
        **options: The fields of `Kinetics600Config`; `seed` fixes the order of the clips.

    Raises:
        Kinetics600Error: One of its kinds; see `k600.errors`.
    """
    from k600.fleet.options import Workforce, choose_places, fleet_recipe
    from k600.fleet.run import run_fleet

    workers, tasks, more = plain(workers), plain(tasks), executor_options or {}
    with plain_errors():
        recipe = fleet_recipe(
            format=format,
            shard_size_mb=plain(shard_size_mb),
            shards_multiple_of=plain(shards_multiple_of),
        )
        places = choose_places(
            to,
            to_options or {},
            work=work,
            i_have_the_rights=i_have_the_rights,
            has_clips=recipe.kind != "index",
        )
        return run_fleet(
            make_request(split, **options),
            places,
            recipe=recipe,
            workforce=Workforce(
                executor=executor, workers=workers, tasks=tasks, logs=logs, more=more
            ),
            progress=progress,
            offline=is_offline(),
        )
