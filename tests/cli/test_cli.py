"""The command line, end to end on a miniature of the host: piped, and in a terminal."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kinetics600
from k600.miniature import CLASSES, Miniature
from tests.conftest import Command, Ended, contents, expected
from tests.servers import LOOPBACK

PROGRAM = Path(sys.executable).with_name("kinetics600")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@pytest.fixture
def place(miniature: Miniature, tmp_path: Path) -> dict[str, str]:
    """The environment of a user of this miniature."""
    return {
        **os.environ,
        "COLUMNS": "100",
        "KINETICS600_MIRROR": str(miniature.root),
        "KINETICS600_HOME": str(tmp_path / "clips"),
    }


Run = Callable[..., Ended]


@pytest.fixture
def run(command: Command) -> Run:
    def run(place: dict[str, str], *arguments: object, code: int = 0) -> Ended:
        done = command(*arguments, env=place, cwd=Path(place["KINETICS600_HOME"]).parent)
        assert done.returncode == code, done.stderr
        assert not CONTROL.search(done.stdout + done.stderr)
        return done

    return run


def in_terminal(place: dict[str, str], *arguments: object) -> tuple[int, str]:
    """Run in a pseudo-terminal; return exit code and all that was shown."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(PROGRAM, [str(PROGRAM), *map(str, arguments)], {**place, "TERM": "xterm"})
    shown = b""
    while True:
        ready, _, _ = select.select([terminal], [], [], 60)
        assert ready, shown
        try:
            part = os.read(terminal, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), shown.decode()


def test_the_demo_shows_every_way_to_load_and_a_gallery(
    run: Run, place: dict[str, str], tmp_path: Path
) -> None:
    done = run(place, "demo", "--folder", tmp_path)
    for row in ("the whole split", "five, chosen", "two classes", "streamed", "again"):
        assert row in done.stdout
    assert len([*tmp_path.glob("clips/validation/*/*.mp4")]) == 30
    assert len([*tmp_path.glob("clips/train/*/*.mp4")]) == 10
    assert not [*tmp_path.glob("clips/test/*")]  # a stream stores nothing
    assert "4 clips missing" in done.stderr
    page = re.search(r"open (\S+gallery\.html) in a browser", done.stdout)
    assert page
    assert "springboard diving" in Path(page[1]).read_text()


def test_the_demo_leaves_no_folder_behind(run: Run, place: dict[str, str]) -> None:
    before = {path.name for path in Path("/tmp").glob("kinetics600-demo-*")}
    run(place, "demo")
    assert {path.name for path in Path("/tmp").glob("kinetics600-demo-*")} <= before


def test_help_and_version(run: Run, place: dict[str, str]) -> None:
    assert "Exit codes: 0 done" in run(place, "--help").stdout
    assert "Example: kinetics600 demo" in run(place, "demo", "--help").stdout
    assert run(place, "--version").stdout.strip() == kinetics600.__version__


def test_help_lists_the_commands_as_the_page_does_each_with_a_whole_line(
    run: Run, place: dict[str, str]
) -> None:
    place["COLUMNS"] = "80"
    listed = {}
    for words in ([], ["index"], ["manifest"]):
        shown = run(place, *words, "--help").stdout.replace("[ARGS]...", "")
        assert "..." not in shown
        assert "…" not in shown
        lines = shown.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
        listed[" ".join(words)] = [line.split()[0] for line in lines]

    page = Path(kinetics600.__file__).with_name("docs") / "command_line.md"
    named = re.findall(r"^\| \[`kinetics600 (\w+) ?(\w*)`\]", page.read_text(), re.M)
    assert listed[""] == [*dict.fromkeys(name for name, _ in named)]
    for group in ("index", "manifest"):
        assert listed[group] == [word for name, word in named if name == group]


def test_the_text_of_a_help_fills_its_lines(run: Run, place: dict[str, str]) -> None:
    place["COLUMNS"] = "300"
    shown = run(place, "gallery", "--help").stdout
    assert "what is missing is fetched first, and the exit code is that of download." in shown
    assert len(re.findall(r"^  Example: ", shown, re.M)) == 1
    assert (
        "`not_fetched` are those that nothing is known of" in run(place, "status", "--help").stdout
    )


def test_help_does_not_import_what_is_heavy(
    run: Run,
) -> None:
    program = (
        "import sys, k600.cli; heavy = {'datasets', 'yt_dlp', 'av', 'pyarrow', 'fsspec', 'torch'}"
        "; print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["demmo"], "No such command"),
        (["plan"], "Missing argument"),
        (["plan", "val"], "did you mean 'validation'"),
        (["plan", "train", "--class", "zumbaa"], "'zumba'"),
        (["plan", "train", "--max-samples", "0"], "--max-samples: 0"),
        (["plan", "train", "--source", "aws"], "source: 'aws'"),
        (["plan", "train", "--rate", "0"], "rate: 0.0"),
        (["download", "train", "--cookies", "/no/such/file"], "cookies: '/no/such/file'"),
        (["gallery", "train", "--most", "0"], "most: 0"),
        (["manifest", "check", "/no/such/file.csv"], "cannot be read"),
    ],
)
def test_wrong_usage(run: Run, place: dict[str, str], arguments: list[str], word: str) -> None:
    assert word in run(place, *arguments, code=2).stderr.replace("\n", " ")


def test_a_plan_touches_nothing_and_says_what_a_download_then_does(
    run: Run, place: dict[str, str], miniature: Miniature
) -> None:
    (plan,) = json.loads(run(place, "plan", "train", "--json").stdout)
    home = Path(place["KINETICS600_HOME"])
    assert not home.exists()
    assert plan["tarballs"] == len(CLASSES)
    assert plan["wanted_clips"] == 5 * len(CLASSES)
    assert not plan["complete"]
    sizes = [path.stat().st_size for path in miniature.root.glob("train/*.tar.gz")]
    assert plan["tarball_bytes"] == sum(sizes)
    (done,) = json.loads(run(place, "download", "train", "--json").stdout)
    assert (done["here_clips"], done["fetched_bytes"]) == (plan["wanted_clips"], sum(sizes))
    assert contents(home) == expected(miniature, "train")
    (plan,) = json.loads(run(place, "plan", "train", "--json").stdout)
    assert plan["complete"]
    assert (plan["here_clips"], plan["tarballs"]) == (30, 0)
    shown = run(place, "plan", "all").stdout
    assert "≤" not in shown
    assert "validation" in shown


def test_a_plan_for_a_few_clips(run: Run, place: dict[str, str]) -> None:
    def plan(*options: str) -> Any:
        (found,) = json.loads(run(place, "plan", "train", "--json", *options).stdout)
        return found

    cheaper = plan("--max-samples", "4")
    assert (cheaper["youtube_clips"], cheaper["tarballs"]) == (0, 1)
    assert "YouTube (source='youtube') would take about 16 s" in cheaper["cheaper_way"]
    youtube = plan("--max-samples", "4", "--source", "youtube")
    assert (youtube["youtube_clips"], youtube["tarballs"]) == (4, 0)
    tarballs = plan("--max-samples", "4", "--source", "cvdf", "--class", CLASSES[0])
    assert (tarballs["youtube_clips"], tarballs["tarballs"], tarballs["at_most"]) == (0, 1, True)


def test_a_download_of_all_that_a_flawed_host_has_ends_with_3(
    run: Run, place: dict[str, str]
) -> None:
    done = run(place, "download", "validation", code=3)
    assert "4 clips missing" in done.stderr
    quiet = run(place, "download", "validation", "--quiet", code=3)
    assert "reading" not in quiet.stderr
    assert "4 clips" in quiet.stderr


def test_a_dry_run_is_a_plan(run: Run, place: dict[str, str]) -> None:
    def said(*words: str) -> Any:
        (found,) = json.loads(run(place, *words, "train", "--json").stdout)
        return {name: value for name, value in found.items() if not name.startswith("free_")}

    assert said("plan") == said("download", "--dry-run")
    assert not Path(place["KINETICS600_HOME"]).exists()


def test_in_a_terminal_a_download_shows_bars_and_leaves_lines(place: dict[str, str]) -> None:
    code, shown = in_terminal(place, "download", "train")
    assert code == 0
    assert "\x1b[" in shown
    assert "tie dying" in shown  # a tarball that is being read
    assert "30 clips" in shown
    code, shown = in_terminal(place, "plan", "train")
    assert code == 0
    assert "none" in shown


def test_ctrl_c_ends_a_download_with_one_line(place: dict[str, str]) -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:  # it never answers
        listener.settimeout(90)
        mirror = f"http://{LOOPBACK}:{listener.getsockname()[1]}/600"
        process = subprocess.Popen(
            [str(PROGRAM), "download", "train", "--mirror", mirror],
            stderr=subprocess.PIPE,
            text=True,
            env=place,
        )
        connection, _ = listener.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=30)
    assert process.returncode in (1, 130)
    assert "Traceback" not in said
    assert "\n\n" not in f"\n{said}"


def test_the_table_of_clips_and_a_check_against_it(
    run: Run, place: dict[str, str], tmp_path: Path
) -> None:
    run(place, "download", "validation", code=3)
    run(place, "verify", "validation")
    said = run(place, "manifest", "export", "validation", "--out", "clips.csv").stderr
    assert "30 here, " in said or "30 short" in said
    with open(tmp_path / "clips.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 34
    reasons = {row["reason"] for row in rows if row["state"] in ("corrupt", "missing")}
    assert reasons == {"empty", "truncated", "not_in_tarball"}
    there = [row for row in rows if row["state"] in ("have", "short")]
    assert all(len(row["sha256"]) == 64 and float(row["fps"]) == 5 for row in there)
    assert "30 the same" in run(place, "manifest", "check", "clips.csv").stderr
    clips = sorted(Path(place["KINETICS600_HOME"]).glob("validation/*/*.mp4"))
    clips[0].unlink()
    clips[1].write_bytes(clips[2].read_bytes())
    done = run(place, "manifest", "check", "clips.csv", "--json", code=1)
    found = json.loads(done.stdout)
    assert (found["same_clips"], found["missing"]) == (28, {"not_fetched": 1, "differs": 1})
    run(
        place, "manifest", "export", "validation", "--no-hashes", "--out", "clips.parquet", "--json"
    )
    assert (tmp_path / "clips.parquet").exists()


def test_a_gallery_of_what_is_there(run: Run, place: dict[str, str], tmp_path: Path) -> None:
    assert "not one of the clips" in run(place, "gallery", "train", code=1).stderr
    arguments = ["gallery", "train", "--source", "cvdf", "--class", CLASSES[0], "--out", "a.html"]
    assert json.loads(run(place, *arguments, "--json").stdout)["here_clips"] == 5
    run(place, "download", "train")
    done = run(place, "gallery", "train", "--most", "6", "--out", "b.html")
    assert "It shows 6 of 30 clips" in done.stderr
    page = (tmp_path / "b.html").read_text()
    assert all(label.replace("'", "\\u0027") in page or label in page for label in CLASSES)


def test_a_contact_sheet_of_what_is_there(run: Run, place: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("PIL", reason="Pillow is in requirements.txt: pip install pillow")
    arguments = ["gallery", "train", "--source", "cvdf", "--class", CLASSES[0]]
    run(place, *arguments, "--contact-sheet", "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_notebook_shows_the_gallery(place: dict[str, str], tmp_path: Path) -> None:
    ds = kinetics600.load_dataset(
        split="train",
        classes=CLASSES[0],
        mirror=place["KINETICS600_MIRROR"],
        data_dir=str(tmp_path / "clips"),
        cache_dir=str(tmp_path / "cache"),
    )
    shown = kinetics600.gallery(ds, tmp_path / "page.html")
    assert shown.path == str(tmp_path / "page.html")
    assert "<iframe srcdoc=" in shown._repr_html_()
