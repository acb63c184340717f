"""The dataset card of a published dataset: what the Hub and `datasets` read of it, and people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.filesize import decimal

from k600.infos import read_info
from k600.labels import NAMES
from k600.publish.parquet import COLUMNS, ENDINGS, FACTS
from k600.reasons import REASONS
from k600.splits import Split
from k600.text import printable

__all__ = ["SplitFacts", "front_matter", "project_front_matter", "write_card"]

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))
_MEANINGS = {
    "video": "an MP4 of about 10 seconds; torchcodec decodes it when it is looked at",
    "label": "0 to 599, in the byte order of the class names; null for a test clip that no list "
    "labels",
    "youtube_id": "11 characters",
    "time_start": "start in the YouTube video, in seconds",
    "time_end": "end in the YouTube video, in seconds, exclusive",
    "split": "`train`, `validation` or `test`",
    "source": "whence the clip's file came: `cvdf` (a tarball), `youtube`, `local` (it was there); "
    "null where no file was seen",
    "url": "the video on YouTube, at the clip's start",
    "tarball": "name of the CVDF's tarball for the clip; null where unknown",
    "size_bytes": "of the clip's file; null where no file was seen",
    "sha256": "of the clip's file, in hexadecimal; null where no file was seen",
    "mp4": "an MP4 of about 10 seconds; torchcodec decodes it when it is looked at",
    "cls": "0 to 599, in the byte order of the class names; no such file for a test clip that no "
    "list labels",
    "json": "`label` (the class's name), `youtube_id`, `time_start` and `time_end` (seconds in the "
    "YouTube video, the end exclusive), `split`, and `source`: `cvdf`, a tarball",
    "__key__": "what the files of a clip are called in the tar, without their endings",
    "__url__": "the tar",
}


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """What was published of one split."""

    split: str
    """`train`, `validation` or `test`."""
    clips: int
    unlabelled: int
    """Clips without a label."""
    video_bytes: int
    """Of clips, 0 where only metadata were published."""
    parquet_bytes: int
    whole: bool
    """Whether all classes and clips were asked for."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """How many clips and tarballs had to be left out, by reason: keys of `k600.reasons.REASONS`."""


def front_matter(kind: str, splits: Sequence[SplitFacts]) -> dict[str, Any]:
    """Return the card's YAML as plain data.

    Every split is a configuration of its own name, and together they are `all`, as for the loader.

    Args:
        kind: `metadata`, `embedded` or `webdataset`.
        splits: What there is, in the order of `k600.clip.SPLITS`; at least one.
    """
    total = sum(split.clips for split in splits)
    embedded = kind != "metadata"
    configs: dict[str, Sequence[SplitFacts]] = {split.split: [split] for split in splits}
    if len(splits) > 1:
        configs["all"] = splits
    licence: dict[str, Any] = {"license": "cc-by-4.0"}
    if embedded:  # the annotations are CC BY 4.0, the videos are their owners'
        licence = {
            "license": "other",
            "license_name": "annotations-cc-by-4.0-videos-their-owners",
            "license_link": "https://creativecommons.org/licenses/by/4.0/",
        }
    return {
        "pretty_name": f"Kinetics-600{'' if embedded else ' (metadata)'}",
        **licence,
        "task_categories": ["video-classification"],
        "size_categories": [_size(total)],
        "annotations_creators": ["crowdsourced"],
        "source_datasets": ["original"],
        "tags": ["kinetics", "kinetics-600", "action-recognition", "video"],
        "configs": [
            {
                "config_name": name,
                "data_files": [
                    {"split": part.split, "path": f"data/{part.split}/*.{ENDINGS[kind]}"}
                    for part in parts
                ],
            }
            for name, parts in configs.items()
        ],
        "dataset_info": [_info(name, kind) for name in configs],
    }


def project_front_matter() -> dict[str, Any]:
    """Return the front matter of this project's own README: the card of a loader, without data."""
    return {
        "pretty_name": "Kinetics-600",
        "license": ["apache-2.0", "cc-by-4.0"],
        "task_categories": ["video-classification"],
        "size_categories": ["100K<n<1M"],
        "annotations_creators": ["crowdsourced"],
        "source_datasets": ["original"],
        "tags": ["kinetics", "kinetics-600", "action-recognition", "video", "loader"],
    }


def write_card(kind: str, splits: Sequence[SplitFacts], *, name: str, private: bool) -> str:
    """Return the card, front matter and text.

    Args:
        kind: `metadata`, `embedded` or `webdataset`.
        splits: What there is; at least one.
        name: What `load_dataset` is to be given: `USER/NAME`, or where the files are.
        private: Whether only some may see it.
    """
    import yaml

    matter = yaml.safe_dump(
        front_matter(kind, splits), sort_keys=False, allow_unicode=True, width=100
    )
    info = read_info("all")
    sections = [
        f"---\n{matter}---",
        _head(kind, private=private),
        _use(kind, splits, printable(name)),
        _table(splits),
        _columns(kind),
        _origin(kind),
        _caveats(splits),
        f"## Licence\n\n{info.get('license', '')}",
        f"## Citation\n\n```bibtex\n{info.get('citation', '')}\n```",
    ]
    return "\n\n".join(sections) + "\n"


def _size(count: int) -> str:
    return next((name for most, name in _SIZES if count < most), "1M<n<10M")


def _info(name: str, kind: str) -> dict[str, Any]:
    # No counts: `datasets` would refuse the fewer rows that `filters` leaves.
    return {
        "config_name": name,
        "features": [_feature(column, what) for column, what in COLUMNS[kind].items()],
    }


def _feature(column: str, what: str) -> dict[str, Any]:
    if what == "facts":
        inner = [{"name": name, "dtype": kind} for name, kind in FACTS.items()]
        return {"name": column, "struct": inner}
    return {"name": column, "dtype": _label() if what == "label" else what}


def _label() -> Mapping[str, Any]:
    return {"class_label": {"names": {str(number): name for number, name in enumerate(NAMES)}}}


def _head(kind: str, *, private: bool) -> str:
    info = read_info("all")
    what = {
        "metadata": "This repository holds **metadata**: one row for each clip, no video.",
        "embedded": "This repository holds the **clips** themselves, as they are in the CVDF's "
        "tarballs, in rows whose classes are mixed.",
        "webdataset": "This repository holds the **clips** themselves, from the CVDF's tarballs, "
        "as WebDataset tars whose classes are mixed.",
    }[kind]
    shut = (
        "\n\nIt is private, as the videos belong to those who made them: see the licence before "
        "you hand anything on."
        if private and kind != "metadata"
        else ""
    )
    return f"# Kinetics-600\n\n{info.get('description', '')}\n\n{what}{shut}"


def _use(kind: str, splits: Sequence[SplitFacts], name: str) -> str:
    config = splits[-1].split if len(splits) == 1 else splits[min(1, len(splits) - 1)].split
    lines = [
        "from datasets import load_dataset",
        "",
        f'ds = load_dataset("{name}", "{config}", split="{config}")',
        f'stream = load_dataset("{name}", "{config}", split="{config}", streaming=True)',
    ]
    if kind != "webdataset":
        lines += [
            'label = ds.features["label"].str2int("surfing water")',
            f'surfing = load_dataset("{name}", "{config}", split="{config}", '
            'filters=[("label", "=", label)])',
        ]
    if kind != "metadata":
        column = next(name for name, what in COLUMNS[kind].items() if what == "video")
        lines += [
            "",
            "from datasets import Video",
            f'raw = ds.cast_column("{column}", Video(decode=False))  '
            '# {"bytes", "path"}, no decoder',
        ]
    return "## Use\n\n```python\n" + "\n".join(lines) + "\n```"


def _table(splits: Sequence[SplitFacts]) -> str:
    rows = [
        f"| `{s.split}` | {s.clips:,} | {s.unlabelled:,} | {decimal(s.parquet_bytes)} | "
        f"{'all' if s.whole else 'a part'} |"
        for s in splits
    ]
    head = "| split | clips | without a label | size | of the split |\n|---|---:|---:|---:|---|"
    return "## Splits\n\n" + "\n".join([head, *rows]) + _left_out(splits)


def _left_out(splits: Sequence[SplitFacts]) -> str:
    """Return what had to be left out, a row for each split and reason; nothing if nothing was."""
    rows = [
        f"| `{split.split}` | {count:,} | {REASONS[reason]} |"
        for split in splits
        for reason, count in split.left_out.items()
    ]
    if not rows:
        return ""
    head = "| split | left out | why |\n|---|---:|---|"
    where = "Each is named in `.kinetics600/<split>/groups/`."
    return "\n\n" + "\n".join([head, *rows]) + f"\n\n{where}"


def _columns(kind: str) -> str:
    rows = [f"| `{column}` | {_MEANINGS[column]} |" for column in COLUMNS[kind]]
    return "## Columns\n\n| column | meaning |\n|---|---|\n" + "\n".join(rows)


def _origin(kind: str) -> str:
    ways = {
        "metadata": "Rows of `train` and `validation` are the clips that the CVDF lists for its "
        "tarballs, and any other that was found in one. Rows of `test` are the clips that were "
        "found in test tarballs; where these were not read, those that DeepMind labels, of which "
        "many are in no tarball. `size_bytes` and `sha256` are of the files that whoever published "
        "this had. A listed clip need not be in its tarball, nor on YouTube any more.",
        "embedded": "The clips were read straight out of the tarballs that the CVDF hosts in "
        "`s3://kinetics/600`. Clips that are empty or cut off there were left out. The clips of "
        "many tarballs were shuffled together, with a fixed seed.",
    }
    return (
        f"## How the clips were obtained\n\n{ways.get(kind, ways['embedded'])} The label of a "
        "train or validation clip is the name of its tarball; labels of test clips come from "
        "DeepMind's archive, by (id, start, end). Made by the `kinetics600` loader."
    )


def _caveats(splits: Sequence[SplitFacts]) -> str:
    unlabelled = sum(split.unlabelled for split in splits if Split(split.split).is_mixed)
    lines = [
        "Thousands of validation clips are train clips as well (the same id, start and end). "
        "Whoever evaluates on `validation` should leave them out of training.",
        "A clip is told from another by split, label, id, start and end together: nine ids of "
        "`validation` are in two classes.",
        "Not every test clip has a label (null)"
        + (f": {unlabelled:,} here have none" if unlabelled else "")
        + ". The CVDF's `test.csv` describes another list than its test tarballs hold.",
        "The counts in circulation (427,549 / 29,793 / 72,924) are lines of lists, not clips.",
        "Videos vanish from YouTube; the persons in them may ask for that.",
    ]
    return "## Caveats\n\n" + "\n".join(f"- {line}" for line in lines)
