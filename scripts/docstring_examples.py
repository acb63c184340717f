"""For the API page: an `Example:` of a docstring is code; mkdocstrings knows `Examples:`."""

from __future__ import annotations

import re
from typing import Any

import griffe

__all__ = ["ShowExamples"]


class ShowExamples(griffe.Extension):
    """Rewrites each docstring as it is read; those in the code stay as they are."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Fence the example in an object's docstring."""
        if obj.docstring is not None:
            text = obj.docstring.value
            obj.docstring.value = re.sub(
                r"^Example:\n((?:    .*\n?|\n)+)", _fenced, text, flags=re.M
            )


def _fenced(found: re.Match[str]) -> str:
    code = found[1].rstrip()
    language = "pycon" if ">>>" in code else "python"
    return f"Examples:\n    ```{language}\n{code}\n    ```\n\n"
