"""Flags come from the one declaration of options, and the command line's messages speak of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click import Context

from k600.cli.flag_names import flags_of, with_flags
from k600.dataset.labels import NAMES, class_lists, named_classes
from k600.errors import OptionError
from k600.loading.options import OPTIONS
from k600.loading.request import make_request
from tests.cli.test_terminals import LEAVES
from tests.conftest import Command

ON_A_REQUEST = [name for name, leaf in LEAVES.items() if "max_samples" in flags_of(leaf)]
FLAGS = {name: option.flag for name, option in OPTIONS.items() if option.flag is not None}
WRONG = {
    "classes": "zomba",
    "max_samples": "0",
    "max_per_class": "-3",
    "seed": "-1",
    "manifest": "no.csv",
    "source": "yotube",
    "data_dir": "s3://mine/clips",
    "short_side": "15",
    "encode": "trainng",
    "crf": "0",
    "frame_step": "0",
    "mirror": "/mirror\udcff",
    "test_labels": "/labels\udcff",
    "index": "/index\udcff",
    "num_workers": "0",
    "cookies": "no.txt",
    "cookies_from_browser": "lynx",
    "proxy": "somewhere",
    "patience_seconds": "-1",
}


def test_every_command_on_a_request_has_every_flag() -> None:
    assert len(ON_A_REQUEST) == 10
    for name in ON_A_REQUEST:
        flags = flags_of(LEAVES[name])
        assert {option: flags[option] for option in FLAGS} == FLAGS
        assert flags["endpoint_url"] == "--endpoint-url"


@pytest.mark.parametrize("name", FLAGS)
def test_every_form_in_which_an_option_is_named_becomes_its_flag(name: str) -> None:
    flag = FLAGS[name]
    for command in ON_A_REQUEST:
        flags = flags_of(LEAVES[command])
        text = f"{name}: 3 is not allowed; pass {name}=…, or {name}='a b' ({name}=True)"
        said = f"{flag}: 3 is not allowed; pass {flag}, or {flag} 'a b' ({flag})"
        assert with_flags(text, flags) == said
        for path in (f"/a/{name}=True/b", f"'/{name}'", f"/a/{name}", f"x-{name}=True"):
            assert with_flags(f"kinetics600: {path}", flags) == f"kinetics600: {path}"


@pytest.mark.parametrize("name", WRONG)
def test_an_error_names_the_option_and_on_the_command_line_its_flag(
    name: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    value = int(WRONG[name]) if OPTIONS[name].type in (int, int | None) else WRONG[name]
    with pytest.raises(OptionError) as caught:
        make_request("train", default_data_dir="/nowhere", **{name: value})
    assert str(caught.value).startswith(f"{name}: ")
    done = command("plan", "train", FLAGS[name], WRONG[name], cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {FLAGS[name]}: ")
    assert done.stderr == f"error: {with_flags(str(caught.value), FLAGS)}\n"


def test_every_flag_with_a_value_is_tried_with_a_wrong_one() -> None:
    assert WRONG.keys() == {name for name in FLAGS if OPTIONS[name].type is not bool}


def test_what_is_missing_is_said_with_flags(command: Command, tmp_path: Path) -> None:
    place = {"KINETICS600_HOME": str(tmp_path / "clips")}
    done = command("download", "train", "--source", "local", env=place)
    assert "pass --data-dir the folder that holds them" in done.stderr
    assert "(--source auto, " in done.stderr


def test_a_command_without_an_option_leaves_its_name(command: Command) -> None:
    done = command("manifest", "check", "no.txt")
    assert done.stderr.startswith("error: manifest: ")


def test_a_flag_called_as_another_option_does_not_stand_for_it(command: Command) -> None:
    done = command("status", "--class", "no such class")
    assert done.returncode == 2
    assert done.stderr == (
        "error: --class: 'no such class' is not a Kinetics-600 class. "
        "All 600 names: kinetics600.labels(), or `kinetics600 classes`\n"
    )


@pytest.mark.parametrize("arguments", [("plan", "nix"), ("overlap", "nix"), ("status", "nix")])
def test_a_wrong_split_is_called_so(arguments: tuple[str, ...], command: Command) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: split: 'nix' is not ")


def test_help_speaks_of_flags_and_has_no_marks() -> None:
    for name in ON_A_REQUEST:
        for parameter in LEAVES[name].params:
            text = getattr(parameter, "help", None) or ""
            named = set(re.findall(r"\w+", text))
            assert not named & {option for option in FLAGS if "_" in option}
            assert not re.search(r"`|\w=", text)


def test_an_example_to_copy_is_in_one_line_of_a_help() -> None:
    for name, leaf in LEAVES.items():
        (example,) = re.findall(r"^Example: .*", leaf.help or "", re.M)
        help_lines = leaf.get_help(Context(leaf, info_name=name, terminal_width=50)).splitlines()
        assert f"  {example}" in help_lines


def completed(option: str, word: str, *, command: str = "plan") -> list[str]:
    leaf = LEAVES[command]
    (parameter,) = (each for each in leaf.params if each.name == option)
    return [item.value for item in parameter.shell_complete(Context(leaf), word)]


def test_the_shell_completes_splits_sources_and_classes() -> None:
    assert completed("split", "") == ["train", "validation", "test", "all"]
    assert completed("split", "va") == ["validation"]
    assert completed("split", "tr", command="status") == ["train"]
    assert completed("classes", "zu", command="status") == ["zumba"]
    assert completed("source", "") == ["auto", "cvdf", "youtube", "local"]
    assert completed("source", "y") == ["youtube"]
    assert completed("classes", "surf") == ["surfing_crowd", "surfing_water"]
    assert completed("classes", "surfing w") == ["surfing water"]


def test_a_completed_class_needs_no_quotes_and_means_the_class() -> None:
    words = completed("classes", "")
    named = [named_classes(word) for word in words]
    assert named == [each.classes for each in class_lists().values()] + [(n,) for n in NAMES]
    assert all(re.fullmatch(r"[\w.,&/-]+", word) for word in words)
