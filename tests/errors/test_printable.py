"""Text of others is text: to a terminal, a log, a spreadsheet, whatever characters it has."""

from __future__ import annotations

import csv
import io
import logging
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k600.dataset.clip import Clip, Tarball
from k600.errors import DamagedTarballError, MirrorError
from k600.errors.text import PrintableRecords, csv_cell, printable, printable_lines
from k600.loading.columns import CLIP_TABLE
from k600.loading.manifest import ManifestRow, read_manifest, write_manifest, write_table
from k600.loading.outcome import Missing, Outcome, missing_csv
from tests.conftest import Load

HOSTILE = "\x1b]0;owned\x07\x9b2J\u202egpj.\u2066\r\nerror: forged\udcff[red]{x}%s\u2028"
FORMULA = "=cmd|'calc'!A1.mp4"
TEXT = st.text(st.characters(), max_size=30)
"""Any characters at all: controls, bidirectional, private, and lone surrogates."""


def is_harmless(text: str) -> bool:
    """Whether no character is one that a terminal obeys or that cannot be written."""
    bad = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    return not any(unicodedata.category(c) in bad for c in text)


@given(TEXT)
def test_any_text_is_one_harmless_line(text: str) -> None:
    shown = printable(text)
    assert is_harmless(shown)
    assert shown.encode("utf-8").decode() == shown
    assert printable(shown) == shown


@given(st.text(st.sampled_from("abc é漢😀'\"[]{}%=-_"), max_size=20))
def test_text_that_does_no_harm_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@given(st.lists(TEXT, max_size=4))
def test_no_line_of_others_begins_where_one_of_ours_would(parts: list[str]) -> None:
    lines = printable_lines("\n".join(["ours:", *parts])).split("\n")
    assert all(is_harmless(line) for line in lines)
    assert all(not line or line.startswith("  ") for line in lines[1:])


@given(TEXT)
def test_no_cell_is_a_formula(text: str) -> None:
    stream = io.StringIO()
    csv.writer(stream).writerow([csv_cell(text)])
    (cell,) = next(csv.reader(io.StringIO(stream.getvalue())))
    assert is_harmless(cell)
    assert not cell.lstrip().startswith(("=", "+", "@", "\t", "\r"))
    assert not cell.startswith("-") or re.fullmatch(r"-[A-Za-z0-9_.-]*", cell)


@given(st.text(st.sampled_from("abcABC019_-"), min_size=11, max_size=11), st.integers(0, 9))
def test_a_manifest_gives_back_every_youtube_id(
    tmp_path_factory: pytest.TempPathFactory, youtube_id: str, start: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.csv"
    row = ManifestRow(Clip("train", "zumba", youtube_id, start, start + 10), "cvdf", "zumba")
    write_manifest([row], path)
    path.touch()
    assert read_manifest(path).rows == (row,)


def test_a_table_keeps_a_name_like_a_formula_from_a_spreadsheet(tmp_path: Path) -> None:
    row = {"youtube_id": "-aFirstHyph", "tarball": FORMULA, "time_start": -1, "label": None}
    columns = [column for column in CLIP_TABLE if column.name in row]
    path = write_table([row], tmp_path / "clips.csv", columns)
    (cells,) = csv.DictReader(path.read_text().splitlines())
    assert cells == {
        "youtube_id": "-aFirstHyph",
        "tarball": f"'{FORMULA}",
        "time_start": "-1",
        "label": "",
    }


def test_the_report_has_only_text() -> None:
    missing = [
        Missing("train", HOSTILE, FORMULA, "zumba", "odd_name", "@SUM(A1)"),
        Missing("train", "zumba", "-aFirstHyph_000000_000010.mp4", "zumba", "empty", HOSTILE),
    ]
    header, first, second = csv.reader(io.StringIO(missing_csv(missing).decode()))
    assert first[2] == f"'{FORMULA}"
    assert first[5] == "'@SUM(A1)"
    assert second[2] == "-aFirstHyph_000000_000010.mp4"
    assert all(is_harmless(cell) for row in (header, first, second) for cell in row)
    complaint = Outcome("train", (), tuple(missing), report=HOSTILE).missing_text()
    assert is_harmless("".join(printable_lines(complaint).split("\n")))


@pytest.mark.parametrize("kind", [MirrorError, DamagedTarballError])
def test_an_error_says_others_words_as_text(kind: type[Exception]) -> None:
    said = str(kind(f"mirror: the server said {HOSTILE}"))
    assert all(is_harmless(line) for line in said.split("\n"))
    assert "\n  error: forged" in said


def test_a_log_line_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("kinetics600")
    assert any(isinstance(one, PrintableRecords) for one in logger.filters)
    logger.warning("%s is left out, %d of %.1f", HOSTILE, 3, 0.5)
    logger.warning(f"{HOSTILE} is left out")
    for record in caplog.records:
        first, *more = record.getMessage().split("\n")
        assert is_harmless(first)
        assert all(is_harmless(line) and line.startswith("  ") for line in more)
    assert "3 of 0.5" in caplog.records[0].getMessage()


def test_a_member_s_name_reaches_a_stream_s_log_and_the_report_as_text(
    load: Load, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from k600.miniature import make_clip, make_miniature, make_tarball

    host = make_miniature(tmp_path / "host", classes=["zumba"], flaws=False)
    names = [FORMULA, "evil\x1b[2J\u202e\x9b\nERROR forged.mp4", "a\rb.mp4"]
    members = {**host.clips["train"]["zumba"], **dict.fromkeys(names, make_clip(1))}
    (host.root / "train/zumba.tar.gz").write_bytes(make_tarball(members))
    stream = load("train", mirror=str(host.root), source="cvdf", streaming=True)["train"]
    assert len(list(stream)) == 5
    said = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert len(said) == 3
    assert all(is_harmless(line) for line in said)
    data_dir = tmp_path / "clips"
    load("train", mirror=str(host.root), source="cvdf", data_dir=str(data_dir))
    text = (data_dir / ".kinetics600/reports/train-missing.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert f"'{FORMULA}" in {row["file_name"] for row in rows}
    assert all(is_harmless(cell) for row in rows for cell in row.values())


def test_a_tarball_is_named_by_its_path() -> None:
    assert printable(Tarball("train", "massaging person's head").path).endswith("head.tar.gz")


@given(TEXT, TEXT)
def test_the_command_line_shows_any_text_as_text(text: str, other: str) -> None:
    from rich.table import Table

    from k600.cli.screen import console

    screen = console()
    table = Table(title=other)
    table.add_column(text)
    table.add_row(other)
    with screen.capture() as shown:
        screen.print(f"[red]{text}", table)
    assert all(is_harmless(line) for line in shown.get().split("\n"))
    assert "[red]" in shown.get()
