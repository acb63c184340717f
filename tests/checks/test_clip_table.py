from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import kinetics600
from k600.checks.clip_table import clip_table, count_rows
from k600.dataset.reasons import BAD_FILE_REASONS, REASONS, reason_of_verdict
from k600.loading.fetch import fetch_split
from k600.miniature import Miniature
from k600.video.probe import BAD


def test_a_clip_whose_file_is_bad_is_corrupt_whatever_is_wrong_with_it(
    own_miniature: Miniature, folders: dict[str, Any]
) -> None:
    clips = own_miniature.clips["train"]["zumba"]
    device, empty, *good = sorted(clips)
    with tarfile.open(Path(own_miniature.root, "train/zumba.tar.gz"), "w:gz") as tar:
        for name, data in clips.items():
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.CHRTYPE if name == device else tarfile.REGTYPE
            entry.size = len(data) if name in good else 0
            tar.addfile(entry, io.BytesIO(data))

    request = kinetics600.make_request(
        "train",
        classes="zumba",
        mirror=str(own_miniature.root),
        data_dir=folders["data_dir"],
    )
    rows = clip_table(request, fetch_split(request, "train"))
    found = {row["youtube_id"]: (row["state"], row["reason"]) for row in rows}
    expected = {name[:11]: ("have", "") for name in good}
    expected |= {device[:11]: ("corrupt", "not_a_file"), empty[:11]: ("corrupt", "empty")}
    assert found == expected
    assert count_rows(rows) == (3, {"empty": 1, "not_a_file": 1})


def test_every_verdict_on_a_bad_file_is_a_reason_that_lies_in_the_file() -> None:
    assert {reason_of_verdict(verdict) for verdict in BAD} <= BAD_FILE_REASONS < {*REASONS}
