"""A tarball that holds a clip once, and another name of it as a hard link."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import kinetics600
from k600.miniature import Miniature
from tests.conftest import Load, contents
from tests.servers import web_server

LABEL = "zumba"
LINK = "aHardLink00_000000_000010.mp4"


@pytest.fixture(params=["file", "http"])
def mirror(request: pytest.FixtureRequest, own_miniature: Miniature) -> Iterator[str]:
    """The address of a host whose tarball of `LABEL` has a link to its first clip."""
    clips = own_miniature.clips["train"][LABEL]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in clips.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        entry = tarfile.TarInfo(f"./{LINK}")
        entry.type, entry.linkname = tarfile.LNKTYPE, f"./{next(iter(clips))}"
        tar.addfile(entry)
    path = own_miniature.root / f"train/{LABEL}.tar.gz"
    path.write_bytes(gzip.compress(buffer.getvalue()))
    if request.param == "file":
        yield str(own_miniature.root)
    else:
        with web_server(own_miniature.root.parent) as server:
            yield f"{server.url}/600"


def test_it_is_loaded_and_streamed(
    mirror: str, own_miniature: Miniature, load: Load, tmp_path: Path
) -> None:
    clips = own_miniature.clips["train"][LABEL]
    wanted = {**clips, LINK: next(iter(clips.values()))}
    options = {"classes": LABEL, "mirror": mirror, "on_missing": "raise"}
    rows = load("train", streaming=True, **options)["train"]
    found = {os.path.basename(row["video"]["path"]): row["video"]["bytes"] for row in rows}
    assert found == wanted
    ds = load("train", **options)["train"]
    assert {os.path.basename(row["video"]["path"]) for row in ds} == set(wanted)
    stored = contents(tmp_path / "clips" / "train" / LABEL)
    assert stored == wanted


def test_it_is_loaded_alone(mirror: str, load: Load, tmp_path: Path) -> None:
    options = {"classes": LABEL, "mirror": mirror, "on_missing": "raise"}
    ds = load("train", **options)["train"]
    chosen = ds.filter(lambda row: row["youtube_id"] == LINK[:11])
    manifest = kinetics600.save_manifest(chosen, tmp_path / "chosen.csv")
    elsewhere = {"data_dir": str(tmp_path / "elsewhere"), "cache_dir": str(tmp_path / "cache2")}
    again = load("train", manifest=manifest, mirror=mirror, on_missing="raise", **elsewhere)
    assert again["train"]["youtube_id"] == [LINK[:11]]
    assert len(contents(tmp_path / "elsewhere")) == 1
