from __future__ import annotations

import errno
import io
import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import av
import numpy as np
import pytest

import k600.checks.clip_files
import kinetics600
from k600.checks.verify import Report, find_failed, verify_clips
from k600.dataset.clip import Clip, Tarball
from k600.errors import NoClipsError, OptionError, StoreError
from k600.loading.fetch import fetch_split
from k600.loading.request import Request
from k600.miniature import Miniature, make_clip, make_tarball
from k600.store.ledger import Ledger
from k600.store.rows import CheckRow
from k600.store.store import Store
from k600.video.probe import VERDICTS, Probe, box_problem, probe_clip
from tests.conftest import Command, Ended, contents
from tests.servers import web_server
from tests.youtube_replica import youtube_replica
from tests.youtube_videos import FAILURES, good_video

QUARANTINE = ".kinetics600/quarantine"


def boxes(data: bytes) -> dict[bytes, tuple[int, int]]:
    found, at = {}, 0
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        found[kind] = (at, length)
        at += length
    return found


def index_first(data: bytes) -> bytes:
    """The same clip with the index before the pictures."""
    part = Path(os.environ["HF_HOME"]) / "index-first.mp4"
    with av.open(io.BytesIO(data)) as source:
        with av.open(str(part), "w", options={"movflags": "+faststart"}) as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
    return part.read_bytes()


def cut_inside(data: bytes, share: float) -> bytes:
    """Cut off in the pictures, with boxes that do not tell."""
    data = index_first(data)
    at, length = boxes(data)[b"mdat"]
    left = data[: at + int(length * share)]
    return left[:at] + struct.pack(">I", len(left) - at) + left[at + 4 :]


def flipped(data: bytes) -> bytes:
    at, length = boxes(data)[b"mdat"]
    begin, end = at + length // 2, at + length * 3 // 4  # more than a decoder conceals
    return data[:begin] + bytes(byte ^ 0xFF for byte in data[begin:end]) + data[end:]


def without_index(data: bytes) -> bytes:
    at, length = boxes(data)[b"moov"]
    return data[:at] + data[at + length :]


def with_sound(*, pictures: bool = True) -> bytes:
    buffer = io.BytesIO()
    random = np.random.default_rng(0)
    with av.open(buffer, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=5) if pictures else None
        sound = container.add_stream("aac", rate=8000)
        sound.layout = "mono"
        if video:
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            for number in range(50):
                shade = np.full((48, 64, 3), 5 * number, np.uint8)
                picture = av.VideoFrame.from_ndarray(shade, format="rgb24")
                picture.pts = number
                container.mux(video.encode(picture))
            container.mux(video.encode(None))
        for start in range(0, 80_000, 1024):
            noise = (random.standard_normal((1, 1024)) / 10).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
            frame.rate, frame.pts, frame.time_base = 8000, start, Fraction(1, 8000)
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return buffer.getvalue()


def damaged_sound() -> bytes:
    data = with_sound()
    with av.open(io.BytesIO(data)) as container:
        packets = [(p.pos, p.size) for p in container.demux(audio=0) if p.size]
    broken = bytearray(data)
    for at, size in packets[20:30]:
        broken[at : at + size] = bytes(b ^ 0xFF for b in broken[at : at + size])
    return bytes(broken)


CLIP = make_clip(1)

# file content; what a quick look finds, what a deep one; part of the detail
FAULTS: dict[str, tuple[bytes, str, str, str]] = {
    "good": (CLIP, "ok", "ok", ""),
    "sound": (with_sound(), "ok", "ok", ""),
    "no bytes": (b"", "empty", "empty", ""),
    "a page": (b"<!DOCTYPE html><html>502 Bad Gateway</html>", "not_mp4", "not_mp4", ""),
    "cut off": (CLIP[: len(CLIP) // 2], "truncated", "truncated", ""),
    "cut off inside": (cut_inside(CLIP, 0.6), "truncated", "truncated", "packet"),
    "no index": (without_index(CLIP), "truncated", "truncated", ""),
    "flipped": (flipped(CLIP), "ok", "damaged", "video"),
    "flipped sound": (damaged_sound(), "ok", "damaged", "audio"),
    "sound alone": (with_sound(pictures=False), "no_video", "no_video", "no stream"),
    "seven seconds": (make_clip(2, seconds=7), "short", "short", "7.00 of 10 seconds"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("deep", [False, True])
def test_each_fault_is_told_apart(fault: str, deep: bool, tmp_path: Path) -> None:
    data, quick, deeper, detail = FAULTS[fault]
    path = tmp_path / "-a:b%d.mp4"
    path.write_bytes(data)
    probe = probe_clip(path, seconds=10, deep=deep)
    verdict = deeper if deep else quick
    assert probe.verdict == verdict
    assert detail in probe.detail or verdict == "ok"
    if verdict in ("ok", "short"):
        size = (64, 48) if "sound" in fault else (128, 96)
        assert (probe.width, probe.height, probe.fps) == (*size, 5.0)
        assert probe.duration_seconds == pytest.approx(7 if verdict == "short" else 10)


def test_a_cut_at_a_packet_s_end_is_found_by_counting(tmp_path: Path) -> None:
    data = index_first(CLIP)
    with av.open(io.BytesIO(data)) as container:
        ends = sorted(p.pos + p.size for p in container.demux(video=0) if p.size)
    at, _ = boxes(data)[b"mdat"]
    data = data[: ends[30]]
    data = data[:at] + struct.pack(">I", len(data) - at) + data[at + 4 :]
    assert box_problem(io.BytesIO(data)) is None
    (tmp_path / "x.mp4").write_bytes(data)
    probe = probe_clip(tmp_path / "x.mp4", seconds=10)
    assert probe.verdict == "truncated", probe


def test_frames_that_an_edit_list_leaves_out_are_not_missed(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    with av.open(io.BytesIO(CLIP)) as source:
        options = {"avoid_negative_ts": "disabled"}
        with av.open(str(path), "w", options=options) as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.pts -= int(3 / packet.time_base)
                    packet.dts -= int(3 / packet.time_base)
                    packet.stream = stream
                    target.mux(packet)
    for deep in (False, True):
        probe = probe_clip(path, seconds=7, deep=deep)
        assert (probe.verdict, probe.duration_seconds) == ("ok", 7.0)


def test_whatever_is_in_a_file_a_verdict_comes_of_it(tmp_path: Path) -> None:
    random, path, found = Random(0), tmp_path / "x.mp4", Counter[str]()
    index = boxes(CLIP)[b"moov"][0]
    for number in range(400):
        data = bytearray(CLIP)
        for _ in range(random.choice((1, 3, 20))):
            data[random.randrange(random.choice((0, index)), len(data))] = random.randrange(256)
        path.write_bytes(data)
        found[probe_clip(path, seconds=10, deep=bool(number % 2)).verdict] += 1
    assert {"ok", "damaged", "truncated", "no_video"} <= {*found} <= {*VERDICTS}


def test_what_is_no_file_is_vanished_or_unreadable(tmp_path: Path) -> None:
    assert probe_clip(tmp_path / "none.mp4", seconds=10).verdict == "vanished"
    assert probe_clip(tmp_path, seconds=10).verdict == "unreadable"


@pytest.mark.parametrize("number", ["EMFILE", "ENFILE"])
def test_a_process_out_of_means_blames_no_clip(
    number: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.mp4").write_bytes(CLIP)

    def fail(*_: Any, **__: Any) -> None:
        raise av.error.OSError(getattr(errno, number), "no means")

    monkeypatch.setattr(av, "open", fail)
    with pytest.raises(StoreError, match="cannot be checked"):
        probe_clip(tmp_path / "x.mp4", seconds=10)


# a store of two classes, five clips each, and the host it came from


@pytest.fixture
def host(own_miniature: Miniature) -> Miniature:
    return own_miniature


Ask = Callable[..., Request]


@pytest.fixture
def ask(host: Miniature, tmp_path: Path) -> Ask:
    def make(split: str = "validation", **options: Any) -> Request:
        given = {
            "data_dir": str(tmp_path / "clips"),
            "mirror": str(host.root),
            "test_labels": str(host.test_labels),
            "num_workers": 2,
            **options,
        }
        return kinetics600.make_request(split, **given)

    return make


@pytest.fixture
def clips(ask: Ask, tmp_path: Path) -> Path:
    fetch_split(ask(), "validation")
    return tmp_path / "clips"


def surfing(clips: Path) -> list[Path]:
    return sorted((clips / "validation/surfing water").glob("*.mp4"))


def plant(clips: Path, *faults: str) -> dict[str, str]:
    """Put faults in the place of clips; return `{path in the store: fault}`."""
    planted = {}
    for path, fault in zip(surfing(clips), faults, strict=False):
        path.write_bytes(FAULTS[fault][0])
        planted[path.relative_to(clips).as_posix()] = fault
    return planted


def verdicts(report: Report) -> dict[str, str]:
    return {
        finding.row.path: finding.row.verdict
        for split in report.splits
        for finding in (*split.bad, *split.short)
    }


def fates(report: Report) -> Counter[str]:
    return Counter(finding.fate for split in report.splits for finding in split.bad)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are really looked into."""
    seen: list[Path] = []
    real = probe_clip

    def look(path: Path, *, seconds: float, deep: bool = False) -> Probe:
        seen.append(path)
        return real(path, seconds=seconds, deep=deep)

    monkeypatch.setattr(k600.checks.clip_files, "probe_clip", look)
    return seen


def test_planted_faults_are_found_and_nothing_is_touched(clips: Path, ask: Ask) -> None:
    planted = plant(clips, "no bytes", "cut off inside", "a page", "flipped", "seven seconds")
    before = contents(clips)
    quick, deep = verify_clips(ask()), verify_clips(ask(), deep=True)
    assert verdicts(quick) == {p: FAULTS[f][1] for p, f in planted.items() if f != "flipped"}
    assert verdicts(deep) == {p: FAULTS[f][2] for p, f in planted.items()}
    assert (len(quick.bad), len(deep.bad), fates(deep)) == (3, 4, {"reported": 4})
    (split,) = deep.splits
    assert split.classes["zumba"] == {"ok": 5}
    assert split.verdicts == Counter(ok=5, empty=1, truncated=1, not_mp4=1, damaged=1, short=1)
    assert (deep.clips, deep.reused) == (10, 0)
    assert contents(clips) == before
    failed = find_failed(ask(), "validation")
    assert {f"validation/{c}/{n}" for c, names in failed.items() for n in names} == {
        finding.row.path for finding in deep.bad
    }


def test_what_was_verified_is_not_looked_into_again(
    clips: Path, ask: Ask, looks: list[Path]
) -> None:
    def count(**options: Any) -> tuple[int, int]:
        looks.clear()
        report = verify_clips(ask(), **options)
        return len(looks), report.reused

    assert count() == (10, 0)
    assert count() == (0, 10)
    assert count(deep=True) == (10, 0)
    assert count(deep=True) == (0, 10)
    assert count() == (0, 10)  # a deep look serves for a quick one
    assert count(again=True) == (10, 0)
    changed = surfing(clips)[0]
    changed.write_bytes(FAULTS["cut off"][0])
    assert count() == (1, 9)
    assert looks == [changed]
    assert count() == (0, 10)
    os.utime(surfing(clips)[1])
    assert count() == (1, 9)


def test_the_ledger_keeps_what_was_seen(clips: Path, ask: Ask) -> None:
    plant(clips, "seven seconds")
    verify_clips(ask(), deep=True)
    rows = Ledger(Store.at(clips).ledger_path).checks("validation")
    assert len(rows) == 10
    row = next(row for row in rows if row.verdict == "short")
    status = (clips / row.path).stat()
    assert (row.size_bytes, row.mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert (row.depth, row.duration_seconds, row.width, row.height, row.fps) == (
        "deep",
        7.0,
        128,
        96,
        5.0,
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", row.checked_at)


def test_a_run_that_fails_in_the_middle_goes_on_where_it_was(
    clips: Path, ask: Ask, looks: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = k600.checks.clip_files.probe_clip

    def fail(path: Path, *, seconds: float, deep: bool = False) -> Probe:
        if len(looks) == 6:
            raise KeyboardInterrupt
        return real(path, seconds=seconds, deep=deep)

    with monkeypatch.context() as patch:
        patch.setattr(k600.checks.clip_files, "probe_clip", fail)
        with pytest.raises(KeyboardInterrupt):
            verify_clips(ask(num_workers=1))
    done = len(Ledger(Store.at(clips).ledger_path).checks("validation"))
    assert done == 6
    looks.clear()
    assert verify_clips(ask()).reused == done
    assert len(looks) == 10 - done


def test_a_killed_run_loses_no_more_than_its_last_batch(clips: Path, ask: Ask) -> None:
    program = f"""
import os, signal, time
import k600.checks.clip_files, kinetics600
from k600.store.ledger import Ledger
from k600.checks.verify import verify_clips
request = kinetics600.make_request("validation", data_dir={str(clips)!r}, num_workers=1)
ledger = Ledger(request.store.ledger_path)
k600.checks.clip_files._COMMIT_ROWS, real, seen = 2, k600.checks.clip_files.probe_clip, []
def probe(path, **options):
    seen.append(path)
    if len(seen) == 8:
        while len(ledger.checks("validation")) < 6:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return real(path, **options)
k600.checks.clip_files.probe_clip = probe
verify_clips(request)
"""
    killed = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, timeout=60
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert verify_clips(ask()).reused == 6
    assert verify_clips(ask()).reused == 10


def test_rows_are_written_batch_by_batch(
    clips: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    real = Ledger.record_files

    def record(ledger: Ledger, split: str, rows: list[CheckRow]) -> None:
        batches.append(len(rows))
        real(ledger, split, rows)

    monkeypatch.setattr(Ledger, "record_files", record)
    monkeypatch.setattr(k600.checks.clip_files, "_COMMIT_ROWS", 4)
    verify_clips(ask())
    assert batches == [4, 4, 2]


def test_quarantine_moves_bad_clips_and_a_load_brings_them_again(
    clips: Path, ask: Ask, host: Miniature
) -> None:
    whole = contents(clips)
    planted = plant(clips, "no bytes", "cut off inside", "seven seconds")
    report = verify_clips(ask(), quarantine=True)
    assert fates(report) == {"quarantined": 2}
    for path, fault in planted.items():
        bad = fault != "seven seconds"
        assert (clips / path).exists() != bad
        if bad:
            assert (clips / QUARANTINE / path).read_bytes() == FAULTS[fault][0]
    later = verify_clips(ask())
    assert [finding.row.verdict for finding in later.bad] == ["vanished"] * 2
    assert "moved to .kinetics600/quarantine/validation/surfing water/" in later.bad[0].row.detail
    outcome = fetch_split(ask(), "validation")
    assert (outcome.clips, outcome.missing) == (10, ())
    short = next(path for path, fault in planted.items() if fault == "seven seconds")
    assert contents(clips) == {**whole, short: FAULTS["seven seconds"][0]}
    assert not verify_clips(ask(), deep=True).bad


def test_a_second_bad_file_of_a_name_does_not_replace_the_first_in_quarantine(
    clips: Path, ask: Ask
) -> None:
    target = surfing(clips)[0]
    for fault in ("cut off", "a page", "cut off"):
        target.write_bytes(FAULTS[fault][0])
        verify_clips(ask(), quarantine=True)
    aside = sorted((clips / QUARANTINE).rglob("*.mp4*"))
    assert [path.read_bytes() for path in aside] == [FAULTS["cut off"][0], FAULTS["a page"][0]]
    assert aside[1].name == f"{target.name}.1"


@pytest.mark.parametrize("http", [False, True])
def test_repair_brings_the_same_bytes_and_the_next_run_is_clean(
    http: bool, clips: Path, ask: Ask, host: Miniature
) -> None:
    whole = contents(clips)
    untouched = {path: path.stat().st_mtime_ns for path in clips.glob("validation/zumba/*")}
    plant(clips, "no bytes", "cut off inside", "a page", "flipped")
    surfing(clips)[-1].unlink()
    with web_server(host.root.parent) as server:
        request = ask(mirror=f"{server.url}/600") if http else ask()
        report = verify_clips(request, deep=True, repair=True)
    assert fates(report) == {"repaired": 5}
    assert report.bad == ()
    assert report.splits[0].classes == {"surfing water": {"ok": 5}, "zumba": {"ok": 5}}
    assert contents(clips) == whole
    assert {path: path.stat().st_mtime_ns for path in clips.glob("validation/zumba/*")} == untouched
    second = verify_clips(ask(), deep=True)
    assert (second.splits[0].bad, second.reused) == ((), 10)
    outcome = fetch_split(ask(), "validation")
    assert (outcome.fetched["cvdf"], outcome.missing) == (0, ())


def test_repair_of_test_clips(ask: Ask, tmp_path: Path) -> None:
    fetch_split(ask("test"), "test")
    whole = contents(tmp_path / "clips")
    paths = [tmp_path / "clips" / path for path in whole]
    for path in paths:
        path.write_bytes(b"")
    report = verify_clips(ask("test"), repair=True)
    assert fates(report) == {"repaired": len(paths)}
    assert contents(tmp_path / "clips") == whole
    verify = verify_clips(ask("test", classes="zumba"))
    assert {*verify.splits[0].classes} == {"zumba"}


def test_a_clip_from_youtube_comes_from_there_again(ask: Ask, tmp_path: Path) -> None:
    store = Store.at(tmp_path / "clips")
    good, gone = (Clip("validation", "zumba", f"youtube{n}abc", 0, 10) for n in (1, 2))
    store.prepare()
    for clip in (good, gone):
        (store.root / clip.folder).mkdir(parents=True, exist_ok=True)
        (store.root / clip.key).write_bytes(flipped(CLIP))
        Ledger(store.ledger_path).record_answer(clip, "have", "", "", "1", size_bytes=5)
    with youtube_replica() as youtube:
        youtube.videos = {good.youtube_id: good_video(), gone.youtube_id: FAILURES["private"]}
        further = {"nocheckcertificate": True}
        request = ask(source="youtube", proxy=youtube.url, yt_dlp_options=further)
        report = verify_clips(request, deep=True, repair=True)
    (finding,) = report.bad
    assert (finding.row.file_name, finding.fate) == (gone.file_name, "quarantined")
    assert finding.why.startswith("YouTube: private, removed, terminated or otherwise gone")
    assert [*contents(store.root)] == [good.key]
    assert contents(store.root)[good.key] != flipped(CLIP)


def test_what_cannot_be_repaired_is_told_and_stays_in_quarantine(clips: Path, ask: Ask) -> None:
    planted = plant(clips, "cut off")
    (path,) = planted
    for options in ({"mirror": str(clips / "nowhere")}, {"source": "local"}):
        report = verify_clips(ask(**options), repair=True)
        (finding,) = report.bad
        assert finding.why
        assert not (clips / path).exists()
        assert (clips / QUARANTINE / path).exists()
    assert "network" in finding.why
    assert fates(verify_clips(ask(), repair=True)) == {"repaired": 1}


def test_a_clip_that_is_damaged_at_its_source_is_not_fetched_for_ever(
    host: Miniature, ask: Ask, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = dict(host.clips["validation"]["zumba"])
    name = sorted(good)[2]
    tarball = host.root / "val/zumba.tar.gz"
    tarball.write_bytes(make_tarball({**good, name: flipped(good[name])}))
    outcome = fetch_split(ask(), "validation")
    assert outcome.missing == ()  # the checksum is right
    report = verify_clips(ask(), deep=True, repair=True)
    (finding,) = report.bad
    assert (finding.row.file_name, finding.row.verdict, finding.fate) == (
        name,
        "damaged",
        "bad_at_source",
    )
    assert (tmp_path / "clips" / QUARANTINE / "validation/zumba" / name).exists()
    caplog.clear()
    second = verify_clips(ask(), deep=True, repair=True)
    assert (second.bad, second.clips) == ((), 9)
    outcome = fetch_split(ask(), "validation")
    assert (outcome.clips, outcome.fetched["cvdf"]) == (9, 0)
    assert [missing.file_name for missing in outcome.missing] == [name]
    assert outcome.missing_text()
    assert "reading" not in caplog.text
    # the user may want it all the same
    outcome = fetch_split(ask(retry_errors=True), "validation")
    assert outcome.clips == 10


def test_other_tools_files_are_left_alone_and_left_out(
    host: Miniature, ask: Ask, tmp_path: Path
) -> None:
    clips = tmp_path / "clips"
    folder = clips / "val/surfing_water"
    folder.mkdir(parents=True)
    good = host.clips["validation"]["surfing water"]
    for number, (name, data) in enumerate(good.items()):
        (folder / name).write_bytes(flipped(data) if number == 1 else data)
    bad = list(good)[1]

    def state() -> dict[str, tuple[bytes, int, int]]:
        return {
            path.name: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino)
            for path in folder.iterdir()
        }

    before, request = state(), ask(classes="surfing water")
    outcome = fetch_split(request, "validation")
    assert outcome.clips == 5
    report = verify_clips(request, deep=True, quarantine=True)
    assert [(f.row.path, f.fate) for f in report.bad] == [(f"val/surfing_water/{bad}", "left_out")]
    assert state() == before
    local = fetch_split(ask(classes="surfing water", source="local"), "validation")
    assert local.clips == 4
    assert [m.file_name for m in local.missing] == [bad]
    assert local.missing_text()
    report = verify_clips(request, deep=True, repair=True)
    assert (fates(report), report.bad) == ({"repaired": 1}, ())
    assert state() == before
    assert (clips / "validation/surfing water" / bad).read_bytes() == good[bad]
    assert not (clips / QUARANTINE).exists()
    second = verify_clips(request, deep=True)
    assert (second.bad, second.clips) == ((), 5)
    for tarballs in (1, 0):  # the one clip that came is proved by its tarball's end, once
        outcome = fetch_split(request, "validation")
        assert (outcome.clips, outcome.fetched["cvdf"], outcome.missing) == (5, tarballs, ())
    assert state() == before


def test_a_file_that_changes_after_the_look_is_not_moved(
    clips: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = contents(clips)
    (path,) = plant(clips, "cut off")
    real = k600.checks.clip_files.probe_clip

    def look(at: Path, *, seconds: float, deep: bool = False) -> Probe:
        found = real(at, seconds=seconds, deep=deep)
        if found.verdict != "ok":
            at.write_bytes(whole[path])  # another process brings the good one
        return found

    monkeypatch.setattr(k600.checks.clip_files, "probe_clip", look)
    (finding,) = verify_clips(ask(), quarantine=True).bad
    assert (finding.fate, finding.why) == ("reported", "it has changed since; verify again")
    assert contents(clips) == whole


def test_limits_and_empty_stores_are_refused(ask: Ask, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="max_samples"):
        verify_clips(ask(max_samples=3))
    with pytest.raises(NoClipsError, match="no clip"):
        verify_clips(ask())
    assert not (tmp_path / "clips").exists()


def test_only_the_clips_of_a_manifest(clips: Path, ask: Ask, tmp_path: Path) -> None:
    names = [path.name for path in surfing(clips)[:2]]
    manifest = tmp_path / "chosen.csv"
    lines = ["split,label,youtube_id,time_start,time_end,source,tarball,size_bytes,sha256"]
    for name in names:
        start, end = int(name[12:18]), int(name[19:25])
        lines.append(f"validation,surfing water,{name[:11]},{start},{end},cvdf,surfing water,0,")
    manifest.write_text("\n".join(lines) + "\n")
    assert verify_clips(ask(manifest=str(manifest))).clips == 2


# the command


Run = Callable[..., Ended]


@pytest.fixture
def run(command: Command) -> Run:
    def run(clips: Path, *arguments: str, host: Miniature | None = None) -> Ended:
        options = ["--mirror", host.root] if host else []
        done = command("verify", *arguments, "--data-dir", clips, *options, env={"COLUMNS": "120"})
        assert "\x1b" not in done.stdout + done.stderr
        return done

    return run


def test_the_command_shows_verdicts_by_class_and_its_exit_code_says_it(
    run: Run, clips: Path, host: Miniature
) -> None:
    plant(clips, "seven seconds")
    done = run(clips, "validation")
    assert done.returncode == 0, done.stderr
    assert re.search(r"surfing water\W+4\W+1\b", done.stdout)
    assert re.search(r"all 2 classes\W+9\W+1\b", done.stdout)
    assert "7.00 of 10 seconds" in done.stdout
    path = surfing(clips)[1]
    path.write_bytes(flipped(path.read_bytes()))
    assert run(clips, "validation").returncode == 0  # the damage is deeper
    quiet = run(clips, "validation", "--quiet")
    assert (quiet.returncode, quiet.stdout) == (0, "")
    done = run(clips, "validation", "--deep", "--json")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert (said["good"], said["depth"], said["checked_clips"]) == (False, "deep", 10)
    (split,) = said["splits"]
    assert split["verdicts"] == {"ok": 8, "short": 1, "damaged": 1}
    assert {"label": "zumba", "verdicts": {"ok": 5}} in split["classes"]
    (bad,) = split["bad"]
    assert (bad["path"], bad["verdict"], bad["fate"]) == (
        f"validation/surfing water/{path.name}",
        "damaged",
        "reported",
    )
    done = run(clips, "validation", "--deep", "--repair", host=host)
    assert done.returncode == 0, done.stderr
    assert "damaged, repaired" in done.stdout


def test_wrong_usage_is_told_in_a_line(run: Run, tmp_path: Path) -> None:
    for arguments, code in (
        (["validation", "--max-samples", "3"], 2),
        (["validation", "--depe"], 2),
        (["validation"], 1),  # nothing there
    ):
        done = run(tmp_path / "none", *arguments)
        assert done.returncode == code, done.stderr
        assert done.stderr
        assert not (tmp_path / "none").exists()
    help_text = run(tmp_path, "--help").stdout
    assert "Example: kinetics600 verify validation --deep" in help_text
    for option in ("--deep", "--repair", "--quarantine", "--again", "--json", "--quiet"):
        assert option in help_text


def test_a_tarball_that_is_gone_is_named(clips: Path, ask: Ask, host: Miniature) -> None:
    plant(clips, "cut off")
    (host.root / "val/surfing water.tar.gz").unlink()
    (finding,) = verify_clips(ask(), repair=True).bad
    assert finding.fate == "quarantined"
    assert "no such tarball" in finding.why
    row = Ledger(Store.at(clips).ledger_path).tarball(Tarball("validation", "surfing water"))
    assert row is not None
    assert row.state == "done"


def test_a_single_bit_that_flipped_is_found_by_a_deep_look_and_mended(
    clips: Path, ask: Ask
) -> None:
    (path, *others), whole = surfing(clips), {}
    chance = random.Random(3)
    for file in (path, *others):
        whole[file] = file.read_bytes()
        changed = bytearray(whole[file])
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        file.write_bytes(changed)
    own = bytearray(CLIP) + b"\0\0\0\x08free"  # a user's own clip, whole, of another size
    others[-1].write_bytes(own)

    report = verify_clips(ask(), deep=True, repair=True)
    found = {finding.row.path: finding for split in report.splits for finding in split.bad}
    assert len(found) == len(others)
    assert {finding.fate for finding in found.values()} == {"repaired"}
    assert "changed" in {finding.row.verdict for finding in found.values()}
    assert others[-1].read_bytes() == own
    assert all(file.read_bytes() == whole[file] for file in (path, *others[:-1]))
    assert not verify_clips(ask(), deep=True, again=True).bad
