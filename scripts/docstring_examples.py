"""For the API page: an `Example:` of a docstring is code, as mkdocstrings knows `Examples:` alone.

Options that a function takes beside those of a load stand in its signature and docstring.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import griffe

sys.path.insert(0, str(Path(__file__).parent.parent))  # a checkout need not be installed yet

from k600.fleet.options import FleetOptions
from k600.loading.options import Option, options_of
from k600.publish.options import IndexOptions, PublishOptions

__all__ = ["ShowExamples"]

OWN = {
    "k600.api.publish": PublishOptions,
    "k600.api.build_index": IndexOptions,
    "k600.api.fleet": FleetOptions,
}


class ShowExamples(griffe.Extension):
    """Rewrites each docstring as it is read; those in the code stay as they are."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Fence the example in an object's docstring, and add a function's own options."""
        if obj.docstring is None:
            return
        text = obj.docstring.value
        obj.docstring.value = re.sub(r"^Example:\n((?:    .*\n?|\n)+)", _fenced, text, flags=re.M)
        if isinstance(obj, griffe.Function) and obj.path in OWN:
            _show_options(obj, obj.docstring, [*options_of(OWN[obj.path]).values()])


def _show_options(
    function: griffe.Function, docstring: griffe.Docstring, options: list[Option]
) -> None:
    shown = [each for each in options if each.name not in function.parameters]
    of_load = function.parameters["options"]
    del function.parameters["options"]
    for each in shown:
        facts = {"annotation": each.annotation, "default": repr(each.default)}
        kind = griffe.ParameterKind.keyword_only
        function.parameters.add(griffe.Parameter(each.name, kind=kind, **facts))
    function.parameters.add(of_load)
    lines = "".join(f"    {each.name}: {each.help}\n" for each in shown)
    docstring.value = docstring.value.replace("    **options:", f"{lines}    **options:")


def _fenced(found: re.Match[str]) -> str:
    code = found[1].rstrip()
    language = "pycon" if ">>>" in code else "python"
    return f"Examples:\n    ```{language}\n{code}\n    ```\n\n"
