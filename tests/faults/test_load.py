"""Many tarballs over a bad line: memory and file handles stay flat, and every clip arrives."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from k600.dataset.labels import NAMES
from k600.miniature import Miniature, make_clip, make_tarball
from tests.faults.host import Answer, Fault, faulty_host
from tests.faults.jobs import Jobs
from tests.faults.trial import Note

SMALL = (60, 20, 0.2)  # tarballs, clips in each, share of answers that are bad
LONG = (600, 700, 0.05)
MOST_GROWTH = 40 << 20


def make_origin(folder: Path, tarballs: int, clips: int) -> Path:
    """Make a host whose clips are small, each its own: a real clip with a number behind it."""
    base = make_clip(1, seconds=2, fps=2, width=32, height=32)
    train = folder / "600/train"
    train.mkdir(parents=True)
    (folder / "600/annotations").mkdir()
    lines = ["train:", *NAMES[:tarballs], ""]
    for number, label in enumerate(NAMES[:tarballs]):
        names = [f"c{number:04d}{n:06d}_000000_000010.mp4" for n in range(clips)]
        made = {name: own_clip(base, name) for name in names}
        (train / f"{label}.tar.gz").write_bytes(make_tarball(made))
        lines += [f"train/{label}:", *names, ""]
    (folder / "600/annotations/train.txt").write_text("\n".join(lines))
    urls = [f"https://s3.amazonaws.com/kinetics/600/train/{n}.tar.gz\n" for n in NAMES[:tarballs]]
    (train / "k600_train_path.txt").write_text("".join(urls))
    return folder


def own_clip(base: bytes, name: str) -> bytes:
    return base + (8 + len(name)).to_bytes(4, "big") + b"free" + name.encode()


def now_and_then(chance: random.Random, share: float) -> Fault:
    """Some of the answers are cut off, reset, or refused for the moment."""

    def fault(answer: Answer) -> None:
        if not answer.is_clips or chance.random() > share:
            return
        kind = chance.randrange(4)
        if kind == 0:
            answer.sends = len(answer.body) // 2
        elif kind == 1:
            answer.sends, answer.resets = len(answer.body) // 3, True
        elif kind == 2:
            answer.say(503, b"")
        else:
            answer.say(429, b"", Retry_After="1")

    return fault


@pytest.mark.parametrize(
    ("tarballs", "clips", "share"),
    [SMALL, pytest.param(*LONG, marks=[pytest.mark.slow, pytest.mark.timeout(7200)])],
)
def test_a_long_load_over_a_bad_line_is_flat_and_complete(
    tarballs: int, clips: int, share: float, forge: Jobs, tmp_path: Path, note: Note
) -> None:
    origin = make_origin(tmp_path / "host", tarballs, clips)
    with faulty_host(origin) as host:
        host.fault = now_and_then(random.Random(600), share)
        options: dict[str, Any] = {"data_dir": str(tmp_path / "clips"), "num_workers": 4}
        said = forge.run("watch", split="train", **options, **host.mirror_of("http"))
        sent, struck = host.sent_bytes, host.struck
    assert said["error"] == "NoneType", said
    assert said["clips"] == tarballs * clips
    assert struck >= tarballs // 10
    assert said["later_files"] <= said["early_files"] + 8, said
    assert said["later_memory"] - said["early_memory"] < MOST_GROWTH, said
    base = make_clip(1, seconds=2, fps=2, width=32, height=32)
    store = tmp_path / "clips/train"
    names = {path.name: path for path in store.glob("*/*.mp4")}
    assert len(names) == tarballs * clips
    for name, path in names.items():
        assert path.read_bytes() == own_clip(base, name)
        assert path.parent.name == NAMES[int(name[1:5])]
    whole = sum(path.stat().st_size for path in (origin / "600/train").glob("*.tar.gz"))
    note(
        f"{tarballs} tarballs of {clips} clips, {share:.0%} of answers bad",
        times=struck,
        recovered=struck,
        bytes_twice=max(sent - whole, 0),
        seconds=said["seconds"],
        said=f"{(said['later_memory'] - said['early_memory']) >> 20} MiB grown",
    )


def test_the_miniature_of_this_test_is_made_of_real_clips(miniature: Miniature) -> None:
    import io

    from k600.video.probe import box_problem

    base = make_clip(1, seconds=2, fps=2, width=32, height=32)
    assert box_problem(io.BytesIO(own_clip(base, "c0000000000_000000_000010.mp4"))) is None
