"""What became of every tarball and clip: a small SQLite file beside the clips.

A tarball's row is written once its last byte was checked, together with a row for each of
its members, in one transaction. So the ledger never says more than what is proved; files
that a killed run left in the store are found by looking, not here.
"""

from __future__ import annotations

import contextlib
import datetime
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from k600.clip import Clip, Tarball
from k600.errors import DiskFullError, StoreError

__all__ = [
    "AdoptedRow",
    "AnswerRow",
    "CheckRow",
    "ClipRow",
    "Held",
    "Known",
    "Ledger",
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
)
"""What each version of the file adds to the one before."""

_ODD_PLACES = {
    "folder": "instr(folder, split || '/') <> 1 OR instr(substr(folder, length(split) + 2), '/')"
    " OR substr(folder, -2) IN ('/.', '..') OR instr(folder, char(0))",
    "file_name": "instr(file_name, '/') OR file_name IN ('.', '..')",
    "tarball": "instr(tarball, '/') OR tarball IN ('.', '..')",
    "name": "instr(name, '/') OR name IN ('.', '..')",
    "path": "path LIKE '/%' OR instr('/' || path || '/', '/../') OR instr(path, char(0))",
    "moved_to": "moved_to LIKE '/%' OR instr('/' || moved_to || '/', '/../')",
}
"""Columns, and the values that no run wrote there: they lead out of the store."""


@dataclass(frozen=True, slots=True)
class TarballRow:
    """How a tarball stands."""

    tarball: Tarball
    state: str
    """`started` (clips may be there, nothing is proved), `partial` (read up to the last clip that
    was wanted), `done` (read and checked to its last byte) or `damaged` (failed its own checks
    twice)."""
    etag: str
    size_bytes: int
    started_at: float
    """When it was first worked on, in seconds since 1970: a clip file older than this was in
    the store before."""
    detail: str = ""
    """For `damaged`: what the check said."""


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
    `not_in_tarball`."""
    source: str
    """For `have`: `cvdf`; `youtube` or `local` for one that was there before the tarball came."""
    size_bytes: int


class AnswerRow(NamedTuple):
    """What YouTube said of a clip when it was asked last."""

    folder: str
    """`<split>/<class name>` where the clip lies or would lie."""
    file_name: str
    kind: str
    """`have` (stored), or one of `k600.sources.verdicts.KINDS`."""
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
    """Empty if it is whole, else as `k600.video.box_problem` says, or `unreadable`."""


class CheckRow(NamedTuple):
    """What `k600.verify` found in a file. It holds while the file's size and time are these."""

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
    """One of `k600.probe.VERDICTS`."""
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


class Held(NamedTuple):
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
class Known:
    """All that a ledger says of one split at one moment."""

    tarballs: Mapping[str, TarballRow]
    """By the tarball's name."""
    held: Sequence[Held] = ()
    """Clips that are stored."""
    others: Sequence[ClipRow] = ()
    """Every clip that is not, tarball by tarball, in the tarball's order."""
    answers: Sequence[AnswerRow] = ()
    """What YouTube said, by folder and file name."""
    adopted: Sequence[AdoptedRow] = ()
    """Clips that others brought, by folder and file name."""

    @classmethod
    def of(
        cls,
        tarballs: Mapping[str, TarballRow],
        clips: Iterable[ClipRow],
        answers: Sequence[AnswerRow] = (),
        adopted: Sequence[AdoptedRow] = (),
    ) -> Known:
        """Return the same for rows clip by clip, their sizes with them."""
        sizes: dict[tuple[Tarball, str, str], dict[str, int]] = {}
        others = []
        for clip in clips:
            if clip.state == "have":
                key = (clip.tarball, clip.folder, clip.source)
                sizes.setdefault(key, {})[clip.file_name] = clip.size_bytes
            else:
                others.append(clip)
        held = [Held(*key, frozenset(found), found) for key, found in sizes.items()]
        return cls(tarballs, held, others, answers, adopted)

    def stored(self) -> dict[str, list[frozenset[str]]]:
        """Return the file names of the clips that came by a run, by folder, in some sets each."""
        found: dict[str, list[frozenset[str]]] = {}
        for held in self.held:
            found.setdefault(held.folder, []).append(held.names)
        for answer in self.answers:
            if answer.kind == "have":
                found.setdefault(answer.folder, []).append(frozenset((answer.file_name,)))
        return found

    def clips(self) -> Iterator[ClipRow]:
        """Yield a row for each clip, those that are stored first, by name and not by position."""
        for held in self.held:
            for name in sorted(held.names):
                size = held.sizes.get(name, 0)
                yield ClipRow(held.tarball, -1, held.folder, name, "have", "", held.source, size)
        yield from self.others


class Ledger:
    """The ledger of one store. Opens the file for each call: safe in threads and processes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def tarballs(self, split: str, name: str | None = None) -> dict[str, TarballRow]:
        """Return the rows of a split's tarballs by name, or of one; none without a ledger."""
        these = {"split": split} if name is None else {"split": split, "name": name}
        query = (
            "SELECT split, name, state, etag, size_bytes, started_at, detail FROM tarballs WHERE "
            + " AND ".join(f"{column} = :{column}" for column in these)
        )
        with self._open() as db:
            _refuse_strange(db, "tarballs", **these)
            return {
                row[1]: TarballRow(Tarball(row[0], row[1]), *row[2:])
                for row in (db.execute(query, these) if db else ())
            }

    def clips(self, split: str, tarball: str | None = None) -> list[ClipRow]:
        """Return the rows of a split's clips, or of one tarball's, in the tarball's order."""
        with self._open() as db:
            return _clip_rows(db, split, tarball) if db else []

    def known(self, split: str) -> Known:
        """Return all that is known of a split."""
        held, others = self._members(split)
        tarballs, answers, adopted = self.tarballs(split), self.answers(split), self.adopted(split)
        return Known(tarballs, held, others, answers, adopted)

    def _members(self, split: str) -> tuple[list[Held], list[ClipRow]]:
        """Return the clips that are stored, in groups, and a row for every other one."""
        have = "FILTER (WHERE state = 'have')"
        facts = (
            f"group_concat(file_name, '/') {have}, count(*) {have}, "
            f"sum(typeof(size_bytes) <> 'integer' OR typeof(position) <> 'integer') {have}"
        )
        # By tarball is the table's own order; where its clips differ, they are asked for once more.
        tarballs = (
            f"SELECT tarball, count(*), min(folder) {have} = max(folder) {have} "
            f"AND min(source) {have} = max(source) {have}, "
            f"min(folder) {have}, min(source) {have}, {facts} "
            "FROM clips WHERE split = ? GROUP BY tarball"
        )
        parts = (
            f"SELECT folder, source, {facts} "
            "FROM clips WHERE split = ? AND tarball = ? AND state = 'have' GROUP BY 1, 2"
        )
        held: list[Held] = []
        others: list[ClipRow] = []
        with self._open() as db:
            for tarball, left, alike, *group in db.execute(tarballs, (split,)) if db else ():
                assert db is not None
                groups: Iterable[Sequence[Any]] = (
                    [group] if alike else db.execute(parts, (split, tarball))
                )
                for folder, source, joined, count, odd in groups:
                    names = joined.split("/")  # no file name has a slash in it
                    if odd or len(names) != count or not _is_place(split, tarball, folder):
                        raise sqlite3.DatabaseError(
                            "its table 'clips' holds a row that no run wrote"
                        )
                    held.append(Held(Tarball(split, tarball), folder, source, frozenset(names)))
                    left -= count
                if left:
                    others += _clip_rows(db, split, tarball, but="have")
        return held, others

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
        tarball = row.tarball
        with self._open(create=True) as db:
            assert db is not None
            db.execute(
                "DELETE FROM clips WHERE split = ? AND tarball = ?", (tarball.split, tarball.name)
            )
            clips = list(clips)
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
                "INSERT INTO clips VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (
                        tarball.split,
                        tarball.name,
                        clip.position,
                        clip.folder,
                        clip.file_name,
                        clip.state,
                        clip.reason,
                        clip.source,
                        clip.size_bytes,
                    )
                    for clip in clips
                ),
            )
            db.execute(
                "INSERT OR REPLACE INTO tarballs "
                "(split, name, state, etag, size_bytes, started_at, detail) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    tarball.split,
                    tarball.name,
                    row.state,
                    row.etag,
                    row.size_bytes,
                    row.started_at,
                    row.detail,
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

    def condemn(self, split: str, folder: str, file_name: str, reason: str) -> None:
        """Note that a clip is no good in its tarball, either: it is not asked for again."""
        with self._open(create=True) as db:
            assert db is not None
            db.execute(
                "UPDATE clips SET state = 'bad', reason = ? "
                "WHERE split = ? AND folder = ? AND file_name = ? AND state = 'have'",
                (reason, split, folder, file_name),
            )

    def _select(
        self, table: str, columns: Iterable[str], split: str, folder: str | None
    ) -> list[tuple[Any, ...]]:
        """Return rows of a table that a ledger of an earlier version has not got yet."""
        query = f"SELECT {', '.join(columns)} FROM {table} WHERE split = ?"
        query += " AND folder = ?" if folder is not None else ""
        with self._open() as db:
            known = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
            if db is None or db.execute(known, (table,)).fetchone() is None:
                return []
            keys = (split,) if folder is None else (split, folder)
            _refuse_strange(db, table, **dict(zip(("split", "folder"), keys, strict=False)))
            return db.execute(f"{query} ORDER BY folder, file_name", keys).fetchall()

    @contextlib.contextmanager
    def _open(self, *, create: bool = False) -> Iterator[sqlite3.Connection | None]:
        """Yield a connection within a transaction; None if there is no file and none is made."""
        if not create and not self._path.exists():
            yield None
            return
        try:
            with contextlib.closing(sqlite3.connect(self._path, timeout=120)) as db, db:
                # Else a power loss may take back what was committed last, and clips that came
                # since would look as if they had been there before.
                db.execute("PRAGMA synchronous = EXTRA")
                if create:
                    db.execute("BEGIN IMMEDIATE")
                db.execute("PRAGMA trusted_schema = OFF")
                made = "SELECT name FROM sqlite_master WHERE type IN ('view', 'trigger') LIMIT 1"
                if odd := db.execute(made).fetchone():
                    raise sqlite3.DatabaseError(f"it holds {odd[0]!r}, which no release made")
                version = db.execute("PRAGMA user_version").fetchone()[0]
                if version > len(_SCHEMAS):
                    raise sqlite3.DatabaseError(
                        f"it is of version {version}, this release reads {len(_SCHEMAS)}"
                    )
                if version < len(_SCHEMAS) and create:
                    for statement in ";".join(_SCHEMAS[version:]).split(";"):
                        db.execute(statement)
                    db.execute(f"PRAGMA user_version = {len(_SCHEMAS)}")
                yield db if version or create else None
        except (sqlite3.Error, UnicodeDecodeError) as error:  # (of a damaged file, either)
            if "disk is full" in str(error):
                raise DiskFullError(
                    f"data_dir: the volume of '{self._path}' is full. Make room and call again: "
                    "clips that are there stay"
                ) from error
            raise StoreError(
                f"data_dir: the ledger '{self._path}' cannot be used ({error}). Use the release "
                "that wrote it, or move the file away: clips that are there stay"
            ) from error


def _is_place(split: str, tarball: object, folder: object) -> bool:
    """Whether a tarball's name and a store's folder are such as a run writes for a split."""
    if not isinstance(tarball, str) or not isinstance(folder, str):
        return False
    home, _, name = folder.partition("/")
    return home == split and not any(
        each in ("", ".", "..") or "/" in each or "\0" in each for each in (name, tarball)
    )


def _strange(table: str) -> sqlite3.DatabaseError:
    return sqlite3.DatabaseError(f"its table {table!r} holds a row that no run wrote")


def _clip_rows(
    db: sqlite3.Connection, split: str, tarball: str | None, *, but: str = ""
) -> list[ClipRow]:
    """Return what `Ledger.clips` does, without those of one state."""
    these = {"split": split} if tarball is None else {"split": split, "tarball": tarball}
    _refuse_strange(db, "clips", **these)
    unit = cache(partial(Tarball, split))
    query = (
        "SELECT tarball, position, folder, file_name, state, reason, source, size_bytes "
        f"FROM clips WHERE {' AND '.join(f'{name} = :{name}' for name in these)} "
        "AND state <> :but ORDER BY tarball, position, file_name"
    )
    return [ClipRow(unit(row[0]), *row[1:]) for row in db.execute(query, {**these, "but": but})]


def _refuse_strange(db: sqlite3.Connection | None, table: str, **keys: str) -> None:
    """Raise an error if rows hold what no run wrote: a place out of the store, a wrong type.

    A ledger may come with a store from somebody else, and its rows say where clips lie.

    Args:
        db: The ledger; None if there is none yet.
        table: One of its tables.
        keys: The rows that are about to be read, by column.
    """
    if db is None:
        return
    odd = []
    for _, name, kind, *_ in db.execute(f"PRAGMA table_info({table})").fetchall():
        if name in _ODD_PLACES:
            odd.append(_ODD_PLACES[name])
        odd.append(f"typeof({name}) <> '{kind.lower()}'")
    of_these = " AND ".join(f"{name} = :{name}" for name in keys)
    query = f"SELECT 1 FROM {table} WHERE {of_these} AND ({' OR '.join(odd)}) LIMIT 1"
    if db.execute(query, keys).fetchone() is not None:
        raise _strange(table)
