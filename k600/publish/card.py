"""The dataset card of a published dataset: `card.md`, with the numbers and tables that are its own.

In the template, what stands between `<!-- only NAME ... -->` and `<!-- end -->` is for cards of
these kinds alone, or for those that are `private`, or have `several` splits, clips `left_out` or
`encoded` anew, or the `loader`.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from k600.dataset.labels import NAMES
from k600.dataset.reasons import REASONS
from k600.dataset.splits import Split
from k600.errors.text import printable
from k600.loading.columns import CLIP_INDEX, FACTS, PUBLISHED, Column, markdown_table
from k600.loading.infos import read_info
from k600.publish.clip_index import index_path

_TEMPLATE = Path(__file__).with_name("card.md")
_ONLY = re.compile(r"<!-- only ([\w ]+) -->\n(.*?)<!-- end -->\n", re.DOTALL)
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """What was published of one split."""

    split: str
    clips: int
    unlabelled: int
    video_bytes: int
    """0 where only metadata were published."""
    parquet_bytes: int
    whole: bool
    """Whether all classes and clips were requested."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """How many clips and tarballs had to be left out, by reason: keys of `REASONS`."""
    encoded: str = ""
    """How clips were encoded anew, in words; empty for clips as their source has them."""
    index_sha256: str = ""
    """Of the split's index (`k600.publish.clip_index`); empty if it has none."""


def write_card(
    kind: str,
    splits: Sequence[SplitFacts],
    *,
    name: str,
    private: bool,
    has_loader: bool = False,
) -> str:
    """Return the card, front matter and text; `name` is what `load_dataset` takes."""
    import yaml

    configs = _configs(kind, splits)
    left_out = _left_out_table(splits)
    unlabelled = sum(split.unlabelled for split in splits if Split(split.split).is_mixed)
    encoded = [f"- `{split.split}`: {split.encoded}." for split in splits if split.encoded]
    is_here = name.startswith("./")
    holds = {
        "private": private and kind in ("embedded", "webdataset"),
        "several": len(splits) > 1,
        "left_out": left_out,
        "encoded": encoded,
        "loader": has_loader,
        "loader_here": has_loader and is_here,
        "loader_on_hub": has_loader and not is_here,
    }
    parts = {kind, *(name for name in holds if holds[name])}

    clips = sum(split.clips for split in splits)
    template = _pick(_TEMPLATE.read_text("utf-8"), parts)
    info = read_info("all")
    return string.Template(template).substitute(
        configs=yaml.safe_dump(configs, sort_keys=False, allow_unicode=True, width=100),
        size_category=next((name for most, name in _SIZES if clips < most), "1M<n<10M"),
        description=info.get("description", ""),
        license=info.get("license", ""),
        citation=info.get("citation", ""),
        name=printable(name),
        url=printable(name if is_here else f"hf://datasets/{name}"),
        config=min(splits, key=lambda split: split.parquet_bytes).split,  # quick to try
        video=PUBLISHED[kind][0].name,
        splits=_splits_table(splits),
        left_out=left_out,
        encoded="\n".join(encoded),
        columns=markdown_table(PUBLISHED[kind]),
        index_columns=markdown_table(CLIP_INDEX),
        unlabelled=f": {unlabelled:,} here have none" if unlabelled else "",
    )


def _configs(kind: str, splits: Sequence[SplitFacts]) -> dict[str, Any]:
    """Return what `datasets` reads of the card's YAML: a configuration a split, and `all`.

    The last one, which has every split, is loaded where none is named.
    """
    configs: dict[str, Sequence[SplitFacts]] = {split.split: [split] for split in splits}
    if len(splits) > 1:
        configs["all"] = splits
    ending = "tar" if kind == "webdataset" else "parquet"
    entries: list[dict[str, Any]] = []
    for name, parts in configs.items():
        files = [{"split": of.split, "path": f"data/{of.split}/*.{ending}"} for of in parts]
        entries.append({"config_name": name, "data_files": files})
    entries[-1]["default"] = True
    # No counts: `datasets` would refuse the fewer rows that `filters` leaves.
    infos = [{"config_name": name, "features": _features(PUBLISHED[kind])} for name in configs]
    indexed = [split.split for split in splits if split.index_sha256]
    if indexed and kind == "embedded":  # `datasets` reads all files of a dataset in one format
        files = [{"split": split, "path": index_path(split)} for split in indexed]
        entries.append({"config_name": "index", "data_files": files})
        infos.append({"config_name": "index", "features": _features(CLIP_INDEX)})
    return {"configs": entries, "dataset_info": infos}


def _features(columns: Sequence[Column]) -> list[dict[str, Any]]:
    return [_yaml_feature(column) for column in columns]


def _yaml_feature(column: Column) -> dict[str, Any]:
    """Return a column's feature as `datasets` writes it into the YAML of a card."""
    if column.kind == "facts":
        inner = [{"name": fact.name, "dtype": fact.kind} for fact in FACTS]
        return {"name": column.name, "struct": inner}
    if column.kind == "label":
        names = {str(number): name for number, name in enumerate(NAMES)}
        return {"name": column.name, "dtype": {"class_label": {"names": names}}}
    return {"name": column.name, "dtype": column.kind}


def _pick(template: str, names: Set[str]) -> str:
    """Return a template with those of its conditional parts that are for one of these names."""
    return _ONLY.sub(lambda part: part[2] if names & {*part[1].split()} else "", template)


def _splits_table(splits: Iterable[SplitFacts]) -> str:
    rows = ["| split | clips | without a label | size | of the split |", "|---|---:|---:|---:|---|"]
    for split in splits:
        numbers = f"{split.clips:,} | {split.unlabelled:,} | {decimal(split.parquet_bytes)}"
        rows.append(f"| `{split.split}` | {numbers} | {'all' if split.whole else 'a part'} |")
    return "\n".join(rows)


def _left_out_table(splits: Iterable[SplitFacts]) -> str:
    """Return what had to be left out, a row for each split and reason; empty if nothing was."""
    rows = [
        f"| `{split.split}` | {count:,} | {REASONS[reason]} |"
        for split in splits
        for reason, count in split.left_out.items()
    ]
    return "\n".join(["| split | left out | why |", "|---|---:|---|", *rows]) if rows else ""
