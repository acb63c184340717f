"""The options that say which clips are meant: the same for all commands, and for `load_dataset`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from k600.splits import CONFIGS

if TYPE_CHECKING:
    from k600.loading.request import Request

__all__ = ["json_options", "request_of", "takes_request"]

_OPTIONS: dict[str, tuple[Any, Any, str]] = {
    # option: type, flag, help
    "classes": (list[str] | None, "--class", "A class; again for more. Any known spelling."),
    "max_samples": (int | None, "--max-samples", "Most clips of each split."),
    "max_per_class": (int | None, "--max-per-class", "Most clips of each class."),
    "balanced": (bool, "--balanced", "With --max-samples: one clip of each class in turn."),
    "shuffle": (bool, "--shuffle", "Choose at random, as --seed says."),
    "seed": (int | None, "--seed", "Seed of that choice, 0 or more."),
    "manifest": (str | None, "--manifest", "Exactly the clips of this file."),
    "source": (str, "--source", "auto, cvdf, youtube, or local: only what is here."),
    "data_dir": (str | None, "--data-dir", "Where clips live; default as for load_dataset."),
    "short_side": (int | None, "--short-side", "Most pixels of the shorter side; default as is."),
    "mirror": (str | None, "--mirror", "fsspec URL with the host's layout below it."),
    "endpoint_url": (str | None, "--endpoint-url", "Endpoint of an s3:// mirror of your own."),
    "test_labels": (str | None, "--test-labels", "URL or path of DeepMind's kinetics600.tar.gz."),
    "num_workers": (int | None, "--workers", "Tarballs, or YouTube clips, at a time."),
    "cookies": (str | None, "--cookies", "YouTube: an account's cookie file."),
    "cookies_from_browser": (
        str | None,
        "--cookies-from-browser",
        "YouTube: a browser to take cookies from.",
    ),
    "proxy": (str | None, "--proxy", "YouTube: URL of a proxy."),
    "audio": (bool, "--audio", "YouTube: keep the sound."),
    "patience_seconds": (int, "--patience", "YouTube: seconds to wait while it refuses."),
    "retry_errors": (bool, "--retry-errors", "Ask again for clips proved not to be had."),
}
_DEFAULTS: dict[str, Any] = {"source": "auto", "patience_seconds": 600}


def takes_request(
    *, source: str = _DEFAULTS["source"]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the argument SPLIT and every option of a request.

    The command is called with `split` and `options`, a dict of those that the user gave, and its
    own options.

    Args:
        source: The command's own default of `--source`; `options` has it where no other was given.
    """
    return functools.partial(_with_options, {**_DEFAULTS, "source": source})


def _with_options(defaults: Mapping[str, Any], command: Callable[..., Any]) -> Callable[..., Any]:
    hints = get_type_hints(command, include_extras=True)
    own = [
        parameter.replace(annotation=hints[name])
        for name, parameter in inspect.signature(command).parameters.items()
        if name not in ("split", "options")
    ]
    kind = inspect.Parameter.KEYWORD_ONLY
    split = inspect.Parameter(
        "split",
        kind,
        annotation=Annotated[str, typer.Argument(help=f"One of {', '.join(CONFIGS)}.")],
    )
    shared = [
        inspect.Parameter(
            name,
            kind,
            default=defaults.get(name, False if type_ is bool else None),
            annotation=Annotated[type_, typer.Option(flag, help=text)],
        )
        for name, (type_, flag, text) in _OPTIONS.items()
    ]
    own = [parameter.replace(kind=kind) for parameter in own]

    @functools.wraps(command)
    def run(context: typer.Context, **given: Any) -> Any:
        options = {name: given.pop(name) for name in _OPTIONS}
        for name in _OPTIONS:  # an option with the value of its default is given, too
            origin = context.get_parameter_source(name)
            if origin is None or origin.name == "DEFAULT":
                options.pop(name)
        if defaults["source"] != _DEFAULTS["source"]:
            options.setdefault("source", defaults["source"])
        return command(options=options, **given)

    first = inspect.Parameter("context", kind, annotation=typer.Context)
    parameters = [first, split, *shared, *own]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


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
