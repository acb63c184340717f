"""What commands say of one clip: `1 clip`, never `1 clips`. The fixture `command` looks at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from k600.miniature import Miniature, make_miniature
from tests.conftest import Command, assert_counts_agree

ONE = ("--max-samples", 1)
COMMANDS = {  # in an order in which one has what the one before left; and what is in its answer
    ("plan", "train", *ONE): "which has room for",
    ("download", "train", *ONE): "1 clip of 1 asked for (1 from cvdf); 1 tarball read",
    ("status", "train"): "1 of 5 clips",
    ("verify", "train"): "1 clip here",
    ("export", "lists", "train", "--out", "lists", *ONE, "--source", "local"): "(1 clip)",
    ("publish", "train", "--to", "published", *ONE): "1 clip in 1 file, 1 of them new",
    ("index", "build", "train"): "1 tarball read now",
    (
        "fleet",
        "train",
        "--to",
        "shards",
        "--workers",
        1,
    ): "5 clips in 1 shard, from 1 tarball, ",
    ("fleet", "train", "--estimate"): "1 tarball, ",
    ("gallery", "train", "--most", 1, *ONE, "--out", "page.html"): "written: ",
    ("delete", "train", "--yes"): "train: 1 clip, ",
}


@pytest.fixture
def one_class(tmp_path: Path) -> Miniature:
    """A host with one tarball for each split."""
    return make_miniature(tmp_path / "host", classes=["zumba"], flaws=False)


def test_one_of_a_thing_is_no_plural(
    one_class: Miniature, command: Command, tmp_path: Path, lines: pytest.LogCaptureFixture
) -> None:
    place = {"KINETICS600_MIRROR": str(one_class.root), "KINETICS600_HOME": str(tmp_path / "clips")}
    for words, expected in COMMANDS.items():
        lines.clear()
        done = command(*words, env=place, cwd=tmp_path)
        assert expected in done.stdout + done.stderr + lines.text, words


@pytest.mark.parametrize(
    "said", ["a: 1 clips", "of 1 tarballs", "1 more classes", "1 failed clips"]
)
def test_a_plural_of_one_is_noticed(said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        assert_counts_agree(f"all is well\n{said}, all is well")
    assert_counts_agree("11 clips, 0.1 seconds, 1 of 30 clips, 1 clip, part_1 tarballs")
