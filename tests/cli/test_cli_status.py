from __future__ import annotations

import dataclasses
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import k600.cli.classes
import k600.cli.doctor
import k600.cli.status  # noqa: F401 - each adds its command
import kinetics600
from k600.checks.status import read_status
from k600.cli import app, main
from k600.dataset.clip import Clip
from k600.dataset.labels import find_classes
from k600.miniature import Miniature
from k600.store.ledger import Ledger
from k600.store.store import Store
from tests.conftest import Load


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, [*arguments], catch_exceptions=False)


@pytest.fixture
def at(folders: dict[str, Any], miniature: Miniature) -> tuple[str, ...]:
    return ("--data-dir", folders["data_dir"], "--mirror", str(miniature.root))


def on_a_terminal(*arguments: str) -> str:
    """Run a command in a pseudo-terminal of 80 columns; return what it showed."""
    code = "import sys; from k600.cli import main; import k600.cli.status, k600.cli.classes; "
    code += "import k600.cli.doctor; main()"
    ours, theirs = pty.openpty()
    environ = {**os.environ, "COLUMNS": "80", "TERM": "xterm-256color"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environ,
    )
    os.close(theirs)
    shown = b""
    with os.fdopen(ours, "rb", buffering=0) as file:
        while True:
            try:
                part = file.read(4096)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            shown += part
    process.wait()
    return shown.decode().replace("\r\n", "\n")


def is_plain(text: str) -> bool:
    return all(c == "\n" or c.isprintable() for c in text)


def test_status_of_a_store(load: Load, at: tuple[str, ...]) -> None:
    load("validation")
    done = run("status", "validation", *at)
    assert done.exit_code == 3
    assert "30 of 34 clips, 88.2%" in done.stdout
    assert "missing: 1 empty, 1 truncated, 2 not_in_tarball" in done.stdout
    assert "30 from cvdf" in done.stdout
    assert "tarballs: 6 of 6 done" in done.stdout
    assert "kinetics600 download validation --data-dir" in done.stderr
    assert "--retry-errors" in done.stderr
    assert "verify" not in done.stderr  # nothing that it could mend
    assert is_plain(done.stdout + done.stderr)


def test_status_is_zero_when_everything_is_here(load: Load, at: tuple[str, ...]) -> None:
    load("train")
    done = run("status", "train", *at)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "30 of 30 clips, 100%" in done.stdout
    load("test")
    done = run("status", "test", *at)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "12 clips, all that its tarballs hold" in done.stdout


def test_status_says_that_clips_are_another_mirror_s(load: Load, at: tuple[str, ...]) -> None:
    load("train")
    done = run("status", "train", *at[:2], "--mirror", "https://mirror.invalid/600")
    assert done.exit_code == 1
    assert "30 more clips here came from another mirror than https://mirror.invalid/600" in (
        " ".join(done.stderr.split())
    )
    assert "from cvdf" not in done.stdout


def test_status_by_class(load: Load, at: tuple[str, ...], miniature: Miniature) -> None:
    load("train", classes=["surfing water", "tie dying"])
    done = run("status", "train", *at, "--class", "surfing_water", "--class", "springboard diving")
    assert done.exit_code == 1
    rows = [line.split() for line in done.stdout.splitlines() if " diving" in line]
    assert rows == [["springboard", "diving", "0", "5", "5", "0", "bytes"]]
    assert "--class surfing_water --class 'springboard diving'" in done.stderr
    done = run("status", "train", *at, "--classes")
    names = [line for line in done.stdout.splitlines() if line.strip() and "water" not in line]
    assert "passing American football (in game)" in " ".join(names)
    assert "surfing water" not in done.stdout
    assert "tie dying" not in done.stdout


def test_the_worst_class_comes_first(load: Load, at: tuple[str, ...], miniature: Miniature) -> None:
    load("train")
    folder = Path(at[1]) / "train"
    for label, count in (("tie dying", 3), ("surfing water", 1)):
        for path in sorted((folder / label).iterdir())[:count]:
            path.unlink()
    done = run("status", "train", *at, "--classes", "--json")
    rows = json.loads(done.stdout)["splits"][0]["classes"]
    assert [row["label"] for row in rows] == ["tie dying", "surfing water"]
    assert [row["counts"]["missing"] for row in rows] == [{"not_fetched": 3}, {"not_fetched": 1}]


def test_json_is_the_dataclasses(load: Load, at: tuple[str, ...], miniature: Miniature) -> None:
    load("validation")
    Ledger(Store.at(at[1]).ledger_path).record_answer(
        Clip("train", "zumba", "clipa000000", 0, 10), "gone", "private", "", "2026.08.19"
    )
    done = run("status", *at, "--json")
    status = read_status(kinetics600.make_request("all", data_dir=at[1], mirror=at[3]))
    assert status.splits[0].counts.missing["youtube_gone"] == 1
    expected = {**dataclasses.asdict(status), "complete": False}
    assert json.loads(done.stdout) == json.loads(json.dumps(expected))
    assert done.stderr == ""


def test_status_of_nothing(at: tuple[str, ...]) -> None:
    done = run("status", *at)
    assert done.exit_code == 1
    assert "There is no such folder yet" in done.stdout
    assert "kinetics600 plan train" in done.stderr
    assert not Path(at[1]).exists()
    Path(at[1]).mkdir()
    done = run("status", *at)
    assert done.exit_code == 1
    assert "0 clips, of an unknown number" in done.stdout
    assert not list(Path(at[1]).iterdir())


def test_no_password_is_shown(at: tuple[str, ...]) -> None:
    for more in ([], ["--json"]):
        done = run("status", *at[:2], "--mirror", "https://me:geheim@host/600", *more)
        assert "geheim" not in done.output
        assert "https://host/600" in done.output


def test_status_names_blocked_clips(load: Load, at: tuple[str, ...]) -> None:
    load("train", classes="tie dying")
    ledger = Ledger(Store.at(at[1]).ledger_path)
    for number, kind in enumerate(("gone", "region", "auth")):
        clip = Clip("train", "surfing water", f"clip{number:07d}", 0, 10)
        ledger.record_answer(clip, kind, "code", "", "2026.08.19")
    done = run("status", "train", *at, "--class", "surfing water")
    assert "1 youtube_gone, 1 youtube_region, 1 youtube_auth" in done.stdout
    assert "--source cvdf" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["status", "vall"], 2, "split: 'vall' is not a split"),
        (["status", "--class", "zummba"], 2, "did you mean 'zumba'"),
        (["status", "--data-dir", __file__], 1, "is not a folder"),
        (["status", "--data-dir", "s3://bucket"], 2, "expected a folder on this machine"),
        (["status", "--no-such"], 2, "No such option"),
    ],
)
def test_wrong_words_and_places(
    arguments: list[str],
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["kinetics600", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    assert said in capsys.readouterr().err.replace("\n", " ")


def test_on_a_terminal_of_80_columns(load: Load, at: tuple[str, ...]) -> None:
    load("validation")
    shown = on_a_terminal("status", "validation", "--classes", *at)
    assert "\x1b[" in shown  # colours
    assert "30 of 34 clips" in shown
    assert "massaging person's" in shown
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    table = plain[plain.index("class ") :].partition("validation:")[0]
    assert "truncated" in table
    assert all(len(line) <= 80 for line in table.splitlines())


@pytest.mark.parametrize("command", ["status", "classes", "doctor"])
def test_help_has_an_example(command: str) -> None:
    done = run(command, "--help")
    assert done.exit_code == 0
    assert f"Example: kinetics600 {command}" in done.stdout


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("ZUMBA", ["zumba"]),
        ("tying_knot", ["tying knot (not on a tie)"]),
        ("persons head", ["massaging person's head"]),
        ("tai-chi", ["tai chi"]),
        ("599", ["zumba"]),
        ("american football (in game)", ["passing American football (in game)"]),
    ],
)
def test_a_class_is_found_in_any_spelling(query: str, found: list[str]) -> None:
    assert find_classes(query) == (found, True)


def test_near_classes_are_named() -> None:
    assert find_classes("zumbaa") == (["zumba", "cumbia"], False)
    assert "surfing water" in find_classes("surfin watr")[0]
    assert "springboard diving" in find_classes("springbord")[0]
    assert find_classes("qqqqqq") == ([], False)
    assert find_classes("...") == ([], True)
    assert len(find_classes("")[0]) == 600


def test_classes_counts_what_the_lists_say(load: Load, at: tuple[str, ...]) -> None:
    done = run("classes", "surfing water", *at)
    assert done.exit_code == 0
    assert "train" not in done.stdout  # no list is here yet
    load("train", classes="tie dying")
    done = run("classes", "surfing", *at)
    rows = [line.split() for line in done.stdout.splitlines() if "surfing" in line]
    assert ["502", "surfing", "water", "5"] in rows
    assert ["590", "windsurfing"] in rows
    assert is_plain(done.stdout)
    done = run("classes", "surfing water", *at, "--json")
    counts = {"train": 5, "validation": None}
    row = {"id": 502, "label": "surfing water", "listed_clips": counts}
    assert json.loads(done.stdout) == [row]


def test_classes_of_a_published_subset_come_with_its_source(at: tuple[str, ...]) -> None:
    done = run("classes", "kinetics-sounds", *at)
    assert "Look, Listen and Learn" in done.stderr
    assert "Not in Kinetics-600: fingerpicking, patting, typing." in done.stderr


def test_classes_says_when_nothing_is_found(at: tuple[str, ...]) -> None:
    done = run("classes", "qqqqqq", *at)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "No class has 'qqqqqq'" in done.stderr
    done = run("classes", "qqqqqq", *at, "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (1, [])
    done = run("classes", "zumbaa", *at)
    assert done.exit_code == 0
    assert "The nearest" in done.stderr
    assert len(run("classes", *at, "--json").stdout.splitlines()) == 600 * 8 + 2
