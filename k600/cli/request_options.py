"""The options that say which clips are meant: the same for all commands, and for `load_dataset`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from k600.splits import CONFIGS

if TYPE_CHECKING:
    from k600.loading.request import Request

__all__ = ["SPLIT", "request_of", "with_request_options"]

SPLIT = f"{{{'|'.join(CONFIGS)}}}"
"""How a help shows the argument."""

_OPTIONS: dict[str, tuple[Any, str, str]] = {
    # option: type or default, flag, help
    "classes": (list, "--class", "A class; again for more. Any known spelling."),
    "max_samples": (int, "--max-samples", "Most clips of each split."),
    "max_per_class": (int, "--max-per-class", "Most clips of each class."),
    "balanced": (False, "--balanced", "With --max-samples: one clip of each class in turn."),
    "shuffle": (False, "--shuffle", "Choose at random, as --seed says."),
    "seed": (int, "--seed", "Seed of that choice, 0 or more."),
    "manifest": (str, "--manifest", "Exactly the clips of this file."),
    "source": ("auto", "--source", "auto, cvdf, youtube, or local: only what is here."),
    "data_dir": (str, "--data-dir", "Where clips live; default as for load_dataset."),
    "short_side": (int, "--short-side", "Most pixels of the shorter side; default as is."),
    "mirror": (str, "--mirror", "fsspec URL with the host's layout below it."),
    "endpoint_url": (str, "--endpoint-url", "Endpoint of an s3:// mirror of your own."),
    "test_labels": (str, "--test-labels", "URL or path of DeepMind's kinetics600.tar.gz."),
    "num_workers": (int, "--workers", "Tarballs, or YouTube clips, at a time."),
    "cookies": (str, "--cookies", "YouTube: an account's cookie file."),
    "cookies_from_browser": (
        str,
        "--cookies-from-browser",
        "YouTube: a browser to take cookies from.",
    ),
    "proxy": (str, "--proxy", "YouTube: URL of a proxy."),
    "audio": (False, "--audio", "YouTube: keep the audio."),
    "patience_seconds": (600, "--patience", "YouTube: seconds to wait while it refuses."),
    "retry_errors": (False, "--retry-errors", "Ask again for clips proved not to be had."),
}


def with_request_options(
    *, source: str = "auto", needs_split: bool = True
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the argument SPLIT and every option of a request.

    The command is called with `split` and `options`, a dict of those that the user gave, and its
    own options.

    Args:
        source: The command's own default of `--source`; `options` has it where no other was given.
        needs_split: Whether SPLIT must be given; else `split` may be None.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**values: Any) -> None:
            options = {name: values.pop(name) for name in _OPTIONS}
            origin = click.get_current_context().get_parameter_source
            for name in _OPTIONS:  # an option with the value of its default is given, too
                if origin(name) is ParameterSource.DEFAULT:
                    del options[name]
            if source != "auto":
                options.setdefault("source", source)
            command(options=options, **values)

        for name, (kind, flag, text) in reversed(_OPTIONS.items()):
            facts: dict[str, Any] = {"type": kind} if isinstance(kind, type) else {"default": kind}
            if kind is list:
                facts = {"multiple": True}
            elif kind is False:
                facts = {"is_flag": True}
            elif name == "source":
                facts = {"default": source}
            click.option(flag, name, help=text, **facts)(run)
        metavar = SPLIT if needs_split else f"[{SPLIT}]"
        return click.argument("split", metavar=metavar, required=needs_split)(run)

    return decorate


def request_of(split: str, options: dict[str, Any]) -> Request:
    """Return the request that a command line makes, as `load_dataset` would understand it."""
    import kinetics600

    options = dict(options)
    if (endpoint := options.pop("endpoint_url", None)) is not None:
        options["mirror_options"] = {"endpoint_url": endpoint}
    return kinetics600.make_request(split, **options)
