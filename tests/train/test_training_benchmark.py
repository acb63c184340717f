"""The benchmark of training runs, on tiny sizes. Times are not looked at."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", exc_type=ImportError)

from benchmarks import accuracy  # noqa: E402
from benchmarks.readers import evenly_placed, peer  # noqa: E402
from benchmarks.training import ENCODINGS, TABLES, WAYS, ssim, take_turns, times_faster  # noqa: E402
from k600.train.decoding import opened  # noqa: E402

pytestmark = pytest.mark.timeout(1800)  # a minute on an idle core

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `python -m benchmarks.training --quick` writes."""
    path = tmp_path_factory.mktemp("training") / "results.json"
    command = [sys.executable, "-m", "benchmarks.training", "--quick", "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "/tmp" not in done.stdout
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_every_table_has_figures_in_every_column(results: dict[str, Any]) -> None:
    assert list(results) == list(TABLES)
    for table in results.values():
        assert all(len(row) == len(table["headings"]) for row in table["rows"])
    assert len(results["samples"]["rows"]) == 2 * len(WAYS)


def test_what_is_stored_resembles_the_originals(results: dict[str, Any]) -> None:
    headings, rows = results["stored"]["headings"], results["stored"]["rows"]
    decibels = [n for n, heading in enumerate(headings) if heading.endswith("PSNR dB")]
    found = [float(row[number]) for row in rows for number in decibels if row[number]]
    assert len(found) == 14  # `short_side` leaves clips of 256 pixels alone
    assert min(found) > 28


def test_no_clip_becomes_larger_than_is_forecast(results: dict[str, Any]) -> None:
    headings, rows = results["stored"]["headings"], results["stored"]["rows"]
    shares = [n for n, heading in enumerate(headings) if heading.endswith("of the original")]
    small = [row for row in rows if row[0] == "340x256"]  # 256 pixels already
    assert [row[1] for row in small] == list(ENCODINGS)
    for row in small:
        forecast = dataclasses.replace(ENCODINGS[row[1]], short_side=None).most_share
        assert all(float(row[number]) <= forecast for number in shares)


def test_peers_that_are_there_give_the_same_frames(results: dict[str, Any]) -> None:
    assert not [row for row in results["peers"]["rows"] if "other frames" in row]


def test_ssim_is_one_for_the_same_and_known_for_flat_frames() -> None:
    chance = np.random.default_rng(0)
    frame = torch.from_numpy(chance.integers(0, 256, (1, 3, 40, 40), np.uint8))
    assert ssim(frame, frame) == pytest.approx(1, abs=1e-5)
    assert ssim(frame, frame.flip(-1)) < 0.2
    dark, light = (torch.full((1, 3, 40, 40), value, dtype=torch.uint8) for value in (50, 100))
    c1 = (0.01 * 255) ** 2
    assert ssim(dark, light) == pytest.approx((2 * 50 * 100 + c1) / (50**2 + 100**2 + c1), abs=1e-4)


def test_turns_are_taken_piece_by_piece_and_a_piece_counts_by_its_median() -> None:
    calls: list[tuple[str, int]] = []
    found = take_turns(
        {name: (partial(lambda name, n: calls.append((name, n)), name), [1, 2]) for name in "ab"}, 3
    )
    assert calls == [("a", 1), ("b", 1)] + 3 * [("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert {name: len(seconds) for name, seconds in found.items()} == {"a": 2, "b": 2}
    assert times_faster([10, 50], [1, 5]) == "10.0"


def test_a_few_places_are_spread_evenly() -> None:
    row = {"label": 0, "video": {"path": ""}}
    starts = []

    def decode(path: str, choose: Any) -> Any:
        starts.append(choose(1061)[0])  # of 1,000 places, and 61 frames from the first to the last
        return torch.zeros(16, 3, 256, 256, dtype=torch.uint8)

    for name in evenly_placed(4):
        peer(decode, "uint8")({**row, "youtube_id": name})
    assert starts == pytest.approx([125, 375, 625, 875], abs=21)


def test_no_frame_alone_tells_where_something_moves() -> None:
    # In the middle of a clip, whatever the direction, the same seed gives the same picture.
    middles = []
    for label in range(len(accuracy.DIRECTIONS)):
        with opened(accuracy.make_moving(3, label)) as video:
            middles.append(video.frames_at([accuracy.FRAMES // 2]).data.float())
    for other in middles[1:]:
        assert float((middles[0] - other).abs().mean()) < 8


def test_an_unknown_table_is_refused_with_the_known_ones() -> None:
    command = [sys.executable, "-m", "benchmarks.training", "workerz"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "workers" in done.stderr
