"""The options of a load, each declared once: all else that concerns one is made from this.

Here stand its name, type, default, allowed values, help, flag, and whether it is a secret or tells
cached rows apart. From it come the builder's configuration, the flags of the command line with
their help and completion, the checks, the key of the cache, and the documentation's table.

`publish`, `build_index` and `fleet` declare options of their own in the same form, as fields of a
dataclass (`k600.publish.options`, `k600.fleet.options`).
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar, get_args, get_type_hints

from k600.dataset.labels import NAMES, named_classes
from k600.errors import OptionError, nearest
from k600.errors.text import public_url
from k600.store.rows import SOURCES
from k600.values import choice, flag, number, whole_number
from k600.video.encoding import ENCODINGS
from k600.youtube.cookies import check_browser, check_cookies
from k600.youtube.options import check_parameters, check_proxy_url

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Class = TypeVar("_Class", bound=type)
_Fields = TypeVar("_Fields")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What is to be known of one option."""

    name: str
    type: Any
    """Its type, as annotated."""
    annotation: str
    """The same as it is written."""
    default: Any
    """Its value where none is given; None, too, means that none is given."""
    help: str
    """What it means, in one sentence."""
    more: str = ""
    """What else a user has to know, for the documentation and docstrings."""
    default_text: str = "none"
    """The default in words, where None stands for it."""
    flag: str | None
    """What the command line calls it, `--<name>` unless declared otherwise; None if not at all."""
    flag_help: str = ""
    """The help of the flag, where it is used in another way than the option."""
    allowed: tuple[str, ...] = ()
    """Every value there is; empty if these are too many to list."""
    least: int = 0
    """Of a number: the smallest value."""
    most: int | None = None
    """Of a number: the largest value; None for no limit."""
    completes: str = ""
    """What the shell completes a path to: a `file` or a `dir`; empty for what is no path."""
    check: Callable[[Any], Any] | None = None
    """Checks a value and returns it in its canonical form; None if the other facts say enough."""
    is_secret: bool = False
    """It may hold a key or a password, and is never shown."""
    in_cache_key: bool = False
    """Another value may give other rows, so each has cached rows of its own."""
    chooses: bool = False
    """It chooses single clips among those of whole splits and classes."""
    encodes: bool = False
    """It says how clips are encoded anew; all such make one value, `Request.encoding`."""
    variable: str | None = None
    """The environment's variable that sets the default."""

    @property
    def kinds(self) -> tuple[Any, ...]:
        """The types that its type is a union of."""
        return get_args(self.type) or (self.type,)

    def checked(self, value: Any) -> Any:
        """Return a value in its canonical form; None is the default.

        Raises:
            OptionError: It is not allowed; the message names option, value and what is.
        """
        if value is None and self.variable is not None:
            value = os.environ.get(self.variable) or None
        if value is None:
            return self.default
        if self.check is not None:
            return self.check(value)

        if self.allowed:
            return choice(self.name, value, self.allowed)
        if self.completes:
            return _path(self.name, value)
        if bool in self.kinds:
            return flag(self.name, value)
        if float in self.kinds:
            return number(self.name, value, least=self.least)
        if int in self.kinds:
            return whole_number(self.name, value, least=self.least, most=self.most)
        kind, words = (str, "text") if str in self.kinds else (Mapping, "a dict")
        if not isinstance(value, kind):
            what = f"a {type(value).__name__} is not allowed, expected {words}"
            raise OptionError(f"{self.name}: {what}. {self.help}")
        return value


def check_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value for every option, in canonical form.

    Raises:
        OptionError: An option is unknown, or its value not allowed.
    """
    check_option_names(given)
    return {name: option.checked(given.get(name)) for name, option in OPTIONS.items()}


def own_options(fields: type[_Fields], given: Mapping[str, Any]) -> tuple[_Fields, dict[str, Any]]:
    """Return the options of one function, in canonical form, and those of a load beside them.

    Raises:
        OptionError: An option is unknown, or its value not allowed.
    """
    own = options_of(fields)
    check_option_names(given, {**own, **OPTIONS})
    of_load = {name: value for name, value in given.items() if name not in own}
    return fields(**{name: each.checked(given.get(name)) for name, each in own.items()}), of_load


def check_option_names(names: Iterable[str], options: Collection[str] = ()) -> None:
    """Raise `OptionError` for a keyword that is none of these options, by default of a load's."""
    allowed = sorted(options or OPTIONS)
    for name in names:
        if name not in allowed:
            raise OptionError(
                f"{name}: no such option{nearest(name, allowed) or '.'} "
                f"Allowed: {', '.join(allowed)}"
            )


def choice_error(why: str, *, but: Collection[str] = ()) -> OptionError:
    """Return the error for options that choose single clips where these cannot be chosen.

    Args:
        why: What cannot be done, why, and what can.
        but: Names of options that choose clips and are allowed there.
    """
    names = [name for name, option in OPTIONS.items() if option.chooses and name not in but]
    return OptionError(f"{', '.join(names)}: {why}")


def with_attribute_docs(described: _Class) -> _Class:
    """Have the docstring of a class describe every option as an attribute."""
    section = ["Attributes:"]
    section += [f"    {each.name}: {each.help} {each.more}".rstrip() for each in OPTIONS.values()]
    text = textwrap.indent("\n".join(section), "    ")
    described.__doc__ = f"{described.__doc__}\n{text}"
    return described


def takes_options(fields: type | None = None) -> Callable[[_Function], _Function]:
    """Have a function's signature and docstring name every option, where the code says `**options`:
    first those that a dataclass declares, if one is given, then those of a load.

    So `help` shows them with their meaning, and IPython and notebooks complete them.
    """
    own = {} if fields is None else options_of(fields)
    return lambda function: _with_options(function, own)


def _with_options(function: _Function, own: Mapping[str, Option]) -> _Function:
    signature = inspect.signature(function)
    *explicit, _ = signature.parameters.values()
    besides = [each for each in own.values() if each.name not in signature.parameters]
    keyword = inspect.Parameter.KEYWORD_ONLY
    options = [
        inspect.Parameter(each.name, keyword, default=each.default, annotation=each.annotation)
        for each in (*besides, *OPTIONS.values())
    ]
    shown = signature.replace(parameters=[*explicit, *options])
    setattr(function, "__signature__", shown)  # noqa: B010 - no type of a function has it
    if function.__doc__ is not None:  # as with python -OO
        before = "".join(f"\n        {each.name}: {each.help}" for each in besides)
        meanings = "".join(f"\n            {each.name}: {each.help}" for each in OPTIONS.values())
        described = re.sub(r"(\n +\*\*options: .*)", rf"{before}\1{meanings}", function.__doc__)
        function.__doc__ = described
    return function


def _classes(value: object) -> tuple[str, ...] | None:
    """Return the canonical names in id order; None if these are all."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, Iterable) or isinstance(names, Mapping):
        raise OptionError(
            f"classes: {value!r} is not allowed, expected a class name or a list of them"
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
    chosen = {each for name in names for each in named_classes(name)}
    return None if len(chosen) == len(NAMES) else tuple(n for n in NAMES if n in chosen)


def _path(name: str, value: object) -> str:
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise OptionError(f"{name}: {value!r} is not allowed, expected a path or a URL")
    text = os.fspath(value)
    is_held = name in OPTIONS  # not what `publish` and `fleet` write to
    if "\0" in text or (is_held and text.encode(errors="ignore").decode() != text):
        raise OptionError(
            f"{name}: {text!r} is not allowed, expected text that is UTF-8, as rows and the "
            "ledger hold it. Rename the folder, or pass another"
        )
    return text


def _folder(value: object) -> str:
    folder = _path("data_dir", value)
    if "://" in folder:
        raise OptionError(
            f"data_dir: {public_url(folder)!r} is not allowed, expected a folder on this machine; "
            "a bucket can be a mirror=…"
        )
    return folder


def _file(name: str) -> Callable[[Any], str]:
    """Return the check of a path or URL of a file."""

    def check(value: object) -> str:
        file = _path(name, value)
        return file if "://" in file else os.path.abspath(os.path.expanduser(file))

    return check


def declare(default: Any, *, is_secret: bool = False, **facts: Any) -> Any:
    """Declare an option, a field of a dataclass; `facts` are fields of `Option`.

    `datasets` is not to compare them: `Request.cache_key` says which requests give other rows, and
    two that give the same share a folder of the cache.
    """
    facts["is_secret"] = is_secret
    return dataclasses.field(default=default, compare=False, repr=not is_secret, metadata=facts)


@dataclasses.dataclass
class OptionFields:
    """The options of a load, as the fields of a configuration."""

    classes: str | Collection[str] | None = declare(
        None,
        help="A class name, or a list of them.",
        more="The folder spellings of FiftyOne, CVDF, mmaction2 and torchvision are understood; "
        "`kinetics-sounds` and `mini-kinetics-200` stand for the classes of these subsets.",
        default_text="all",
        flag="--class",
        flag_help="A class; again for more. Any known spelling.",
        check=_classes,
        in_cache_key=True,
    )
    max_samples: int | None = declare(
        None,
        help="Most clips of each split, 1 or more.",
        more="Those that cannot be had are replaced.",
        default_text="all",
        least=1,
        chooses=True,
        in_cache_key=True,
    )
    max_per_class: int | None = declare(
        None,
        help="Most clips of each class, 1 or more.",
        default_text="all",
        least=1,
        chooses=True,
        in_cache_key=True,
    )
    balanced: bool = declare(
        False,
        help="With `max_samples`: take one clip of each class in turn.",
        in_cache_key=True,
    )
    shuffle: bool = declare(
        False,
        help="Choose at random which clips `max_samples` and `max_per_class` take, as `seed` says.",
        more="It is the same choice on every machine, whatever of the host's clips is in "
        "`data_dir`. Without it, clips in `data_dir` come first, then the order of class and name.",
        in_cache_key=True,
    )
    shuffle_clips: bool = declare(
        False,
        help="With `streaming=True`: yield all clips in one random order, as `seed` says.",
        more="Each comes by a request of its own, so an index, a manifest or earlier loads have to "
        "say where it lies in its tarball.",
        flag=None,
    )
    seed: int | None = declare(
        None,
        help="Seed of that choice, and of that order, 0 or more.",
        default_text="0",
        in_cache_key=True,
    )
    manifest: str | os.PathLike[str] | None = declare(
        None,
        help="A file written by `save_manifest`: exactly its clips, instead of classes and limits.",
        completes="file",
        chooses=True,
        in_cache_key=True,
    )
    exclude_overlap: bool = declare(
        False,
        help="Leave out clips of validation and test whose video is in train, too.",
        more="About half of validation are. The host's list of train's clips says so (some 20 MB, "
        "fetched once and kept in `data_dir`, so that it serves offline). A whole split or class "
        "is read to its end all the same.",
        chooses=True,
        in_cache_key=True,
    )
    source: str = declare(
        "auto",
        help="Where clips come from that are not in `data_dir`.",
        more="`auto`: whole splits and classes from the tarballs, a few clips from the tarballs or "
        "YouTube, whichever is cheaper, and from the other if that one fails; `cvdf`: the "
        "tarballs, for whole splits and classes also in place of cuts from YouTube that are "
        "there; `youtube`: YouTube; `local`: nowhere, no network.",
        flag_help="auto, cvdf, youtube, or local: only what is here.",
        allowed=("auto", *SOURCES),
        in_cache_key=True,
    )
    data_dir: str | os.PathLike[str] | None = declare(
        None,
        help="Folder where clips live.",
        more="It is `<data_dir>/<split>/<class name>/<id>_<start>_<end>.mp4`, the tree that "
        "FiftyOne's `VideoClassificationDirectoryTree` reads.",
        default_text="`kinetics600-clips` in `cache_dir`",
        flag_help="Where clips live; default as for load_dataset.",
        completes="dir",
        check=_folder,
        in_cache_key=True,
        variable="KINETICS600_HOME",
    )
    short_side: int | None = declare(
        None,
        help="Most pixels of a clip's shorter side, 16 or more.",
        more="Larger clips are encoded anew as they are extracted, and kept apart in "
        "`short_side_<pixels>` in `data_dir`. Without it, tarballs' clips stay as they are, and "
        "YouTube's have 360.",
        default_text="as is",
        flag_help="Most pixels of the shorter side; default as is.",
        least=16,
        in_cache_key=True,
        encodes=True,
    )
    encode: str | None = declare(
        None,
        help="`training`: encode every clip so that random frames of it are decoded fast.",
        more="A key frame at least every 16 frames, no B frames, no CABAC, no deblocking. Such "
        "clips are larger; each way to encode has a folder of its own in `data_dir`.",
        default_text="as is",
        flag_help="training: encode every clip so that random frames of it are decoded fast.",
        allowed=ENCODINGS,
        in_cache_key=True,
        encodes=True,
    )
    crf: int = declare(
        23,
        help='With `encode="training"`: quality of the frames, 1 (best) to 51, as x264 counts it.',
        more="Two more make a clip about a fifth smaller.",
        least=1,
        most=51,
        in_cache_key=True,
        encodes=True,
    )
    frame_step: int = declare(
        1,
        help='With `encode="training"`: keep every so-many-th frame only, each at its own time.',
        more="A sampler's stride then counts such frames; the column `fps` says how many a second "
        "there are.",
        least=1,
        most=1_000,
        in_cache_key=True,
        encodes=True,
    )
    mirror: str | os.PathLike[str] | None = declare(
        None,
        help="Any fsspec URL with the host's layout below it.",
        more="It may be `https://s3.amazonaws.com/kinetics/600`, a private bucket, a folder.",
        default_text="`s3://kinetics/600`",
        completes="dir",
        in_cache_key=True,
        variable="KINETICS600_MIRROR",
    )
    mirror_options: Mapping[str, Any] | None = declare(
        None,
        help='fsspec storage options for it, such as `{"endpoint_url": ...}` or keys.',
        more='`storage_options={"s3": {...}}` serves as well.',
        default_text="anonymous for the public bucket",
        is_secret=True,
        flag=None,
    )
    test_labels: str | os.PathLike[str] | None = declare(
        None,
        help="URL or path of DeepMind's `kinetics600.tar.gz`, or of its `test.csv`.",
        default_text="DeepMind's URL",
        completes="file",
        check=_file("test_labels"),
        in_cache_key=True,
    )
    index: str | os.PathLike[str] | None = declare(
        None,
        help="Where clips lie on the host, as a table: each then comes by one request.",
        more="A file, URL or `hf://` path, as `kinetics600 index` makes it, or a manifest with "
        "places. One that crossed a network is kept in `data_dir`, until it changes.",
        flag_help="A table of where clips lie on the host: a file, URL or hf:// path.",
        completes="file",
        check=_file("index"),
        variable="KINETICS600_INDEX",
    )
    num_workers: int | None = declare(
        None,
        help="Tarballs, or clips from YouTube, worked on at a time, 1 or more.",
        more="YouTube is asked for 4 at most.",
        default_text="number of CPUs",
        flag="--workers",
        least=1,
    )
    decode: bool = declare(
        False,
        help='Have `video` be a torchcodec `VideoDecoder`, not `{"path", "bytes"}`.',
        more="It needs torch and torchcodec (`pip install torch torchcodec`) and FFmpeg's "
        "libraries (`apt-get install ffmpeg`).",
        flag=None,
    )
    on_missing: str = declare(
        "warn",
        help="What to do when clips are missing: `warn`, `raise`, or `skip` (say nothing).",
        more="`raise` makes them an error, and so test clips without a label because the list "
        "cannot be had; the report is written all the same.",
        allowed=("warn", "raise", "skip"),
        flag=None,
    )
    retry_errors: bool = declare(
        False,
        help="Ask again for clips that were proved not to be had.",
    )
    audio: bool = declare(
        True,
        help="YouTube: keep the audio, in the original language, as the tarballs' clips have it.",
        more="A clip that is in `data_dir` stays as it is.",
    )
    cookies: str | os.PathLike[str] | None = declare(
        None,
        help="YouTube: an account's cookie file in Netscape's format; read, never written.",
        more="YouTube may suspend an account that is used like this.",
        completes="file",
        check=check_cookies,
        is_secret=True,
    )
    cookies_from_browser: str | None = declare(
        None,
        help="YouTube: a browser to take an account's cookies from, such as `firefox`.",
        check=check_browser,
        is_secret=True,
    )
    proxy: str | None = declare(
        None,
        help="YouTube: URL of a proxy.",
        check=check_proxy_url,
        is_secret=True,
    )
    yt_dlp_options: Mapping[str, Any] | None = declare(
        None,
        help='YouTube: further parameters of `yt_dlp.YoutubeDL`, such as `{"socket_timeout": 60}`.',
        more="They join the loader's and overrule them; those that no clip depends on are refused.",
        check=check_parameters,
        is_secret=True,
        flag=None,
    )
    patience_seconds: int | None = declare(
        None,
        help='With `source="youtube"`: seconds to wait in all while YouTube refuses this address.',
        default_text="600, or 3600 for a rate limit",
        flag="--patience",
    )
    requests_per_hour: int = declare(
        900,
        help="YouTube: questions an hour, two for most videos, after a first 90.",
        more="More may get an address refused.",
        least=1,
        flag=None,
    )


def options_of(fields: type) -> Mapping[str, Option]:
    """Return the options that a dataclass declares as its fields, by name, in their order."""
    types, options = get_type_hints(fields), {}
    for field in dataclasses.fields(fields):
        name = field.name
        usual = {"flag": f"--{name.replace('_', '-')}"}
        options[name] = Option(
            name=name,
            type=types[name],
            annotation=str(field.type),
            default=field.default,
            **{**usual, **field.metadata},
        )
    return options


OPTIONS = options_of(OptionFields)
"""Every option of a load by its name, in the order in which they are shown."""

ENCODING_OPTIONS = tuple(name for name, option in OPTIONS.items() if option.encodes)
"""The options that say how clips are encoded anew."""
