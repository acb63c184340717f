"""The columns of every table of clips: each is declared once, and each table says which it has.

The builder's features, the rows of a store and of a stream, Parquet's schema, the JSON file in a
WebDataset tar, a dataset card's YAML and table, a table in `docs/`, manifests are made of these.
A new column is a `Column` here, its place in the tables that it stands in, and the code that
computes it: for rows, `k600.loading.rows.make_columns`. Nothing here knows `datasets`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from k600.dataset.clip import Entry, Place, Tarball
from k600.dataset.labels import NAMES


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table of clips."""

    name: str
    kind: str
    """`video`, `label` (an id), `facts` (JSON of `FACTS`), or what Arrow and `datasets` both call
    it: `string`, `int32`, `int64`, `uint32`, `float64`."""
    meaning: str
    """For people, in one line of Markdown."""

    @property
    def feature_type(self) -> dict[str, Any]:
        """The column's feature as `datasets` writes it into a Parquet file."""
        if self.kind == "video":
            return {"_type": "Video"}
        if self.kind == "label":
            return {"names": [*NAMES], "_type": "ClassLabel"}
        return {"dtype": self.kind, "_type": "Value"}

    @property
    def arrow_type(self) -> Any:
        """The type of the column in Arrow, as `datasets` stores that feature."""
        import pyarrow

        if self.kind == "video":
            return pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
        return pyarrow.int64() if self.kind == "label" else pyarrow.type_for_alias(self.kind)


_VIDEO = Column(
    "video", "video", "an MP4 of about 10 seconds; torchcodec decodes it when it is looked at"
)
_LABEL = Column(
    "label",
    "label",
    "0 to 599, in the byte order of the class names; null for a test clip that no list labels",
)
_CLASS = Column("label", "string", "the class's name")
_YOUTUBE_ID = Column("youtube_id", "string", "11 characters")
_TIME_START = Column("time_start", "int32", "start in the YouTube video, in seconds")
_TIME_END = Column("time_end", "int32", "end in the YouTube video, in seconds, exclusive")
_SPLIT = Column("split", "string", "`train`, `validation` or `test`")
_SOURCE = Column(
    "source",
    "string",
    "where the clip's file came from: `cvdf` (a tarball), `youtube`, or `local` (it was there "
    "before)",
)
_SOURCE_OF_SEEN = replace(_SOURCE, meaning=f"{_SOURCE.meaning}; null where no file was seen")
_FPS = Column(
    "fps",
    "float64",
    "frames per second of the clip's file, on average, if it was encoded anew; null where unknown",
)
_URL = Column("url", "string", "the video on YouTube, at the clip's start")
_TARBALL = Column(
    "tarball", "string", "name of the CVDF's tarball for the clip; null where unknown"
)
_POSITION = Column(
    "position", "int32", "its place among the clips of its tarball, from 0; null where unknown"
)
_SIZE_BYTES = Column("size_bytes", "int64", "of the clip's file; null where no file was seen")
_SHA256 = Column(
    "sha256", "string", "of the clip's file, in hexadecimal; null where no file was seen"
)
_STATE = Column("state", "string", "`have`, `short`, `corrupt` or `missing`")
_REASON = Column("reason", "string", "why it is so; empty for a clip that is there")
_DURATION = Column("duration_seconds", "float64", "how long the file plays")
_WIDTH = Column("width", "int64", "pixels")
_HEIGHT = Column("height", "int64", "pixels")

_OF_ENTRY = (  # as in `Entry`
    Column("entry_offset", "int64", "first byte of the file to ask for"),
    Column("skip_bytes", "int64", "unpacked bytes from there to the clip"),
    Column("span_bytes", "int64", "how many bytes of the file to ask for"),
    Column("original_bytes", "int64", "of the clip, as it is in the tarball"),
    Column("crc32", "uint32", "of the clip, as it is in the tarball"),
)
PLACE = (
    Column("tarball_etag", "string", "of the tarball's file: the six numbers hold for this one"),
    Column("tarball_bytes", "int64", "size of the tarball's file"),
    Column("tarball_clips", "int32", "how many clips it holds; null where unknown"),
    Column("packing", "string", "`gzip` or `tar`"),
    *_OF_ENTRY,
)
"""Where a clip lies in its tarball (a `Place`), besides `split` and `tarball`: what one
request for a range of bytes takes; null where unknown."""

_CLIP = (_SPLIT, _LABEL, _YOUTUBE_ID, _TIME_START, _TIME_END)
_FILE = (_SOURCE_OF_SEEN, _TARBALL, _SIZE_BYTES, _SHA256, _FPS)

ROWS = (_VIDEO, _LABEL, _YOUTUBE_ID, _TIME_START, _TIME_END, _SPLIT, _SOURCE, _FPS)
"""A row of the dataset, loaded or streamed."""

EMBEDDED = (*ROWS, _TARBALL, _POSITION, replace(_SHA256, meaning="of the clip, in hexadecimal"))
"""A row that was published with its clip."""

CLIP_INDEX = (
    *_CLIP,
    Column("file", "string", "the published file that holds the clip, from the dataset's root"),
    Column("row_group", "int32", "its row group there, from 0; null in a tar"),
    Column("row", "int32", "its row in the row group, from 0; in a tar, its number there"),
    Column("file_offset", "int64", "the file's byte at which the clip itself begins, an MP4"),
    Column("size_bytes", "int64", "how many bytes it has, one after the other"),
)
"""Which bytes of which published file a clip is: the configuration `index` of published clips."""

METADATA = (*_CLIP, _URL, *_FILE, *PLACE)
"""A row of published metadata."""

FACTS = (_CLASS, *EMBEDDED[2:])
"""What the JSON file beside a clip in a WebDataset tar says of it."""

_TAR = (
    replace(_VIDEO, name="mp4"),
    Column(
        "cls",
        "label",
        "0 to 599, in the byte order of the class names; no such file for a test clip that no "
        "list labels",
    ),
    Column("json", "facts", "; ".join(f"`{each.name}`: {each.meaning}" for each in FACTS)),
    # `datasets` adds these two itself.
    Column(
        "__key__", "string", "what the files of a clip are called in the tar, without their endings"
    ),
    Column("__url__", "string", "the tar"),
)

_WIDE_TIMES = (replace(_TIME_START, kind="int64"), replace(_TIME_END, kind="int64"))
MANIFEST = (_SPLIT, _CLASS, _YOUTUBE_ID, *_WIDE_TIMES, *_FILE, *PLACE)
"""A row of a manifest; the first five are always there."""

INDEX = (*MANIFEST[:5], _TARBALL, *PLACE)
"""A row of an index; a manifest serves as one, too."""
INDEX_FILE = "index.parquet"
"""Name of an index in the folder `data/<split>` of the place where it was published."""

PUBLISHED = {"embedded": EMBEDDED, "metadata": METADATA, "webdataset": _TAR, "index": INDEX}
"""What `datasets` finds in a published dataset, by kind of publication."""

CLIP_TABLE = (*MANIFEST[:5], _STATE, _REASON, *MANIFEST[5:], _DURATION, _WIDTH, _HEIGHT)
"""A row of the table of all clips of a request, those that are missing, too; empty where unknown.
Of those that are there it is a manifest."""


REPEATING = frozenset(
    {
        *("label", "split", "source", "packing"),
        *("tarball", "tarball_etag", "tarball_bytes", "tarball_clips"),
        *("file", "row_group"),
    }
)
"""Names of columns that are worth a dictionary in Parquet."""


def place_values(place: Place | None, tarball_clips: int | None = None) -> dict[str, Any]:
    """Return the values of the columns `PLACE` by name: of no place, None each."""
    names = [column.name for column in PLACE]
    if place is None:
        return dict.fromkeys(names)
    of_tarball = (place.etag, place.tarball_bytes, tarball_clips, place.packing)
    return dict(zip(names, (*of_tarball, *place.entry), strict=True))


def place_of(tarball: Tarball, values: Mapping[str, Any]) -> Place | None:
    """Return the place that a row's values (numbers, or text of a CSV) say; None if they say none.

    Raises:
        ValueError: They are none of a clip in a tarball.
    """
    if values.get("entry_offset") in (None, ""):
        return None
    entry = Entry(*(whole(column.name, values.get(column.name)) for column in _OF_ENTRY))
    etag, packing = (str(values.get(name) or "") for name in ("tarball_etag", "packing"))
    return Place(tarball, etag, whole("tarball_bytes", values.get("tarball_bytes")), packing, entry)


def whole(name: str, value: Any) -> int:
    """Return a whole number of a table; `ValueError` names the column of anything else."""
    try:
        # A program makes floats of a column with gaps, and writes them as such.
        number = int(value.removesuffix(".0") if isinstance(value, str) else value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name}: {value!r:.50} is no whole number") from None
    if isinstance(value, float) and number != value:
        raise ValueError(f"{name}: {value!r} is no whole number")
    return number


def arrow_schema(columns: Sequence[Column], *, noted: bool = False) -> Any:
    """Return the Arrow schema of a table with these columns.

    With `noted`, it says what features they are, as `datasets` reads it: class names and videos.
    """
    import pyarrow

    schema = pyarrow.schema([(column.name, column.arrow_type) for column in columns])
    note = json.dumps({"info": {"features": feature_types(columns)}})
    return schema.with_metadata({"huggingface": note}) if noted else schema


def feature_types(columns: Sequence[Column]) -> dict[str, dict[str, Any]]:
    """Return the columns' features by name, as `datasets.Features.from_dict` takes them."""
    return {column.name: column.feature_type for column in columns}


def markdown_table(columns: Sequence[Column], *, types: bool = False) -> str:
    """Return a Markdown table of what columns mean; with `types`, also their features' names.

    Example:
        >>> print(markdown_table(ROWS[2:3], types=True))
        | column | type | meaning |
        |---|---|---|
        | `youtube_id` | `string` | 11 characters |
    """
    lines = ["| column | type | meaning |", "|---|---|---|"]
    for column in columns:
        feature = column.feature_type
        kind = feature.get("dtype", feature["_type"])
        lines.append(f"| `{column.name}` | `{kind}` | {column.meaning} |")
    if not types:
        lines = ["| column | meaning |", "|---|---|"]
        lines += [f"| `{column.name}` | {column.meaning} |" for column in columns]
    return "\n".join(lines)
