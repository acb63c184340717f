"""Kinetics-600 for Hugging Face `datasets`: 600 human actions, half a million 10-second clips.

    import kinetics600
    from datasets import load_dataset

    ds = load_dataset("kinetics600", "validation", classes=["springboard diving"])

Importing this module teaches `datasets` the name `kinetics600`. Here is only what `datasets`
must see, the configuration and the builder; the parts that do the work are in `k600`.
"""

from __future__ import annotations

import dataclasses
import html
import inspect
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import datasets
import pyarrow
import pyarrow.compute

from k600.errors import (
    IncompleteError,
    Kinetics600Error,
    OptionError,
)
from k600.hf import (
    SCHEMA,
    LoadedRows,
    Video,
    check_decoder,
    default_data_dir,
    one_at_a_time,
    plain_errors,
    progress,
    refuse_unused,
    register,
    room_for_rows,
    show_log_lines,
    splits_of,
    without_blanks,
)
from k600.infos import read_info
from k600.labels import NAMES, id2label, label2id
from k600.loading.cache_note import Note, unreadable
from k600.loading.columns import ROWS, feature_types
from k600.loading.fetch import fetch_split
from k600.loading.manifest import ManifestRow, manifest_rows, write_manifest
from k600.loading.outcome import Outcome
from k600.loading.request import Request, check_config_name, check_option_names, check_split_names
from k600.loading.request import make_request as _make_request
from k600.loading.stream import stream_split
from k600.network import is_offline
from k600.splits import CONFIGS
from k600.values import flag, plain

if TYPE_CHECKING:
    from k600.fleet.run import Fleet
    from k600.publish.run import Published

__all__ = [
    "Kinetics600",
    "Kinetics600Config",
    "Kinetics600Error",
    "__version__",
    "features",
    "fleet",
    "gallery",
    "id2label",
    "label2id",
    "labels",
    "load_dataset",
    "make_request",
    "publish",
    "register",
    "save_manifest",
]

__version__ = "0.1.0"

logger = logging.getLogger("kinetics600")


def _option(default: Any, *, secret: bool = False) -> Any:
    """An option of a load; a secret one may hold a key or a password, and is not shown.

    `datasets` is not to compare them: `Request.cache_key` says which requests give other rows, and
    two that give the same share a folder of the cache.
    """
    return dataclasses.field(default=default, compare=False, repr=not secret)


@dataclasses.dataclass
class Kinetics600Config(datasets.BuilderConfig):
    """The options of a load; all are keyword arguments of `load_dataset`.

    Example:
        >>> Kinetics600Config(name="validation", classes="zumba").classes
        'zumba'
    """

    classes: str | Sequence[str] | None = _option(None)
    """Class names to load, or one name; None for all 600. Folder spellings are understood."""
    max_samples: int | None = _option(None)
    """Most clips to load from each split, 1 or more. Those that cannot be had are replaced."""
    max_per_class: int | None = _option(None)
    """Most clips of each class, 1 or more."""
    balanced: bool = _option(False)
    """With `max_samples`: take one clip of each class in turn."""
    shuffle: bool = _option(False)
    """Which clips `max_samples` takes: a random choice that `seed` fixes, the same everywhere.
    False: those that are in `data_dir` first, then in the order of class and file name."""
    seed: int | None = _option(None)
    """Seed of that choice, 0 or more; None is 0."""
    manifest: str | None = _option(None)
    """Path of a file written by `save_manifest`: load exactly its clips."""
    source: str = _option("auto")
    """Where clips come from that are not in `data_dir`. `auto`: whole splits and classes from the
    tarballs, a few clips from YouTube, or from the tarballs where YouTube gives none. `cvdf`: the
    tarballs. `youtube`: YouTube. `local`: nowhere."""
    data_dir: str | None = _option(None)
    """Folder where the clips live; default `kinetics600-clips` in `cache_dir` (the `datasets`
    cache), or KINETICS600_HOME."""
    short_side: int | None = _option(None)
    """Most pixels of a clip's shorter side, 16 or more: larger clips are encoded anew as they land,
    in `short_side_<pixels>` in `data_dir`. None: as their source has them, from YouTube 360."""
    test_labels: str | None = _option(None)
    """URL or path of DeepMind's `kinetics600.tar.gz`, or of its `test.csv`; default its URL."""
    num_workers: int | None = _option(None)
    """Tarballs or YouTube clips worked on at a time, 1 or more; default the number of CPUs."""
    mirror: str | None = _option(None)
    """Any fsspec URL below which the host's layout lies; default `s3://kinetics/600`, or
    KINETICS600_MIRROR."""
    mirror_options: Mapping[str, Any] | None = _option(None, secret=True)
    """fsspec storage options for it; the public bucket is read anonymously by default."""
    decode: bool = _option(False)
    """False: `video` is `{"path", "bytes"}`. True: a torchcodec `VideoDecoder`."""
    on_missing: str = _option("warn")
    """What to do when clips are missing: `warn`, `raise`, or `skip` (say nothing)."""
    retry_errors: bool = _option(False)
    """Ask again for clips that were proved not to be had."""
    audio: bool = _option(False)
    """Clips from YouTube: keep the sound."""
    cookies: str | None = _option(None, secret=True)
    """YouTube: path of an account's cookie file in Netscape's format; read, never written."""
    cookies_from_browser: str | None = _option(None, secret=True)
    """YouTube: a browser to take an account's cookies from, such as `firefox`."""
    proxy: str | None = _option(None, secret=True)
    """YouTube: URL of a proxy."""
    yt_dlp_options: Mapping[str, Any] | None = _option(None, secret=True)
    """YouTube: further parameters of `yt_dlp.YoutubeDL`; they overrule the loader's."""
    patience_seconds: int = _option(600)
    """With `source="youtube"`: how long to wait in all while YouTube refuses this address."""
    requests_per_hour: int = _option(900)
    """YouTube: questions an hour, two to four for each video; more may get an address refused."""

    def request(self, default_data_dir: str, storage_options: Mapping[str, Any]) -> Request:
        """Check the options and return the request they make.

        Raises:
            OptionError: A value is not allowed.
        """
        options = {field.name: getattr(self, field.name) for field in _option_fields()}
        flag("decode", options.pop("decode"))
        return _make_request(
            self.name,
            default_data_dir=default_data_dir,
            storage_options=storage_options,
            **options,
        )


def _option_fields() -> list[dataclasses.Field[Any]]:
    inherited = {field.name for field in dataclasses.fields(datasets.BuilderConfig)}
    own = [f for f in dataclasses.fields(Kinetics600Config) if f.name not in inherited]
    return [*own, *(f for f in dataclasses.fields(Kinetics600Config) if f.name == "data_dir")]


_PASSED_ON = ("features", "storage_options", "writer_batch_size")
"""Arguments of a builder of `datasets` that mean something here, beside the options."""


_COUNTS = ("splits", "download_size", "dataset_size", "size_in_bytes")
"""What `datasets` may say of a dataset before it is loaded."""

_AS_LOAD_DATASET_CALLS = {
    "download_config",
    "download_mode",
    "num_proc",
    "storage_options",
    "verification_mode",
}
"""What `datasets.load_dataset`, and nobody else, passes to `download_and_prepare` all at once."""


class Kinetics600(datasets.GeneratorBasedBuilder):
    """The builder. It turns options into a request, and what the request brought into rows."""

    BUILDER_CONFIG_CLASS = Kinetics600Config
    BUILDER_CONFIGS: ClassVar[list[Kinetics600Config]] = [
        Kinetics600Config(name=name, version=datasets.Version("1.0.0")) for name in CONFIGS
    ]
    DEFAULT_WRITER_BATCH_SIZE = 1000  # a Video column would otherwise mean batches of 10 rows

    def __init__(
        self,
        cache_dir: str | None = None,
        *,
        config_name: str | None = None,
        only: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Check a request; nothing is looked at or fetched yet.

        Args:
            cache_dir: Where `datasets` keeps Arrow files.
            config_name: `train`, `validation`, `test` or `all`; None if the split that is asked for
                later is to say it.
            only: These of the configuration's splits.
            **kwargs: The fields of `Kinetics600Config`, `storage_options`, and `writer_batch_size`.

        Raises:
            Kinetics600Error: One of its kinds; see `k600.errors`.
        """
        if config_name is not None:
            check_config_name(config_name)
        options = {field.name for field in _option_fields()}
        arguments = set(inspect.signature(datasets.DatasetBuilder.__init__).parameters)
        check_option_names(set(kwargs) - arguments - {"download_config"}, options)
        refuse_unused(kwargs)
        classes = kwargs.get("classes")
        if isinstance(classes, Iterable) and not isinstance(classes, (str, Mapping)):
            kwargs["classes"] = tuple(classes)  # an iterator can be read but once
        kwargs = {
            name: value
            for name, value in kwargs.items()
            if value is not None and (name in options or name in _PASSED_ON)
        }
        self._given = {"cache_dir": cache_dir, **kwargs}
        self._is_named = config_name is not None
        config_name = config_name or "all"
        given = {name: value for name, value in kwargs.items() if name in options}
        config = Kinetics600Config(name=config_name, **given)
        default = default_data_dir(cache_dir)
        request = config.request(default, kwargs.get("storage_options", {}))
        _check_features(kwargs.pop("features", None), features(decode=bool(config.decode)))
        key = request.cache_key(default)
        if only is not None:
            request = request.of(only)
            key["splits"] = list(request.splits)
        self._request = request
        super().__init__(
            cache_dir,
            config_name=config_name,
            config_id=config.create_config_id(key),
            hash=SCHEMA,  # never the source's hash: a changed comment must not matter
            dataset_name="kinetics600",
            **kwargs,
        )
        self._set_info(self._info())  # not what a cached result says, which may have been partial
        self._postponed: dict[str, Any] | None = None
        self._is_ready = False
        self._outcomes: dict[str, Outcome] = {}
        self._streamed: dict[str, list[Any]] = {}
        self._rows_digest = ""

    def _features(self) -> datasets.Features:
        return features(decode=bool(self.config.decode))

    def _build_cache_dir(self) -> str:
        # `datasets` reads its own note in there next, and one that a power loss emptied would end
        # every call.
        folder = str(super()._build_cache_dir())
        if unreadable(folder):
            with one_at_a_time(folder):
                for path in unreadable(folder):
                    logger.info("kinetics600: '%s' cannot be read, and is made anew", path)
                    path.unlink(missing_ok=True)
        return folder

    def _info(self) -> datasets.DatasetInfo:
        said = read_info(self.config.name)
        counts: dict[str, Any] = {}
        request = self._request
        these = tuple(said.get("splits", ())) == request.splits
        if these and request.is_whole and request.source != "local":
            counts = {name: said.get(name) for name in _COUNTS}
        return datasets.DatasetInfo(
            description=said.get("description", ""),
            citation=said.get("citation", ""),
            homepage=said.get("homepage", ""),
            license=said.get("license", ""),
            features=self._features(),
            **counts,
        )

    def _set_info(self, info: datasets.DatasetInfo) -> None:
        for name in ("features", *_COUNTS):
            setattr(self.info, name, getattr(info, name))

    def of(self, split: Any) -> Kinetics600:
        """Return the builder of those splits alone that a `split=…` of `load_dataset` means.

        Args:
            split: As `datasets.load_dataset` takes it: a name, `train+validation[:10%]`, a
                `ReadInstruction`, a list of these; None for all of the configuration.

        Raises:
            UnknownSplitError: The configuration has no such split, or there is neither.
        """
        if split is None and not self._is_named:
            check_config_name(None)
        own = self._request.splits
        names = {name for name, _ in splits_of(split, own)} if split is not None else {*own}
        check_split_names(names, own)
        if self._is_named and names == {*own}:
            return self
        if len(names) == 1:
            return type(self)(config_name=names.pop(), **self._given)
        some = None if names == {*own} else sorted(names)
        return type(self)(config_name="all", only=some, **self._given)

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        request = self._request
        shards: Mapping[str, Sequence[Any]]
        if dl_manager.is_streaming:  # `datasets` also comes here only to ask for names: no shards
            shards = self._streamed
        else:
            if not self._outcomes:
                with plain_errors():
                    self._bring(request, refetch=False)
            shards = {split: self._outcomes[split].shards for split in request.splits}
        return [
            datasets.SplitGenerator(name=split, gen_kwargs={"shards": [*shards.get(split, ())]})
            for split in request.splits
        ]

    def _generate_examples(self, shards: list[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        for shard in shards:
            for record in shard.records():
                yield record["video"]["path"], record

    def _generate_tables(self, shards: list[Any]) -> Iterator[tuple[int, pyarrow.Table]]:
        schema = self.info.features.arrow_schema
        for number, shard in enumerate(shards):
            yield number, pyarrow.table(shard.columns(), schema=schema)

    # Rows of the store are known column by column. Written so, half a million of them take a tenth
    # of the time that `datasets` spends on looking at each; streams still come row by row.
    _prepare_split_single = datasets.ArrowBasedBuilder._prepare_split_single

    def _prepare_split(
        self, split_generator: Any, *args: Any, check_duplicate_keys: bool = False, **kwargs: Any
    ) -> None:
        datasets.ArrowBasedBuilder._prepare_split(self, split_generator, *args, **kwargs)

    def download_and_prepare(
        self, output_dir: str | None = None, *args: Any, **kwargs: Any
    ) -> None:
        """Bring the clips into the store and their rows into Arrow.

        Rows made by an earlier call serve again only if they are what the store holds. (Called by
        `datasets.load_dataset`, it waits: which split is asked for is told to `as_dataset`.)

        Raises:
            Kinetics600Error: One of its kinds; see `k600.errors`.
        """
        refuse_unused({**self._given, **kwargs})
        if output_dir is None and not args and kwargs.keys() >= _AS_LOAD_DATASET_CALLS:
            self._postponed = kwargs
            return
        self.of(None)._prepare(output_dir, *args, **kwargs)

    def _prepare(
        self,
        output_dir: str | None = None,
        *args: Any,
        download_mode: datasets.DownloadMode | str | None = None,
        **kwargs: Any,
    ) -> None:
        if self.config.decode:
            check_decoder()
        mode = datasets.DownloadMode(download_mode or "reuse_dataset_if_exists")
        refetch = mode == datasets.DownloadMode.FORCE_REDOWNLOAD
        request = self._request
        note = Note.read(self._cache_dir)
        with plain_errors():
            if note is None or refetch or not note.holds(request):
                now = self._bring(request, refetch=refetch)
            else:
                now = note
                _tell_missing(request, note.message)
        place = os.path.dirname(self._cache_dir)
        with room_for_rows(place), one_at_a_time(self._cache_dir):
            note = Note.read(self._cache_dir)
            same = note is not None and note.digest == now.digest and output_dir is None
            if not same and not refetch:
                mode = datasets.DownloadMode.REUSE_CACHE_IF_EXISTS  # make the rows again
            # `datasets` would check the rows, and the disk, against the published numbers.
            self._set_info(datasets.DatasetInfo(features=self._features()))
            super().download_and_prepare(output_dir, *args, download_mode=mode, **kwargs)
            self._rows_digest, self._is_ready = now.digest, True
            self.info.features = self._features()
            if output_dir is None and (refetch or not same or now != note):
                now.write(self._cache_dir)

    def as_dataset(self, split: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Return the rows of a split, or of several; what `datasets.load_dataset` returns.

        Raises:
            Kinetics600Error: One of its kinds; see `k600.errors`.
        """
        postponed, self._postponed = self._postponed, None
        part = self if postponed is None and self._is_named else self.of(split)
        if postponed is not None:
            part._prepare(**postponed)
        return part._read(without_blanks(split), *args, **kwargs)

    def _read(self, *args: Any, **kwargs: Any) -> Any:
        if not self._is_ready and os.path.isdir(self._cache_dir):  # rows of an earlier call
            note = Note.read(self._cache_dir)
            self.info, self._rows_digest = self._load_info(), note.digest if note else ""
            self.info.features = self._features()
        return super().as_dataset(*args, **kwargs)

    def _as_dataset(self, split: Any, in_memory: bool = False) -> datasets.Dataset:
        rows = super()._as_dataset(split, in_memory)
        # Other rows may come under the same options, and the same rows decoded.
        decoded = bool(self.config.decode)
        made_from = [self._get_dataset_fingerprint(split), self._rows_digest, decoded]
        return LoadedRows.of(rows, datasets.fingerprint.Hasher.hash(made_from))

    def as_streaming_dataset(self, split: Any = None, base_path: str | None = None) -> Any:
        """Return rows that are read as they are asked for; nothing is stored.

        Raises:
            Kinetics600Error: One of its kinds; see `k600.errors`.
        """
        refuse_unused({**self._given, "base_path": base_path})
        part = self.of(split)
        if isinstance(split, (list, tuple)):
            return [self.as_streaming_dataset(each) for each in split]
        if isinstance(split, Mapping):
            streams = {name: self.as_streaming_dataset(each) for name, each in split.items()}
            return datasets.IterableDatasetDict(streams)
        parts = [] if split is None else splits_of(split, part._request.splits)
        for name, piece in parts:
            if piece != name:
                raise OptionError(
                    f"split: {piece!r} is not allowed, a slice needs one split and "
                    "streaming=False; use .take(n) of a stream"
                )
        if part.config.decode:
            check_decoder()
        with plain_errors():
            part._streamed = {
                name: stream_split(part._request, name, offline=is_offline())
                for name in part._request.splits
            }
        read = super(Kinetics600, part).as_streaming_dataset
        if split is None:
            return read()
        several = [read(name) for name, _ in parts]
        return several[0] if len(several) == 1 else datasets.concatenate_datasets(several)

    def _bring(self, request: Request, *, refetch: bool) -> Note:
        """Fetch what is missing, split by split, and tell what is there and what is not."""
        messages = []
        for split in request.splits:
            outcome = fetch_split(
                request, split, progress=progress, offline=is_offline(), refetch=refetch
            )
            self._outcomes[split] = outcome
            logger.info(outcome.summary())
            messages.append(outcome.missing_text())
        message = "\n".join(filter(None, messages))
        _tell_missing(request, message)
        return Note.of(request, self._outcomes.values(), message)


def load_dataset(
    split: Any = None,
    splits: str | Sequence[str] | None = None,
    *,
    streaming: bool = False,
    cache_dir: str | None = None,
    num_proc: int | None = None,
    download_mode: datasets.DownloadMode | str | None = None,
    keep_in_memory: bool = False,
    **options: Any,
) -> Any:
    """Load Kinetics-600 through public parts of `datasets` alone.

    Args:
        split: `train`, `validation`, `test` or `all`, or what else `datasets.load_dataset` takes:
            `validation[:10%]`, `train+validation`, a `ReadInstruction`, a list of these.
        splits: One such name or several, instead of `split`.
        streaming: Read clips as they are asked for, storing nothing.
        cache_dir: Where `datasets` keeps Arrow files.
        num_proc: Processes that write Arrow files.
        download_mode: As in `datasets.load_dataset`.
        keep_in_memory: Copy the Arrow table into memory.
        **options: The fields of `Kinetics600Config`.

    Returns:
        For `split`, a `Dataset` (a `DatasetDict` for `all`, a list for a list); for `splits`, a
        `DatasetDict`. Their iterable kinds with `streaming=True`.

    Raises:
        Kinetics600Error: One of its kinds; see `k600.errors`.
    """
    if (split is None) == (splits is None):
        check_config_name(None if split is None else f"{split} and splits={splits}")

    def load(asked: Any) -> Any:
        whole = isinstance(asked, str) and asked == "all"
        builder = Kinetics600(cache_dir, config_name="all" if whole else None, **options)
        part = None if whole else asked
        if streaming:
            return builder.as_streaming_dataset(part)
        builder = builder.of(part)
        builder.download_and_prepare(download_mode=download_mode, num_proc=num_proc)
        return builder.as_dataset(part, in_memory=keep_in_memory)

    if split is not None:
        return load(split)
    names = [splits] if isinstance(splits, str) else [str(name) for name in splits or ()]
    configs = [name.partition("[")[0] for name in names]
    if not names or len(set(configs)) < len(configs):
        raise OptionError(f"splits: {splits!r} is not allowed, expected different split names")
    several = datasets.IterableDatasetDict() if streaming else datasets.DatasetDict()
    for config, name in zip(configs, names, strict=True):
        several.update(load(name) if name == "all" else {config: load(name)})
    return several


def features(*, decode: bool = False) -> datasets.Features:
    """Return the dataset's columns.

    `video` (`{"path", "bytes"}`, or with `decode` a torchcodec decoder), `label` (id 0 to 599, None
    for a test clip without one), `youtube_id`, `time_start` and `time_end` (seconds in the YouTube
    video, the end exclusive), `split`, and `source`: `cvdf`, `youtube`, or `local` for a clip
    that was in the folder before.
    """
    declared = datasets.Features.from_dict(feature_types(ROWS))
    return datasets.Features({**declared, "video": Video(decode=decode)})


def labels() -> list[str]:
    """Return the 600 class names in canonical order: the place in the list is the id."""
    return list(NAMES)


def _check_features(given: datasets.Features | None, own: datasets.Features) -> None:
    """Raise `OptionError` if other columns are asked for than there are."""
    if given is None or own == given:
        return
    if features(decode=True) == given or features(decode=False) == given:
        raise OptionError(
            f"features: Video(decode={given['video'].decode}) is not allowed with "
            f"decode={own['video'].decode}; pass decode={given['video'].decode}, too"
        )
    other = [name for name in {**own, **given} if own.get(name) != given.get(name)]
    raise OptionError(
        f"features: {', '.join(map(repr, other))} are not allowed to differ from "
        "kinetics600.features(). Load without it, then ds.cast(…), ds.cast_column(…) or "
        "ds.select_columns(…)"
    )


def _tell_missing(request: Request, message: str) -> None:
    if message and request.on_missing == "raise":
        raise IncompleteError(message)
    if message and request.on_missing == "warn":
        logger.warning(message)


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
        return f'<iframe srcdoc="{page}" style="{style}" sandbox="allow-scripts"></iframe>'


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


def make_request(split: str, **options: Any) -> Request:
    """Return the request that `load_dataset("kinetics600", split, **options)` would carry out.

    For tools that look at or fetch clips without making a dataset of them (`k600.loading.fetch`).

    Raises:
        OptionError: One of its kinds; an option is unknown or has a value that is not allowed.
    """
    check_config_name(split)
    check_option_names(options, {field.name for field in _option_fields()})
    default = default_data_dir(None)
    return Kinetics600Config(name=split, **options).request(default, {})


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
    **options: Any,
) -> Published:
    """Publish a dataset that loads without this loader; the same call again goes on.

    Args:
        repo: `USER/NAME` on the Hub, or a folder or URL; with `to`, only what the card calls it.
        split: `train`, `validation`, `test` or `all`.
        to: A folder or any URL that fsspec writes to.
        kind: `metadata`, or `embedded`: with the clips themselves.
        i_have_the_rights: Embedded clips need it said.
        private: Whether only some may see a repository; by default, embedded clips.
        shard_size_mb: Embedded: MB of clips in a file, 1 to 1,900.
        mix: Embedded: tarballs read side by side, so classes in a file, 1 to 600.
        token: Of the Hub; default the one of this machine.
        to_options: fsspec storage options for `to`.
        **options: The fields of `Kinetics600Config`; `seed` fixes the mixing, too.

    Raises:
        Kinetics600Error: One of its kinds; see `k600.errors`.
    """
    from k600.publish.markers import Recipe
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
            progress=progress,
            offline=is_offline(),
        )


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
    **options: Any,
) -> Fleet:
    """Turn tarballs into class-mixed training shards, with many workers; a rerun goes on.

    Args:
        to: A folder that all workers see, any URL that fsspec writes to, or
            `hf://datasets/USER/NAME`.
        split: `train`, `validation`, `test` or `all`.
        executor: `local`, `slurm` or `ray`.
        workers: Tasks at a time; None for one a CPU, or on Slurm and Ray for all.
        tasks: Tasks that the tarballs are dealt to, 1 to 1,000; None for one each.
        format: `parquet`, or `webdataset`: tar files.
        shard_size_mb: MB of clips in a shard, at most on average, 1 to 1,900.
        shards_multiple_of: The number of shards is a multiple of this: of the machines that train.
        work: With `hf://`: a folder or URL for what is unfinished.
        i_have_the_rights: With `hf://`: you may hand the videos on.
        to_options: fsspec storage options for `to`, or `work`.
        logs: Slurm: a folder that all machines see, for scripts and logs.
        executor_options: Further parameters of datatrove's executor, such as Slurm's `partition`.
        **options: The fields of `Kinetics600Config`; `seed` fixes the order of the clips.

    Raises:
        Kinetics600Error: One of its kinds; see `k600.errors`.
    """
    from k600.fleet.options import FleetRecipe, Workforce, choose_places
    from k600.fleet.run import run_fleet

    with plain_errors():
        return run_fleet(
            make_request(split, **options),
            choose_places(to, to_options or {}, work=work, i_have_the_rights=i_have_the_rights),
            recipe=FleetRecipe(
                format=format,
                shard_size_mb=plain(shard_size_mb),
                shards_multiple_of=plain(shards_multiple_of),
            ),
            workforce=Workforce(
                executor=executor,
                workers=plain(workers),
                tasks=plain(tasks),
                logs=logs,
                more=executor_options or {},
            ),
            progress=progress,
            offline=is_offline(),
        )


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
        plain = part.cast_column("video", Video(decode=False))
        rows += manifest_rows(plain)
    return str(write_manifest(rows, path))


show_log_lines()

if __name__ == "kinetics600":
    register()
