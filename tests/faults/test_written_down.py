"""What is written down of clips and tarballs: whose a clip is, and when a tarball is condemned."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import k600.tarballs.arrivals
import kinetics600
from k600.checks.verify import verify_clips
from k600.dataset.clip import Tarball
from k600.errors import MirrorUnreachableError
from k600.loading.fetch import fetch_split
from k600.miniature import Miniature, make_clip, make_tarball
from k600.mirror.mirror import Mirror
from k600.store.ledger import Ledger
from k600.store.rows import TarballRow
from tests.conftest import expected
from tests.faults.host import Answer, Fault, Host
from tests.faults.test_http import PAGE, on_clips, served, spoil, tarballs
from tests.faults.trial import Result, assert_intact, assert_whole, fetch, visible

CLASS = "zumba"


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch, far: None) -> None:
    """Let each clip have its name before the next one comes, as real ones do every 64 MiB."""
    monkeypatch.setattr(k600.tarballs.arrivals, "_BATCH_BYTES", 1)
    monkeypatch.setattr(k600.tarballs.arrivals, "_RECORDED_BYTES", 1)


@pytest.fixture
def options(host: Host, data_dir: str) -> dict[str, Any]:
    return {"classes": CLASS, "data_dir": data_dir, **host.mirror_of("http")}


@pytest.fixture
def wanted(origin: Miniature) -> dict[str, bytes]:
    return {key: data for key, data in expected(origin, "train").items() if CLASS in key}


def sources(**options: Any) -> Counter[str]:
    """Return where the clips of a look at the store are from."""
    request = kinetics600.make_request("train", **{**options, "source": "local"})
    shards = fetch_split(request, "train").shards
    return Counter(row["source"] for shard in shards for row in shard.records())


def row_of(data_dir: str, host: Host) -> TarballRow:
    path = Path(data_dir, ".kinetics600/ledger.sqlite")
    row = Ledger(path, Mirror(f"{host.url}/600").identity).tarball(Tarball("train", CLASS))
    assert row is not None
    return row


def asked(host: Host) -> set[str]:
    """Return the methods by which the tarball was asked for since the last call of this."""
    methods = {method for method, path in host.requests if CLASS in path}
    host.requests.clear()
    return methods


def failed_its_checks(result: Result) -> bool:
    """Whether clips, or all of them, lack because their tarball fails its own checks."""
    reasons = {"tarball_damaged", "tarball_condemned"}
    said = {reason for reason in reasons if reason in str(result.error)}
    return bool(said or result.reasons) and said | result.reasons <= reasons


def breaks_half_way(answer: Answer) -> None:
    if answer.is_clips and answer.wanted and answer.wanted[1] > len(answer.whole) // 2:
        answer.say(503, b"")


def spoilt(origin: Miniature) -> bytes:
    """Return the tarball with a wrong checksum: damaged wherever it is read."""
    data = bytearray((origin.root / f"train/{CLASS}.tar.gz").read_bytes())
    data[-8] ^= 1
    return bytes(data)


def damaged(origin: Miniature, etag: str = "damaged") -> Fault:
    whole = spoilt(origin)
    return tarballs(lambda answer: served(answer, whole, etag))


# Whose a clip is, is written down before it has its name: no clock is asked.


@pytest.mark.parametrize("clock", [1, 9e9], ids=["behind", "ahead"])
@pytest.mark.usefixtures("one_by_one")
def test_clips_of_a_load_that_broke_off_are_its_own_whatever_a_file_server_s_clock_says(
    clock: float,
    host: Host,
    origin: Miniature,
    options: dict[str, Any],
    data_dir: str,
    wanted: dict[str, bytes],
) -> None:
    mine = Path(data_dir, sorted(wanted)[-1])  # at the tarball's end
    mine.parent.mkdir(parents=True)
    mine.write_bytes(make_clip(77))
    host.fault = breaks_half_way
    assert fetch(**options).reasons == {"tarball_unreachable"}
    came = visible(data_dir)
    assert 1 < len(came) < len(wanted)
    for key in came:
        os.utime(Path(data_dir, key), (clock, clock))
    assert sources(**options) == {"cvdf": len(came) - 1, "local": 1}
    host.fault = damaged(origin)
    for _ in range(2):
        assert failed_its_checks(fetch(**options))
    assert visible(data_dir) == {mine.relative_to(data_dir).as_posix(): make_clip(77)}
    host.fault = None
    assert fetch(**options).recovered
    assert sources(**options) == {"cvdf": len(wanted) - 1, "local": 1}


@pytest.mark.usefixtures("one_by_one")
def test_a_kill_between_a_clip_s_row_and_its_name_is_a_clip_that_is_lacking(
    host: Host, origin: Miniature, options: dict[str, Any], data_dir: str, wanted: dict[str, bytes]
) -> None:
    host.fault = breaks_half_way
    fetch(**options)
    for key in sorted(visible(data_dir))[::2]:
        Path(data_dir, key).unlink()  # so it looks then
    request = kinetics600.make_request("train", **options)
    assert not verify_clips(replace(request, offline=True)).bad
    host.fault = None
    assert fetch(**options).recovered
    assert_whole(data_dir, wanted)


@pytest.mark.usefixtures("one_by_one")
def test_who_looks_at_a_store_that_a_load_is_filling_takes_nothing_for_a_user_s(
    host: Host, options: dict[str, Any], data_dir: str, wanted: dict[str, bytes]
) -> None:
    goes_on = threading.Event()

    def waits(answer: Answer) -> None:
        if answer.is_clips and answer.wanted and answer.wanted[1] > len(answer.whole) // 2:
            answer.waits = goes_on

    host.fault = waits
    patient = {"patience_seconds": 60, "request_seconds": 60}
    results: list[Any] = []
    load = threading.Thread(target=lambda: results.append(fetch(**options, **patient)))
    load.start()
    try:
        while len(visible(data_dir)) < 3:
            assert load.is_alive()
        looks = sources(**options)
        assert set(looks) == {"cvdf"}
    finally:
        goes_on.set()
        load.join()
    assert results[0].recovered
    ledger = Ledger(Path(data_dir, ".kinetics600/ledger.sqlite"))
    assert ledger.view("train").adopted == []
    assert_whole(data_dir, wanted)


# What came with a few clips is compared when the whole tarball passes by.


def others(origin: Miniature) -> dict[str, bytes]:
    """Return other clips under the same names."""
    names, datas = zip(*origin.clips["train"][CLASS].items(), strict=True)
    return dict(zip(names, reversed(datas), strict=True))


@pytest.mark.parametrize("etag", ["another", None], ids=["replaced", "flipped on the way"])
@pytest.mark.parametrize("crc", [True, False], ids=["with CRC-32", "of an older release"])
def test_a_whole_load_replaces_what_came_otherwise_with_a_few_clips(
    etag: str | None,
    crc: bool,
    host: Host,
    origin: Miniature,
    options: dict[str, Any],
    data_dir: str,
    wanted: dict[str, bytes],
) -> None:
    whole = make_tarball(others(origin))

    def changed(answer: Answer) -> None:
        honest = answer.headers["ETag"].strip('"')
        served(answer, whole, etag or honest)

    host.fault = tarballs(changed)
    assert fetch(**options, source="cvdf", max_samples=5).recovered
    few = visible(data_dir)
    assert len(few) == 5
    assert any(wanted[key] != data for key, data in few.items())
    if not crc:
        forget_checksums(data_dir)
    host.fault = None
    assert fetch(**options).recovered
    assert_whole(data_dir, wanted)
    assert row_of(data_dir, host).state == "done"


def forget_checksums(data_dir: str) -> None:
    path = Path(data_dir, ".kinetics600/ledger.sqlite")
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE clips SET crc32 = NULL")


@pytest.mark.parametrize("crc", [True, False], ids=["with CRC-32", "of an older release"])
def test_a_whole_load_leaves_the_same_clips_where_they_are(
    crc: bool, options: dict[str, Any], data_dir: str, wanted: dict[str, bytes]
) -> None:
    fetch(**options, source="cvdf", max_samples=5)
    before = {key: os.stat(Path(data_dir, key)) for key in visible(data_dir)}
    assert len(before) == 5
    if not crc:
        forget_checksums(data_dir)
    assert fetch(**options).recovered
    assert_whole(data_dir, wanted)
    for key, status in before.items():
        now = os.stat(Path(data_dir, key))
        assert (now.st_ino, now.st_mtime_ns) == (status.st_ino, status.st_mtime_ns)


def test_a_few_clips_that_are_all_clips_are_proved_by_a_whole_load(
    host: Host, options: dict[str, Any], data_dir: str, wanted: dict[str, bytes]
) -> None:
    fetch(**options, source="cvdf", max_samples=len(wanted))
    assert row_of(data_dir, host).state == "partial"
    assert fetch(**options).recovered
    assert row_of(data_dir, host).state == "done"


def test_a_clip_that_vanished_is_not_mixed_with_those_of_a_tarball_that_was_replaced(
    host: Host, origin: Miniature, options: dict[str, Any], data_dir: str, wanted: dict[str, bytes]
) -> None:
    fetch(**options)
    Path(data_dir, sorted(wanted)[0]).unlink()
    new = others(origin)
    whole = make_tarball(new)
    host.fault = tarballs(lambda answer: served(answer, whole, "another"))
    assert fetch(**options).recovered
    assert_whole(data_dir, {f"train/{CLASS}/{name}": data for name, data in new.items()})
    assert row_of(data_dir, host).etag == "another"


def test_a_clip_that_vanished_comes_as_it_was_or_the_tarball_is_read_to_its_end(
    host: Host, origin: Miniature, options: dict[str, Any], data_dir: str, wanted: dict[str, bytes]
) -> None:
    """A flip in the pictures is no matter to gzip as long as its checksum is not reached."""
    fetch(**options)
    Path(data_dir, sorted(wanted)[0]).unlink()
    whole = make_tarball(others(origin))
    struck: list[str] = []

    def once(answer: Answer) -> None:
        if answer.is_clips and len(struck) < 2:
            struck.append(answer.path)
            served(answer, whole, answer.headers["ETag"].strip('"'))

    host.fault = once
    assert fetch(**options).recovered
    assert struck
    assert_whole(data_dir, wanted)


def test_smaller_clips_are_compared_by_what_they_were_made_of(
    host: Host, origin: Miniature, options: dict[str, Any], data_dir: str
) -> None:
    small = {**options, "short_side": 48}
    whole = make_tarball(others(origin))
    host.fault = tarballs(lambda answer: served(answer, whole, "another"))
    fetch(**small, source="cvdf", max_samples=3)
    few = visible(data_dir)
    host.fault = None
    assert fetch(**small).recovered
    one = visible(data_dir)
    assert len(one) == 24
    assert any(one[key] != data for key, data in few.items())
    root = data_dir + "-anew"
    assert fetch(**{**small, "data_dir": root}).recovered
    assert visible(root) == one


# Condemned is only what fails alike, as the same object, in two calls.


def zeros(answer: Answer) -> None:
    answer.body = bytes(len(answer.body))


def page(answer: Answer) -> None:
    answer.say(200, PAGE)


def packed_page(answer: Answer) -> None:
    answer.say(200, gzip.compress(PAGE * 100))


def nothing(answer: Answer) -> None:
    answer.say(200, b"")


FAULTS: dict[str, Fault] = {
    "log-in pages": tarballs(page),
    "packed log-in pages": tarballs(packed_page),
    "pages in the length of the tarball": on_clips(
        lambda answer: setattr(answer, "body", PAGE.ljust(len(answer.body))[: len(answer.body)])
    ),
    "zeros": on_clips(zeros),
    "nothing": tarballs(nothing),
    "flipped bits": on_clips(spoil),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_line_or_a_portal_sends_in_one_call_is_forgotten_by_the_next(
    fault: str, host: Host, origin: Miniature, data_dir: str
) -> None:
    options = {"data_dir": data_dir, **host.mirror_of("http")}
    host.fault = FAULTS[fault]
    result = fetch(**options)
    assert host.struck > 0
    assert result.error is not None
    assert visible(data_dir) == {}
    host.fault = None
    assert fetch(**options).recovered
    assert_whole(data_dir, expected(origin, "train"))


@pytest.mark.parametrize("fault", ["log-in pages", "zeros"])
def test_nor_does_a_portal_that_stays_for_days_condemn_anything(
    fault: str, host: Host, options: dict[str, Any], data_dir: str, wanted: dict[str, bytes]
) -> None:
    host.fault = FAULTS[fault]
    for _ in range(3):
        assert isinstance(fetch(**options).error, MirrorUnreachableError)
    host.fault = None
    assert fetch(**options).recovered
    assert_whole(data_dir, wanted)


def test_a_line_that_flips_bits_now_here_now_there_condemns_nothing(
    host: Host, options: dict[str, Any], data_dir: str, wanted: dict[str, bytes]
) -> None:
    place = 0

    def flip(answer: Answer) -> None:
        nonlocal place
        place += 701
        body = bytearray(answer.body)
        body[place % len(body)] ^= 4
        answer.body = bytes(body)

    host.fault = on_clips(flip)
    for _ in range(4):
        assert failed_its_checks(fetch(**options))
    host.fault = None
    assert fetch(**options).recovered
    assert_whole(data_dir, wanted)


def test_a_tarball_that_is_damaged_is_read_by_two_calls_and_then_only_looked_at(
    host: Host, origin: Miniature, options: dict[str, Any], data_dir: str, wanted: dict[str, bytes]
) -> None:
    host.fault = damaged(origin)
    seen = []
    for call in range(4):
        host.sent_bytes = 0
        said = str(fetch(**options).error)
        reason = re.search(r"reason: (\w+)", said)
        assert reason, call
        readings = round(host.sent_bytes / len(spoilt(origin)))
        seen.append((reason[1], row_of(data_dir, host).state, readings))
        assert visible(data_dir) == {}
    assert seen == [
        ("tarball_damaged", "started", 2),
        ("tarball_condemned", "damaged", 1),
        ("tarball_condemned", "damaged", 0),
        ("tarball_condemned", "damaged", 0),
    ]
    asked(host)
    assert fetch(**options, source="cvdf", max_samples=2).error is not None
    assert asked(host) == {"HEAD"}
    assert failed_its_checks(fetch(**options, retry_errors=True))
    assert "GET" in asked(host)
    host.fault = damaged(origin, etag="packed anew, and damaged again")
    assert failed_its_checks(fetch(**options))
    assert "GET" in asked(host)
    host.fault = None
    assert fetch(**options).recovered
    assert_whole(data_dir, wanted)


def test_a_few_clips_of_a_tarball_that_failed_once_are_taken_only_with_its_end(
    host: Host, origin: Miniature, options: dict[str, Any], data_dir: str
) -> None:
    host.fault = damaged(origin)
    fetch(**options)
    assert fetch(**options, source="cvdf", max_samples=2).error is not None
    assert visible(data_dir) == {}


def test_of_a_test_tarball_that_failed_once_a_few_clips_are_taken_only_with_its_end(
    host: Host, origin: Miniature, data_dir: str
) -> None:
    """Any of its clips will do, so that none is wanted by name: more are not taken, either."""
    labels = str(origin.test_labels)
    options = {"data_dir": data_dir, "test_labels": labels, **host.mirror_of("http")}
    few = {**options, "source": "cvdf", "max_samples": 2}

    def spoil_end(answer: Answer, *, by: int) -> None:
        whole = bytearray(Path(origin.root, answer.path.partition("/600/")[2]).read_bytes())
        whole[-8] ^= by
        served(answer, bytes(whole), "the same object")

    host.fault = tarballs(lambda answer: spoil_end(answer, by=1))
    fetch("test", **options)
    assert fetch("test", **few).error is not None
    assert visible(data_dir) == {}

    data_dir += "-anew"
    host.fault = tarballs(lambda answer: spoil_end(answer, by=1))
    fetch("test", **{**options, "data_dir": data_dir})
    host.fault = tarballs(lambda answer: spoil_end(answer, by=0))
    assert fetch("test", **{**few, "data_dir": data_dir}).recovered
    assert len(visible(data_dir)) == 2
    path = Path(data_dir, ".kinetics600/ledger.sqlite")
    rows = Ledger(path, Mirror(f"{host.url}/600").identity).tarballs("test")
    assert "done" in {row.state for row in rows.values()}


def test_a_few_clips_go_when_their_tarball_is_condemned(
    host: Host, origin: Miniature, options: dict[str, Any], data_dir: str, wanted: dict[str, bytes]
) -> None:
    host.fault = damaged(origin)
    assert fetch(**options, source="cvdf", max_samples=2).recovered
    fetch(**options)
    assert len(visible(data_dir)) == 2  # it may have been the line
    fetch(**options)
    assert visible(data_dir) == {}


def test_what_was_proved_once_stays_when_the_tarball_in_its_place_is_damaged(
    host: Host, origin: Miniature, options: dict[str, Any], data_dir: str, wanted: dict[str, bytes]
) -> None:
    fetch(**options)
    lost = sorted(wanted)[0]
    Path(data_dir, lost).unlink()
    host.fault = damaged(origin)
    for _ in range(3):
        assert failed_its_checks(fetch(**options))
    asked(host)
    fetch(**options)
    assert asked(host) == {"HEAD"}
    left = {key: data for key, data in wanted.items() if key != lost}
    assert assert_intact(data_dir, left) == len(left)
    host.fault = None
    assert fetch(**options).recovered
    assert_whole(data_dir, wanted)


def test_an_answer_for_a_portal_s_list_is_not_kept(
    host: Host, origin: Miniature, data_dir: str, lists: Callable[[], dict[str, bytes]]
) -> None:
    options = {"data_dir": data_dir, **host.mirror_of("http")}
    assert fetch(**options).recovered
    before = lists()
    Path(data_dir, sorted(visible(data_dir))[0]).unlink()

    def refused(answer: Answer) -> None:
        if answer.path.endswith(("train.txt", "path.txt")):
            answer.say(403, PAGE)

    def portal(answer: Answer) -> None:
        if answer.path.endswith(("train.txt", "path.txt")):
            answer.say(200, PAGE)

    for fault in (refused, portal):
        host.fault = fault
        fetch(**options)
        assert lists() == before
    host.fault = None
    assert fetch(**options).recovered


@pytest.fixture
def lists(data_dir: str) -> Callable[[], dict[str, bytes]]:
    def read() -> dict[str, bytes]:
        folder = Path(data_dir, ".kinetics600/lists")
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    return read
