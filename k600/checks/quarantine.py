"""Take a bad clip out of what is served: into the quarantine, or noted if it is another tool's."""

from __future__ import annotations

import filecmp
import itertools
import os
from dataclasses import replace

from k600.checks.clip_files import Target
from k600.checks.findings import Finding
from k600.errors import StoreError
from k600.loading.request import Request
from k600.reasons import reason_of_verdict
from k600.store.files import move_into_place
from k600.store.rows import AdoptedRow, CheckRow
from k600.store.store import META_DIR, Store
from k600.translate import store_error, translate_errors

__all__ = ["put_aside"]


def put_aside(
    request: Request, target: Target, row: CheckRow, finding: Finding
) -> tuple[CheckRow, Finding]:
    """Move a file of the store's own to the quarantine; note one that is another tool's.

    Returns `row` with the file's new place, and `finding` with what became of it.

    Raises:
        StoreError: A link leads the clip's folder out of the store.
    """
    store, source = request.store, request.store.root / target.path
    folder = store.root / target.folder
    store.check_inside(folder)
    if target.is_foreign:
        problem = reason_of_verdict(row.verdict)
        adopted = AdoptedRow(*target, row.size_bytes, row.mtime_ns, problem)
        request.ledger.adopt(finding.split, [adopted])
        # So that rows made earlier are seen to be no longer true.
        with translate_errors(store_error, folder):
            folder.mkdir(parents=True, exist_ok=True)
            os.utime(folder)
        return row, replace(finding, fate="left_out")

    try:
        with translate_errors(store_error, source):
            status = source.stat()
            if (status.st_size, status.st_mtime_ns) != (row.size_bytes, row.mtime_ns):
                return row, replace(finding, why="it has changed since; verify again")
            moved_to = _free_name(store, target)
            store.check_inside((store.root / moved_to).parent)
            move_into_place(source, store.root / moved_to)
    except StoreError as error:
        return row, replace(finding, why=str(error))

    row = row._replace(moved_to=moved_to)
    request.ledger.record_checks(finding.split, [row])
    return row, replace(finding, fate="quarantined")


def _free_name(store: Store, target: Target) -> str:
    """Return where a file goes in the quarantine; one of the same bytes is replaced there."""
    name = wanted = f"{META_DIR}/quarantine/{target.folder}/{target.file_name}"
    for number in itertools.count(1):
        there, source = store.root / name, store.root / target.path
        if not os.path.lexists(there) or filecmp.cmp(there, source, shallow=False):
            return name
        name = f"{wanted}.{number}"
    raise AssertionError("unreachable")
