"""What a user asks for: the options, checked once, in canonical form. Pure."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from k600.errors import ManifestError, OptionError, UnknownSplitError, nearest
from k600.labels import NAMES, canonical
from k600.loading.manifest import Manifest, read_manifest
from k600.loading.selection import Limits
from k600.mirror.mirror import Mirror
from k600.splits import CONFIGS, SPLITS, Split
from k600.store.ledger import Ledger
from k600.store.store import Store
from k600.text import public_url
from k600.values import flag, whole_number
from k600.video.encoder import check_encoder
from k600.youtube.options import YOUTUBE_SHORT_SIDE, YouTubeOptions, youtube_options

__all__ = [
    "DEFAULT_MIRROR",
    "DEFAULT_TEST_LABELS",
    "Request",
    "check_config_name",
    "check_option_names",
    "check_split_names",
    "make_request",
]

SOURCES = ("auto", "cvdf", "youtube", "local")
ON_MISSING = ("warn", "raise", "skip")

DEFAULT_MIRROR = "s3://kinetics/600"
"""CVDF's public bucket (region us-east-1, read anonymously)."""

DEFAULT_TEST_LABELS = "https://storage.googleapis.com/deepmind-media/Datasets/kinetics600.tar.gz"
"""DeepMind's archive of annotations, 18 MB; the only one that labels the test split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A checked request."""

    splits: tuple[str, ...]
    """The splits to load, each `train`, `validation` or `test`."""
    classes: tuple[str, ...] | None
    """Canonical class names in id order; None for all 600."""
    limits: Limits
    """How many clips of each split to take, and which first."""
    manifest: Manifest | None
    """Exactly these clips, instead of classes and limits."""
    source: str
    """`auto`, `cvdf`, `youtube` or `local`."""
    youtube: YouTubeOptions
    mirror: Mirror
    test_labels: str
    """URL or path of the labels of the test split."""
    store: Store
    short_side: int | None
    """Most pixels of a clip's shorter side; None for clips as their source has them."""
    num_workers: int
    """Tarballs, or clips from YouTube, worked on at a time, 1 or more."""
    on_missing: str
    """`warn`, `raise` or `skip`."""
    retry_errors: bool
    """Ask again for clips that were proved not to be had."""

    @property
    def ledger(self) -> Ledger:
        """What is known of the store's clips; with `source="local"`, from whichever mirror."""
        mirror = None if self.source == "local" else self.mirror.identity
        return Ledger(self.store.ledger_path, mirror)

    def may_fetch(self, *, offline: bool) -> bool:
        """Whether the mirror may be read: always, but for `source="local"` and, offline, a mirror
        across a network.
        """
        return self.source != "local" and not (offline and self.mirror.is_network)

    def may_ask(self, *, offline: bool) -> bool:
        """Whether YouTube may be asked."""
        return self.source in ("auto", "youtube") and not offline

    def of(self, splits: Iterable[str]) -> Request:
        """Return the same request for some of its splits only."""
        return replace(self, splits=tuple(split for split in self.splits if split in splits))

    @property
    def is_whole(self) -> bool:
        """Whether all classes and clips of its splits are asked for."""
        return self.classes is None and not self.chooses

    @property
    def chooses(self) -> bool:
        """Whether single clips are meant, and not all of some classes."""
        return self.limits.limited or self.manifest is not None or self.source == "youtube"

    def folders(self, split: str) -> list[str]:
        """Return the store's folders (`<split>/<class name>`) to look in, in id order.

        For the test split these are all: the folder of a test clip depends on whether its label
        was known when it came.
        """
        return Split(split).folders(self.classes)

    def cache_key(self, default_data_dir: str) -> dict[str, Any]:
        """Return what tells this request's rows from another's, defaults left out.

        Only which rows there are and where they point counts: two requests with the same key
        give the same dataset.
        """
        key: dict[str, Any] = {}
        if self.classes is not None:
            key["classes"] = list(self.classes)
        if self.limits.limited:
            said = asdict(self.limits)
            seed = said.pop("seed")
            key |= {name: value for name, value in said.items() if value}
            if self.limits.shuffle:
                key["seed"] = seed
        if self.manifest is not None:
            key["manifest"] = self.manifest.digest
        if self.source != "auto":
            key["source"] = self.source
        mirror = self.mirror.identity
        if self.source != "local" and mirror != DEFAULT_MIRROR:
            key["mirror"] = mirror
        if self.short_side is not None:
            key["short_side"] = self.short_side
        if self.store != Store.at(default_data_dir, self.short_side):
            key["data_dir"] = str(self.store.root)
        if "test" in self.splits and self.test_labels != DEFAULT_TEST_LABELS:
            key["test_labels"] = public_url(self.test_labels)
        return key


def make_request(
    config_name: str,
    *,
    default_data_dir: str,
    classes: str | Sequence[str] | None = None,
    max_samples: int | None = None,
    max_per_class: int | None = None,
    balanced: bool = False,
    shuffle: bool = False,
    seed: int | None = None,
    manifest: str | os.PathLike[str] | None = None,
    num_workers: int | None = None,
    source: str = "auto",
    mirror: str | None = None,
    mirror_options: Mapping[str, Any] | None = None,
    test_labels: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    short_side: int | None = None,
    on_missing: str = "warn",
    retry_errors: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    **youtube: Any,
) -> Request:
    """Check every option and return the request they make.

    The options are those of `kinetics600.Kinetics600Config`; `storage_options` are those of
    `datasets.load_dataset`, by protocol, and serve where there are no `mirror_options`.

    Raises:
        OptionError: A value is not allowed; the message names option, value and what is.
    """
    check_config_name(config_name)
    short_side = _count("short_side", short_side, least=16)
    if short_side is not None:
        check_encoder()
    _check_choice("source", source, SOURCES)
    _check_choice("on_missing", on_missing, ON_MISSING)
    if mirror_options is not None and not isinstance(mirror_options, Mapping):
        raise OptionError(
            f"mirror_options: a {type(mirror_options).__name__} is not allowed, expected a dict "
            "of fsspec storage options such as {'endpoint_url': 'http://…'}"
        )
    chosen = _classes(classes)
    limits = Limits(
        max_samples=_count("max_samples", max_samples, least=1),
        max_per_class=_count("max_per_class", max_per_class, least=1),
        balanced=flag("balanced", balanced),
        shuffle=flag("shuffle", shuffle),
        seed=_count("seed", seed, least=0) or 0,
    )
    splits = SPLITS if config_name == "all" else (config_name,)
    frozen = None
    if manifest is not None:
        if limits.limited or chosen is not None:
            raise OptionError(
                "manifest: it says itself which clips are meant; leave out classes, max_samples "
                "and max_per_class"
            )
        frozen = read_manifest(_text("manifest", manifest))
        held = tuple(split for split in SPLITS if frozen.of(split))
        splits = tuple(split for split in splits if split in held)
        if not splits:
            raise ManifestError(
                f"manifest: '{frozen.path}' names no clip of {config_name!r}, only of "
                f"{_listed(held)}"
            )
    url = _text("mirror", mirror or os.environ.get("KINETICS600_MIRROR") or DEFAULT_MIRROR)
    if mirror_options is None:
        mirror_options = _options_for(url, storage_options)
    folder = _text("data_dir", data_dir or os.environ.get("KINETICS600_HOME") or default_data_dir)
    if "://" in folder:
        raise OptionError(
            f"data_dir: {public_url(folder)!r} is not allowed, expected a folder on this machine; "
            "a bucket can be a mirror=…"
        )
    labels = _text("test_labels", test_labels or DEFAULT_TEST_LABELS)
    if "://" not in labels:
        labels = os.path.abspath(os.path.expanduser(labels))
    return Request(
        splits=splits,
        classes=chosen,
        limits=limits,
        manifest=frozen,
        source=source,
        youtube=youtube_options(short_side=short_side or YOUTUBE_SHORT_SIDE, **youtube),
        mirror=Mirror(url.rstrip("/"), dict(mirror_options or {})),
        test_labels=labels,
        store=Store.at(folder, short_side),
        short_side=short_side,
        num_workers=_count("num_workers", num_workers, least=1) or os.cpu_count() or 1,
        on_missing=on_missing,
        retry_errors=flag("retry_errors", retry_errors),
    )


def check_config_name(name: object) -> None:
    """Raise `UnknownSplitError` unless `name` is one of the configurations."""
    if name is None:
        raise UnknownSplitError(
            "name: neither a configuration nor a split was given. Choose one of "
            f"{_listed(CONFIGS)}: load_dataset('kinetics600', 'validation'), or, of a part, "
            "load_dataset('kinetics600', split='validation[:10%]'). "
            "(Sizes: train 648 GB, validation 43 GB, test 88 GB, all 779 GB.)"
        )
    if name not in CONFIGS:
        close = "; did you mean 'validation'?" if name == "val" else nearest(name, CONFIGS)
        raise UnknownSplitError(
            f"name: {name!r} is not a configuration{close or '.'} Allowed: {_listed(CONFIGS)}"
        )


def check_split_names(names: Collection[str], allowed: Sequence[str]) -> None:
    """Raise `UnknownSplitError` unless these are splits of the configuration, one at least."""
    if not names:
        raise UnknownSplitError(f"split: no split is named. Allowed: {_listed(allowed)}")
    for name in sorted(names):
        if name not in allowed:
            close = nearest("validation" if name == "val" else name, allowed)
            raise UnknownSplitError(
                f"split: {name!r} is not a split of this configuration{close or '.'} Allowed: "
                f"{_listed(allowed)}"
            )


def check_option_names(names: Iterable[str], allowed: Iterable[str]) -> None:
    """Raise `OptionError` for a keyword that is no option."""
    allowed = sorted(allowed)
    for name in names:
        if name not in allowed:
            raise OptionError(
                f"{name}: no such option{nearest(name, allowed) or '.'} "
                f"Allowed: {', '.join(allowed)}"
            )


def _classes(classes: object) -> tuple[str, ...] | None:
    if classes is None:
        return None
    names = [classes] if isinstance(classes, str) else classes
    if not isinstance(names, Iterable) or isinstance(names, Mapping):
        raise OptionError(
            f"classes: {classes!r} is not allowed, expected a class name or a list of them"
        )
    names = list(names)
    for name in names:
        if not isinstance(name, str):
            raise OptionError(
                f"classes: {name!r} is not allowed, expected class names, such as "
                f"{NAMES[0]!r}; kinetics600.id2label() gives the name of an id"
            )
    if not names:
        raise OptionError("classes: an empty list is not allowed; leave it out for all 600")
    chosen = {canonical(name) for name in names}
    return None if len(chosen) == len(NAMES) else tuple(n for n in NAMES if n in chosen)


def _count(option: str, value: object, *, least: int) -> int | None:
    return None if value is None else whole_number(option, value, least=least)


def _check_choice(option: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise OptionError(
            f"{option}: {value!r} is not allowed{nearest(value, allowed) or '.'} "
            f"Allowed: {_listed(allowed)}"
        )


def _options_for(url: str, storage_options: object) -> Mapping[str, Any]:
    """Return what `storage_options` say for the mirror's protocol."""
    if not isinstance(storage_options or {}, Mapping):
        raise OptionError(
            f"storage_options: a {type(storage_options).__name__} is not allowed, expected a dict "
            "of fsspec storage options by protocol such as {'s3': {'endpoint_url': 'http://…'}}"
        )
    options: Mapping[str, Any] = dict(storage_options or {})  # type: ignore[call-overload]
    protocol = url.partition("://")[0] if "://" in url else "file"
    if protocol not in options and options.keys() - {"hf"}:  # (`datasets` itself adds that one)
        raise OptionError(
            f"storage_options: {_listed(sorted(options))} is not the protocol of the mirror "
            f"{public_url(url)!r}, expected {{{protocol!r}: {{…}}}}"
        )
    found = options.get(protocol, {})
    if not isinstance(found, Mapping):
        raise OptionError(
            f"storage_options: a {type(found).__name__} is not allowed for {protocol!r}, expected "
            "a dict of fsspec storage options such as {'endpoint_url': 'http://…'}"
        )
    return found


def _text(option: str, value: object) -> str:
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise OptionError(f"{option}: {value!r} is not allowed, expected a path or a URL")
    text = os.fspath(value)
    if "\0" in text or text.encode(errors="ignore").decode() != text:
        raise OptionError(
            f"{option}: {text!r} is not allowed, expected text that is UTF-8, as rows and the "
            "ledger hold it. Rename the folder, or pass another"
        )
    return text


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
