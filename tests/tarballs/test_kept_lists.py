"""The host's lists as a store keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from k600.miniature import Miniature
from tests.conftest import Load
from tests.servers import web_server

DAMAGES = {
    "zeros": lambda data: bytes(len(data)),
    "cut off": lambda data: data[: len(data) // 3],
    "no text": lambda data: b"\xff" * len(data),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_kept_list_that_is_damaged_is_fetched_anew(
    load: Load,
    miniature: Miniature,
    folders: dict[str, Any],
    split: str,
    damage: str,
    lines: pytest.LogCaptureFixture,
) -> None:
    with web_server(miniature.root.parent) as server:
        options = {
            "mirror": f"{server.url}/600",
            "test_labels": f"{server.url}/{miniature.test_labels.name}",
            "source": "cvdf",
        }
        before = load(split, **options)[split]
        kept = {path: path.read_bytes() for path in lists_in(folders["data_dir"])}
        assert len(kept) == 2
        for path, data in kept.items():
            path.write_bytes(DAMAGES[damage](data))
        (Path(before[0]["video"]["path"])).unlink()
        lines.clear()
        after = load(split, **options)[split]
        assert {path: path.read_bytes() for path in lists_in(folders["data_dir"])} == kept
    assert after["label"] == before["label"]
    assert after["youtube_id"] == before["youtube_id"]
    assert lines.text.count("is damaged (") >= 2


def lists_in(data_dir: str) -> list[Path]:
    """Return those that say something: an empty one says that the host has none."""
    found = Path(data_dir, ".kinetics600/lists").iterdir()
    return sorted(path for path in found if path.stat().st_size)
