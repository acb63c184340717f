"""The options of a load as keyword arguments, for type checkers and editors: `Unpack[Options]`.

Made from `k600/loading/options.py` by `python scripts/make_types.py`; a test holds it current.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any, Literal, TypedDict


class Options(TypedDict, total=False):
    """The options of a load; each may be left out."""

    classes: str | Collection[str] | None
    """A class name, or a list of them."""
    max_samples: int | None
    """Most clips of each split, 1 or more."""
    max_per_class: int | None
    """Most clips of each class, 1 or more."""
    balanced: bool
    """With `max_samples`: take one clip of each class in turn."""
    shuffle: bool
    """Choose at random which clips `max_samples` and `max_per_class` take, as `seed` says."""
    shuffle_clips: bool
    """With `streaming=True`: yield all clips in one random order, as `seed` says."""
    seed: int | None
    """Seed of that choice, and of that order, 0 or more."""
    manifest: str | os.PathLike[str] | None
    """A file written by `save_manifest`: exactly its clips, instead of classes and limits."""
    exclude_overlap: bool
    """Leave out clips of validation and test whose video is in train, too."""
    source: Literal["auto", "cvdf", "youtube", "local"]
    """Where clips come from that are not in `data_dir`."""
    data_dir: str | os.PathLike[str] | None
    """Folder where clips live."""
    short_side: int | None
    """Most pixels of a clip's shorter side, 16 or more."""
    encode: Literal["training"] | None
    """`training`: encode every clip so that random frames of it are decoded fast."""
    crf: int
    """With `encode="training"`: quality of the frames, 1 (best) to 51, as x264 counts it."""
    frame_step: int
    """With `encode="training"`: keep every so-many-th frame only, each at its own time."""
    mirror: str | os.PathLike[str] | None
    """Any fsspec URL with the host's layout below it."""
    mirror_options: Mapping[str, Any] | None
    """fsspec storage options for it, such as `{"endpoint_url": ...}` or keys."""
    test_labels: str | os.PathLike[str] | None
    """URL or path of DeepMind's `kinetics600.tar.gz`, or of its `test.csv`."""
    index: str | os.PathLike[str] | None
    """Where clips lie on the host, as a table: each then comes by one request."""
    num_workers: int | None
    """Tarballs, or clips from YouTube, worked on at a time, 1 or more."""
    decode: bool
    """Have `video` be a torchcodec `VideoDecoder`, not `{"path", "bytes"}`."""
    on_missing: Literal["warn", "raise", "skip"]
    """What to do when clips are missing: `warn`, `raise`, or `skip` (say nothing)."""
    retry_errors: bool
    """Ask again for clips that were proved not to be had."""
    audio: bool
    """YouTube: keep the audio, in the original language, as the tarballs' clips have it."""
    cookies: str | os.PathLike[str] | None
    """YouTube: an account's cookie file in Netscape's format; read, never written."""
    cookies_from_browser: str | None
    """YouTube: a browser to take an account's cookies from, such as `firefox`."""
    proxy: str | None
    """YouTube: URL of a proxy."""
    yt_dlp_options: Mapping[str, Any] | None
    """YouTube: further parameters of `yt_dlp.YoutubeDL`, such as `{"socket_timeout": 60}`."""
    patience_seconds: int | None
    """With `source="youtube"`: seconds to wait in all while YouTube refuses this address."""
    requests_per_hour: int
    """YouTube: questions an hour, two for most videos, after a first 90."""


class PublishKeywords(Options, total=False):
    """Those of `publish`."""

    to: str | os.PathLike[str] | None
    """A folder or any URL that fsspec writes to."""
    to_options: Mapping[str, Any] | None
    """fsspec storage options for `to`."""
    i_have_the_rights: bool
    """You may redistribute these videos: clips need it said before they are embedded, or go from a
    fleet to the Hub.
    """
    with_loader: bool
    """Put this loader there, too, in the folder `loader`."""
    shard_size_mb: int
    """MB of clips in a file, 1 to 1,900; of a fleet, at most on average."""
    kind: Literal["metadata", "embedded", "index"]
    """`metadata`; `embedded`: with the clips themselves; or `index`: where each lies on the host,
    as far as `data_dir` knows (`build_index`).
    """
    private: bool | None
    """Whether only some may see a repository; by default, embedded clips."""
    mix: int
    """Embedded: tarballs read side by side, so classes in a file, 1 to 600."""
    token: str | None
    """Of the Hub; default the one of this machine."""


class IndexKeywords(Options, total=False):
    """Those of `index`."""

    to: str | os.PathLike[str] | None
    """Write all that is known there, too: a file (.parquet, .csv), a folder, or a URL."""
    to_options: Mapping[str, Any] | None
    """fsspec storage options for `to`."""


class FleetKeywords(Options, total=False):
    """Those of `fleet`."""

    to_options: Mapping[str, Any] | None
    """fsspec storage options for `to`."""
    i_have_the_rights: bool
    """You may redistribute these videos: clips need it said before they are embedded, or go from a
    fleet to the Hub.
    """
    with_loader: bool
    """Put this loader there, too, in the folder `loader`."""
    shard_size_mb: int
    """MB of clips in a file, 1 to 1,900; of a fleet, at most on average."""
    work: str | os.PathLike[str] | None
    """With `hf://`: a folder or URL for what is unfinished; `to_options` are then for it."""
    format: Literal["parquet", "webdataset", "index"]
    """`parquet`; `webdataset`: tar files; or `index`: no clips, only where each lies."""
    shards_multiple_of: int
    """The number of shards is a multiple of this: of the machines that train; 1 to 4,096."""
    executor: Literal["local", "slurm", "ray"]
    """`local`, `slurm` or `ray`."""
    workers: int | None
    """Tasks at a time; by default one a CPU, on Slurm and Ray all."""
    tasks: int | None
    """Tasks that share the tarballs, 1 to 1,000; by default one each."""
    logs: str | os.PathLike[str] | None
    """Slurm: a folder that all machines see, for scripts and logs."""
    executor_options: Mapping[str, Any] | None
    """Further parameters of datatrove's executor for Slurm (such as `partition`) or Ray."""
