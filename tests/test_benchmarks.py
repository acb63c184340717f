"""The benchmarks run, on tiny data: every way gives the right clips. Times are not looked at."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import GROUPS
from benchmarks.paced_server import paced_server
from benchmarks.report import Aim, Column, Table, merge, render
from k600.miniature import make_miniature
from tests.youtube_replica import youtube_replica
from tests.youtube_videos import good_video

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).resolve().parent.parent
OPTIONAL = ("webdataset", "s5cmd", "wget")
"""Peers that may not be installed."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `python -m benchmarks --quick` writes."""
    folder = tmp_path_factory.mktemp("benchmarks")
    command = [sys.executable, "-m", "benchmarks", "--quick"]
    command += ["--json", str(folder / "results.json"), "--markdown", str(folder / "table.md")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    found["table"] = (folder / "table.md").read_text()
    return found


def test_every_way_gives_numbers_and_the_right_clips(results: dict[str, Any]) -> None:
    assert set(results["groups"]) == set(GROUPS)
    for group in results["groups"].values():
        for table in group["tables"]:
            for name, runs in table["rows"].items():
                for run in runs:
                    if any(f"{peer} is not installed" == run.get("absent") for peer in OPTIONAL):
                        continue
                    assert run.get("right"), (table["title"], name, run)
                    assert run["wall_s"] >= 0
                    assert run["cpu_s"] >= 0


def test_every_clip_has_an_entry_and_each_repair_is_made(results: dict[str, Any]) -> None:
    _, _, repair, finding = results["groups"]["entries"]["tables"]
    assert repair["rows"]["ours, http://, verify --repair"][0]["repaired"] == 3
    assert finding["rows"]["whole path"][0]["found_percent"] == 100


def test_ours_catches_all_seven_damages(results: dict[str, Any]) -> None:
    [table] = results["groups"]["corruption"]["tables"]
    for name in ("ours, to disk", "ours, as a stream"):
        assert table["rows"][name][0]["caught"] == 7


def test_the_table_names_no_machine_and_no_folder(results: dict[str, Any]) -> None:
    said = results["table"] + json.dumps(results["groups"])
    assert "/tmp" not in said
    assert str(ROOT) not in said
    assert "### Whole split to disk, loopback" in results["table"]


def test_ratios_are_taken_within_a_round_and_aims_are_judged(tmp_path: Path) -> None:
    def runs(*walls: float) -> list[dict[str, Any]]:
        return [{"wall_s": wall, "right": True} for wall in walls]

    table = Table(
        "Title",
        "About.",
        {"peer": runs(10, 40), "ours": runs(1, 4), "absent": [{"absent": "x is not installed"}]},
        (Column("wall_s", "wall s", spread=True),),
        "ours",
        (Aim("peer", "ours", "wall_s", 11, "peer"), Aim("s", "ours", "wall_s", 3, at_most=True)),
    )
    path = tmp_path / "results.json"
    merge(path, "one", [table])
    merge(path, "two", [])
    said = json.loads(path.read_text())
    assert list(said["groups"]) == ["one", "two"]
    text = render(said)
    assert "| peer | 25.00 (10.00 to 40.00) | 10.00x |" in text
    assert "| absent | x is not installed |  |" in text
    assert "| peer | ≥ 11x | 10x | not met |" in text
    assert "| s | ≤ 3 | 2.5 | met |" in text


def test_wrong_clips_are_said_instead_of_figures(tmp_path: Path) -> None:
    rows = {"ours": [{"wall_s": 1.0, "right": False}]}
    merge(tmp_path / "r.json", "one", [Table("Title", "", rows, (Column("wall_s", "wall s"),))])
    text = render(json.loads((tmp_path / "r.json").read_text()))
    assert "| ours | wrong result |" in text


def test_every_module_imports() -> None:
    need_torch = {"accuracy", "readers", "scenes", "training"}
    for path in sorted((ROOT / "benchmarks").glob("*.py")):
        if path.stem not in need_torch | {"__init__"}:
            importlib.import_module(f"benchmarks.{path.stem}")


def test_what_youtube_s_clients_cost_is_measured() -> None:
    with youtube_replica() as youtube:
        youtube.videos = {f"abcdefghij{n}": good_video(seconds=25) for n in range(3)}
        found = _printed("youtube_clients", "--fetch", {"url": youtube.url})
    assert found["bytes"] > 0
    assert found["cpu"] > 0


@pytest.mark.parametrize(("source", "from_youtube"), [("auto", 0), ("youtube", 2)])
def test_a_forecast_is_measured_beside_what_comes(
    tmp_path: Path, source: str, from_youtube: int
) -> None:
    host = make_miniature(tmp_path / "mirror", classes=["zumba"], flaws=False)
    with youtube_replica() as youtube, paced_server({"mirror": host.root.parent}, 0, 50) as mirror:
        names = host.clips["train"]["zumba"]
        youtube.videos = {name[:11]: good_video(seconds=int(name[-10:-4])) for name in names}
        load = {
            "split": "train",
            "options": {"max_samples": 3, "source": source},
            "clips": 2,
            "mirror": f"{mirror.url}/mirror/600",
            "proxy": youtube.url,
            "folder": str(tmp_path / "store"),
        }
        found = _printed("cheaper", "--load", load)
    assert (found["clips"], found["whole"], found["from_youtube"]) == (2, 3, from_youtube)
    assert found["forecast_s"] > 0
    assert found["whole_s"] > found["wall_s"]
    assert (found["forecast_bytes"] > 0) == (source == "auto")
    assert found["tarball_bytes"] > 0


def _printed(module: str, way: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return what the process that a benchmark starts for each of its ways prints."""
    command = [sys.executable, "-m", f"benchmarks.{module}", way, json.dumps(arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_an_unknown_group_is_refused_with_the_known_ones() -> None:
    command = [sys.executable, "-m", "benchmarks", "whole"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "whole_split" in done.stderr
