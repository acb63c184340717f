"""The ledger: the state of every tarball and clip, in a small SQLite file beside the clips.

A clip's row is written before the clip gets its name, so clips without a row are not ours. A
tarball is `done` once its last byte was checked, in one transaction with a row for each of its
members: the ledger never claims more than what is proved.
"""

from __future__ import annotations

import contextlib
import copy
import datetime
import itertools
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from k600.dataset.clip import Clip, Entry, Place, Tarball
from k600.dataset.splits import Split
from k600.errors.text import short_hash
from k600.store.ledger_file import conditions, open_ledger, read_rows, rule, strange_row
from k600.store.rows import (
    CLIP_COLUMNS,
    TARBALL_COLUMNS,
    AdoptedRow,
    AnswerRow,
    Checkpoint,
    CheckRow,
    ClipRow,
    LedgerView,
    StoredGroup,
    TarballRow,
    without_clips,
)

_TABLES: Mapping[object, str] = {AnswerRow: "answers", AdoptedRow: "adopted", CheckRow: "checks"}
_OF_OBJECTS = ("objects", "entries", "checkpoints")

_IS_SOUND = (
    f"CASE WHEN reason = '' THEN TRUE ELSE {rule('clips', 'reason')} END "
    f"AND {rule('clips', 'position')} AND {rule('clips', 'size_bytes')} "
    f"AND ifnull(crc32, 0) BETWEEN 0 AND {0xFFFFFFFF}"
)
"""Rules for stored clips, shorter where that saves a tenth of the time: text and bytes are more
than any number, and SQLite evaluates both sides of an OR for every row.
"""
_IS_SOUND_GROUP = " AND ".join(rule("clips", name) for name in ("folder", "tarball", "source"))
"""Rules for what clips of a group have alike."""

T = TypeVar("T")


class Ledger:
    """The ledger of one store. Opens the file for each call: safe in threads and processes."""

    def __init__(self, path: Path, mirror: str | None = None) -> None:
        """Open nothing yet; without the identity of a mirror, those of all are read."""
        self._open: Callable[..., AbstractContextManager[sqlite3.Connection]] = partial(
            open_ledger, path
        )
        self._mirror = mirror

    def transaction(self) -> AbstractContextManager[Ledger]:
        """Yield this ledger for calls of one thread that are one transaction, all or nothing."""
        return self._opened(write=True)

    def copied(self) -> AbstractContextManager[Ledger]:
        """Yield this ledger in memory: what is recorded there is forgotten."""
        return self._opened(in_memory=True)

    @contextlib.contextmanager
    def _opened(self, **how: bool) -> Iterator[Ledger]:
        with self._open(**how) as db:
            opened = copy.copy(self)
            opened._open = lambda **_: contextlib.nullcontext(db)
            yield opened

    def view(
        self, split: str, *, sizes: bool = False, only: Collection[str] | None = None
    ) -> LedgerView:
        """Return all that is known of a split, or what concerns some tarballs `only`; with `sizes`,
        also of each stored clip.
        """
        # In a mixed split, another mirror or YouTube may have its clips in any tarball.
        near = None if Split(split).is_mixed else only
        folders = None if near is None else [f"{split}/{name}" for name in near]
        with self._open() as db:
            mine = self._mirrors(db)
            groups = _stored_groups(db, mine, split, only, sizes=sizes)
            answers = _rows(db, AnswerRow, split, folders)
            theirs = _stored_groups(db, self._other_mirrors(db), split, near)
            theirs = [group for group in theirs if group.source == "cvdf"]
            alike = _stored_groups(db, mine, split, None) if theirs and near != only else groups
            return LedgerView(
                self._tarball_rows(db, split, only),
                groups,
                _clip_rows(db, "AND state IS NOT 'have'", mirror=mine, split=split, tarball=only),
                answers,
                _rows(db, AdoptedRow, split),
                without_clips(theirs, alike, answers),
                _rates(db, split, folders),
            )

    def tarballs(self, split: str) -> dict[str, TarballRow]:
        """Return the rows of a split's tarballs by name; of two mirrors' rows, a `done` one."""
        with self._open() as db:
            return self._tarball_rows(db, split)

    def tarball(self, tarball: Tarball) -> TarballRow | None:
        """Return the row of one tarball, if there is one."""
        with self._open() as db:
            return self._tarball_rows(db, tarball.split, tarball.name).get(tarball.name)

    def clips(
        self,
        split: str,
        tarball: str | None = None,
        file_names: Iterable[str] | None = None,
        folder: str | None = None,
    ) -> list[ClipRow]:
        """Return the rows of a split's clips, of one tarball's, or of some file names or a folder,
        in the tarballs' order.
        """
        names = None if file_names is None else [*file_names]
        with self._open() as db:
            these: dict[str, Any] = {"split": split, "tarball": tarball, "folder": folder}
            return _clip_rows(db, mirror=self._mirrors(db), file_name=names, **these)

    def places(self, split: str, clips: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Place]:
        """Return where clips, each a class and a file name, lie in their tarballs, where known."""
        is_mixed = Split(split).is_mixed  # there, the tarball is not its class
        asked = {(None if is_mixed else clip[0], clip[1]): clip for clip in clips}
        key = "file_name" if is_mixed else "tarball, file_name"
        asked_for = f"AND ({key}) IN (SELECT {key} FROM asked)"
        of_object = ("mirror", "tarball", "etag", "size_bytes", "packing")
        of_entry = ("mirror", "tarball", "file_name", *Entry._fields)
        found, unit = dict[tuple[str, str], Place](), cache(partial(Tarball, split))
        with self._open() as db:
            these: dict[str, Any] = {"mirror": self._mirrors(db), "split": split}
            objects = {row[:2]: row[2:] for row in read_rows(db, "objects", of_object, **these)}
            db.execute("CREATE TEMP TABLE asked (tarball, file_name)")
            _insert(db, "asked", asked)
            rows = read_rows(db, "entries", of_entry, which=asked_for, **these)
            db.execute("DROP TABLE asked")
            for mirror, tarball, file_name, *entry in rows:
                try:
                    etag, size_bytes, packing = objects[mirror, tarball]
                    place = Place(unit(tarball), etag, size_bytes, packing, Entry(*entry))
                except (KeyError, ValueError) as error:
                    raise strange_row("entries", "entry_offset") from error
                found[asked[None if is_mixed else tarball, file_name]] = place
        return found

    def objects(self, split: str) -> dict[str, tuple[str, int]]:
        """Return ETag and size of the tarballs that entries were looked for in, by their names."""
        columns = ("tarball", "etag", "size_bytes")
        with self._open() as db:
            rows = read_rows(db, "objects", columns, mirror=self._mirrors(db), split=split)
        return {name: (etag, size_bytes) for name, etag, size_bytes in rows}

    def checkpoint(self, tarball: Tarball, etag: str, size_bytes: int) -> Checkpoint | None:
        """Return where reading of an object may go on, if that is known."""
        these: dict[str, Any] = {"split": tarball.split, "tarball": tarball.name}
        these |= {"etag": etag, "size_bytes": size_bytes}
        with self._open() as db:
            mine = self._mirrors(db)
            rows = read_rows(db, "checkpoints", Checkpoint._fields, mirror=mine, **these)
        return Checkpoint(*rows[0]) if rows else None

    def record(
        self,
        row: TarballRow,
        clips: Iterable[ClipRow],
        *,
        replace: bool = True,
        packing: str = "",
        entries: Mapping[str, Entry] = MappingProxyType({}),
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """Record a tarball and clips of it, all in one transaction.

        Args:
            row: The tarball's row. Entries and checkpoint of another object are forgotten, and
                those of one that fails its checks; a checkpoint also of one that is done.
            clips: Rows of its clips.
            replace: Whether these replace all other clips that are recorded of it.
            packing: `gzip` or `tar`, if entries were looked for.
            entries: Where to enter it, by file name: added to what is known of the same object.
            checkpoint: Where reading of it may go on, in place of what is known.
        """
        clips, split, name = [*clips], row.tarball.split, row.tarball.name
        with self.transaction() as same, same._open() as db:
            mirror = self._number(db)
            if replace:
                db.execute(
                    "DELETE FROM clips WHERE mirror = ? AND split = ? AND tarball = ?",
                    (mirror, split, name),
                )
            _take_from_others(db, mirror, row.tarball, clips)

            rows = ((mirror, split, name, *clip[1 : len(CLIP_COLUMNS)]) for clip in clips)
            _insert(db, "clips", rows, verb="INSERT" if replace else "INSERT OR REPLACE")
            _record_rates(db, split, ((c.folder, c.file_name, c.fps) for c in clips))
            state = (row.state, row.etag, row.size_bytes, row.detail, row.failures)
            _insert(db, "tarballs", [(mirror, split, name, *state, 0.0, str(_now()))])
            same.record_entries(row, packing, entries, checkpoint)

    def record_entries(
        self,
        row: TarballRow,
        packing: str,
        entries: Mapping[str, Entry],
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """Add to what is known of an object; forget what is known of another, or a damaged one."""
        at = "WHERE mirror = ? AND split = ? AND tarball = ?"
        with self._open(write=True) as db:
            key = (self._number(db), row.tarball.split, row.tarball.name)
            known = {
                db.execute(f"SELECT etag, size_bytes FROM {table} {at}", key).fetchone()
                for table in ("objects", "checkpoints")
            }
            is_other = bool(known - {None, (row.etag, row.size_bytes)})
            for table in _OF_OBJECTS if is_other or row.failures else ():
                db.execute(f"DELETE FROM {table} {at}", key)
            if row.state == "done":
                db.execute(f"DELETE FROM checkpoints {at}", key)

            if packing and not row.failures:
                _insert(db, "objects", [(*key, row.etag, row.size_bytes, packing)])
                _insert(db, "entries", ((*key, name, *entry) for name, entry in entries.items()))
            if checkpoint is not None:
                _insert(db, "checkpoints", [(*key, row.etag, row.size_bytes, *checkpoint)])

    def mark_bad_in_tarball(self, split: str, folder: str, file_name: str, reason: str) -> None:
        """Record that a clip is bad in its tarball, too, so that it is not read again."""
        with self._open(write=True) as db:
            db.execute(
                "UPDATE clips SET state = 'bad', reason = ? WHERE mirror = ? "
                "AND split = ? AND folder = ? AND file_name = ? AND state = 'have'",
                (reason, self._number(db), split, folder, file_name),
            )

    def same_objects(self, split: str, objects: Mapping[str, tuple[str, int]]) -> dict[str, str]:
        """Return other mirrors' identities by the names of tarballs read there, but not here.

        `objects` has strong ETag and size in bytes by name of the tarballs that this mirror has.
        """
        found: dict[str, tuple[bool, str]] = {}
        columns = ("mirror", "name", "state", "etag", "size_bytes")
        with self._open() as db:
            theirs = self._other_mirrors(db)
            unknown = objects.keys() - self._tarball_rows(db, split)
            rows = read_rows(db, "tarballs", columns, mirror=theirs, split=split)
        for mirror, name, state, *what in rows:
            if name in unknown and state in ("done", "partial") and objects[name] == tuple(what):
                better = (state == "done", theirs[mirror])
                found[name] = max(better, found.get(name, better))
        return {name: identity for name, (_, identity) in found.items()}

    def take_over(self, split: str, mirrors: Mapping[str, str]) -> None:
        """Copy to this mirror the rows of other mirrors that `same_objects` returned."""
        with self._open(write=True) as db:
            own = self._number(db)
            for name, identity in mirrors.items():
                for table in ("tarballs", "clips", *_OF_OBJECTS):
                    where = (
                        f"FROM {table} WHERE mirror = (SELECT id FROM mirrors WHERE identity = ?) "
                        f"AND split = ? AND {'name' if table == 'tarballs' else 'tarball'} = ?"
                    )
                    rows = db.execute(f"SELECT * {where}", (identity, split, name)).fetchall()
                    copies = ((own, *row[1:]) for row in rows)
                    _insert(db, table, copies, verb="INSERT OR IGNORE")
                    if identity == "":  # nobody's any more
                        db.execute(f"DELETE {where}", (identity, split, name))

    def record_answer(
        self,
        clip: Clip,
        kind: str,
        code: str,
        message: str,
        version: str,
        circumstances: str = "",
        *,
        size_bytes: int = 0,
        fps: float | None = None,
    ) -> None:
        """Record what YouTube answered, and count how often that was so.

        `have` is written before the clip gets its name, with the size of its file, and its rate if
        the loader encoded it.
        """
        answer = (kind, code, message, version, size_bytes)
        today = _now().date().isoformat()
        row = AnswerRow(clip.folder, clip.file_name, *answer, 1, 1, today, today, circumstances)
        same = {name: getattr(row, name) for name in ("folder", "file_name", "kind", "code")}
        with self._open(write=True) as db:
            for found in read_rows(db, "answers", AnswerRow._fields, split=clip.split, **same):
                before = AnswerRow(*found)
                row = row._replace(
                    times=before.times + 1,
                    days=before.days + (before.last_on != today),
                    first_on=before.first_on,
                    versions=before.versions + (before.version != row.version),
                )
            _insert(db, "answers", [(clip.split, *row)])
            _record_rates(db, clip.split, [(clip.folder, clip.file_name, fps)])

    def forget_stored(
        self, split: str, tarball: Tarball | None, folder: str, names: Iterable[str]
    ) -> None:
        """Record that clips of a folder are not stored any more, as if none had been wanted.

        `tarball` is where all mirrors have them; None for clips from YouTube.
        """
        keys = [(split, folder, name) for name in names]
        this = "split = ? AND folder = ? AND file_name = ?"
        with self._open(write=True) as db:
            if tarball is None:
                db.executemany(f"DELETE FROM answers WHERE {this} AND kind = 'have'", keys)
            else:
                its = f"mirror IN ({', '.join(map(str, self._mirrors(db)))}) AND tarball = ?"
                db.executemany(
                    "UPDATE clips SET state = 'skipped', source = '' "
                    f"WHERE {its} AND {this} AND state = 'have'",
                    [(tarball.name, *key) for key in keys],
                )
            for table in ("checks", "rates"):
                db.executemany(f"DELETE FROM {table} WHERE {this}", keys)

    def checks(self, split: str, folder: str | None = None) -> list[CheckRow]:
        """Return the checks of a split's or one folder's files, by folder and file name."""
        with self._open() as db:
            return _rows(db, CheckRow, split, folder)

    def record_files(self, split: str, rows: Iterable[AdoptedRow | CheckRow]) -> None:
        """Record clips that others brought, or checks of files."""
        with self._open(write=True) as db:
            for kind, alike in itertools.groupby(rows, type):
                _insert(db, _TABLES[kind], ((split, *row) for row in alike))

    def prove(self, *, wait_seconds: float = 120) -> None:
        """Prove that rows can be written, by a change that is rolled back; raise if they cannot."""
        with self._open(write=True, wait_seconds=wait_seconds) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            db.execute(f"PRAGMA user_version = {version}")  # begins a journal
            db.rollback()

    def _mirrors(self, db: sqlite3.Connection) -> list[int]:
        """Return the numbers of this ledger's mirrors."""
        others = self._other_mirrors(db)
        return [number for number in _identities(db) if number not in others]

    def _other_mirrors(self, db: sqlite3.Connection) -> dict[int, str]:
        """Return the numbers and identities of all other mirrors."""
        if self._mirror is None:
            return {}
        own = (self._mirror, _old_identity(self._mirror))
        return {number: name for number, name in _identities(db).items() if name not in own}

    def _number(self, db: sqlite3.Connection) -> int:
        """Return the number of the mirror to write about; a new one gets a number."""
        if self._mirror is None:
            raise ValueError("a ledger of every mirror is for reading only")
        old = _old_identity(self._mirror)
        db.execute("UPDATE mirrors SET identity = ? WHERE identity = ?", (self._mirror, old))
        db.execute("INSERT OR IGNORE INTO mirrors (identity) VALUES (?)", (self._mirror,))
        return next(number for number, name in _identities(db).items() if name == self._mirror)

    def _tarball_rows(
        self, db: sqlite3.Connection, split: str, name: str | Collection[str] | None = None
    ) -> dict[str, TarballRow]:
        order = "ORDER BY name, state = 'done'"  # so that a `done` one counts
        these: dict[str, Any] = {"mirror": self._mirrors(db), "split": split, "name": name}
        rows = read_rows(db, "tarballs", TARBALL_COLUMNS, order, **these)
        return {row[0]: TarballRow(Tarball(split, row[0]), *row[1:]) for row in rows}


def _now() -> datetime.datetime:
    """Return the time in UTC, as SQLite writes it."""
    return datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0, tzinfo=None)


def _identities(db: sqlite3.Connection) -> dict[int, str]:
    """Return the identities of all mirrors by their numbers."""
    return dict(read_rows(db, "mirrors", ("id", "identity"), "ORDER BY id"))


def _old_identity(mirror: str) -> str:
    """Return the identity that a mirror has in a ledger of an earlier version."""
    return f"lists:{short_hash(mirror)}"


def _rows(
    db: sqlite3.Connection,
    kind: Callable[..., T],
    split: str,
    folder: str | Collection[str] | None = None,
) -> list[T]:
    columns = kind._fields  # type: ignore[attr-defined]
    order = "ORDER BY folder, file_name"
    rows = read_rows(db, _TABLES[kind], columns, order, split=split, folder=folder)
    return [kind(*row) for row in rows]


def _rates(
    db: sqlite3.Connection, split: str, folders: Collection[str] | None
) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    columns = ("folder", "file_name", "fps")
    for folder, file_name, fps in read_rows(db, "rates", columns, split=split, folder=folders):
        found.setdefault(folder, {})[file_name] = fps
    return found


def _clip_rows(db: sqlite3.Connection, which: str = "", **keys: Any) -> list[ClipRow]:
    """Return rows of clips in the tarballs' order."""
    order = "ORDER BY mirror, tarball, position, file_name"
    unit = cache(partial(Tarball, keys["split"]))
    rows = read_rows(db, "clips", CLIP_COLUMNS, order, which=which, **keys)
    return [ClipRow(unit(row[0]), *row[1:]) for row in rows]


def _insert(
    db: sqlite3.Connection,
    table: str,
    rows: Iterable[Sequence[object]],
    *,
    verb: str = "INSERT OR REPLACE",
) -> None:
    rows = [*rows]
    if rows:
        db.executemany(f"{verb} INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)


def _record_rates(
    db: sqlite3.Connection, split: str, rates: Iterable[tuple[str, str, float | None]]
) -> None:
    """Record the rates of files, each a folder, a name and what is known of it."""
    _insert(db, "rates", ((split, *rate) for rate in rates if rate[2] is not None))


def _stored_groups(
    db: sqlite3.Connection,
    mirrors: Collection[int],
    split: str,
    tarballs: Collection[str] | None,
    *,
    sizes: bool = False,
) -> list[StoredGroup]:
    """Return the clips that are stored, by tarball, folder and source."""
    facts = f"folder, source, count(*), sum({_IS_SOUND}), {_IS_SOUND_GROUP}"
    facts += ", group_concat(file_name, '/')" + ", group_concat(size_bytes, '/')" * sizes
    # By tarball is the table's own order. What is grouped by more is sorted anew, which takes as
    # long as all the rest, so only tarballs whose clips lie in several folders are.
    alike = "min(folder) = max(folder) AND min(source) = max(source)"

    def groups(names: Collection[str] | None, keys: str, alike: str) -> list[Any]:
        where, values = conditions(mirror=mirrors, split=split, tarball=names)
        query = (
            f"SELECT {alike}, tarball, {facts} FROM clips "
            f"WHERE {where} AND state = 'have' GROUP BY mirror, tarball{keys}"
        )
        return db.execute(query, values).fetchall()

    found = groups(tarballs, "", alike)
    differ = {row[1] for row in found if not row[0]}
    found = [row for row in found if row[1] not in differ]
    found += groups(differ, ", folder, source", "TRUE") if differ else []
    return [_stored_group(split, *row[1:]) for row in found]


def _stored_group(
    split: str,
    tarball: str,
    folder: str,
    source: str,
    count: int,
    sound: int,
    is_sound: int,
    joined: str | None,
    sizes: str = "",
) -> StoredGroup:
    """Return clips of one tarball as a group; one that no run wrote is an error."""
    joined = joined or ""
    names = joined.split("/")  # no file name has a slash in it
    group = StoredGroup(Tarball(split, tarball), folder, source, frozenset(names))
    if len(names) != count or group.names & {"", ".", ".."} or "\0" in joined:
        raise strange_row("clips", "file_name")
    if not is_sound or sound != count:
        raise strange_row("clips", "folder")
    if sizes:
        group = group._replace(sizes=dict(zip(names, map(int, sizes.split("/")), strict=True)))
    return group


def _take_from_others(
    db: sqlite3.Connection, mirror: int, tarball: Tarball, clips: Iterable[ClipRow]
) -> None:
    """Record that files are from this tarball now, not from YouTube or another mirror."""
    mine = [
        {
            "split": tarball.split,
            "tarball": tarball.name,
            "folder": clip.folder,
            "file_name": clip.file_name,
            "size_bytes": clip.size_bytes,
            "crc32": clip.crc32,
        }
        for clip in clips
        if (clip.state, clip.source) == ("have", "cvdf")
    ]
    this = "split = :split AND folder = :folder AND file_name = :file_name"
    cut = f"FROM answers WHERE {this} AND kind = 'have'"
    db.executemany(f"DELETE FROM rates WHERE {this} AND EXISTS (SELECT 1 {cut})", mine)
    db.executemany(f"DELETE {cut}", mine)

    its_tarball = "tarball = :tarball"
    if Split(tarball.split).is_mixed:  # there, another mirror may have it in another tarball
        its_tarball = "tarball IN (SELECT name FROM tarballs WHERE split = :split)"
    for (other,) in db.execute("SELECT id FROM mirrors WHERE id <> ?", (mirror,)).fetchall():
        db.executemany(
            "UPDATE clips SET state = 'skipped', source = '' "
            f"WHERE mirror = {other} AND {its_tarball} AND {this} AND source = 'cvdf' "
            "AND state = 'have' AND NOT ifnull((size_bytes, crc32) = (:size_bytes, :crc32), FALSE)",
            mine,
        )
