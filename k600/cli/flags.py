"""Options that several commands share, beside those of a request."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "AsJson",
    "DataDir",
    "IHaveTheRights",
    "ListsMirror",
    "Quiet",
    "ShardSizeMb",
    "ToOptions",
]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show only errors, and what is missing.")]
DataDir = Annotated[
    str | None, typer.Option("--data-dir", help="The store; default as for load_dataset.")
]
ListsMirror = Annotated[str | None, typer.Option("--mirror", help="The mirror whose lists count.")]

# What is written, by `publish` or by `fleet`.
ToOptions = Annotated[
    str, typer.Option("--to-options", help="fsspec options for that folder or URL, as JSON.")
]
IHaveTheRights = Annotated[
    bool, typer.Option("--i-have-the-rights", help="You may hand these videos on.")
]
ShardSizeMb = Annotated[int, typer.Option("--shard-size-mb", help="MB of clips in a file.")]
