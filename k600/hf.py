"""What `datasets` has no hook for: the name, its arguments, rows' files, bars, locks, log lines."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import inspect
import logging
import os
import sys
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.compute
from datasets.iterable_dataset import ExamplesIterable
from datasets.utils import tqdm as _datasets_tqdm
from huggingface_hub.utils.tqdm import disable_progress_bars as _disable_hub_bars

from k600.dataset.splits import CONFIGS
from k600.errors import Kinetics600Error, OptionError, need
from k600.errors.text import listed
from k600.errors.translate import rows_error, translate_errors
from k600.progress import Bar, Lines, without_bars_of
from k600.store.files import digest_of_files, lock_at, make_folder

logger = logging.getLogger("kinetics600")

SCHEMA = "k600r2"  # stands for the source's hash in cache paths: new rows' meaning, new name


_UNUSED = {
    "base_path": "there are no files of a repository: pass mirror=… for a copy of the tarballs",
    "config_id": "it follows from the options",
    "data_files": "the loader knows its files: pass data_dir=… for a folder of clips, mirror=… for "
    "a copy of the tarballs",
    "info": "it follows from the configuration",
    "repo_id": "there is no repository: pass mirror=… for a copy of the tarballs",
    "revision": "there is one dataset, and the loader's version is that of the installed package: "
    "pip install . in a checkout of the one you want",
    "token": "nothing is read from the Hub: pass mirror_options={'token': …} for a mirror there",
}
"""Arguments of `datasets` that would be ignored, and what to do instead."""

_PASSED_ON = ("features", "storage_options", "writer_batch_size")
"""Arguments of a builder of `datasets` that mean something here, beside the options."""

_AS_LOAD_DATASET_CALLS = {
    "download_config",
    "download_mode",
    "num_proc",
    "storage_options",
    "verification_mode",
}
"""What `datasets.load_dataset`, and nobody else, passes to `download_and_prepare` all at once."""

BUILDER_ARGUMENTS = frozenset(
    {*inspect.signature(datasets.DatasetBuilder.__init__).parameters, "download_config"}
)
"""All that `datasets` may call a builder with, beside the options."""


@dataclasses.dataclass(eq=False)
class Video(datasets.Video):
    """`datasets.Video`, but encoding a row does not import torchcodec.

    The original imports it for every row if it is installed at all; one that is installed but
    broken (no FFmpeg libraries, another torch) would stop every load, decoded or not.
    """

    def encode_example(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {"bytes": value.get("bytes"), "path": value.get("path")}
        return super().encode_example(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, datasets.Video) and other.decode == self.decode

    def __hash__(self) -> int:
        return hash(("Video", self.decode))


class LoadedRows(datasets.Dataset):
    """Rows as they were loaded, under a fingerprint that stands for the clips' files as well.

    What is computed from rows is kept under their fingerprint, and must not serve once a clip was
    replaced. So size and time of each row's file go into it, when it is first asked for: half a
    million files take a second or more, and a load is not to wait for that.
    """

    _covers_files = True

    @classmethod
    def of(cls, rows: datasets.Dataset, made_from: str) -> LoadedRows:
        """Return the same rows; `made_from` is the fingerprint of the rows themselves."""
        loaded = cls(rows.data, rows.info, rows.split, fingerprint=made_from)
        loaded._covers_files = False
        return loaded

    @property
    def _fingerprint(self) -> Any:
        if not self._covers_files:
            paths = pyarrow.compute.struct_field(self.data.column("video"), "path")
            made_from = [self.__dict__["_fingerprint"], digest_of_files(paths)]
            self._fingerprint = datasets.fingerprint.Hasher.hash(made_from)
        return self.__dict__["_fingerprint"]

    @_fingerprint.setter
    def _fingerprint(self, fingerprint: Any) -> None:
        self.__dict__["_fingerprint"] = fingerprint
        self._covers_files = True

    def save_to_disk(self, *args: Any, **kwargs: Any) -> None:
        self._fingerprint  # noqa: B018 - it is saved as it stands in `__dict__`
        super().save_to_disk(*args, **kwargs)


def register() -> bool:
    """Teach `datasets` the name `kinetics600`; done when this module is imported.

    `datasets` has no hook for this, so its function that finds a dataset by name is wrapped: the
    one name is answered here, every other goes on to the original.

    Returns:
        Whether it worked. If not, a warning says to use `kinetics600.load_dataset`.
    """
    import datasets.inspect
    import datasets.load

    find = getattr(datasets.load, "dataset_module_factory", None)
    module_class = getattr(datasets.load, "DatasetModule", None)
    if find is None or module_class is None:
        logger.warning(
            "kinetics600: datasets %s has no place to register a name; use "
            "kinetics600.load_dataset(...) instead of datasets.load_dataset('kinetics600', ...)",
            datasets.__version__,
        )
        return False
    if getattr(find, "answers_kinetics600", False):
        return True

    parameters = inspect.signature(find)

    @functools.wraps(find)
    def dataset_module_factory(path: str, *args: Any, **kwargs: Any) -> Any:
        if path != "kinetics600":
            return find(path, *args, **kwargs)

        given = parameters.bind(path, *args, **kwargs).arguments
        refuse_unused({name: given.get(name, kwargs.get(name)) for name in _UNUSED})
        for_builder = {"dataset_name": "kinetics600"}
        if given.get("download_config") is not None:
            for_builder["download_config"] = given["download_config"]
        return module_class("kinetics600", SCHEMA, for_builder)

    dataset_module_factory.answers_kinetics600 = True  # type: ignore[attr-defined]
    for module in (datasets.load, datasets.inspect):
        if getattr(module, "dataset_module_factory", None) is find:
            module.dataset_module_factory = dataset_module_factory
    return True


class OrderedExamples(ExamplesIterable):
    """The examples of shards that are stretches of one order (`k600.loading.shuffled`).

    `datasets` itself reorders shards from epoch to epoch, and not what is in them; and it goes on
    from a state by reading again what it had of a shard. Here, each epoch and each `.shuffle(…)`
    has an order of its own, and what is done is not read again.
    """

    def __init__(self, shards: Sequence[Any]) -> None:
        super().__init__(type(shards[0]).read, {"shards": [*shards]})

    @property
    def _shards(self) -> list[Any]:
        return list(self.kwargs["shards"])

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        state = self._state_dict or {"shard_idx": 0, "shard_example_idx": 0}
        first, done = state["shard_idx"], state["shard_example_idx"]
        for number, position, record in self.generate_examples_fn(self._shards[first:], done):
            state["shard_idx"], state["shard_example_idx"] = first + number, position
            yield record["video"]["path"], record

    def shuffle_data_sources(self, generator: Any) -> OrderedExamples:
        number = int(copy.deepcopy(generator).integers(1 << 63))
        return OrderedExamples(type(self._shards[0]).reordered(self._shards, number))

    def shard_data_sources(
        self, num_shards: int, index: int, contiguous: bool = True
    ) -> OrderedExamples:
        own = self.split_shard_indices_by_worker(num_shards, index, contiguous=contiguous)
        return OrderedExamples([self._shards[number] for number in own])

    def reshard_data_sources(self) -> OrderedExamples:
        return self


def examples_of(builder: Any, split_generator: datasets.SplitGenerator) -> ExamplesIterable:
    """Return the examples of a stream's shards, as a builder gives them to `datasets`."""
    shards = split_generator.gen_kwargs["shards"]
    if shards and hasattr(shards[0], "reordered"):
        return OrderedExamples(shards)
    return ExamplesIterable(builder._generate_examples, split_generator.gen_kwargs)


def splits_of(split: Any, every: Sequence[str]) -> list[tuple[str, str]]:
    """Return each split that a `split=…` of `datasets` names, and what it says of it.

    `every` is what `all` stands for.

    Example:
        >>> splits_of(["train[:1%]+test", "all"], ["validation"])
        [('train', 'train[:1%]'), ('test', 'test'), ('validation', 'validation')]
    """
    if isinstance(split, Mapping):
        split = [*split.values()]
    if isinstance(split, (list, tuple)):
        return [named for each in split for named in splits_of(each, every)]
    try:
        spec = str(datasets.ReadInstruction.from_spec(str(split)))
    except (ValueError, AssertionError) as error:
        raise OptionError(
            f"split: {split!r} is not allowed ({error}), expected such as 'validation', "
            "'train[:10%]' or 'train+validation'"
        ) from None
    pieces = every if spec == "all" else spec.split("+")
    return [(piece.partition("[")[0].partition("(")[0], piece) for piece in pieces]


def whole_splits_of(split: Any, every: Sequence[str]) -> list[str]:
    """Return each split that a `split=…` of a stream names; a stream has no slices."""
    pieces = splits_of(split, every)
    for name, piece in pieces:
        if piece != name:
            raise OptionError(
                f"split: {piece!r} is not allowed, a slice needs one split and streaming=False; "
                "use .take(n) of a stream"
            )
    return [name for name, _ in pieces]


def configs_of(splits: Any) -> dict[str, str]:
    """Return each name that a `splits=…` gives, such as `validation[:10%]`, by its configuration.

    Raises:
        OptionError: There is none, or two are of one configuration.
    """
    given = [splits] if isinstance(splits, (str, datasets.NamedSplit)) else splits
    names = [str(name) for name in given] if isinstance(given, Iterable) else []
    configs = {name.partition("[")[0]: name for name in names}
    if not names or len(configs) < len(names):
        raise OptionError(
            f"splits: {splits!r} is not allowed, expected different names of {listed(CONFIGS)}"
        )
    return configs


def without_blanks(split: Any) -> Any:
    """Return a checked `split=…` as `datasets` takes it: `train + test` it would refuse, late."""
    if isinstance(split, Mapping):
        return {name: without_blanks(each) for name, each in split.items()}
    if isinstance(split, (list, tuple)):
        return [without_blanks(each) for each in split]
    return "".join(split.split()) if isinstance(split, str) else split


def refuse_unused(arguments: Mapping[str, Any]) -> None:
    """Raise `OptionError` for an argument of `datasets` that would be ignored."""
    for name, why in _UNUSED.items():
        given = arguments.get(name)
        if given is not None and given is not False:
            raise OptionError(f"{name}: it is not allowed, as {why}")

    config = arguments.get("download_config")
    if config is None:
        return

    # `datasets` itself puts in token and storage options, and always some for the Hub.
    known = {"hf", *(arguments.get("storage_options") or {})}
    usual = vars(datasets.DownloadConfig()) | {"token": None, "storage_options": set()}
    found = vars(config) | {
        "token": config.token or None,
        "storage_options": config.storage_options.keys() - known,
    }
    for name in usual:
        if found[name] != usual[name]:
            raise OptionError(
                f"download_config: {name!r} is not allowed, as `datasets` downloads nothing here: "
                "pass storage_options=… or mirror_options=… for the mirror, num_workers=… for "
                "how many at a time, proxy=… for YouTube"
            )


def used_arguments(arguments: Mapping[str, Any], *, options: Collection[str]) -> dict[str, Any]:
    """Return those arguments of a builder that are given and are `options`, or else mean something
    here; raise `OptionError` for one that would be ignored.
    """
    refuse_unused(arguments)
    used = {
        name: value
        for name, value in arguments.items()
        if value is not None and (name in options or name in _PASSED_ON)
    }
    classes = used.get("classes")
    if isinstance(classes, Iterable) and not isinstance(classes, (str, Mapping)):
        used["classes"] = tuple(classes)  # an iterator can be read but once
    return used


def is_from_load_dataset(arguments: Mapping[str, Any]) -> bool:
    """Whether `datasets.load_dataset` calls `download_and_prepare` with these arguments."""
    return arguments.keys() >= _AS_LOAD_DATASET_CALLS


def check_features(given: datasets.Features | None, own: datasets.Features) -> None:
    """Raise `OptionError` if other columns are asked for than there are; None for whichever."""
    if given is None or own == given:
        return
    differing = [name for name in {**own, **given} if own.get(name) != given.get(name)]
    raise OptionError(
        f"features: {', '.join(map(repr, differing))} are not allowed to differ from "
        f"kinetics600.features(decode={own['video'].decode}). Pass decode=… for another `video`; "
        "else load without it, then ds.cast(…), ds.cast_column(…) or ds.select_columns(…)"
    )


def default_data_dir(cache_dir: str | None) -> str:
    """Return where clips live unless told otherwise: beside the Arrow files made of them."""
    return os.path.join(str(cache_dir or datasets.config.HF_DATASETS_CACHE), "kinetics600-clips")


def check_decoder(*, wanted: bool) -> None:
    """Raise `MissingDependencyError` unless torchcodec can decode, if that is wanted."""
    if wanted:
        need(
            "torchcodec.decoders",
            "decode: True needs a working torchcodec and torch: pip install torch torchcodec. With "
            "decode=False, `video` is {'path', 'bytes'}, for any decoder",
        )


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Show an expected error as itself, without the way it took through threads."""
    try:
        yield
    except KeyboardInterrupt:
        logger.info("kinetics600: stopped; what came is kept, and the same call goes on from there")
        raise
    except Kinetics600Error as error:
        plain = error.with_traceback(None)
    else:
        return
    raise plain from None


@contextlib.contextmanager
def one_at_a_time(folder: str) -> Iterator[None]:
    """Let processes that load side by side write their rows one after the other."""
    make_folder(Path(folder).parent)
    with lock_at(Path(f"{folder}_kinetics600.lock")):
        yield


@contextlib.contextmanager
def writing_rows(folder: str) -> Iterator[None]:
    """Write rows into a folder: one process at a time, and a full volume is told in our words."""
    with translate_errors(rows_error, Path(folder).parent), one_at_a_time(folder), _without_bars():
        yield


class _Bar(Bar):
    """The progress bar of `datasets`, with its switches; it shows no parts."""

    def __init__(self, bar: Any) -> None:
        self._bar, self._lock = bar, threading.Lock()

    def update(self, n: int, part: str = "") -> None:
        with self._lock:
            self._bar.update(n)


@contextlib.contextmanager
def progress(total: int, description: str, *, unit: str = "B") -> Iterator[Bar]:
    """Show the progress bar of `datasets`, with its switches; lines where no bar can be drawn."""
    text = f"kinetics600 {description}"
    if not _draws_bars():
        yield (
            Bar()
            if datasets.are_progress_bars_disabled()
            else Lines(logger.info, total, text, unit)
        )
        return
    is_bytes = unit == "B"
    shown = unit if is_bytes else f" {unit}s"
    with _datasets_tqdm(total=total, desc=text, unit=shown, unit_scale=is_bytes) as bar:
        yield _Bar(bar)


def _without_bars() -> contextlib.AbstractContextManager[None]:
    """Have `datasets` draw none where a file or a pipe would hold them as one endless line."""
    asked_for = datasets.config.HF_DATASETS_DISABLE_PROGRESS_BARS is not None
    return contextlib.nullcontext() if _draws_bars() or asked_for else without_bars_of(datasets)


def _draws_bars() -> bool:
    """Whether bars can be drawn over: on a terminal, and in a notebook, which has its own."""
    return _in_notebook() or (sys.stderr is not None and sys.stderr.isatty())


def _in_notebook() -> bool:
    return any(kind.__module__ == "tqdm.notebook" for kind in _datasets_tqdm.__mro__)


def hide_progress_bars() -> None:
    """Show no bar of `datasets`, nor of the Hub's client."""
    datasets.disable_progress_bars()
    _disable_hub_bars()


class _OwnHandler(logging.Handler):
    """Shows the loader's lines, unless the program has set up logging itself.

    They go to stderr, above a bar that is drawn there; in a notebook, where that is a red box, only
    warnings do.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if logging.getLogger().handlers:
            return
        try:
            calm = record.levelno < logging.WARNING and _in_notebook()
            stream = sys.stdout if calm else sys.stderr
            if stream is not None:
                with _datasets_tqdm.external_write_mode(stream):
                    print(self.format(record), file=stream, flush=True)
        except Exception:
            self.handleError(record)


def show_log_lines() -> None:
    """Show the loader's lines on stderr, unless somebody has seen to them."""
    if not logger.handlers:
        logger.addHandler(_OwnHandler())
        if logger.level == logging.NOTSET:  # else the user has set it
            logger.setLevel(logging.INFO)


show_log_lines()
