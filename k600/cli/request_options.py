"""Options as flags, made of their declaration: those of a request, and of single commands."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from k600.cli.flag_names import with_flags
from k600.errors import OptionError
from k600.labels import NAMES, class_lists
from k600.loading.options import OPTIONS, Option, options_of
from k600.network import is_offline
from k600.splits import CONFIGS
from k600.text import public_url

if TYPE_CHECKING:
    from k600.loading.outcome import Outcome
    from k600.loading.request import Request
    from k600.progress import Progress

_F = TypeVar("_F", bound=Callable[..., Any])
Completion = Callable[[click.Context, click.Parameter, str], list[Any]]

SPLIT = f"{{{'|'.join(CONFIGS)}}}"
_FLAGS = {option.name: option.flag for option in OPTIONS.values() if option.flag is not None}
REQUEST_PARAMETERS = (*_FLAGS, "endpoint_url")
"""The parameters that `with_request_options` gives a command."""
endpoint_url = click.option("--endpoint-url", help="Endpoint of an s3:// mirror of your own.")


def with_options(*names: str) -> Callable[[_F], _F]:
    """Give a command some options of a request, as `k600.loading.options` declares them."""

    def decorate(command: _F) -> _F:
        for name in reversed(names):  # click lists the option that is added last first
            _flag(OPTIONS[name], _FLAGS)(command)
        return command

    return decorate


def with_request_options(
    *, source: str = "auto", needs_split: bool = True
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the argument SPLIT and every option of a request.

    The command is called with `split`, and with `options`: a dict of those that the user gave, and
    the command's own default of `--source`. Without `needs_split`, `split` may be None.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(options: dict[str, Any], **values: Any) -> None:
            if source != OPTIONS["source"].default:
                options.setdefault("source", source)
            command(options=options, **values)

        run = _collecting(functools.wraps(command)(run), REQUEST_PARAMETERS, "options")
        # Click lists the option that is added last first.
        for name in reversed(_FLAGS):
            if name == "mirror":
                endpoint_url(run)
            more = {"default": source} if name == "source" else {}
            _flag(OPTIONS[name], _FLAGS, **more)(run)

        metavar = SPLIT if needs_split else f"[{SPLIT}]"
        argument = click.argument(
            "split", metavar=metavar, required=needs_split, shell_complete=complete_splits
        )
        return argument(run)

    return decorate


def with_own_options(
    fields: type, into: str = "how"
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options that a dataclass declares, beside those of a request.

    The command is called with those that the user gave, as the dict `into`.
    """
    options = [each for each in options_of(fields).values() if each.flag is not None]
    flags = {each.name: str(each.flag) for each in options}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        run = _collecting(command, flags, into)
        for option in reversed(options):
            _flag(option, flags)(run)
        return run

    return decorate


def _collecting(
    command: Callable[..., None], names: Collection[str], into: str
) -> Callable[..., None]:
    """Return a command that takes parameters, and has them as a dict of those that were given."""

    @functools.wraps(command)
    def run(**values: Any) -> None:
        origin = click.get_current_context().get_parameter_source
        taken = {name: values.pop(name) for name in names}
        given = {name: taken[name] for name in names if origin(name) is not ParameterSource.DEFAULT}
        command(**{into: given}, **values)

    return run


def shell_words(options: Mapping[str, Any]) -> list[str]:
    """Return the options that were given as words of a shell, without credentials."""
    words = []
    for name, value in options.items():
        if value not in (None, (), OPTIONS[name].default):
            for each in value if name == "classes" else [value]:
                words += [_FLAGS[name], public_url(str(each))]
    return words


def _flag(option: Option, flags: Mapping[str, str], **more: Any) -> Callable[[Any], Any]:
    """Declare click's option for an option: its help, type, default and completion."""
    text = with_flags(option.flag_help or option.help, flags).replace("`", "")
    facts: dict[str, Any] = {"help": text, "default": option.default}
    if option.allowed:
        facts["shell_complete"] = complete_of(*option.allowed)
    elif option.completes:
        facts["shell_complete"] = complete_path(option.completes)

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
    return click.option(flag, option.name, **{**facts, **more})


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


def complete_path(kind: str) -> Completion:
    """Return what lets the shell complete a path: of a `file` or a `dir`."""
    return click.Path(file_okay=kind == "file").shell_complete


complete_splits = complete_of(*CONFIGS)


def path_option(
    flag: str, text: str, *, kind: str = "file", default: str | None = None
) -> Callable[[_F], _F]:
    """Declare an option for the path of what is written: a `file` or a `dir`."""
    return click.option(
        flag, type=Path, default=default, shell_complete=complete_path(kind), help=text
    )


def complete_classes(_context: click.Context, _parameter: click.Parameter, word: str) -> list[str]:
    """Return the classes, and lists, that begin with a word, in a spelling without quotes."""
    if " " in word:  # in quotes
        return [name for name in NAMES if name.startswith(word)]
    plain = str.maketrans({" ": "_", "'": None, "(": None, ")": None})
    spellings = [*class_lists(), *(name.translate(plain) for name in NAMES)]
    return [each for each in spellings if each.lower().startswith(word.lower())]


def request_of(split: str, options: Mapping[str, Any]) -> Request:
    """Return the request of a command line, as `load_dataset` would make it."""
    import kinetics600

    return kinetics600.make_request(split, **as_given(options))


def fetch(request: Request, progress: Progress) -> Iterator[Outcome]:
    """Fetch, split by split, what is missing of a request and may come; yield what there is."""
    from k600.loading.fetch import fetch_split

    for split in request.splits:
        yield fetch_split(request, split, progress=progress, offline=is_offline())


def as_given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those options of a command line that were given, as `load_dataset` names them."""
    given = {name: value for name, value in options.items() if value not in (None, ())}
    if (endpoint := given.pop("endpoint_url", None)) is not None:
        given["mirror_options"] = {"endpoint_url": endpoint}
    return given
