"""The index: where each clip lies on the host, so that it comes by one request.

One pass over the tarballs makes it, and stores no clip. What is found goes into the store's ledger,
tarball by tarball: a pass that was interrupted goes on, and a tarball that a load has read to its
end is not read again. The table is what the ledger holds.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from k600.dataset.clip import Tarball
from k600.dataset.reasons import PASSING_REASONS
from k600.dataset.splits import Split
from k600.errors import OfflineError, OptionError
from k600.loading.ask_host import find_tarballs, settle
from k600.loading.columns import INDEX, arrow_schema
from k600.loading.index import IndexFile
from k600.loading.manifest import write_table
from k600.loading.options import ENCODING_OPTIONS, choice_error
from k600.loading.plan import Plan
from k600.loading.read_tarballs import TarballSource
from k600.loading.request import Request
from k600.loading.sources import Fetched
from k600.loading.state import State, read_labels, read_state
from k600.mirror.mirror import Mirror
from k600.publish.metadata import index_rows
from k600.publish.options import IndexOptions, PublishOptions
from k600.publish.run import publish
from k600.tarballs.extract import TarballRead


@dataclass(frozen=True, slots=True)
class IndexedSplit:
    """What an index holds of one split, and what a pass over its tarballs brought."""

    split: str
    tarballs: int
    """Those of which it knows clips."""
    tarball_bytes: int
    """Size of those of which it knows where clips lie."""
    clips: int
    """Clips that were seen in them."""
    placed_clips: int
    """Those of them that can be read alone."""
    unplaced: tuple[str, ...]
    """Tarballs in which no clip can be: nothing in them is stored as it is. Paths on the host."""
    fetched_tarballs: int = 0
    """Those that this pass had to read."""
    fetched_bytes: int = 0
    missing: Mapping[str, int] = field(default_factory=dict)
    """Counts of tarballs that could not be read, by reason."""
    changed: tuple[str, ...] | None = None
    """Tarballs that the mirror has not any more as the index knows them; None: not checked."""

    @property
    def may_bring_more(self) -> bool:
        """Whether the same pass may soon bring more."""
        return bool(PASSING_REASONS & self.missing.keys())


def build_index(request: Request) -> list[IndexedSplit]:
    """Read the tarballs of a request whose clips' places the store's ledger does not know yet.

    Raises:
        OptionError: The request is not for whole tarballs as they are.
        MirrorError, ListError: The mirror cannot serve the request at all.
        StoreError: The store's ledger cannot be written.
    """
    if request.is_selective:
        raise choice_error("not allowed, as an index is of whole tarballs. Choose by classes")
    if request.encoding is not None:
        raise OptionError(
            f"{', '.join(ENCODING_OPTIONS)}: not allowed, as an index says where the tarballs' own "
            "clips lie. Leave them out"
        )
    if not request.may_fetch:
        raise OfflineError(
            f"mirror: {request.mirror} is to be read, and HF_DATASETS_OFFLINE or source='local' "
            "forbids it"
        )

    built = []
    for split in request.splits:
        state, fetched = _read_tarballs(request, split)
        counts = _count(_table_of(index_rows(request, split, state.labels)), split)
        missing = Counter(failure.reason for failure in state.host.failures.values())
        built.append(
            dataclasses.replace(
                counts,
                fetched_tarballs=fetched.count,
                fetched_bytes=fetched.received_bytes,
                missing=dict(missing),
            )
        )
    return built


def _read_tarballs(request: Request, split: str) -> tuple[State, Fetched]:
    """Read a split's tarballs to their ends and store nothing but what the ledger notes of them."""
    state = read_state(request, split, keep=True)
    if not state.writable:
        request.store.prepare()
    state, plan = settle(state, _plan_all)

    done, noted = state.known.done, request.ledger.objects(split)
    known = {name: noted[name] for name in done & noted.keys()}  # read to the end, entries noted
    reads = []
    for read in plan.reads:
        remote = state.host.remotes.get(read.tarball)
        if remote and known.get(read.tarball.name) != (remote.etag, remote.size_bytes):
            reads.append(read)
    if not reads:
        return state, Fetched()
    with contextlib.ExitStack() as stack:
        source = TarballSource(stack)
        fetched = source.fetch(state, Plan(reads=reads))
    return state.with_failures(fetched.failures), fetched


def _plan_all(state: State) -> Plan:
    """Plan to read every tarball, and to want nothing of it."""
    reads = [
        TarballRead(tarball, wanted=frozenset())
        for tarball in state.tarballs
        if tarball not in state.host.failures
    ]
    return Plan(reads=reads, needs_lists=not state.host.fresh)


def write_index(request: Request, how: IndexOptions) -> str:
    """Write all that the store's ledger knows of a mirror as a table; return where it is.

    Its splits are written, as far as something is known of them.

    Raises:
        ManifestError, DestinationError: It cannot be written.
        NoClipsError: Nothing is known.
    """
    to = str(how.to)
    if not to.endswith((".parquet", ".csv")):
        place = PublishOptions(kind="index", to=to, to_options=how.to_options)
        return publish(request, None, place).address
    rows = []
    for split in request.splits:
        labels = read_labels(request, Split(split))
        rows += index_rows(request, split, labels)
    return str(write_table(rows, to, INDEX, option="to"))


def show_index(request: Request, *, check: bool = False) -> list[IndexedSplit]:
    """Return what an index holds of each split of which it knows something.

    Args:
        request: `request.index` says which; without it, what its store's ledger knows.
        check: Ask the mirror whether its tarballs are still the same.

    Raises:
        IndexFileError, MirrorError: The index cannot be read.
    """
    found = []
    for split in request.splits:
        if request.index is None:
            table = _table_of(index_rows(request, split, {}))
        else:
            file = IndexFile(
                request.index, request.mirror, request.store, request.offline, keep=False
            )
            index = file.of(split)
            table = _table_of(()) if index is None else index.table
        counts = _count(table, split)
        if not counts.clips:
            continue
        if check:
            changed = tuple(_find_changed(table, split, request.mirror))
            counts = dataclasses.replace(counts, changed=changed)
        found.append(counts)
    return found


def _table_of(rows: Iterable[Mapping[str, Any]]) -> Any:
    import pyarrow

    return pyarrow.Table.from_pylist([*rows], schema=arrow_schema(INDEX))


def _count(table: Any, split: str) -> IndexedSplit:
    """Count what an index, an Arrow table with the columns `INDEX`, holds of a split."""
    counts = [("youtube_id", "count"), ("entry_offset", "count"), ("tarball_bytes", "max")]
    groups = table.group_by(["split", "tarball"]).aggregate(counts).to_pylist()
    own = [group for group in groups if group["split"] == split]
    return IndexedSplit(
        split,
        tarballs=len(own),
        tarball_bytes=sum(group["tarball_bytes_max"] or 0 for group in own),
        clips=sum(group["youtube_id_count"] for group in own),
        placed_clips=sum(group["entry_offset_count"] for group in own),
        unplaced=tuple(
            Tarball(split, group["tarball"]).path
            for group in own
            if not group["entry_offset_count"]
        ),
    )


def _find_changed(table: Any, split: str, mirror: Mirror) -> list[str]:
    """Return the paths of tarballs that the mirror has not, or not as an index knows them."""
    names = ["split", "tarball", "tarball_etag", "tarball_bytes"]
    groups = table.group_by(names).aggregate([]).to_pylist()

    known = {
        Tarball(split, group["tarball"]): (group["tarball_etag"], group["tarball_bytes"])
        for group in groups
        if group["split"] == split and group["tarball_etag"]
    }
    there, absent = find_tarballs(mirror, known)
    changed = [at for at, now in there.items() if (now.etag, now.size_bytes) != known[at]]
    return sorted(tarball.path for tarball in (*changed, *absent))
