"""Write the options as types of keyword arguments from their declaration: run
`python scripts/make_types.py`.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # a checkout need not be installed yet

from k600.fleet.options import FleetOptions
from k600.loading import options
from k600.loading.options import OPTIONS, Option, options_of
from k600.publish.options import IndexOptions, PublishOptions
from k600.store.files import write_whole

__all__ = ["FILE", "source"]

OWN = {
    "PublishKeywords": PublishOptions,
    "IndexKeywords": IndexOptions,
    "FleetKeywords": FleetOptions,
}
"""Options of single functions, beside those of a load. The place of a fleet is no keyword."""

FILE = Path(options.__file__).with_name("keywords.py")

HEAD = '''\
"""The options of a load as keyword arguments, for type checkers and editors: `Unpack[Options]`.

Made from `k600/loading/options.py` by `python scripts/make_types.py`; a test holds it current.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any, Literal, TypedDict


class Options(TypedDict, total=False):
    """The options of a load; each may be left out."""

'''


def source() -> str:
    """Return the text of `k600/loading/keywords.py`."""
    parts = [HEAD, *map(_keyword, OPTIONS.values())]
    for name, fields in OWN.items():
        function = name.removesuffix("Keywords").lower()
        parts.append(
            f'\n\nclass {name}(Options, total=False):\n    """Those of `{function}`."""\n\n'
        )
        own = options_of(fields).values()
        parts += [_keyword(each) for each in own if (fields, each.name) != (FleetOptions, "to")]
    return "".join(parts)


def _keyword(option: Option) -> str:
    annotation = option.annotation
    if option.allowed:
        values = ", ".join(f'"{value}"' for value in option.allowed)
        annotation = f"Literal[{values}]{' | None' if option.default is None else ''}"
    meaning = textwrap.fill(f'"""{option.help}', 96, break_on_hyphens=False)
    if "\n" in meaning:
        meaning += "\n"
    return textwrap.indent(f'{option.name}: {annotation}\n{meaning}"""\n', "    ")


if __name__ == "__main__":
    write_whole(FILE, source().encode())
