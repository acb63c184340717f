"""Columns are declared once: whatever makes or writes rows has just those, in their order."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet
import pytest

import kinetics600
from k600 import hf
from k600.dataset.clip import Clip
from k600.loading.columns import (
    CLIP_TABLE,
    FACTS,
    MANIFEST,
    METADATA,
    PUBLISHED,
    ROWS,
    Column,
    arrow_schema,
    feature_types,
)
from k600.loading.manifest import ManifestRow, write_manifest
from k600.loading.rows import record_of
from k600.miniature import Miniature
from k600.publish.metadata import metadata_rows
from k600.publish.shards import embedded_row

ROWS_BY_SCHEMA = {"k600r1": "b375dcd5b4320437", "k600r2": "d0240bc3cd9234b6"}
"""Digests of the feature types of rows by every `k600.hf.SCHEMA` there was; only added to."""

TABLES = {**PUBLISHED, "facts": FACTS, "manifest": MANIFEST, "table of clips": CLIP_TABLE}

CLIP = Clip("train", "zumba", "-abcdefghij", 3, 13)


def names(columns: tuple[Column, ...]) -> list[str]:
    return [column.name for column in columns]


def test_the_builder_s_features_are_the_declared_ones() -> None:
    assert [*kinetics600.features()] == names(ROWS)
    assert kinetics600.features(decode=True)["video"] == datasets.Video()


def test_rows_of_other_columns_have_another_schema_name() -> None:
    types = json.dumps(feature_types(ROWS))  # in their order
    digest = hashlib.sha256(types.encode()).hexdigest()[:16]
    assert ROWS_BY_SCHEMA.get(hf.SCHEMA) == digest, (
        f"the columns of rows changed, and caches of {hf.SCHEMA!r} hold rows of the old ones: give "
        f"SCHEMA in k600/hf.py a new name, and add it to ROWS_BY_SCHEMA here with {digest!r}"
    )


@pytest.mark.parametrize("table", TABLES)
def test_no_table_has_a_column_twice(table: str) -> None:
    columns = names(TABLES[table])
    assert len({*columns}) == len(columns)


@pytest.mark.parametrize("columns", [ROWS, METADATA])
def test_arrow_has_each_as_datasets_would(columns: tuple[Column, ...]) -> None:
    features = datasets.Features.from_dict(feature_types(columns))
    assert features.arrow_schema.equals(arrow_schema(columns))


def test_rows_have_the_declared_columns_in_their_order() -> None:
    assert [*record_of(CLIP, "name.mp4", b"data", "cvdf", None)] == names(ROWS)
    of_tarball = ["tarball", "position", "sha256"]
    row = embedded_row(CLIP, b"data", "cvdf", "zumba", 7, fps=6.25)
    assert [*row] == names(PUBLISHED["embedded"]) == names(ROWS) + of_tarball
    assert [row[name] for name in of_tarball] == ["zumba", 7, hashlib.sha256(b"data").hexdigest()]
    assert names(FACTS) == names(PUBLISHED["embedded"])[1:]


def test_a_manifest_s_file_has_them_and_the_table_of_clips_has_a_manifest_s(tmp_path: Path) -> None:
    path = write_manifest(
        [ManifestRow(CLIP, "cvdf", "zumba", 4, "ab" * 32)], tmp_path / "m.parquet"
    )
    table: Any = pyarrow.parquet.read_table(path)
    assert table.schema.equals(arrow_schema(MANIFEST))
    (row,) = table.to_pylist()
    assert (row["label"], row["time_start"], row["sha256"]) == ("zumba", 3, "ab" * 32)
    assert [name for name in names(CLIP_TABLE) if name in names(MANIFEST)] == names(MANIFEST)


def test_metadata_rows_have_the_declared_columns(miniature: Miniature, tmp_path: Path) -> None:
    host = {"mirror": str(miniature.root), "data_dir": str(tmp_path)}
    rows = metadata_rows(kinetics600.make_request("validation", **host), "validation")
    assert {tuple(row) for row in rows} == {tuple(names(METADATA))}
