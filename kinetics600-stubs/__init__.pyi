"""Types of `kinetics600`: a module of a single file cannot mark itself as typed."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

import datasets
from typing_extensions import Unpack

from k600 import errors, train
from k600.api import Gallery as Gallery
from k600.api import (
    build_index,
    fleet,
    gallery,
    labels,
    make_request,
    publish,
    save_manifest,
)
from k600.dataset.labels import id2label, label2id
from k600.errors import Kinetics600Error
from k600.hf import register
from k600.loading.keywords import Options
from k600.loading.options import OptionFields

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

__version__: str

@dataclasses.dataclass
class Kinetics600Config(OptionFields, datasets.BuilderConfig): ...

class Kinetics600(datasets.GeneratorBasedBuilder):
    def __init__(
        self,
        cache_dir: str | None = None,
        *,
        config_name: str | None = None,
        only: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None: ...
    def of(self, split: Any) -> Kinetics600: ...

def features(*, decode: bool = False) -> datasets.Features: ...

_Split = str | datasets.NamedSplit | datasets.ReadInstruction

class _LoadOptions(Options, total=False):
    cache_dir: str | None
    num_proc: int | None
    download_mode: datasets.DownloadMode | str | None
    keep_in_memory: bool

MYPY: bool  # true for mypy alone

if MYPY:
    # It cannot see the types of `datasets`, so overloads would tell it nothing, and a misspelled
    # option be reported in a hundred lines.
    def load_dataset(
        split: Any = None,
        splits: str | Sequence[str] | None = None,
        *,
        streaming: bool = False,
        **options: Unpack[_LoadOptions],
    ) -> Any: ...

else:
    @overload
    def load_dataset(
        split: Literal["all"] | Mapping[Any, _Split],
        *,
        streaming: Literal[False] = False,
        **options: Unpack[_LoadOptions],
    ) -> datasets.DatasetDict: ...
    @overload
    def load_dataset(
        split: _Split, *, streaming: Literal[False] = False, **options: Unpack[_LoadOptions]
    ) -> datasets.Dataset: ...
    @overload
    def load_dataset(
        split: list[Any], *, streaming: Literal[False] = False, **options: Unpack[_LoadOptions]
    ) -> list[datasets.Dataset]: ...
    @overload
    def load_dataset(
        split: None = None,
        *,
        splits: str | Sequence[str],
        streaming: Literal[False] = False,
        **options: Unpack[_LoadOptions],
    ) -> datasets.DatasetDict: ...
    @overload
    def load_dataset(
        split: Literal["all"] | Mapping[Any, _Split],
        *,
        streaming: Literal[True],
        **options: Unpack[_LoadOptions],
    ) -> datasets.IterableDatasetDict: ...
    @overload
    def load_dataset(
        split: _Split, *, streaming: Literal[True], **options: Unpack[_LoadOptions]
    ) -> datasets.IterableDataset: ...
    @overload
    def load_dataset(
        split: list[Any], *, streaming: Literal[True], **options: Unpack[_LoadOptions]
    ) -> list[datasets.IterableDataset]: ...
    @overload
    def load_dataset(
        split: None = None,
        *,
        splits: str | Sequence[str],
        streaming: Literal[True],
        **options: Unpack[_LoadOptions],
    ) -> datasets.IterableDatasetDict: ...
