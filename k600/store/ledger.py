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

from k600.clip import Clip, Entry, Place, Tarball
from k600.splits import Split
from k600.store.ledger_file import open_ledger
from k600.store.ledger_schema import IN_RANGE, equal, read_rows, strange_row
from k600.store.rows import (
    SOURCES,
    AdoptedRow,
    AnswerRow,
    Checkpoint,
    CheckpointRow,
    CheckRow,
    ClipRow,
    LedgerView,
    Rates,
    StoredGroup,
    TarballRow,
    without_clips,
)
from k600.text import short_hash

# The columns of a `TarballRow`; no release reads the table's `failed_at`.
_TARBALL = ("name", "state", "etag", "size_bytes", "detail", "failures")
_TABLES: Mapping[object, tuple[str, tuple[str, ...]]] = {
    AnswerRow: ("answers", AnswerRow._fields),
    AdoptedRow: ("adopted", AdoptedRow._fields),
    CheckRow: ("checks", CheckRow._fields),
}

_CLIP = ClipRow._fields[:-1]  # (rates have a table of their own, as hardly any store has some)
_OF_OBJECTS = ("objects", "entries", "checkpoints")

T = TypeVar("T")


class Ledger:
    """The ledger of one store. Opens the file for each call: safe in threads and processes."""

    def __init__(self, path: Path, mirror: str | None = None) -> None:
        """Open nothing yet; without the identity of a mirror, those of all are read."""
        self._open: Callable[..., AbstractContextManager[sqlite3.Connection]] = partial(
            open_ledger, path
        )
        self._mirror = mirror

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Ledger]:
        """Yield this ledger for calls of one thread that are one transaction, all or nothing."""
        with self._open(write=True) as db:
            opened = copy.copy(self)
            opened._open = lambda **_: contextlib.nullcontext(db)
            yield opened

    def view(
        self, split: str, *, sizes: bool = False, only: Collection[str] | None = None
    ) -> LedgerView:
        """Return all that is known of a split, or of its clips in some tarballs `only`; with
        `sizes`, also of each stored clip.
        """
        groups: list[StoredGroup] = []
        others: list[ClipRow] = []
        with self._open() as db:
            names = (None,) if only is None else only
            for mirror, name in itertools.product(self._mirrors(db), names):
                for tarball, stored, left in _stored_groups(db, mirror, split, name, sizes=sizes):
                    groups += stored
                    if left:
                        more = "AND state IS NOT 'have'"
                        others += _clip_rows(db, mirror, split, tarball, more=more)

            tarballs, adopted = self._tarball_rows(db, split), _rows(db, AdoptedRow, split)
            answers = _rows(db, AnswerRow, split)
            theirs = [group for name in names for group in self._groups_of_others(db, split, name)]
            theirs = without_clips(theirs, groups, answers)
            rates = _rates(db, split)
        return LedgerView(tarballs, groups, others, answers, adopted, theirs, rates)

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
        found: list[ClipRow] = []
        with self._open() as db:
            for mirror in self._mirrors(db):
                found += _clip_rows(db, mirror, split, tarball, names, folder)
        return found

    def other_mirrors(self, split: str, tarball: str | None = None) -> list[StoredGroup]:
        """Return the stored clips of other mirrors only, of all or those that may be in a tarball.

        These are neither the clips that both mirrors have alike, nor what YouTube gave since.
        """
        # In a mixed split, each mirror may pack the clips into other tarballs.
        one = None if Split(split).is_mixed else tarball
        with self._open() as db:
            theirs = self._groups_of_others(db, split, one)
            if not theirs:
                return []
            mine: list[StoredGroup] = []
            for mirror in self._mirrors(db):
                for _, stored, _ in _stored_groups(db, mirror, split, one):
                    mine += stored
            answers = _rows(db, AnswerRow, split, None if one is None else f"{split}/{one}")
        return without_clips(theirs, mine, answers)

    def places(self, split: str, clips: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Place]:
        """Return where clips, each a class and a file name, lie in their tarballs, where known."""
        clips, found = [*clips], dict[tuple[str, str], Place]()
        with self._open() as db:
            for mirror in self._mirrors(db):
                found = _places(db, mirror, split, clips) | found
        return found

    def objects(self, split: str) -> dict[str, tuple[str, int]]:
        """Return ETag and size of the tarballs that entries were looked for in, by their names."""
        found: dict[str, tuple[str, int]] = {}
        with self._open() as db:
            for mirror in self._mirrors(db):
                columns = ("tarball", "etag", "size_bytes")
                for name, *what in read_rows(db, "objects", columns, mirror=mirror, split=split):
                    found[name] = (what[0], what[1])
        return found

    def checkpoint(self, tarball: Tarball) -> CheckpointRow | None:
        """Return where reading of a tarball may go on, if that is known."""
        keys: dict[str, Any] = {"split": tarball.split, "tarball": tarball.name}
        with self._open() as db:
            for mirror in self._mirrors(db):
                columns = ("etag", "size_bytes", *Checkpoint._fields)
                for etag, size_bytes, *at in read_rows(
                    db, "checkpoints", columns, mirror=mirror, **keys
                ):
                    return CheckpointRow(tarball, etag, size_bytes, Checkpoint(*at))
        return None

    def record(
        self,
        row: TarballRow,
        clips: Iterable[ClipRow],
        *,
        replace: bool = True,
        packing: str = "",
        entries: Mapping[str, Entry] = MappingProxyType({}),
        checkpoint: CheckpointRow | None = None,
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
        with self._open(write=True) as db:
            mirror = self._number(db)
            if replace:
                db.execute(
                    "DELETE FROM clips WHERE mirror = ? AND split = ? AND tarball = ?",
                    (mirror, split, name),
                )
            _take_from_others(db, mirror, row.tarball, clips)

            rows = ((mirror, split, name, *clip[1 : len(_CLIP)]) for clip in clips)
            verb = "INSERT" if replace else "INSERT OR REPLACE"
            db.executemany(f"{verb} INTO clips VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
            _record_rates(db, split, ((c.folder, c.file_name, c.fps) for c in clips))
            state = [getattr(row, column) for column in _TARBALL[1:]]
            db.execute(
                f"INSERT OR REPLACE INTO tarballs (mirror, split, {', '.join(_TARBALL)}, failed_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0.0)",
                (mirror, split, name, *state),
            )
            _record_entries(db, mirror, row, packing, entries, checkpoint)

    def record_entries(self, row: TarballRow, packing: str, entries: Mapping[str, Entry]) -> None:
        """Record where to enter a tarball whose reading broke off; of a damaged one, nothing."""
        if packing:
            with self._open(write=True) as db:
                _record_entries(db, self._number(db), row, packing, entries, None)

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
        with self._open() as db:
            theirs = self._mirrors(db, mine=False)
            unknown = objects.keys() - self._tarball_rows(db, split) if theirs else ()
            for mirror, identity in theirs.items():
                columns = ("name", "state", "etag", "size_bytes")
                rows = read_rows(db, "tarballs", columns, mirror=mirror, split=split)
                for name, state, *what in rows:
                    read = state in ("done", "partial")
                    if read and name in unknown and tuple(what) == objects[name]:
                        better = (state == "done", identity)
                        found[name] = max(better, found.get(name, better))
        return {name: identity for name, (_, identity) in found.items()}

    def take_over(self, split: str, mirrors: Mapping[str, str]) -> None:
        """Copy to this mirror the rows of other mirrors that `same_objects` returned."""
        with self._open(write=True) as db:
            own = self._number(db)
            for name, identity in mirrors.items():
                these = {"own": own, "identity": identity, "split": split, "name": name}
                for table in ("tarballs", "clips", *_OF_OBJECTS):
                    key = "name" if table == "tarballs" else "tarball"
                    columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")][1:]
                    rows = (
                        f"FROM {table} WHERE split = :split AND {key} = :name AND mirror = "
                        "(SELECT id FROM mirrors WHERE identity = :identity)"
                    )
                    copied = f"SELECT :own, {', '.join(columns)} {rows}"
                    db.execute(f"INSERT OR IGNORE INTO {table} {copied}", these)
                    if identity == "":  # nobody's any more
                        db.execute(f"DELETE {rows}", these)

    def answers(self, split: str, folder: str | None = None) -> list[AnswerRow]:
        """Return YouTube's answers for a split or one folder, by folder and file name."""
        with self._open() as db:
            return _rows(db, AnswerRow, split, folder)

    def rates(self, split: str, folders: Collection[str] | None = None) -> Rates:
        """Return how many frames per second the files that the loader encoded have, of a split or
        of some of its folders.
        """
        found: dict[str, Mapping[str, float]] = {}
        with self._open() as db:
            for folder in (None,) if folders is None else folders:
                found |= _rates(db, split, folder)
        return found

    def record_stored(
        self, clip: Clip, size_bytes: int, version: str, fps: float | None = None
    ) -> None:
        """Record that a clip comes from YouTube; written before the clip gets its name."""
        self._record_answer(clip, ("have", "", ""), version, size_bytes=size_bytes, fps=fps)

    def record_refused(
        self, clip: Clip, kind: str, code: str, message: str, version: str, circumstances: str = ""
    ) -> None:
        """Record why YouTube gave no clip, and count how often that was so."""
        self._record_answer(clip, (kind, code, message), version, circumstances)

    def _record_answer(
        self,
        clip: Clip,
        answer: tuple[str, str, str],
        version: str,
        circumstances: str = "",
        *,
        size_bytes: int = 0,
        fps: float | None = None,
    ) -> None:
        today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
        key = (clip.split, clip.folder, clip.file_name)
        with self._open(write=True) as db:
            before = db.execute(
                "SELECT times, days, first_on, last_on, versions, version FROM answers "
                "WHERE split = ? AND folder = ? AND file_name = ? AND kind = ? AND code = ?",
                (*key, *answer[:2]),
            ).fetchone()
            times, days, first_on, last_on, versions, last = before or (0, 0, today, "", 0, None)
            days += last_on != today
            versions += last != version
            row = (*key[1:], *answer, version, size_bytes, times + 1, days, first_on, today)
            _replace_rows(db, AnswerRow, clip.split, [(*row, circumstances, versions)])
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
                db.executemany(
                    "UPDATE clips SET state = 'skipped', source = '' WHERE mirror = ? AND "
                    f"tarball = ? AND {this} AND state = 'have'",
                    [(mirror, tarball.name, *key) for mirror in self._mirrors(db) for key in keys],
                )
            for table in ("checks", "rates"):
                db.executemany(f"DELETE FROM {table} WHERE {this}", keys)

    def adopted(self, split: str, folder: str | None = None) -> list[AdoptedRow]:
        """Return the adopted clips of a split or one folder, by folder and file name."""
        with self._open() as db:
            return _rows(db, AdoptedRow, split, folder)

    def checks(self, split: str, folder: str | None = None) -> list[CheckRow]:
        """Return the checks of a split's or one folder's files, by folder and file name."""
        with self._open() as db:
            return _rows(db, CheckRow, split, folder)

    def adopt(self, split: str, rows: Iterable[AdoptedRow]) -> None:
        """Record clips that others brought."""
        with self._open(write=True) as db:
            _replace_rows(db, AdoptedRow, split, rows)

    def record_checks(self, split: str, rows: Iterable[CheckRow]) -> None:
        """Record checks of files."""
        with self._open(write=True) as db:
            _replace_rows(db, CheckRow, split, rows)

    def prove(self, *, wait_seconds: float = 120) -> None:
        """Prove that rows can be written, by a change that is rolled back; raise if they cannot."""
        with self._open(write=True, wait_seconds=wait_seconds) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            db.execute(f"PRAGMA user_version = {version}")  # begins a journal
            db.rollback()

    def _mirrors(self, db: sqlite3.Connection, *, mine: bool = True) -> dict[int, str]:
        """Return the numbers and identities of this ledger's mirrors, or of all others."""
        rows = db.execute("SELECT id, identity FROM mirrors ORDER BY id").fetchall()
        if self._mirror is None:
            return dict(rows) if mine else {}
        own = (self._mirror, _old_identity(self._mirror))
        return {number: identity for number, identity in rows if (identity in own) == mine}

    def _number(self, db: sqlite3.Connection) -> int:
        """Return the number of the mirror to write about; a new one gets a number."""
        if self._mirror is None:
            raise ValueError("a ledger of every mirror is for reading only")
        old = _old_identity(self._mirror)
        db.execute("UPDATE mirrors SET identity = ? WHERE identity = ?", (self._mirror, old))
        db.execute("INSERT OR IGNORE INTO mirrors (identity) VALUES (?)", (self._mirror,))
        query = "SELECT id FROM mirrors WHERE identity = ?"
        return int(db.execute(query, (self._mirror,)).fetchone()[0])

    def _tarball_rows(
        self, db: sqlite3.Connection, split: str, name: str | None = None
    ) -> dict[str, TarballRow]:
        found: dict[str, TarballRow] = {}
        for mirror in self._mirrors(db):
            rows = read_rows(db, "tarballs", _TARBALL, mirror=mirror, split=split, name=name)
            for row in rows:
                if row[0] not in found or row[1] == "done":
                    found[row[0]] = TarballRow(Tarball(split, row[0]), *row[1:])
        return found

    def _groups_of_others(
        self, db: sqlite3.Connection, split: str, tarball: str | None = None
    ) -> list[StoredGroup]:
        """Return the clips that came from other mirrors."""
        found: list[StoredGroup] = []
        for mirror in self._mirrors(db, mine=False):
            for _, stored, _ in _stored_groups(db, mirror, split, tarball):
                found += [group for group in stored if group.source == "cvdf"]
        return found


def _old_identity(mirror: str) -> str:
    """Return the identity that a mirror has in a ledger of an earlier version."""
    return f"lists:{short_hash(mirror)}"


def _rows(
    db: sqlite3.Connection, kind: Callable[..., T], split: str, folder: str | None = None
) -> list[T]:
    table, columns = _TABLES[kind]
    rows = read_rows(db, table, columns, "ORDER BY folder, file_name", split=split, folder=folder)
    return [kind(*row) for row in rows]


def _replace_rows(
    db: sqlite3.Connection, kind: object, split: str, rows: Iterable[Sequence[object]]
) -> None:
    table, columns = _TABLES[kind]
    marks = _marks((split, *columns))
    values = ((split, *row) for row in rows)
    db.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", values)


def _rates(db: sqlite3.Connection, split: str, folder: str | None = None) -> Rates:
    found: dict[str, dict[str, float]] = {}
    columns = ("folder", "file_name", "fps")
    for place, file_name, fps in read_rows(db, "rates", columns, split=split, folder=folder):
        found.setdefault(place, {})[file_name] = fps
    return found


def _record_rates(
    db: sqlite3.Connection, split: str, rates: Iterable[tuple[str, str, float | None]]
) -> None:
    """Record the rates of files, each a folder, a name and what is known of it."""
    rows = ((split, *rate) for rate in rates if rate[2] is not None)
    db.executemany("INSERT OR REPLACE INTO rates VALUES (?, ?, ?, ?)", rows)


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _record_entries(
    db: sqlite3.Connection,
    mirror: int,
    row: TarballRow,
    packing: str,
    entries: Mapping[str, Entry],
    checkpoint: CheckpointRow | None,
) -> None:
    """Add to what is known of an object; forget what is known of another, or of a damaged one."""
    key = (mirror, row.tarball.split, row.tarball.name)
    at = "WHERE mirror = ? AND split = ? AND tarball = ?"
    for table in ("objects", "checkpoints"):
        query = f"SELECT etag, size_bytes FROM {table} {at}"
        known = db.execute(query, key).fetchone()
        if known and (row.failures or known != (row.etag, row.size_bytes)):
            for gone in _OF_OBJECTS:
                db.execute(f"DELETE FROM {gone} {at}", key)
    if row.state == "done":
        db.execute(f"DELETE FROM checkpoints {at}", key)

    if packing and not row.failures:
        values = (*key, row.etag, row.size_bytes, packing)
        db.execute(f"INSERT OR REPLACE INTO objects VALUES ({_marks(values)})", values)
        rows = [(*key, name, *entry) for name, entry in entries.items()]
        marks = _marks((*key, "", *Entry._fields))
        db.executemany(f"INSERT OR REPLACE INTO entries VALUES ({marks})", rows)
    if checkpoint is not None:
        row_of_it = (*key, checkpoint.etag, checkpoint.size_bytes, *checkpoint.at)
        db.execute(f"INSERT OR REPLACE INTO checkpoints VALUES ({_marks(row_of_it)})", row_of_it)


def _places(
    db: sqlite3.Connection, mirror: int, split: str, clips: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Place]:
    """Return the places of clips, each a class and a file name, at one mirror."""
    keys: dict[str, Any] = {"mirror": mirror, "split": split}
    of_object = ("tarball", "etag", "size_bytes", "packing")
    objects = {row[0]: row[1:] for row in read_rows(db, "objects", of_object, **keys)}
    asked = {clip: clip for clip in clips} if objects else {}
    if asked and Split(split).is_mixed:  # the tarball is not its class
        query = "SELECT file_name, tarball FROM entries WHERE mirror = :mirror AND split = :split"
        where = dict(db.execute(query, keys))
        asked = {(where[clip[1]], clip[1]): clip for clip in clips if clip[1] in where}

    db.execute("CREATE TEMP TABLE asked (tarball, file_name)")
    db.executemany("INSERT INTO asked VALUES (?, ?)", asked)
    these = "AND (tarball, file_name) IN (SELECT * FROM asked)"
    of_entry = ("tarball", "file_name", *Entry._fields)
    rows = read_rows(db, "entries", of_entry, which=these, **keys)
    db.execute("DROP TABLE asked")

    found, unit = {}, cache(partial(Tarball, split))
    for tarball, file_name, *entry in rows:
        try:
            etag, size_bytes, packing = objects[tarball]
            place = Place(unit(tarball), etag, size_bytes, packing, Entry(*entry))
        except (KeyError, ValueError) as error:
            raise strange_row("entries", "entry_offset") from error
        found[asked[tarball, file_name]] = place
    return found


def _clip_rows(
    db: sqlite3.Connection,
    mirror: int,
    split: str,
    tarball: str | None,
    file_names: list[str] | None = None,
    folder: str | None = None,
    more: str = "",
) -> list[ClipRow]:
    """Return the rows of one mirror's clips, in the tarballs' order."""
    order = f"{more} ORDER BY tarball, position, file_name"
    keys: dict[str, Any] = {"mirror": mirror, "split": split, "tarball": tarball}
    keys |= {"file_name": file_names, "folder": folder}
    unit = cache(partial(Tarball, split))
    rows = read_rows(db, "clips", _CLIP, order, **keys)
    return [ClipRow(unit(row[0]), *row[1:]) for row in rows]


def _stored_groups(
    db: sqlite3.Connection,
    mirror: int,
    split: str,
    tarball: str | None = None,
    *,
    sizes: bool = False,
) -> Iterator[tuple[str, list[StoredGroup], int]]:
    """Yield each tarball of a mirror, its clips that are stored, and how many others it has."""
    these = {"mirror": mirror, "split": split} | ({} if tarball is None else {"tarball": tarball})
    have = "FILTER (WHERE state = 'have')"
    in_range = f"sum({IN_RANGE.format('size_bytes')} AND {IN_RANGE.format('position + 1')}) {have}"
    facts = f"group_concat(file_name, '/') {have}, count(*) {have}, {in_range}"
    facts += f", group_concat(size_bytes, '/') {have}" * sizes
    # By tarball is the table's own order. Grouped by folder and source as well, it would be sorted
    # anew, which takes as long as all the rest; so only a tarball whose clips differ in them is.
    tarballs = (
        f"SELECT tarball, count(*), min(folder) {have} = max(folder) {have} "
        f"AND min(source) {have} = max(source) {have}, "
        f"min(folder) {have}, min(source) {have}, {facts} "
        f"FROM clips WHERE {equal(these)} GROUP BY tarball"
    )
    parts = (
        f"SELECT folder, source, {facts} FROM clips WHERE mirror = ? AND split = ? "
        "AND tarball = ? AND state = 'have' GROUP BY 1, 2"
    )

    for name, members, alike, *group in db.execute(tarballs, these):
        groups: Iterable[Sequence[Any]] = (
            [group] if alike else db.execute(parts, (mirror, split, name))
        )
        stored = [_stored_group(Tarball(split, name), *facts) for facts in groups]
        yield name, stored, members - sum(len(group.names) for group in stored)


def _stored_group(
    tarball: Tarball,
    folder: str,
    source: str,
    joined: str,
    count: int,
    in_range: int,
    sizes: str = "",
) -> StoredGroup:
    """Return clips of one tarball as a group; one that no run wrote is an error."""
    names = joined.split("/")  # no file name has a slash in it
    group = StoredGroup(tarball, folder, source, frozenset(names))

    home, _, label = folder.partition("/") if isinstance(folder, str) else ("", "", "")
    if home != tarball.split or not _is_part(label):
        raise strange_row("clips", "folder")
    if not _is_part(tarball.name):
        raise strange_row("clips", "tarball")
    if len(names) != count or group.names & {"", ".", ".."}:
        raise strange_row("clips", "file_name")
    if source not in SOURCES:
        raise strange_row("clips", "source")
    if in_range != count:
        raise strange_row("clips", "size_bytes")
    if sizes:
        group = group._replace(sizes=dict(zip(names, map(int, sizes.split("/")), strict=True)))
    return group


def _is_part(name: object) -> bool:
    """Return whether a name is that of a file in a folder."""
    return isinstance(name, str) and name not in ("", ".", "..") and not {"/", "\0"} & {*name}


def _take_from_others(
    db: sqlite3.Connection, mirror: int, tarball: Tarball, clips: Iterable[ClipRow]
) -> None:
    """Record that files are from this tarball now, not from YouTube or another mirror."""
    mine = {(c.folder, c.file_name): c for c in clips if (c.state, c.source) == ("have", "cvdf")}
    db.executemany(
        "DELETE FROM rates WHERE (split, folder, file_name) IN (SELECT split, folder, file_name "
        "FROM answers WHERE split = ? AND folder = ? AND file_name = ? AND kind = 'have')",
        ((tarball.split, *key) for key in mine),
    )
    db.executemany(
        "DELETE FROM answers WHERE split = ? AND folder = ? AND file_name = ? AND kind = 'have'",
        ((tarball.split, *key) for key in mine),
    )

    these = {"split": tarball.split, "state": "have", "source": "cvdf"}
    if not Split(tarball.split).is_mixed:  # there, another mirror may have it in another tarball
        these["tarball"] = tarball.name

    others = db.execute("SELECT id FROM mirrors WHERE id <> ?", (mirror,)).fetchall()
    for (other,) in others if mine else ():
        rows = db.execute(
            "SELECT size_bytes, crc32, folder, file_name, tarball FROM clips "
            f"WHERE mirror = :mirror AND {equal(these)}",
            {**these, "mirror": other},
        )
        gone = []
        for size_bytes, crc32, folder, file_name, its_tarball in rows:
            own = mine.get((folder, file_name))
            same = own and crc32 is not None and (size_bytes, crc32) == (own.size_bytes, own.crc32)
            if own and not same:
                gone.append((other, tarball.split, its_tarball, file_name))
        db.executemany(
            "UPDATE clips SET state = 'skipped', source = '' "
            "WHERE mirror = ? AND split = ? AND tarball = ? AND file_name = ?",
            gone,
        )
