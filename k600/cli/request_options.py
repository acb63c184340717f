"""The options that say which clips are meant: the same for all commands, and for `load_dataset`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from k600.cli.flag_names import with_flags
from k600.labels import NAMES
from k600.loading.options import OPTIONS, Option
from k600.splits import CONFIGS

if TYPE_CHECKING:
    from k600.loading.request import Request

__all__ = ["complete_classes", "complete_splits", "json_options", "request_of", "takes_request"]

_FLAGS = {option.name: option.flag for option in OPTIONS.values() if option.flag is not None}


def complete_splits(incomplete: str) -> list[str]:
    """Return the splits, and `all`, that begin so, for the shell."""
    return [name for name in CONFIGS if name.startswith(incomplete)]


def complete_classes(incomplete: str) -> list[str]:
    """Return the classes that begin so, for the shell: in a spelling that needs no quotes.

    Example:
        >>> complete_classes("tying_k")
        ['tying_knot_not_on_a_tie']
        >>> complete_classes("tying k")
        ['tying knot (not on a tie)']
    """
    if " " in incomplete:
        return [name for name in NAMES if name.startswith(incomplete)]
    plain = str.maketrans({" ": "_", "'": None, "(": None, ")": None})
    words = [name.translate(plain) for name in NAMES]
    return [word for word in words if word.startswith(incomplete)]


def takes_request(*, source: str | None = None) -> Callable[[Callable[..., Any]], Any]:
    """Give a command the argument SPLIT and every option of a request.

    The command is called with `split` and `options`, a dict of those that the user gave, and its
    own options.

    Args:
        source: The command's own default of `--source`; `options` has it where no other was given.
    """
    return functools.partial(_with_options, source)


def _with_options(own_source: str | None, command: Callable[..., Any]) -> Callable[..., Any]:
    hints = get_type_hints(command, include_extras=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    own = [
        parameter.replace(annotation=hints[name], kind=kind)
        for name, parameter in inspect.signature(command).parameters.items()
        if name not in ("split", "options")
    ]
    shared = _parameters(own_source)

    @functools.wraps(command)
    def run(context: typer.Context, **given: Any) -> Any:
        options = {}
        for name in shared.keys() - {"context", "split"}:
            value, origin = given.pop(name), context.get_parameter_source(name)
            if origin is not None and origin.name != "DEFAULT":
                options[name] = value  # with the value of its default it is given, too
        if own_source is not None:
            options.setdefault("source", own_source)
        return command(options=options, **given)

    parameters = [*shared.values(), *own]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameters(own_source: str | None) -> dict[str, inspect.Parameter]:
    """Return the parameters, by name, that stand for SPLIT and for the options of a request."""
    splits = typer.Argument(
        help=f"One of {', '.join(CONFIGS)}.", autocompletion=complete_splits, show_default=False
    )
    annotations: dict[str, Any] = {"context": typer.Context, "split": Annotated[str, splits]}
    defaults: dict[str, Any] = {}
    for name in _FLAGS:
        annotations[name] = _annotation(OPTIONS[name])
        defaults[name] = OPTIONS[name].default
        if name == "mirror":  # the one of its options that many need
            annotations["endpoint_url"] = Annotated[
                str | None,
                typer.Option("--endpoint-url", help="Endpoint of an s3:// mirror of your own."),
            ]
            defaults["endpoint_url"] = None
    defaults["source"] = own_source or defaults["source"]

    kind, none = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty
    return {
        name: inspect.Parameter(name, kind, default=defaults.get(name, none), annotation=annotation)
        for name, annotation in annotations.items()
    }


def _annotation(option: Option) -> Any:
    """Return an option's type for the command line, with its flag, help and completion."""
    text = option.flag_help or option.help
    declared = typer.Option(
        option.flag,
        help=with_flags(text, _FLAGS).replace("`", ""),
        autocompletion=_completion(option),
    )
    kind = list[str] | None if option.name == "classes" else option.type
    return Annotated[kind, declared]


def _completion(option: Option) -> Callable[[str], list[str]] | None:
    """Return what completes an option's values in the shell; None leaves it to the shell."""
    if option.name == "classes":
        return complete_classes
    if not option.allowed:
        return None
    return lambda incomplete: [value for value in option.allowed if value.startswith(incomplete)]


def request_of(split: str, options: dict[str, Any]) -> Request:
    """Return the request that a command line makes, as `load_dataset` would understand it."""
    import kinetics600

    options = dict(options)
    if (endpoint := options.pop("endpoint_url", None)) is not None:
        options["mirror_options"] = {"endpoint_url": endpoint}
    return kinetics600.make_request(split, **options)


def json_options(option: str, text: str) -> dict[str, Any] | None:
    """Return the JSON object that an option holds; None if it is empty."""
    import json

    from k600.errors import OptionError

    if not text:
        return None
    try:
        options = json.loads(text)
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise OptionError(
            f'{option}: this is no JSON object, such as {{"endpoint_url": "http://…"}}'
        )
    return options
