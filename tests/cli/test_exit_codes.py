"""Exit codes: the same meaning from every command, so that a script's loop ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

import kinetics600
from k600.cli.exit_codes import EXIT_CODES, code_of_error, worst
from k600.dataset.reasons import OPEN_REASONS, PASSING_REASONS, REASONS
from k600.errors import (
    MirrorNotFoundError,
    MirrorUnreachableError,
    NoClipsError,
    OptionError,
    StoreError,
)
from k600.miniature import CLASSES, Miniature
from tests.cli.test_terminals import LEAVES
from tests.conftest import Command

COMMAND_LINE = (Path(kinetics600.__file__).parent / "docs/command_line.md").read_text()

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(
    miniature: Miniature,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Command,
) -> Run:
    """Run a command on the miniature; return its exit code and what it printed on stdout."""
    monkeypatch.setenv("KINETICS600_MIRROR", str(miniature.root))
    monkeypatch.setenv("KINETICS600_HOME", str(tmp_path / "clips"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str]:
        done = command(*arguments)
        return done.returncode, done.stdout

    return run


def code(run: Run, line: str) -> int:
    return run(*line.split())[0]


def test_readme_and_every_help_have_the_table(run: Run) -> None:
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", COMMAND_LINE, re.M)
    assert {int(number): text for number, text in rows} == EXIT_CODES
    for name in ("", *LEAVES):
        _, shown = run(*name.split(), "--help")
        words = " ".join(shown.split())
        assert all(f"{number} {text}" in words for number, text in EXIT_CODES.items()), name


def test_a_host_without_flaws_ends_with_0(run: Run) -> None:
    assert code(run, "status train") == 1
    for line in ("plan train", "download train", "download train", "plan train", "status train"):
        assert (line, code(run, line)) == (line, 0)
    for line in ("verify train", "gallery train", "manifest export train"):
        assert (line, code(run, line)) == (line, 0)
    assert code(run, "manifest check manifest.csv") == 0


def test_a_path_that_cannot_be_written_is_named_by_its_option(
    run: Run, command: Command, tmp_path: Path
) -> None:
    assert code(run, "download train --quiet") == 0
    exports = ["manifest", "export", "train", "--out"]
    builds = ["index", "build", "train", "--to"]
    (tmp_path / "file").touch()
    for words in (exports, builds):
        done = command(*words, tmp_path / "file/table.csv")
        assert (done.returncode, f"error: {words[-1]}: '" in done.stderr) == (2, True), done.stderr


def test_a_full_volume_is_no_wrong_usage(run: Run, command: Command, tmp_path: Path) -> None:
    assert code(run, "download train --quiet") == 0
    (tmp_path / "full.csv").symlink_to("/dev/full")
    for line in ("manifest export train", "overlap validation"):
        done = command(*line.split(), "--out", tmp_path / "full.csv")
        assert (done.returncode, "is full (No space left" in done.stderr) == (1, True), done.stderr


def test_a_host_that_lacks_some_ends_with_3_once_the_rest_is_here(run: Run) -> None:
    assert code(run, "plan validation") == 0  # nothing is known to be lacking yet
    for line in ("download", "download", "plan", "status", "gallery --source auto"):
        command, *more = line.split()
        assert (line, run(command, "validation", *more)[0]) == (line, 3)
    assert run("manifest", "export", "validation", "--source", "auto")[0] == 3
    assert code(run, "verify validation") == 0  # the clips that are here are good
    assert code(run, "gallery validation") == 0  # it shows what is here
    assert code(run, f"download train --class {CLASSES[4]} --max-samples 9") == 2  # two words
    few = ("download", "train", "--class", CLASSES[4], "--max-samples", 9, "--source", "cvdf")
    assert run(*few)[0] == 3  # there are five
    assert run("plan", *few[1:])[0] == 3


def test_a_published_split_from_which_clips_were_left_out_ends_with_3(run: Run) -> None:
    embed = ("--embed", "--i-have-the-rights")
    assert run("publish", "validation", "--to", "a", *embed)[0] == 3
    assert run("publish", "validation", "--to", "a", *embed)[0] == 3
    assert run("publish", "train", "--to", "b", *embed)[0] == 0


def test_a_class_that_the_host_has_not_ends_with_3_and_is_not_planned(run: Run) -> None:
    ended, said = run("plan", "train", "--class", "zumba", "--json")
    (plan,) = json.loads(said)
    assert (ended, plan["complete"], plan["tarballs"]) == (3, False, 0)
    assert [*plan["unreachable"]] == ["train/zumba.tar.gz"]
    ended, said = run("plan", "train", "--class", "zumba")
    assert ended == 3
    assert "0 s" not in said
    for more in ((), ("--max-samples", 2)):
        assert run("download", "train", "--class", "zumba", *more)[0] == 3


def test_a_class_that_the_host_has_not_is_no_reason_to_publish_again(run: Run) -> None:
    lacking = ("train", "--class", "zumba", "--to")
    assert run("publish", *lacking, "a", "--embed", "--i-have-the-rights")[0] == 3
    assert run("fleet", *lacking, "b", "--workers", 1)[0] == 3


def test_a_class_that_the_host_does_not_list_is_not_said_to_be_here(
    run: Run, own_miniature: Miniature, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `mountain climber (exercise)` of validation: in no list, but in a tarball."""
    monkeypatch.setenv("KINETICS600_MIRROR", str(own_miniature.root))
    path = own_miniature.root / "annotations/val.txt"
    listed, _, unlisted = path.read_text().partition("val/surfing water:\n")
    assert unlisted.count(".mp4") == 5
    path.write_text(listed.replace("surfing water\n", ""))
    assert run("download", "validation", "--class", "zumba")[0] == 0
    ended, said = run("status", "validation", "--class", "surfing water", "--json")
    assert (ended, json.loads(said)["complete"]) == (1, False)
    assert run("download", "validation", "--class", "surfing water")[0] == 0
    ended, said = run("status", "validation", "--class", "surfing water", "--json")
    assert (ended, json.loads(said)["splits"][0]["counts"]["here_clips"]) == (0, 5)
    assert run("status", "validation")[0] == 0


@pytest.mark.parametrize("sound_before", [True, False])
def test_a_tarball_that_is_condemned_ends_with_3_for_status_as_for_plan(
    run: Run,
    own_miniature: Miniature,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    sound_before: bool,
) -> None:
    monkeypatch.setenv("KINETICS600_MIRROR", str(own_miniature.root))
    tarball = own_miniature.root / "train/zumba.tar.gz"
    if sound_before:
        assert code(run, "download train") == 0
        sorted((tmp_path / "clips/train/zumba").glob("*.mp4"))[0].unlink()
    tarball.write_bytes(tarball.read_bytes()[:-9])
    assert code(run, "download train") == 1  # another reading may fail otherwise
    assert code(run, "status train") == 1
    for line in ("download", "plan", "status"):
        assert (line, run(line, "train")[0]) == (line, 3)
    _, said = run("status", "train", "--json")
    (split,) = json.loads(said)["splits"]
    assert split["counts"]["missing"] == {"tarball_condemned": 1 if sound_before else 5}


def test_what_the_network_may_bring_ends_with_1(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run("download", "train", "--class", CLASSES[0])
    assert code(run, "download train --source local") == 1
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("KINETICS600_MIRROR", "http://127.0.0.1:9/600")
    for line in ("download train", "plan train", "plan train --max-samples 9", "status train"):
        assert (line, code(run, line)) == (line, 1)
    ended, said = run("plan", "train", "--class", CLASSES[1], "--json")
    (plan,) = json.loads(said)
    assert (ended, plan["complete"], plan["offline"]) == (1, False, True)


def test_a_clip_that_is_bad_ends_with_1_and_one_that_the_host_has_no_better_with_3(
    run: Run, own_miniature: Miniature, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from k600.miniature import make_tarball

    monkeypatch.setenv("KINETICS600_MIRROR", str(own_miniature.root))
    assert code(run, "download train") == 0
    clip = sorted((tmp_path / "clips/train/zumba").glob("*.mp4"))[0]
    good = clip.read_bytes()
    bad = good[: len(good) // 2] + bytes(64) + good[len(good) // 2 + 64 :]
    clip.write_bytes(bad)
    assert code(run, "verify train --deep") == 1
    assert code(run, "verify train --deep --repair") == 0
    clip.write_bytes(bad)
    clips = {**own_miniature.clips["train"]["zumba"], clip.name: bad}
    (own_miniature.root / "train/zumba.tar.gz").write_bytes(make_tarball(clips))
    assert code(run, "verify train --deep --repair") == 3


def test_a_store_that_differs_from_a_manifest_ends_with_1(run: Run, tmp_path: Path) -> None:
    run("download", "train", "--class", CLASSES[0])
    run("manifest", "export", "train", "--class", CLASSES[0])
    next((tmp_path / "clips/train").glob("*/*.mp4")).unlink()
    assert code(run, "manifest check manifest.csv") == 1


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_name_that_is_no_class_ends_with_1(run: Run, more: list[str]) -> None:
    ended, said = run("classes", "nosuchthing", *more)
    assert (ended, said) == (1, "[]\n" if more else "")


def test_the_documented_loop_goes_on_at_1_and_ends_at_3(
    miniature: Miniature, tmp_path: Path
) -> None:
    (loop,) = re.findall(r"^until .* done$", COMMAND_LINE, re.M)
    home = tmp_path / "clips"
    home.touch()  # no folder: the first download fails
    program = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", loop.replace("sleep 60", 'rm "$KINETICS600_HOME"')],
        env={
            **os.environ,
            "PATH": program,
            "KINETICS600_MIRROR": str(miniature.root),
            "KINETICS600_HOME": str(home),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "is not a folder" in done.stderr
    assert "4 clips missing" in done.stderr
    assert len([*home.glob("validation/*/*.mp4")]) == 30


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OptionError("x"), 2),
        (MirrorNotFoundError("x"), 3),
        (NoClipsError("x", settled=True), 3),
        (NoClipsError("x"), 1),
        (MirrorUnreachableError("x"), 1),
        (StoreError("x"), 1),
    ],
)
def test_codes_of_errors(error: Any, expected: int) -> None:
    assert code_of_error(error) == expected


def test_what_passes_is_asked_for_again_by_the_next_call() -> None:
    assert PASSING_REASONS < OPEN_REASONS < {*REASONS}
    assert worst([3, 1, 0]) == 1


@pytest.mark.parametrize("words", [["gallery"], ["manifest", "export"]])
def test_source_auto_fetches_and_the_default_does_not(
    run: Run, tmp_path: Path, words: list[str]
) -> None:
    line = (*words, "train", "--class", CLASSES[0])
    assert run(*line)[0] == 1
    assert not [*tmp_path.glob("clips/train/*/*.mp4")]
    assert run(*line, "--source", "auto")[0] == 0
    assert len([*tmp_path.glob("clips/train/*/*.mp4")]) == 5


def test_help_shows_each_command_s_own_default(run: Run) -> None:
    for name, command in LEAVES.items():
        sources = [p for p in command.params if "--source" in p.opts]
        expected = "local" if name in ("gallery", "manifest export", "export lists") else "auto"
        assert all(p.default == expected for p in sources), name
        if sources:
            assert f"[default: {expected}]" in run(*name.split(), "--help")[1]


def test_the_demo_names_no_file_that_it_deletes_and_says_that_it_is_a_miniature(
    command: Command, tmp_path: Path
) -> None:
    done = command("demo", env={"COLUMNS": ""})
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert not re.search(r"/\S*kinetics600-demo-", said)
    assert "4 clips missing" in said
    kept = command("demo", "--folder", tmp_path, env={"COLUMNS": ""})
    assert kept.returncode == 0, kept.stderr
    for path in re.findall(rf"{re.escape(str(tmp_path))}[\w./-]*\w", kept.stdout + kept.stderr):
        assert Path(path).exists(), path
    assert "<title>Kinetics-600 in miniature" in (tmp_path / "gallery.html").read_text()
