"""What became of every tarball and clip: a small SQLite file beside the clips.

A clip's row is written before the clip gets its name, so whatever a run brought is known here and
told from what others put there. A tarball is `done` once its last byte was checked, in one
transaction with a row for each of its members. So the ledger never says more than what is proved.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import re
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from k600.clip import Clip, Tarball
from k600.identity import short_hash
from k600.reasons import REASONS, YOUTUBE_KINDS
from k600.splits import SPLITS, Split
from k600.store.ledger_file import open_ledger
from k600.video.probe import VERDICTS

__all__ = [
    "AdoptedRow",
    "AnswerRow",
    "CheckRow",
    "ClipRow",
    "Ledger",
    "LedgerView",
    "StoredGroup",
    "TarballRow",
]

_SCHEMAS = (
    """
CREATE TABLE tarballs (
    split TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, etag TEXT NOT NULL,
    size_bytes INTEGER NOT NULL, detail TEXT NOT NULL,
    started_at REAL NOT NULL, updated_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (split, name)) WITHOUT ROWID;
CREATE TABLE clips (
    split TEXT NOT NULL, tarball TEXT NOT NULL, position INTEGER NOT NULL,
    folder TEXT NOT NULL, file_name TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL,
    source TEXT NOT NULL, size_bytes INTEGER NOT NULL,
    PRIMARY KEY (split, tarball, file_name)) WITHOUT ROWID;
""",
    """
CREATE TABLE answers (
    split TEXT NOT NULL, folder TEXT NOT NULL, file_name TEXT NOT NULL, kind TEXT NOT NULL,
    code TEXT NOT NULL, message TEXT NOT NULL, yt_dlp TEXT NOT NULL, size_bytes INTEGER NOT NULL,
    times INTEGER NOT NULL, days INTEGER NOT NULL, first_on TEXT NOT NULL, last_on TEXT NOT NULL,
    PRIMARY KEY (split, folder, file_name)) WITHOUT ROWID;
CREATE TABLE adopted (
    split TEXT NOT NULL, folder TEXT NOT NULL, file_name TEXT NOT NULL, path TEXT NOT NULL,
    size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, problem TEXT NOT NULL,
    PRIMARY KEY (split, path)) WITHOUT ROWID;
""",
    """
CREATE TABLE checks (
    split TEXT NOT NULL, folder TEXT NOT NULL, file_name TEXT NOT NULL, path TEXT NOT NULL,
    size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, depth TEXT NOT NULL,
    verdict TEXT NOT NULL, detail TEXT NOT NULL, duration_seconds REAL NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, fps REAL NOT NULL,
    checked_at TEXT NOT NULL, moved_to TEXT NOT NULL,
    PRIMARY KEY (split, folder, path)) WITHOUT ROWID;
""",
    """
CREATE TABLE mirrors (id INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE);
ALTER TABLE tarballs RENAME TO old_tarballs;
CREATE TABLE tarballs (
    mirror INTEGER NOT NULL, split TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL,
    etag TEXT NOT NULL, size_bytes INTEGER NOT NULL, detail TEXT NOT NULL,
    failures INTEGER NOT NULL, failed_at REAL NOT NULL,
    updated_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (mirror, split, name)) WITHOUT ROWID;
INSERT INTO tarballs
    SELECT 0, split, name, state, etag, size_bytes, detail, 0, 0.0, updated_at
    FROM old_tarballs;
DROP TABLE old_tarballs;
ALTER TABLE clips RENAME TO old_clips;
CREATE TABLE clips (
    mirror INTEGER NOT NULL, split TEXT NOT NULL, tarball TEXT NOT NULL,
    position INTEGER NOT NULL, folder TEXT NOT NULL, file_name TEXT NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL, source TEXT NOT NULL, size_bytes INTEGER NOT NULL,
    crc32 INTEGER,
    PRIMARY KEY (mirror, split, tarball, file_name)) WITHOUT ROWID;
INSERT INTO clips
    SELECT 0, split, tarball, position, folder, file_name, state, reason, source, size_bytes, NULL
    FROM old_clips;
DROP TABLE old_clips;
""",
)
"""What each version of the file adds to the one before."""

_OLD_ROWS = (
    "CREATE TEMP VIEW mirrors AS SELECT 0 AS id, '{identity}' AS identity",
    "CREATE TEMP VIEW tarballs AS SELECT 0 AS mirror, *, 0 AS failures, 0.0 AS failed_at "
    "FROM main.tarballs",
    "CREATE TEMP VIEW clips AS SELECT 0 AS mirror, *, NULL AS crc32 FROM main.clips",
)
"""What makes a ledger from before the fourth version readable as it is."""

_TEXT = "typeof({0}) = 'text'"
_IN_RANGE = "{0} BETWEEN 0 AND 1 << 60"  # (where text and bytes are more than any number)
_COUNT = f"typeof({{0}}) = 'integer' AND {_IN_RANGE}"
_SECONDS = "typeof({0}) = 'real' AND {0} BETWEEN 0 AND 1e12"
_PART = f"{_TEXT} AND NOT instr({{0}}, '/') AND {{0}} NOT IN ('', '.', '..')"
_PATH = (
    f"{_TEXT} AND {{0}} NOT LIKE '/%' AND NOT instr('/' || {{0}} || '/', '/../') "
    "AND NOT instr({0}, char(0))"
)
_FOLDER = (
    f"{_TEXT} AND instr({{0}}, split || '/') = 1 "
    "AND NOT instr(substr({0}, length(split) + 2), '/')"
    " AND substr({0}, -2) NOT IN ('/.', '..') AND NOT instr({0}, char(0))"
    " AND length({0}) > length(split) + 1"
)


def _one_of(*values: str) -> str:
    listed = ", ".join(f"'{value}'" for value in values)
    return f"{_TEXT} AND {{0}} IN ({listed})"


SOURCES = ("cvdf", "youtube", "local")
"""Where a clip that is stored may be from."""

_CLIP = {"split": _one_of(*SPLITS), "folder": _FOLDER, "file_name": _PART}

_COLUMNS: dict[str, dict[str, str]] = {
    "tarballs": {
        "split": _one_of(*SPLITS),
        "name": _PART,
        "state": _one_of("started", "partial", "done", "damaged"),
        "etag": _TEXT,
        "size_bytes": _COUNT,
        "detail": _TEXT,
        "failures": _COUNT,
        "failed_at": _SECONDS,
    },
    "clips": {
        **_CLIP,
        "tarball": _PART,
        "position": "typeof({0}) = 'integer' AND {0} BETWEEN -1 AND 1 << 40",
        "state": _one_of("have", "bad", "skipped", "absent"),
        "reason": f"{_one_of('', *REASONS)} AND ({{0}} <> '' OR state IN ('have', 'skipped'))",
        "source": f"{_one_of('', *SOURCES)} AND ({{0}} <> '' OR state <> 'have')",
        "size_bytes": _COUNT,
        "crc32": "typeof({0}) IN ('integer', 'null') AND ifnull({0}, 0) BETWEEN 0 AND 0xFFFFFFFF",
    },
    "answers": {
        **_CLIP,
        "kind": _one_of("have", *YOUTUBE_KINDS),
        "code": _TEXT,
        "message": _TEXT,
        "yt_dlp": _TEXT,
        "size_bytes": _COUNT,
        "times": _COUNT,
        "days": _COUNT,
        "first_on": f"{_TEXT} AND ifnull(date({{0}}) = {{0}}, 0)",
        "last_on": f"{_TEXT} AND ifnull(date({{0}}) = {{0}}, 0)",
    },
    "adopted": {
        **_CLIP,
        "path": _PATH,
        "size_bytes": _COUNT,
        "mtime_ns": "typeof({0}) = 'integer'",
        "problem": _one_of("", *REASONS),
    },
    "checks": {
        **_CLIP,
        "path": _PATH,
        "size_bytes": _COUNT,
        "mtime_ns": "typeof({0}) = 'integer'",
        "depth": _one_of("quick", "deep"),
        "verdict": _one_of(*VERDICTS),
        "detail": _TEXT,
        "duration_seconds": _SECONDS,
        "width": _COUNT,
        "height": _COUNT,
        "fps": _SECONDS,
        "checked_at": _TEXT,
        "moved_to": _PATH,
    },
}
"""What each column that is read may hold, as SQL.

A ledger may come with a store from somebody else: what no run wrote, such as a place out of the
store, a state that is none or text for a number, is refused when it is read.
"""


@dataclass(frozen=True, slots=True)
class TarballRow:
    """How a tarball stands."""

    tarball: Tarball
    state: str
    """`started` (clips may be there, nothing is proved), `partial` (read up to the last clip that
    was wanted), `done` (read and checked to its last byte) or `damaged` (it is condemned, as
    `k600.tarballs.reading` says)."""
    etag: str
    size_bytes: int
    detail: str = ""
    """What the check said that failed last."""
    failures: int = 0
    """In how many calls one after the other it has failed its own checks, at the same bytes."""
    failed_at: float = 0.0
    """When the last of them did, in seconds since 1970; 0 for never."""


class ClipRow(NamedTuple):
    """How a member of a tarball stands. (A tuple: there are half a million of them.)"""

    tarball: Tarball
    position: int
    """Its place among the tarball's clips, from 0; -1 for a clip that is listed but not there."""
    folder: str
    """`<split>/<class name>` where it lies or would lie."""
    file_name: str
    state: str
    """`have` (stored), `bad` (not usable), `skipped` (not asked for) or `absent` (listed by
    the host, but not in the tarball)."""
    reason: str
    """For `bad`: `empty`, `truncated`, `not_mp4`, `not_a_file`, `too_large`; for `absent`:
    `not_in_tarball`; for `skipped`: `not_encoded`, or empty."""
    source: str
    """For `have`: `cvdf`; `youtube` or `local` for one that was there before the tarball came."""
    size_bytes: int
    crc32: int | None = None
    """CRC-32 of its bytes in the tarball; None where an older release did not note it."""


class AnswerRow(NamedTuple):
    """What YouTube said of a clip when it was asked last."""

    folder: str
    """`<split>/<class name>` where the clip lies or would lie."""
    file_name: str
    kind: str
    """`have` (stored), or one of `k600.reasons.YOUTUBE_KINDS`."""
    code: str
    message: str
    """In YouTube's words."""
    yt_dlp: str
    """Version of yt-dlp that asked."""
    size_bytes: int
    """For `have`: the file's size."""
    times: int
    """How often it has said the same."""
    days: int
    """On how many different days (UTC)."""
    first_on: str
    """The first of these days, as in `2026-11-23`."""
    last_on: str


class AdoptedRow(NamedTuple):
    """A clip that was there before, or that another tool brought, as it was when checked."""

    folder: str
    """`<split>/<class name>` that it belongs to."""
    file_name: str
    path: str
    """Where it lies, relative to the store."""
    size_bytes: int
    mtime_ns: int
    problem: str
    """Empty if it is whole, else as `k600.video.probe.box_problem` says, or `unreadable`."""


class CheckRow(NamedTuple):
    """What `k600.checks.verify` found in a file. It holds while size and time are these."""

    folder: str
    """`<split>/<class name>` that the clip belongs to."""
    file_name: str
    path: str
    """Where the file lies, relative to the store."""
    size_bytes: int
    mtime_ns: int
    depth: str
    """`quick` or `deep`."""
    verdict: str
    """One of `k600.video.probe.VERDICTS`."""
    detail: str
    duration_seconds: float
    """Of the pictures, from the first one's time to the last one's end; 0 where unknown."""
    width: int
    """In pixels; 0 where unknown."""
    height: int
    fps: float
    checked_at: str
    """In UTC, as in `2026-11-23T13:15:00`."""
    moved_to: str = ""
    """Where the file was put aside, relative to the store; empty if it was not."""


class StoredGroup(NamedTuple):
    """Clips of one tarball that are stored in one folder. (A row for each would take seconds.)"""

    tarball: Tarball
    folder: str
    """`<split>/<class name>`."""
    source: str
    """As in `ClipRow`."""
    names: frozenset[str]
    """File names."""
    sizes: Mapping[str, int] = MappingProxyType({})
    """Bytes by file name; empty where they were not asked for."""


@dataclass(frozen=True, slots=True)
class LedgerView:
    """All that a ledger says of one split at one moment."""

    tarballs: Mapping[str, TarballRow]
    """By the tarball's name."""
    groups: Sequence[StoredGroup] = ()
    """Clips that are stored."""
    others: Sequence[ClipRow] = ()
    """Every clip that is not, tarball by tarball, in the tarball's order."""
    answers: Sequence[AnswerRow] = ()
    """What YouTube said, by folder and file name."""
    adopted: Sequence[AdoptedRow] = ()
    """Clips that others brought, by folder and file name."""
    other_mirrors: Sequence[StoredGroup] = ()
    """Clips that are stored and came from another mirror than the one that is meant."""

    def hidden(self) -> dict[str, set[str]]:
        """Return the file names by folder of clips that are in the store, but not this mirror's."""
        found: dict[str, set[str]] = {}
        for group in self.other_mirrors:
            found.setdefault(group.folder, set()).update(group.names)
        return found

    def with_tarballs(self, names: Collection[str], theirs: LedgerView) -> LedgerView:
        """Return the same with what is known of some tarballs at another mirror."""
        held = [group for group in theirs.groups if group.tarball.name in names]
        mine = {(group.folder, name) for group in held for name in group.names}
        hidden = [
            group._replace(names=frozenset(n for n in group.names if (group.folder, n) not in mine))
            for group in self.other_mirrors
        ]
        return dataclasses.replace(
            self,
            tarballs={**self.tarballs, **{name: theirs.tarballs[name] for name in names}},
            groups=[*self.groups, *held],
            others=[*self.others, *(c for c in theirs.others if c.tarball.name in names)],
            other_mirrors=[group for group in hidden if group.names],
        )

    @classmethod
    def of(
        cls,
        tarballs: Mapping[str, TarballRow],
        clips: Iterable[ClipRow],
        answers: Sequence[AnswerRow] = (),
        adopted: Sequence[AdoptedRow] = (),
        other_mirrors: Sequence[StoredGroup] = (),
    ) -> LedgerView:
        """Return the same for rows clip by clip, their sizes with them."""
        sizes: dict[tuple[Tarball, str, str], dict[str, int]] = {}
        others = []
        for clip in clips:
            if clip.state == "have":
                key = (clip.tarball, clip.folder, clip.source)
                sizes.setdefault(key, {})[clip.file_name] = clip.size_bytes
            else:
                others.append(clip)
        held = [StoredGroup(*key, frozenset(found), found) for key, found in sizes.items()]
        return cls(tarballs, held, others, answers, adopted, other_mirrors)

    def stored(self) -> dict[str, list[frozenset[str]]]:
        """Return the file names of the clips that came by a run, by folder, in some sets each.

        From whichever mirror: it tells them from what others put there.
        """
        found: dict[str, list[frozenset[str]]] = {}
        for held in (*self.groups, *self.other_mirrors):
            found.setdefault(held.folder, []).append(held.names)
        for answer in self.answers:
            if answer.kind == "have":
                found.setdefault(answer.folder, []).append(frozenset((answer.file_name,)))
        return found

    def copies(self) -> dict[str, set[str]]:
        """Return the file names of the clips that are cuts from YouTube, by folder."""
        found: dict[str, set[str]] = {}
        for held in self.groups:
            if held.source == "youtube":
                found.setdefault(held.folder, set()).update(held.names)
        for answer in self.answers:
            if answer.kind == "have":
                found.setdefault(answer.folder, set()).add(answer.file_name)
        return found

    def clips(self) -> Iterator[ClipRow]:
        """Yield a row for each clip, those that are stored first, by name and not by position."""
        for held in self.groups:
            for name in sorted(held.names):
                size = held.sizes.get(name, 0)
                yield ClipRow(held.tarball, -1, held.folder, name, "have", "", held.source, size)
        yield from self.others


class Ledger:
    """The ledger of one store. Opens the file for each call: safe in threads and processes."""

    def __init__(self, path: Path, mirror: str | None = None) -> None:
        """Look at nothing yet.

        Args:
            path: The file.
            mirror: Whose tarballs and clips are meant (`k600.identity.mirror_identity`). None
                means those of every mirror, and is for reading only.
        """
        self._path, self._mirror = path, mirror

    def tarballs(self, split: str, name: str | None = None) -> dict[str, TarballRow]:
        """Return the rows of a split's tarballs by name, or of one; none without a ledger.

        Of two mirrors' tarballs with one name, one that is `done` counts.
        """
        found: dict[str, TarballRow] = {}
        with self._open() as db:
            for mirror in self._numbers(db):
                these = {"mirror": mirror, "split": split}
                these |= {} if name is None else {"name": name}
                _refuse_strange(db, "tarballs", **these)
                query = (
                    "SELECT split, name, state, etag, size_bytes, detail, failures, failed_at "
                    f"FROM tarballs WHERE {_equal(these)}"
                )
                for row in db.execute(query, these) if db else ():
                    if row[1] not in found or row[2] == "done":
                        found[row[1]] = TarballRow(Tarball(row[0], row[1]), *row[2:])
        return found

    def clips(self, split: str, tarball: str | None = None) -> list[ClipRow]:
        """Return the rows of a split's clips, or of one tarball's, in the tarball's order."""
        found: list[ClipRow] = []
        with self._open() as db:
            for mirror in self._numbers(db):
                assert db is not None
                found += _clip_rows(db, mirror, split, tarball)
        return found

    def view(self, split: str) -> LedgerView:
        """Return all that is known of a split."""
        held: list[StoredGroup] = []
        others: list[ClipRow] = []
        with self._open() as db:
            for mirror in self._numbers(db):
                assert db is not None
                for tarball, groups, left in _members_of(db, mirror, split):
                    held += groups
                    if left:
                        others += _clip_rows(db, mirror, split, tarball, but="have")
            theirs = self._of_others(db, split)
        tarballs, answers, adopted = self.tarballs(split), self.answers(split), self.adopted(split)
        return LedgerView(tarballs, held, others, answers, adopted, _without(theirs, held, answers))

    def same_objects(self, split: str, objects: Mapping[str, tuple[str, int]]) -> dict[str, str]:
        """Return which mirrors have objects that this one has, too, but of which it knows nothing.

        Args:
            split: Which split.
            objects: Strong ETag and size in bytes of what this mirror has, by tarball name.

        Returns:
            The identity of the mirror, by tarball name, for each that was read there with success.
        """
        found: dict[str, tuple[bool, str]] = {}
        with self._open() as db:
            if db is None or not (numbers := self._numbers(db, mine=False)):
                return {}
            unknown = objects.keys() - self.tarballs(split).keys()
            identities = dict(db.execute("SELECT id, identity FROM mirrors").fetchall())
            for number in numbers:
                _refuse_strange(db, "tarballs", mirror=number, split=split)
                for name, state, *what in db.execute(
                    "SELECT name, state, etag, size_bytes FROM tarballs WHERE mirror = ? "
                    "AND split = ? AND state IN ('done', 'partial')",
                    (number, split),
                ):
                    if name in unknown and tuple(what) == objects[name]:
                        found[name] = max(
                            (state == "done", identities[number]), found.get(name, (False, ""))
                        )
        return {name: identity for name, (_, identity) in found.items()}

    def take_over(self, split: str, mirrors: Mapping[str, str]) -> None:
        """Note as this mirror's what is known of the same objects of others.

        Args:
            split: Which split.
            mirrors: What `same_objects` returned.
        """
        with self._open(create=True) as db:
            assert db is not None
            own, other = self._number(db), "(SELECT id FROM mirrors WHERE identity = :identity)"
            for name, identity in mirrors.items():
                these = {"own": own, "identity": identity, "split": split, "name": name}
                for table, key in (("tarballs", "name"), ("clips", "tarball")):
                    columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")][1:]
                    rows = f"WHERE mirror = {other} AND split = :split AND {key} = :name"
                    db.execute(
                        f"INSERT OR IGNORE INTO {table} SELECT :own, {', '.join(columns)} "
                        f"FROM {table} {rows}",
                        these,
                    )
                    if identity == "":  # nobody's any more
                        db.execute(f"DELETE FROM {table} {rows}", these)

    def other_mirrors(self, split: str, tarball: str | None = None) -> list[StoredGroup]:
        """Return the clips that are stored and came from another mirror than the one meant.

        Not those that came from both with the same bytes, nor what YouTube gave since.

        Args:
            split: Which split.
            tarball: Only those that may be in this tarball.
        """
        # Where tarballs mix classes, each mirror may pack them otherwise.
        one = None if Split(split).is_mixed else tarball
        mine: list[StoredGroup] = []
        with self._open() as db:
            theirs = self._of_others(db, split, one)
            for number in self._numbers(db) if theirs else ():
                assert db is not None
                for _, groups, _ in _members_of(db, number, split, one):
                    mine += groups
        folder = None if one is None else f"{split}/{one}"
        return _without(theirs, mine, self.answers(split, folder)) if theirs else []

    def _of_others(
        self, db: sqlite3.Connection | None, split: str, tarball: str | None = None
    ) -> list[StoredGroup]:
        """Return the clips that other mirrors gave; other sources have to do with no mirror."""
        found: list[StoredGroup] = []
        for number in self._numbers(db, mine=False):
            assert db is not None
            for _, groups, _ in _members_of(db, number, split, tarball):
                found += [group for group in groups if group.source == "cvdf"]
        return found

    def _numbers(self, db: sqlite3.Connection | None, *, mine: bool = True) -> list[int]:
        """Return the numbers of the mirrors that are meant, or of all others."""
        if db is None or (self._mirror is None and not mine):
            return []
        rows = db.execute("SELECT id, identity FROM mirrors ORDER BY id").fetchall()
        own = (self._mirror, _old_identity(self._mirror))
        return [
            number for number, identity in rows if self._mirror is None or (identity in own) == mine
        ]

    def _number(self, db: sqlite3.Connection) -> int:
        """Return the number of the mirror that is written about; a new one gets its own."""
        if self._mirror is None:
            raise ValueError("a ledger of every mirror is for reading only")
        old = _old_identity(self._mirror)
        db.execute("UPDATE mirrors SET identity = ? WHERE identity = ?", (self._mirror, old))
        db.execute("INSERT OR IGNORE INTO mirrors (identity) VALUES (?)", (self._mirror,))
        query = "SELECT id FROM mirrors WHERE identity = ?"
        return int(db.execute(query, (self._mirror,)).fetchone()[0])

    def adopted(self, split: str, folder: str | None = None) -> list[AdoptedRow]:
        """Return a split's or one folder's clips that others brought, by folder and file name."""
        return [AdoptedRow(*r) for r in self._select("adopted", AdoptedRow._fields, split, folder)]

    def adopt(self, split: str, rows: Iterable[AdoptedRow]) -> None:
        """Note clips that others brought."""
        with self._open(create=True) as db:
            assert db is not None
            db.executemany(
                "INSERT OR REPLACE INTO adopted VALUES (?, ?, ?, ?, ?, ?, ?)",
                ((split, *row) for row in rows),
            )

    def answers(self, split: str, folder: str | None = None) -> list[AnswerRow]:
        """Return what YouTube said of a split's or folder's clips, by folder and file name."""
        return [AnswerRow(*r) for r in self._select("answers", AnswerRow._fields, split, folder)]

    def record_stored(self, clip: Clip, size_bytes: int, yt_dlp: str) -> None:
        """Note that a clip comes from YouTube; written before the clip gets its name."""
        self._record_answer(clip, "have", "", "", yt_dlp, size_bytes)

    def record_refused(self, clip: Clip, kind: str, code: str, message: str, yt_dlp: str) -> None:
        """Note what YouTube said instead of giving a clip; the same as before counts up."""
        self._record_answer(clip, kind, code, message, yt_dlp, 0)

    def _record_answer(
        self, clip: Clip, kind: str, code: str, message: str, yt_dlp: str, size_bytes: int
    ) -> None:
        today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
        key = (clip.split, clip.folder, clip.file_name)
        with self._open(create=True) as db:
            assert db is not None
            before = db.execute(
                "SELECT times, days, first_on, last_on FROM answers "
                "WHERE split = ? AND folder = ? AND file_name = ? AND kind = ? AND code = ?",
                (*key, kind, code),
            ).fetchone()
            times, days, first_on, last_on = before or (0, 0, today, "")
            days += last_on != today
            db.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *key,
                    kind,
                    code,
                    message,
                    yt_dlp,
                    size_bytes,
                    times + 1,
                    days,
                    first_on,
                    today,
                ),
            )

    def tarball(self, tarball: Tarball) -> TarballRow | None:
        """Return the row of one tarball, None if nothing is known of it."""
        return self.tarballs(tarball.split, tarball.name).get(tarball.name)

    def record(self, row: TarballRow, clips: Iterable[ClipRow]) -> None:
        """Replace all that is known of a tarball and its clips, in one transaction."""
        self._put(row, clips, replace=True)

    def add(self, row: TarballRow, clips: Iterable[ClipRow]) -> None:
        """Note clips of a tarball that are about to get their names, beside those known of it."""
        self._put(row, clips, replace=False)

    def _put(self, row: TarballRow, clips: Iterable[ClipRow], *, replace: bool) -> None:
        tarball = row.tarball
        with self._open(create=True) as db:
            assert db is not None
            mirror, clips = self._number(db), list(clips)
            if replace:
                db.execute(
                    "DELETE FROM clips WHERE mirror = ? AND split = ? AND tarball = ?",
                    (mirror, tarball.split, tarball.name),
                )
            _take_from_others(db, mirror, tarball, clips)
            db.executemany(  # what came from this tarball does not come from YouTube any more
                "DELETE FROM answers "
                "WHERE split = ? AND folder = ? AND file_name = ? AND kind = 'have'",
                (
                    (tarball.split, clip.folder, clip.file_name)
                    for clip in clips
                    if (clip.state, clip.source) == ("have", "cvdf")
                ),
            )
            db.executemany(
                f"INSERT {'' if replace else 'OR REPLACE'} INTO clips "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (
                        mirror,
                        tarball.split,
                        tarball.name,
                        clip.position,
                        clip.folder,
                        clip.file_name,
                        clip.state,
                        clip.reason,
                        clip.source,
                        clip.size_bytes,
                        clip.crc32,
                    )
                    for clip in clips
                ),
            )
            db.execute(
                "INSERT OR REPLACE INTO tarballs (mirror, split, name, state, etag, size_bytes, "
                "detail, failures, failed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    mirror,
                    tarball.split,
                    tarball.name,
                    row.state,
                    row.etag,
                    row.size_bytes,
                    row.detail,
                    row.failures,
                    row.failed_at,
                ),
            )

    def checks(self, split: str, folder: str | None = None) -> list[CheckRow]:
        """Return what was found in a split's or one folder's files, by folder and file name."""
        return [CheckRow(*r) for r in self._select("checks", CheckRow._fields, split, folder)]

    def record_checks(self, split: str, rows: Iterable[CheckRow]) -> None:
        """Note what was found in files."""
        with self._open(create=True) as db:
            assert db is not None
            db.executemany(
                f"INSERT OR REPLACE INTO checks VALUES (?{', ?' * len(CheckRow._fields)})",
                ((split, *row) for row in rows),
            )

    def mark_bad_in_tarball(self, split: str, folder: str, file_name: str, reason: str) -> None:
        """Note that a clip is no good in its tarball, either: it is not asked for again."""
        with self._open(create=True) as db:
            assert db is not None
            db.execute(
                "UPDATE clips SET state = 'bad', reason = ? WHERE mirror = ? "
                "AND split = ? AND folder = ? AND file_name = ? AND state = 'have'",
                (reason, self._number(db), split, folder, file_name),
            )

    def _select(
        self, table: str, columns: Iterable[str], split: str, folder: str | None
    ) -> list[tuple[Any, ...]]:
        """Return rows of a table that is about YouTube or about files."""
        query = f"SELECT {', '.join(columns)} FROM {table} WHERE split = ?"
        query += " AND folder = ?" if folder is not None else ""
        with self._open() as db:
            if db is None:
                return []
            keys = (split,) if folder is None else (split, folder)
            _refuse_strange(db, table, **dict(zip(("split", "folder"), keys, strict=False)))
            return db.execute(f"{query} ORDER BY folder, file_name", keys).fetchall()

    def prove(self, *, wait_seconds: float = 120) -> None:
        """Prove that rows can be written: open the file, lock it, change it, and take it back.

        Raises:
            DiskFullError, StoreError: They cannot.
        """
        with self._open(create=True, wait_seconds=wait_seconds) as db:
            assert db is not None
            (version,) = db.execute("PRAGMA user_version").fetchone()
            db.execute(f"PRAGMA user_version = {version}")  # begins a journal
            db.rollback()

    def _open(
        self, *, create: bool = False, wait_seconds: float = 120
    ) -> contextlib.AbstractContextManager[sqlite3.Connection | None]:
        """Open the file within a transaction; None if there is no file and none is made."""
        return open_ledger(
            self._path, len(_SCHEMAS), self._complete, create=create, wait_seconds=wait_seconds
        )

    def _complete(self, db: sqlite3.Connection, version: int, write: bool) -> None:
        """Bring a ledger of an earlier version to this one; without `write` for this call only.

        Its tarballs and clips are those of the mirror whose lists the store keeps, if it is one.
        """
        lists = [
            *self._path.parent.glob("lists/*-paths"),
            *self._path.parent.glob("lists/*-listing"),
        ]
        kept = {path.name[:16] for path in lists}
        known = len(kept) == 1 and re.fullmatch("[0-9a-f]{16}", min(kept))
        identity = f"lists:{min(kept)}" if known else ""
        if write:
            for statement in ";".join(_SCHEMAS[version:]).split(";"):
                db.execute(statement)
            if version:
                db.execute("INSERT INTO mirrors VALUES (0, ?)", (identity,))
            db.execute(f"PRAGMA user_version = {len(_SCHEMAS)}")
            return
        tables = "".join(_SCHEMAS[version:3]).replace("CREATE TABLE", "CREATE TEMP TABLE")
        for statement in (*tables.split(";"), *_OLD_ROWS):
            db.execute(statement.replace("{identity}", identity))


def _old_identity(mirror: str | None) -> str:
    """Return what a mirror is called by which a ledger of an earlier version was made."""
    return f"lists:{short_hash(mirror or '')}"


def _equal(columns: Iterable[str]) -> str:
    return " AND ".join(f"{column} = :{column}" for column in columns)


def _members_of(
    db: sqlite3.Connection, mirror: int, split: str, tarball: str | None = None
) -> Iterator[tuple[str, list[StoredGroup], int]]:
    """Yield each tarball of a mirror, its clips that are stored, and how many others it has."""
    these = {"mirror": mirror, "split": split} | ({} if tarball is None else {"tarball": tarball})
    have = "FILTER (WHERE state = 'have')"
    sound = f"sum({_IN_RANGE.format('size_bytes')} AND {_IN_RANGE.format('position + 1')}) {have}"
    facts = f"group_concat(file_name, '/') {have}, count(*) {have}, {sound}"
    # By tarball is the table's own order; where its clips differ, they are asked for once more.
    tarballs = (
        f"SELECT tarball, count(*), min(folder) {have} = max(folder) {have} "
        f"AND min(source) {have} = max(source) {have}, "
        f"min(folder) {have}, min(source) {have}, {facts} "
        f"FROM clips WHERE {_equal(these)} GROUP BY tarball"
    )
    parts = (
        f"SELECT folder, source, {facts} "
        "FROM clips WHERE mirror = ? AND split = ? AND tarball = ? AND state = 'have' GROUP BY 1, 2"
    )
    for name, left, alike, *group in db.execute(tarballs, these):
        held = []
        groups: Iterable[Sequence[Any]] = (
            [group] if alike else db.execute(parts, (mirror, split, name))
        )
        for folder, source, joined, count, good in groups:
            names = joined.split("/")  # no file name has a slash in it
            found = StoredGroup(Tarball(split, name), folder, source, frozenset(names))
            if problem := _odd_column(found):
                raise _strange("clips", problem)
            if good != count or len(names) != count:
                raise _strange("clips", "file_name" if good == count else "size_bytes")
            held.append(found)
            left -= count
        yield name, held, left


def _without(
    theirs: Sequence[StoredGroup], mine: Iterable[StoredGroup], answers: Iterable[AnswerRow]
) -> list[StoredGroup]:
    """Return other mirrors' clips but those that this mirror has as well, or YouTube gave."""
    taken: dict[str, set[str]] = {group.folder: set() for group in theirs}
    for group in mine:
        if group.folder in taken:
            taken[group.folder].update(group.names)
    for answer in answers:
        if answer.kind == "have" and answer.folder in taken:
            taken[answer.folder].add(answer.file_name)
    left = [group._replace(names=group.names.difference(taken[group.folder])) for group in theirs]
    return [group for group in left if group.names]


def _take_from_others(
    db: sqlite3.Connection, mirror: int, tarball: Tarball, clips: Iterable[ClipRow]
) -> None:
    """Note that files are not another mirror's any more: they are this one's, with other bytes."""
    mine = {(c.folder, c.file_name): c for c in clips if (c.state, c.source) == ("have", "cvdf")}
    others = db.execute("SELECT id FROM mirrors WHERE id <> ?", (mirror,)).fetchall()
    these = {"split": tarball.split, "state": "have", "source": "cvdf"}
    if not Split(tarball.split).is_mixed:  # there, another mirror may pack them otherwise
        these["tarball"] = tarball.name
    for (other,) in others if mine else ():
        query = (
            "SELECT size_bytes, crc32, folder, file_name, tarball FROM clips "
            f"WHERE mirror = :mirror AND {_equal(these)}"
        )
        gone = []
        for size, crc32, folder, name, its in db.execute(query, {**these, "mirror": other}):
            own = mine.get((folder, name))
            if own and (crc32 is None or (size, crc32) != (own.size_bytes, own.crc32)):
                gone.append((other, tarball.split, its, name))
        db.executemany(
            "UPDATE clips SET state = 'skipped', source = '' "
            "WHERE mirror = ? AND split = ? AND tarball = ? AND file_name = ?",
            gone,
        )


def _odd_column(held: StoredGroup) -> str:
    """Return the first column of a group of clips that `_COLUMNS` does not allow; empty if none."""
    split, tarball = held.tarball.split, held.tarball.name
    home, _, folder = held.folder.partition("/") if isinstance(held.folder, str) else ("", "", "")
    if home != split or not _is_part(folder):
        return "folder"
    if not _is_part(tarball):
        return "tarball"
    if held.names & {"", ".", ".."}:
        return "file_name"
    return "" if held.source in SOURCES else "source"


def _is_part(name: object) -> bool:
    """Whether a name stays in the folder that it is put in."""
    odd = not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\0" in name
    return not odd


def _strange(table: str, column: str) -> sqlite3.DatabaseError:
    what = f"its table {table!r} holds a row that no run wrote: look at its {column!r}"
    return sqlite3.DatabaseError(what)


def _clip_rows(
    db: sqlite3.Connection, mirror: int, split: str, tarball: str | None, *, but: str = ""
) -> list[ClipRow]:
    """Return what `Ledger.clips` does for one mirror, without those of one state."""
    these = {"mirror": mirror, "split": split}
    these |= {} if tarball is None else {"tarball": tarball}
    _refuse_strange(db, "clips", **these)
    unit = cache(partial(Tarball, split))
    query = (
        "SELECT tarball, position, folder, file_name, state, reason, source, size_bytes, crc32 "
        f"FROM clips WHERE {_equal(these)} AND state <> :but "
        "ORDER BY tarball, position, file_name"
    )
    return [ClipRow(unit(row[0]), *row[1:]) for row in db.execute(query, {**these, "but": but})]


def _refuse_strange(db: sqlite3.Connection | None, table: str, **keys: object) -> None:
    """Raise an error if rows hold what `_COLUMNS` does not allow.

    Args:
        db: The ledger; None if there is none yet.
        table: One of its tables.
        keys: The rows that are about to be read, by column.
    """
    if db is None:
        return
    allowed = {name: f"({rule.format(name)})" for name, rule in _COLUMNS[table].items()}
    query = (
        f"SELECT {', '.join(allowed.values())} FROM {table} "
        f"WHERE {_equal(keys)} AND NOT ({' AND '.join(allowed.values())}) LIMIT 1"
    )
    if (odd := db.execute(query, keys).fetchone()) is not None:
        raise _strange(table, next(n for n, good in zip(allowed, odd, strict=True) if not good))
