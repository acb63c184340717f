"""What a user asks for: the options, checked once, in canonical form. Pure."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

from k600.dataset.splits import CONFIGS, SPLITS, Split
from k600.errors import ManifestError, OptionError, UnknownSplitError, nearest
from k600.errors.text import listed, public_url
from k600.loading.manifest import Manifest, read_manifest
from k600.loading.options import OPTIONS, check_options
from k600.loading.rows import Reading
from k600.loading.selection import Limits
from k600.mirror.mirror import Mirror
from k600.network import is_offline
from k600.progress import Progress, no_progress
from k600.store.ledger import Ledger
from k600.store.store import Store
from k600.video.encoder import check_encoder
from k600.video.encoding import Encoding
from k600.youtube.options import YouTubeOptions, youtube_encoding

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
    exclude_overlap: bool
    """Leave out clips of validation and test whose video is in train, too."""
    source: str
    """`auto`, `cvdf`, `youtube` or `local`."""
    youtube: YouTubeOptions
    mirror: Mirror
    test_labels: str
    """URL or path of the labels of the test split."""
    index: str | None
    """File, URL or folder of a table of places; None for none."""
    store: Store
    encoding: Encoding | None
    """How clips are encoded anew; None for clips as their source has them."""
    num_workers: int
    """Tarballs, or clips from YouTube, worked on at a time, 1 or more."""
    on_missing: str
    """`warn`, `raise` or `skip`."""
    retry_errors: bool
    """Ask again for clips that were proved not to be had."""
    shuffle_clips: bool
    """Stream all clips in one random order."""
    offline: bool
    """Never cross a network, as the environment said when it was made; a mirror on a local disk is
    still read."""
    progress: Progress
    """Opens the progress bars of what is done."""

    @property
    def ledger(self) -> Ledger:
        """What is known of the store's clips; with `source="local"`, from whichever mirror."""
        mirror = None if self.source == "local" else self.mirror.identity
        return Ledger(self.store.ledger_path, mirror)

    @property
    def reading(self) -> Reading:
        """Where the clips of a stream are read, and how."""
        return Reading(self.store, self.mirror, self.on_missing, self.encoding)

    def stored_bytes(self, size_bytes: int) -> int:
        """Return how much clips of the host take at most on disk that are so large there."""
        return size_bytes if self.encoding is None else int(size_bytes * self.encoding.most_share)

    @property
    def sources(self) -> frozenset[str]:
        """Where clips may come from that are not in the store: `cvdf`, `youtube`, both, neither."""
        every = frozenset({"cvdf", "youtube"})
        return every if self.source == "auto" else every & {self.source}

    @property
    def has_tarballs(self) -> bool:
        """Whether clips may come from tarballs."""
        return "cvdf" in self.sources

    @property
    def has_youtube(self) -> bool:
        """Whether clips may come from YouTube."""
        return "youtube" in self.sources

    @property
    def only_youtube(self) -> bool:
        """Whether clips may come from YouTube only: one by one, and as files on disk."""
        return self.has_youtube and not self.has_tarballs

    @property
    def may_fetch(self) -> bool:
        """Whether the mirror may be read: always, but for `source="local"` and, offline, a mirror
        across a network.
        """
        return bool(self.sources) and not (self.offline and self.mirror.is_network)

    @property
    def may_ask(self) -> bool:
        """Whether YouTube may be asked."""
        return self.has_youtube and not self.offline

    def of(self, splits: Iterable[str]) -> Request:
        """Return the same request for some of its splits only."""
        return replace(self, splits=tuple(split for split in self.splits if split in splits))

    def check_no_stream(self) -> None:
        """Raise `OptionError` for what means something to streams only."""
        if self.shuffle_clips:
            raise OptionError(
                "shuffle_clips: True is for streams alone. Pass streaming=True, or leave it out: a "
                "loaded dataset has .shuffle(seed=…)"
            )

    @property
    def is_whole(self) -> bool:
        """Whether all classes and clips of its splits are asked for."""
        return self.classes is None and not self.is_selective

    @property
    def is_selective(self) -> bool:
        """Whether some clips of its classes are left out on purpose."""
        return self.chooses or self.exclude_overlap

    @property
    def chooses(self) -> bool:
        """Whether single clips are meant, and not all of some classes."""
        return self.limits.limited or self.manifest is not None or self.only_youtube

    def folders(self, split: str) -> list[str]:
        """Return the store's folders to look in, in id order (`Split.folders`)."""
        return Split(split).folders(self.classes)

    def cache_key(self, default_data_dir: str) -> dict[str, Any]:
        """Return what tells this request's rows from another's, defaults left out.

        Only which rows there are and where they point counts: two requests with the same key
        give the same dataset.
        """
        values = self._values_that_count(default_data_dir)
        key = {}
        for name, option in OPTIONS.items():
            if option.in_cache_key and not option.encodes:
                value = values[name] if name in values else getattr(self, name)
                if value is not None and value != option.default:
                    key[name] = value
        if self.encoding is not None:
            key["encoding"] = self.encoding.name
        return key

    def _values_that_count(self, default_data_dir: str) -> dict[str, Any]:
        """Return options whose value here is not what it was given as; None if it says nothing."""
        limits = asdict(self.limits) if self.limits.limited else dict.fromkeys(asdict(self.limits))
        if not self.limits.shuffle:
            limits["seed"] = None

        mirror = None if self.source == "local" else self.mirror.identity
        has_mixed = any(Split(split).is_mixed for split in self.splits)
        labels = self.test_labels if has_mixed else DEFAULT_TEST_LABELS
        has_own_store = self.store != Store.at(default_data_dir, self.encoding)
        return {
            **limits,
            "classes": None if self.classes is None else list(self.classes),
            "manifest": None if self.manifest is None else self.manifest.digest,
            "mirror": None if mirror == DEFAULT_MIRROR else mirror,
            "test_labels": None if labels == DEFAULT_TEST_LABELS else public_url(labels),
            "data_dir": str(self.store.root) if has_own_store else None,
        }


def make_request(
    config_name: str,
    *,
    default_data_dir: str,
    storage_options: Mapping[str, Any] | None = None,
    progress: Progress = no_progress,
    **options: Any,
) -> Request:
    """Check every option and return the request they make.

    Args:
        config_name: `train`, `validation`, `test` or `all`.
        default_data_dir: Where clips live unless the options or the environment say otherwise.
        storage_options: Those of `datasets.load_dataset`, by protocol; they serve where there are
            no `mirror_options`.
        progress: Opens the progress bars of what is done.
        **options: Those of `k600.loading.options`.

    Raises:
        OptionError: A value is not allowed; the message names option, value and what is.
    """
    check_config_name(config_name)
    values = check_options(options)
    values |= {"seed": values["seed"] or 0, "yt_dlp_options": values["yt_dlp_options"] or {}}
    limits, encoding = _made_of(Limits, values), _encoding_of(values)
    if encoding is not None:
        check_encoder()

    splits, manifest = SPLITS if config_name == "all" else (config_name,), None
    if values["manifest"] is not None:
        manifest = _manifest_of(values, limits)
        splits = _splits_of(manifest, config_name, splits)

    url, mirror_options = values["mirror"] or DEFAULT_MIRROR, values["mirror_options"]
    if mirror_options is None:
        mirror_options = _options_for(url, storage_options)
    made = {
        "splits": splits,
        "manifest": manifest,
        "limits": limits,
        "youtube": _made_of(YouTubeOptions, {**values, "encoding": youtube_encoding(encoding)}),
        "mirror": Mirror(url.rstrip("/"), dict(mirror_options)),
        "test_labels": values["test_labels"] or DEFAULT_TEST_LABELS,
        "store": Store.at(values["data_dir"] or default_data_dir, encoding),
        "encoding": encoding,
        "offline": is_offline(),
        "progress": progress,
        "num_workers": values["num_workers"] or os.cpu_count() or 1,
    }
    return _made_of(Request, {**values, **made})


def _encoding_of(values: Mapping[str, Any]) -> Encoding | None:
    """Return how clips are encoded anew; None if no option says so."""
    if values["encode"] is None:
        for name in ("crf", "frame_step"):
            if values[name] != OPTIONS[name].default:
                raise OptionError(
                    f"{name}: {values[name]} is allowed with encode='training' only, which encodes "
                    "every clip anew"
                )
        if values["short_side"] is None:
            return None
    return _made_of(Encoding, values)


def check_config_name(name: object) -> None:
    """Raise `UnknownSplitError` unless `name` is one of the configurations."""
    if name is None:
        raise UnknownSplitError(
            "name: neither a configuration nor a split was given. Choose one of "
            f"{listed(CONFIGS)}: load_dataset('kinetics600', 'validation'), or, of a part, "
            "load_dataset('kinetics600', split='validation[:10%]'). "
            "(Sizes: train 648 GB, validation 43 GB, test 88 GB, all 779 GB.)"
        )
    check_split_names([name], CONFIGS, option="name")


def check_one_of(split: object, splits: object) -> None:
    """Raise an error unless one of the two was given: `OptionError` if both were."""
    if split is not None and splits is not None:
        raise OptionError(
            f"split, splits: {split!r} and {splits!r} are not allowed together, expected one of "
            f"them, of {listed(CONFIGS)}, such as kinetics600.load_dataset('validation')"
        )
    if split is splits:
        check_config_name(None)


def check_split_names(
    names: Collection[object], allowed: Sequence[str], *, option: str = "split"
) -> None:
    """Raise `UnknownSplitError` unless these are some of the allowed ones, one at least."""
    if not names:
        raise UnknownSplitError(f"{option}: no split is named. Allowed: {listed(allowed)}")
    for name in sorted(names, key=str):
        if name not in allowed:
            close = nearest("validation" if name == "val" else name, allowed)
            raise UnknownSplitError(
                f"{option}: {name!r} is not a split{close or '.'} Allowed: {listed(allowed)}"
            )


_Made = TypeVar("_Made")


def _made_of(kind: type[_Made], values: Mapping[str, Any]) -> _Made:
    """Return an instance of a dataclass; each of its fields has the value of that name."""
    return kind(**{field.name: values[field.name] for field in fields(kind)})  # type: ignore[arg-type]


def _manifest_of(values: Mapping[str, Any], limits: Limits) -> Manifest:
    """Return the manifest that the options name, if no other of them chooses clips, too."""
    if limits.limited or values["classes"] is not None or values["exclude_overlap"]:
        raise OptionError(
            "manifest: it says itself which clips are meant; leave out classes=…, "
            "max_samples=…, max_per_class=… and exclude_overlap=…"
        )
    return read_manifest(values["manifest"])


def _splits_of(manifest: Manifest, config_name: str, splits: Sequence[str]) -> tuple[str, ...]:
    """Return the splits of which a manifest has a clip."""
    held = [split for split in SPLITS if manifest.of(split)]
    found = tuple(split for split in splits if split in held)
    if not found:
        raise ManifestError(
            f"manifest: '{manifest.path}' names no clip of {config_name!r}, only of {listed(held)}"
        )
    return found


def _options_for(url: str, storage_options: object) -> Mapping[str, Any]:
    """Return what `storage_options` say for the mirror's protocol."""
    options = storage_options or {}
    protocol = url.partition("://")[0] if "://" in url else "file"
    found = options.get(protocol, {}) if isinstance(options, Mapping) else options
    if not isinstance(options, Mapping) or not isinstance(found, Mapping):
        raise OptionError(
            f"storage_options: a {type(found).__name__} is not allowed, expected fsspec's storage "
            f"options for {protocol!r} by protocol, such as {{{protocol!r}: {{'endpoint_url': …}}}}"
        )
    if protocol not in options and options.keys() - {"hf"}:  # (`datasets` itself adds that one)
        raise OptionError(
            f"storage_options: {listed(sorted(options))} is not the protocol of the mirror "
            f"{public_url(url)!r}, expected {{{protocol!r}: {{…}}}}"
        )
    return found
