"""Kinetics-600 for Hugging Face `datasets`: 600 human actions, half a million 10-second clips.

    import kinetics600
    from datasets import load_dataset

    ds = load_dataset("kinetics600", "validation", classes=["springboard diving"])

Importing this module teaches `datasets` the name `kinetics600`. Here is what `datasets` sees; all
else that users need can be reached from here, too. The parts that do the work are in `k600`.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import datasets
import pyarrow

from k600 import errors, hf, train
from k600.api import Gallery as Gallery
from k600.api import build_index, fleet, gallery, labels, make_request, publish, save_manifest
from k600.dataset.labels import id2label, label2id
from k600.dataset.splits import CONFIGS
from k600.errors import Kinetics600Error
from k600.hf import register
from k600.loading.cache_note import Note, remove_unreadable, unreadable
from k600.loading.columns import ROWS, feature_types
from k600.loading.fetch import fetch_split
from k600.loading.infos import read_info
from k600.loading.options import (
    OPTIONS,
    OptionFields,
    check_option_names,
    takes_options,
    with_attribute_docs,
)
from k600.loading.outcome import Outcome
from k600.loading.request import Request, check_config_name, check_one_of, check_split_names
from k600.loading.request import make_request as request_of
from k600.loading.shuffled import stream_shards

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from k600.loading.keywords import Options

__all__ = [
    "Kinetics600",
    "Kinetics600Config",
    "Kinetics600Error",
    "__version__",
    "build_index",
    "errors",
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
    "train",
]

__version__ = "0.1.0"

logger = logging.getLogger("kinetics600")


@with_attribute_docs
@dataclasses.dataclass
class Kinetics600Config(OptionFields, datasets.BuilderConfig):
    """The options of a load; all are keyword arguments of `load_dataset`.

    Example:
        >>> Kinetics600Config(name="validation", classes="zumba").classes
        'zumba'
    """


_WORDS = ("description", "citation", "homepage", "license")
_COUNTS = ("splits", "download_size", "dataset_size", "size_in_bytes")
"""What `datasets` may say of a dataset before it is loaded."""


class Kinetics600(datasets.GeneratorBasedBuilder):
    """The builder. It turns options into a request, and the clips of that request into rows."""

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
        """Check a request; nothing is read or fetched yet.

        Args:
            cache_dir: Where `datasets` keeps Arrow files.
            config_name: `train`, `validation`, `test` or `all`; None if a later `split` says it.
            only: These of the configuration's splits.
            **kwargs: The fields of `Kinetics600Config`, `storage_options`, and `writer_batch_size`.
        """
        if config_name is not None:
            check_config_name(config_name)
        check_option_names(kwargs.keys() - hf.BUILDER_ARGUMENTS)
        given = hf.used_arguments(kwargs, options=OPTIONS)
        self._given = {"cache_dir": cache_dir, **given}
        self._is_named = config_name is not None

        options = {name: value for name, value in given.items() if name in OPTIONS}
        config = Kinetics600Config(name=config_name or "all", **options)
        home, storage = hf.default_data_dir(cache_dir), given.get("storage_options")
        request = request_of(
            config.name,
            default_data_dir=home,
            storage_options=storage,
            progress=hf.progress,
            **options,
        )
        self._is_decoded = bool(config.decode)
        self._features = features(decode=self._is_decoded)
        hf.check_features(given.pop("features", None), self._features)

        key = request.cache_key(home)
        if only is not None:
            request = request.of(only)
            key["splits"] = list(request.splits)
        self._request = request
        self._postponed: dict[str, Any] | None = None
        self._outcomes: dict[str, Outcome] = {}
        self._streamed: dict[str, list[Any]] = {}
        self._rows_digest: str | None = None  # not known before they are made or read

        super().__init__(
            cache_dir,
            config_name=config.name,
            config_id=config.create_config_id(key),
            hash=hf.SCHEMA,  # never the source's hash: a changed comment must not matter
            dataset_name="kinetics600",
            **given,
        )
        self._set_info(self._info())  # not what a cached result says, which may have been partial

    def _build_cache_dir(self) -> str:
        # `datasets` reads its own note in there next, and one that a power loss emptied would end
        # every call.
        folder = str(super()._build_cache_dir())
        if unreadable(folder):
            with hf.one_at_a_time(folder):
                remove_unreadable(folder)
        return folder

    def _info(self) -> datasets.DatasetInfo:
        published, request = read_info(self.config.name), self._request
        facts: dict[str, Any] = {name: published.get(name, "") for name in _WORDS}
        same_splits = tuple(published.get("splits", ())) == request.splits
        if same_splits and request.is_whole and request.source != "local":
            facts |= {name: published.get(name) for name in _COUNTS}
        return datasets.DatasetInfo(features=self._features, **facts)

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
        names = {name for name, _ in hf.splits_of(split, own)} if split is not None else {*own}
        check_split_names(names, own)

        if self._is_named and names == {*own}:
            return self
        if len(names) == 1:
            return type(self)(config_name=names.pop(), **self._given)
        some = None if names == {*own} else sorted(names)
        return type(self)(config_name="all", only=some, **self._given)

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        request = self._request
        shards: Mapping[str, Sequence[Any]] = self._streamed
        if not dl_manager.is_streaming:  # else it may be that only names are asked for: no shards
            if not self._outcomes:
                with hf.plain_errors():
                    self._fetch(request, refetch=False)
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
    _get_examples_iterable_for_split = hf.examples_of

    def _prepare_split(
        self, split_generator: Any, *args: Any, check_duplicate_keys: bool = False, **kwargs: Any
    ) -> None:
        datasets.ArrowBasedBuilder._prepare_split(self, split_generator, *args, **kwargs)

    def download_and_prepare(
        self, output_dir: str | None = None, *args: Any, **kwargs: Any
    ) -> None:
        """Fetch the clips into the store, and write their rows as Arrow.

        Rows made by an earlier call serve again only if they are what the store holds. (Called by
        `datasets.load_dataset`, it waits: which split is asked for is told to `as_dataset`.)
        """
        hf.refuse_unused({**self._given, **kwargs})
        self._request.check_no_stream()
        if output_dir is None and not args and hf.is_from_load_dataset(kwargs):
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
        hf.check_decoder(wanted=self._is_decoded)
        mode = datasets.DownloadMode(download_mode or "reuse_dataset_if_exists")
        refetch = mode == datasets.DownloadMode.FORCE_REDOWNLOAD

        request, note = self._request, Note.read(self._cache_dir)
        with hf.plain_errors():
            if note is None or refetch or not note.holds(request):
                now = self._fetch(request, refetch=refetch)
            else:
                now = note
                request.reading.complain(note.message)

        with hf.writing_rows(self._cache_dir):
            note = Note.read(self._cache_dir)
            same = note is not None and note.digest == now.digest and output_dir is None
            if not same and not refetch:
                mode = datasets.DownloadMode.REUSE_CACHE_IF_EXISTS  # make the rows again

            # `datasets` would check the rows, and the disk, against the published numbers.
            self._set_info(datasets.DatasetInfo(features=self._features))
            super().download_and_prepare(output_dir, *args, download_mode=mode, **kwargs)
            self.info.features = self._features
            self._rows_digest = now.digest
            if output_dir is None and (refetch or not same or now != note):
                now.write(self._cache_dir)

    def as_dataset(self, split: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Return the rows of a split, or of several; what `datasets.load_dataset` returns."""
        postponed, self._postponed = self._postponed, None
        part = self if postponed is None and self._is_named else self.of(split)
        if postponed is not None:
            part._prepare(**postponed)
        return part._read(hf.without_blanks(split), *args, **kwargs)

    def _read(self, *args: Any, **kwargs: Any) -> Any:
        if self._rows_digest is None and os.path.isdir(self._cache_dir):  # rows of an earlier call
            note = Note.read(self._cache_dir)
            self.info, self._rows_digest = self._load_info(), note.digest if note else None
            self.info.features = self._features
        return super().as_dataset(*args, **kwargs)

    def _as_dataset(self, split: Any, in_memory: bool = False) -> datasets.Dataset:
        rows = super()._as_dataset(split, in_memory)
        # Other rows may come under the same options, and the same rows decoded.
        made_from = [self._get_dataset_fingerprint(split), self._rows_digest, self._is_decoded]
        return hf.LoadedRows.of(rows, datasets.fingerprint.Hasher.hash(made_from))

    def as_streaming_dataset(self, split: Any = None, base_path: str | None = None) -> Any:
        """Return rows that are read as they are asked for; nothing is stored."""
        hf.refuse_unused({**self._given, "base_path": base_path})
        part = self.of(split)  # whatever is wrong with one of several is told before the first
        if isinstance(split, (list, tuple)):
            return [self.as_streaming_dataset(each) for each in split]
        if isinstance(split, Mapping):
            streams = {name: self.as_streaming_dataset(each) for name, each in split.items()}
            return datasets.IterableDatasetDict(streams)

        request = part._request
        names = [] if split is None else hf.whole_splits_of(split, request.splits)
        hf.check_decoder(wanted=part._is_decoded)
        with hf.plain_errors():
            part._streamed = {name: stream_shards(request, name) for name in request.splits}

        read = super(Kinetics600, part).as_streaming_dataset
        if split is None:
            return read()
        several = [read(name) for name in names]
        return several[0] if len(several) == 1 else datasets.concatenate_datasets(several)

    def _fetch(self, request: Request, *, refetch: bool) -> Note:
        """Fetch what is not in the store, split by split, and report what is still missing."""
        messages = []
        for split in request.splits:
            outcome = fetch_split(request, split, refetch=refetch)
            self._outcomes[split] = outcome
            logger.info(outcome.summary())
            messages.append(outcome.missing_text())
        request.reading.complain("\n".join(filter(None, messages)))
        return Note.of(request, self._outcomes.values())


@takes_options()
def load_dataset(
    split: Any = None,
    splits: str | Sequence[str] | None = None,
    *,
    streaming: bool = False,
    cache_dir: str | None = None,
    num_proc: int | None = None,
    download_mode: datasets.DownloadMode | str | None = None,
    keep_in_memory: bool = False,
    **options: Unpack[Options],
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
    check_one_of(split, splits)

    def load(split: Any) -> Any:
        every = isinstance(split, str) and split == "all"
        builder = Kinetics600(cache_dir, config_name="all" if every else None, **options)
        part = None if every else split
        if streaming:
            return builder.as_streaming_dataset(part)

        builder = builder.of(part)
        builder.download_and_prepare(download_mode=download_mode, num_proc=num_proc)
        return builder.as_dataset(part, in_memory=keep_in_memory)

    if split is not None:
        return load(split)

    several = datasets.IterableDatasetDict() if streaming else datasets.DatasetDict()
    for config, name in hf.configs_of(splits).items():
        several.update(load(name) if name == "all" else {config: load(name)})
    return several


def features(*, decode: bool = False) -> datasets.Features:
    """Return the dataset's columns.

    `video` (`{"path", "bytes"}`, or with `decode` a torchcodec decoder), `label` (id 0 to 599, None
    for a test clip without one), `youtube_id`, `time_start` and `time_end` (seconds in the YouTube
    video, the end exclusive), `split`, `source` (`cvdf`, `youtube`, or `local` for a clip that was
    in the folder before), and `fps` (frames per second of a clip that was encoded anew, else None).
    """
    declared = datasets.Features.from_dict(feature_types(ROWS))
    return datasets.Features({**declared, "video": hf.Video(decode=decode)})


def __dir__() -> list[str]:
    return sorted(__all__)


if __name__ == "kinetics600":
    # As `os` does with `os.path`: what is reached from here can be imported from here.
    sys.modules.update({"kinetics600.errors": errors, "kinetics600.train": train})
    register()
elif __name__ == "__main__":  # `python -m kinetics600` is the command line, too
    importlib.import_module("k600.cli").main()
