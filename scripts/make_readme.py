"""Write README's parts about options from their declaration: `python scripts/make_readme.py`."""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # a checkout need not be installed yet

from k600.loading.options import OPTIONS, Option
from k600.store.files import write_whole

__all__ = ["with_options"]

README = Path(__file__).parent.parent / "README.md"


def with_options(text: str) -> str:
    """Return README's text with what is between its marks made anew."""
    for mark, lines in (("table of options", _table()), ("flags of options", _flags())):
        begin, end = f"<!-- {mark}: made by scripts/make_readme.py -->\n", f"<!-- end of {mark} -->"
        text, count = re.subn(
            f"({re.escape(begin)}).*?({re.escape(end)})",
            lambda found, lines=lines: f"{found[1]}{lines}{found[2]}",  # type: ignore[misc]
            text,
            flags=re.S,
        )
        assert count == 1, mark
    return text


def _table() -> str:
    rows = ["| option | default | meaning |", "|---|---|---|"]
    for option in OPTIONS.values():
        meaning = " ".join(filter(None, (option.help, option.more)))
        rows.append(f"| `{option.name}` | {_default_of(option)} | {meaning} |")
    return "\n".join(rows) + "\n"


def _default_of(option: Option) -> str:
    if option.default is None:
        return option.default_text
    default = f'"{option.default}"' if isinstance(option.default, str) else option.default
    return f"`{default}`"


def _flags() -> str:
    flags = [
        f"`--no-{option.flag[2:]}`" if option.default is True else f"`{option.flag}`"
        for option in OPTIONS.values()
        if option.flag is not None
    ]
    return textwrap.fill(", ".join(flags), 108, break_on_hyphens=False) + "\n"


if __name__ == "__main__":
    write_whole(README, with_options(README.read_text("utf-8")).encode())
