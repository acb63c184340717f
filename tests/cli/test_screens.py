"""What commands show, as text, in terminals of 50 to 120 columns, in pipes, and after Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from k600.dataset.labels import NAMES
from k600.miniature import Miniature, make_miniature
from tests.servers import web_server
from tests.terminals import WIDTHS, at_widths, in_terminal, lines_of

PROGRAM = Path(sys.executable).with_name("kinetics600")
LONGEST = sorted(NAMES, key=len)[-3:]
LOAD = """
import kinetics600
from datasets import load_dataset
load_dataset("kinetics600", "validation")
"""

widths = pytest.mark.parametrize("columns", WIDTHS)


@pytest.fixture(scope="module")
def long_names(tmp_path_factory: pytest.TempPathFactory) -> Miniature:
    """A host with the classes of the longest names."""
    return make_miniature(tmp_path_factory.mktemp("long"), classes=LONGEST)


def env_of(host: Miniature | str, home: Path) -> dict[str, str]:
    """The environment of a user."""
    mirror = host if isinstance(host, str) else str(host.root)
    return {
        **os.environ,
        "KINETICS600_MIRROR": mirror,
        "KINETICS600_HOME": str(home),
        "HF_HOME": f"{home}-hf",
    }


def words_of(lines: list[str]) -> set[str]:
    """Return all words of lines, without punctuation at their ends."""
    return {word.rstrip(",:;.") for line in lines for word in line.split()}


def test_bars_are_lines_of_their_own(long_names: Miniature, tmp_path: Path) -> None:
    """A bar that broke over two lines would leave one behind at each of its steps."""
    words = ("download", "train", "--data-dir", "clips-WIDTH")
    for columns, (code, shown) in at_widths(env_of(long_names, tmp_path), tmp_path, *words).items():
        assert code == 0
        bars = [line for line in lines_of(shown) if "/" in line and "kinetics600" not in line]
        assert max(map(len, bars)) <= columns
        assert all(re.search(r"\d/\d[\d.]* \w?[Bb]", bar) for bar in bars)  # nothing is cut off
        assert {bar.split()[0] for bar in bars} == {"train", *(name.split()[0] for name in LONGEST)}


TWO_DAYS = """
import sys, time
from k600.cli.screen import meter
with meter()(648_000_000_000, "train") as bar:
    for name in sys.argv[1:]:
        bar.begin(f"train/{name}.tar.gz", 1_202_983_150)
    for _ in range(4):
        time.sleep(0.15)
        for name in sys.argv[1:]:
            bar.update(1_000_003, f"train/{name}.tar.gz")
"""


@widths
def test_bars_of_days_fit(tmp_path: Path, columns: int) -> None:
    words = (sys.executable, "-c", TWO_DAYS, *LONGEST)
    code, shown = in_terminal(os.environ, tmp_path, *words, columns=columns)
    bars = lines_of(shown)
    assert code == 0
    assert max(map(len, bars)) <= columns
    assert any(re.search(r"/648\.0 GB \d+\.\d MB/s", bar) for bar in bars)
    assert any(re.search(r"\d+:\d\d:\d\d$", bar) for bar in bars) == (columns >= 72)


def test_a_plan_is_read_at_a_glance(miniature: Miniature, tmp_path: Path) -> None:
    place = env_of(miniature, tmp_path / "clips")
    words = ("plan", "all", "--test-labels", miniature.test_labels)
    for columns, (code, shown) in at_widths(place, tmp_path, *words).items():
        assert code == 0
        lines = lines_of(shown)
        table = [line for line in lines if str(tmp_path) not in line]
        assert max(map(len, table)) <= columns
        assert "here 0 0 0" in [" ".join(line.split()) for line in table]
        assert {"train", "validation", "test", "request", "tarballs"} <= words_of(lines)
        assert str(tmp_path / "clips") in shown  # however long, it is in one piece


def test_a_status_is_read_at_a_glance(miniature: Miniature, tmp_path: Path) -> None:
    place = env_of(miniature, tmp_path / "clips")
    subprocess.run([PROGRAM, "download", "validation", "--quiet"], env=place, check=False)
    words = ("status", "all", "--classes")
    for columns, (code, shown) in at_widths(place, tmp_path, *words, widths=(30, *WIDTHS)).items():
        assert code == 1
        lines = lines_of(shown)
        assert "  kinetics600 download validation --retry-errors" in lines  # to be copied: in one
        assert {"massaging", "person's", "head", "(exercise)", "validation"} <= words_of(lines)
        assert {"not_in_tarball", "empty", "truncated", "88.2%"} <= words_of(lines)
        to_copy = ("  kinetics600", str(tmp_path))
        assert max(len(line) for line in lines if not line.startswith(to_copy)) <= columns


def test_no_path_is_broken_and_no_number_parted_from_what_it_counts(
    miniature: Miniature, tmp_path: Path
) -> None:
    home = tmp_path / "my clips" / "of a year"
    place = env_of(miniature, home)
    subprocess.run([PROGRAM, "download", "validation", "--quiet"], env=place, check=False)
    for words, paths in (
        (("status", "validation"), [f"'{home}'"]),
        (("plan", "validation"), [f"'{home}'", str(miniature.root)]),
        (("doctor", "--offline"), [sys.executable, f"KINETICS600_HOME='{home}'", f"'{home}'\r\n"]),
    ):
        for columns, (_, shown) in at_widths(place, tmp_path, *words, widths=(50, 60, 80)).items():
            assert [path for path in paths if path not in shown] == []
            lines = lines_of(shown)
            assert [line for line in lines if re.search(r"(^ *|\S \(?)[\d,]+$", line)] == []
            assert [line for line in lines if "/" not in line and len(line) > columns] == []


def test_missing_clips_are_a_table_once_and_then_a_line(
    miniature: Miniature, tmp_path: Path
) -> None:
    place = env_of(miniature, tmp_path)
    words = ("download", "validation", "--data-dir", f"{tmp_path}/clips-WIDTH")
    row = "  not_in_tarball  listed by the host, but not in its tarball"

    def missing() -> dict[int, list[str]]:
        found = {}
        for columns, (code, shown) in at_widths(place, tmp_path, *words).items():
            assert code == 3
            report = f"{tmp_path}/clips-{columns}/.kinetics600/reports/validation-missing.csv"
            assert report in shown  # in one piece
            lines = lines_of(shown)
            start = next(n for n, line in enumerate(lines) if ": 4 clips missing" in line)
            found[columns] = lines[start:]
        return found

    assert all(any(row in line for line in lines) for lines in missing().values())
    for lines in missing().values():
        assert "as before: 2 not_in_tarball, 1 empty, 1 truncated" in " ".join(lines)
        assert not any(row in line for line in lines)

    for report in tmp_path.glob("*/.kinetics600/reports/*"):
        report.write_text("other clips were missing")
    assert all(any(row in line for line in lines) for lines in missing().values())


@widths
def test_ctrl_c_says_that_the_same_command_goes_on(
    miniature: Miniature, tmp_path: Path, columns: int
) -> None:
    reached, goes_on = threading.Event(), threading.Event()

    def hold(method: str, path: str) -> None:
        if path.endswith("dying.tar.gz"):
            reached.set()
            goes_on.wait(60)

    def interrupt(process: subprocess.Popen[bytes]) -> None:
        assert reached.wait(60)
        process.send_signal(signal.SIGINT)
        goes_on.set()

    with web_server(miniature.root, hold=hold) as server:
        place = env_of(server.url, tmp_path / "clips")
        words = (PROGRAM, "download", "train")
        code, shown = in_terminal(place, tmp_path, *words, columns=columns, started=interrupt)
    assert code == 130
    assert "Traceback" not in shown
    closing = " ".join(lines_of(shown)[-2:])
    assert closing.endswith("stopped; the same command goes on where it was")


@pytest.fixture(params=["demo", "download", "load_dataset"])
def in_a_pipe(request: pytest.FixtureRequest, miniature: Miniature, tmp_path: Path) -> bytes:
    """What a program shows whose output is a pipe."""
    command: list[object] = [PROGRAM, request.param, *["train"] * (request.param == "download")]
    if request.param == "load_dataset":
        command = [sys.executable, "-c", LOAD]
    place = env_of(miniature, tmp_path / "clips")
    done = subprocess.run(
        [*map(str, command)], env=place, stdout=-1, stderr=subprocess.STDOUT, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_pipe_gets_plain_lines(in_a_pipe: bytes) -> None:
    assert b"\r" not in in_a_pipe
    assert b"\x1b" not in in_a_pipe
    assert b" clips" in in_a_pipe
    assert b"it/s" not in in_a_pipe
    assert b"examples" not in in_a_pipe


def test_a_loads_lines_stand_above_its_bars(miniature: Miniature, tmp_path: Path) -> None:
    """In a terminal there are the bars of `datasets`; a log line does not break one."""
    place = env_of(miniature, tmp_path / "clips")
    code, shown = in_terminal(place, tmp_path, sys.executable, "-c", LOAD, columns=60)
    assert code == 0
    assert "examples" in shown
    said = [part for part in re.split(r"[\r\n]", shown) if "kinetics600 validation: 30" in part]
    assert [part.count("%|") for part in said] == [0]


def test_python_m_is_the_command(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "kinetics600", "classes", "-h"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Search the 600 class names" in done.stdout


def test_a_table_is_the_same_where_nothing_but_ascii_can_be_shown(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "kinetics600", "classes", "diving", "--data-dir", str(tmp_path)]
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    ascii_table, table = (
        subprocess.run(words, env={**os.environ, **more}, capture_output=True, check=True).stdout
        for more in (plain, {"PYTHONIOENCODING": "utf-8"})
    )
    assert ascii_table.decode("ascii") == table.decode().replace("─", "-")
