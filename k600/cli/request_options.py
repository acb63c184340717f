"""Options as flags, made of their declaration: those of a request, and of single commands."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from k600.cli.flag_names import with_flags
from k600.cli.screen import meter
from k600.dataset.labels import NAMES, class_lists
from k600.dataset.splits import CONFIGS
from k600.errors import OptionError
from k600.errors.text import public_url
from k600.loading.options import OPTIONS, Option, options_of

if TYPE_CHECKING:
    from k600.loading.outcome import Outcome
    from k600.loading.request import Request

_F = TypeVar("_F", bound=Callable[..., Any])
Completion = Callable[[click.Context, click.Parameter, str], list[Any]]
Command = Callable[..., int | None]
Decorator = Callable[[Command], Command]

SPLIT = f"{{{'|'.join(CONFIGS)}}}"

_ENDPOINT = Option(
    name="endpoint_url",
    type=str,
    annotation="str",
    default=None,
    help="Endpoint of an s3:// mirror of your own.",
    flag="--endpoint-url",
)
"""Of `mirror_options`, as text on the command line."""

_OPTIONS: dict[str, Option] = {}
for _option in OPTIONS.values():
    if _option.flag is not None:
        _OPTIONS[_option.name] = _option
    if _option.name == "mirror":
        _OPTIONS[_ENDPOINT.name] = _ENDPOINT

REQUEST_PARAMETERS = tuple(_OPTIONS)
"""The parameters that `with_request_options` gives a command."""


def split_argument(*, needs_split: bool = True, **facts: Any) -> Callable[[_F], _F]:
    """Declare the argument SPLIT; `facts` are what `click.argument` takes besides."""
    metavar = SPLIT if needs_split else f"[{SPLIT}]"
    return click.argument(
        "split", metavar=metavar, required=needs_split, shell_complete=complete_splits, **facts
    )


def with_options(*names: str, **defaults: Any) -> Decorator:
    """Give a command some options of a request, and `endpoint_url`, which is one of its mirror.

    The command is called with `options`: a dict of those that the user gave, and of `defaults`.
    """
    return _with([_OPTIONS[name] for name in names], "options", **defaults)


def with_request_options(*, needs_split: bool = True, **defaults: Any) -> Decorator:
    """Give a command the argument SPLIT and, as `with_options` does, every option of a request.

    Without `needs_split`, its `split` may be None.
    """
    takes_options = with_options(*_OPTIONS, **defaults)
    return lambda command: split_argument(needs_split=needs_split)(takes_options(command))


def with_own_options(fields: type, into: str = "how") -> Decorator:
    """Give a command the options that a dataclass declares, beside those of a request.

    The command is called with those that the user gave, as the dict `into`.
    """
    return _with([each for each in options_of(fields).values() if each.flag is not None], into)


def _with(options: Sequence[Option], into: str, **defaults: Any) -> Decorator:
    """Have a command take options as one dict: those that the user gave, and `defaults`."""
    flags = {each.name: str(each.flag) for each in (*_OPTIONS.values(), *options)}

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(**values: Any) -> int | None:
            origin = click.get_current_context().get_parameter_source
            taken = {option.name: values.pop(option.name) for option in options}
            given = {n: v for n, v in taken.items() if origin(n) is not ParameterSource.DEFAULT}
            return command(**{into: {**defaults, **given}}, **values)

        for option in reversed(options):  # click lists the option that is added last first
            _flag(option, flags, defaults.get(option.name, option.default))(run)
        return run

    return decorate


def shell_words(options: Mapping[str, Any]) -> list[str]:
    """Return the options that were given as words of a shell, without credentials."""
    words = []
    for name, value in options.items():
        for each in value if name == "classes" else [value]:
            words += [str(_OPTIONS[name].flag), public_url(str(each))]
    return words


def _flag(option: Option, flags: Mapping[str, str], default: Any) -> Callable[[Any], Any]:
    """Declare click's option for an option: its help, type, default and completion."""
    text = with_flags(option.flag_help or option.help, flags).replace("`", "")
    facts: dict[str, Any] = {"help": text, "default": default}
    if option.allowed:
        facts["shell_complete"] = complete_of(*option.allowed)
    elif option.completes:
        facts["shell_complete"] = click.Path(file_okay=option.completes == "file").shell_complete

    flag = flags[option.name]
    if option.name == "classes":
        facts = {"help": text, "multiple": True, "shell_complete": complete_classes}
    elif option.type is bool:
        facts["is_flag"] = True
        if option.default is True:
            flag += f"/--no-{flag.removeprefix('--')}"
    elif Mapping[str, Any] in option.kinds:
        facts["callback"] = _read_json
    else:
        facts["type"] = next((kind for kind in (int, float) if kind in option.kinds), str)
    return click.option(flag, option.name, **facts)


def _read_json(_: click.Context, parameter: click.Parameter, text: str | None) -> Any:
    if not text:
        return None
    with contextlib.suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict):
            return found
    raise OptionError(
        f'{parameter.name}: this is no JSON object, such as {{"endpoint_url": "http://…"}}'
    )


def complete_of(*values: str) -> Completion:
    """Return what completes one of some values."""
    return click.Choice(values).shell_complete


complete_splits = complete_of(*CONFIGS)
FILE = click.Path(path_type=Path)
"""The path of a file, which the shell completes."""


def complete_classes(_context: click.Context, _parameter: click.Parameter, word: str) -> list[str]:
    """Return the classes, and lists, that begin with a word, in a spelling without quotes."""
    if " " in word:  # in quotes
        return [name for name in NAMES if name.startswith(word)]
    plain = str.maketrans({" ": "_", "'": None, "(": None, ")": None})
    spellings = [*class_lists(), *(name.translate(plain) for name in NAMES)]
    return [each for each in spellings if each.lower().startswith(word.lower())]


def request_of(split: str, options: Mapping[str, Any]) -> Request:
    """Return the request of a command line, as `load_dataset` would make it."""
    from k600.api import make_request

    return replace(make_request(split, **as_given(options)), progress=meter())


def fetch(request: Request) -> Iterator[Outcome]:
    """Fetch, split by split, what is missing of a request and may come; yield what there is."""
    from k600.loading.fetch import fetch_split

    for split in request.splits:
        yield fetch_split(request, split)


def as_given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options that were given on a command line as `load_dataset` names them."""
    given = dict(options)
    if "endpoint_url" in given:
        given["mirror_options"] = {"endpoint_url": given.pop("endpoint_url")}
    return given
