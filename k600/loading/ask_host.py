"""Ask the host what a plan depends on, once something must come: its lists, its tarballs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from k600.dataset.clip import Tarball
from k600.dataset.reasons import reason_of_failure
from k600.errors import (
    DamagedTarballError,
    MirrorDeniedError,
    MirrorError,
    MirrorNotFoundError,
    MirrorUnreachableError,
    OfflineError,
)
from k600.loading.plan import Plan, plan_rows
from k600.loading.state import Failure, State
from k600.mirror.identity import RemoteFile
from k600.mirror.mirror import Mirror
from k600.store.rows import TarballRow
from k600.tarballs.catalog import KeptLists
from k600.tarballs.reading import is_condemned, noted_failure


def settle(
    state: State,
    make: Callable[[State], Plan],
    *,
    plan: Plan | None = None,
    refetch: bool = False,
) -> tuple[State, Plan]:
    """Plan, and ask the host, until the plan rests on what the host says now.

    A load and its dry run both begin so, and so agree. `make` makes the plan
    (`k600.loading.plan.make_plan`), and `plan` is what it made of this state, if it did.

    Raises:
        MirrorError, ListError: The mirror cannot serve the request at all.
    """
    plan = plan or make(state)
    while (asked := ask_host(state, plan, refetch=refetch)) is not state:
        before, state = state, asked
        only_sizes = (
            not plan.needs_sizes
            and state.known is before.known
            and state.host.fresh == before.host.fresh
            and state.host.failures is before.host.failures
        )
        plan = plan if only_sizes else make(state)
    return state, plan


def settle_rows(state: State) -> tuple[State, Plan]:
    """Plan the rows of a stream or a table of metadata, with the host's lists if it takes them.

    Raises:
        MirrorError, ListError: The mirror cannot serve the request at all.
    """
    plan = plan_rows(state)
    if plan.needs_lists:
        state = with_lists(state)
        plan = plan_rows(state)
    return state, plan


def ask_host(state: State, plan: Plan, *, refetch: bool = False) -> State:
    """Ask the host for what a plan depends on and nobody knows yet.

    These are the lists, if the plan takes new ones; then size and ETag of each tarball that may be
    read, so that the cheaper way can be chosen, and of each to read. With them it is known which
    tarballs were read at another mirror already, and which are condemned and still the same: those
    that are to be read are failures then, unless the request is to ask again.

    Returns:
        How things stand then; the same object if there is nothing to ask.

    Raises:
        MirrorError, ListError: The mirror cannot serve the request at all.
    """
    if plan.needs_lists:
        return with_lists(state)
    host = state.host
    tarballs = [*plan.needs_sizes] or [
        read.tarball
        for read in plan.reads
        if read.tarball not in host.remotes and read.tarball not in host.failures
    ]
    if not tarballs:
        return state
    if not state.network:
        failure = Failure("offline", OfflineError("the network is not to be used"))
        return state.with_failures(dict.fromkeys(tarballs, failure))

    remotes: dict[Tarball, RemoteFile] = {}
    failures: dict[Tarball, Failure] = {}
    retry = refetch or state.request.retry_errors
    answers = _stat(state.request.mirror, tarballs, needed=not plan.needs_sizes)
    for tarball, answer in answers.items():
        row = state.known.tarballs.get(tarball.name)
        if not isinstance(answer, RemoteFile):
            failures[tarball] = failure_of(answer, row)
        elif row is not None and is_condemned(row, answer) and not retry:
            failures[tarball] = failure_of(noted_failure(row), row)
        else:
            remotes[tarball] = answer
    asked = state.with_host(remotes={**host.remotes, **remotes})
    if plan.needs_sizes:  # YouTube may have the clips of those that failed
        sizes = {t: remotes[t].size_bytes if t in remotes else None for t in tarballs}
        asked = asked.with_host(sizes={**host.sizes, **sizes})
    else:
        asked = asked.with_failures(failures)
    return asked if refetch else asked.with_same_objects()


def failure_of(error: MirrorError | DamagedTarballError, row: TarballRow | None) -> Failure:
    """Return why a tarball could not be read; the row says what is noted of it."""
    condemned = isinstance(error, DamagedTarballError) and is_condemned(row)
    return Failure("tarball_condemned" if condemned else reason_of_failure(error), error)


def with_lists(state: State) -> State:
    """Return how things stand with the host's lists that the request takes, fetched now."""
    request, split = state.request, state.split
    lists = KeptLists(request.mirror, request.store, split, keep=state.writable)
    paths = split.is_mixed or not (request.chooses or request.classes)
    return state.with_host(
        tarballs=lists.fetch_tarballs() if paths else state.host.tarballs,
        listing=lists.fetch_listing(),
        fresh=True,
    )


def find_tarballs(
    mirror: Mirror, tarballs: Collection[Tarball]
) -> tuple[dict[Tarball, RemoteFile], dict[Tarball, MirrorError]]:
    """Return size and ETag of the tarballs that a mirror has, and why it has not the others.

    Raises `MirrorError` if that cannot be said of one of them.
    """
    there: dict[Tarball, RemoteFile] = {}
    absent: dict[Tarball, MirrorError] = {}
    for tarball, answer in (_stat(mirror, tarballs) if tarballs else {}).items():
        if isinstance(answer, RemoteFile):
            there[tarball] = answer
        elif isinstance(answer, (MirrorNotFoundError, MirrorDeniedError)):
            absent[tarball] = answer
        else:
            raise answer
    return there, absent


def _stat(
    mirror: Mirror, tarballs: Iterable[Tarball], *, needed: bool = True
) -> Mapping[Tarball, RemoteFile | MirrorError]:
    """Ask for size and ETag of tarballs, several at a time; the first one says if it is there.

    If it is not, that is raised if the tarballs are `needed`, and the answer for each if not.
    """

    def stat(tarball: Tarball) -> RemoteFile | MirrorError:
        try:
            return mirror.head(tarball.path)
        except MirrorError as error:
            return error

    first, *others = tarballs
    answer = stat(first)
    if isinstance(answer, MirrorUnreachableError):
        if needed:
            raise answer
        return dict.fromkeys((first, *others), answer)
    with ThreadPoolExecutor(min(16, 1 + len(others))) as pool:
        answers = dict(zip((first, *others), [answer, *pool.map(stat, others)], strict=True))
        # Once more, now that the others are through.
        again = [t for t, found in answers.items() if isinstance(found, MirrorUnreachableError)]
        answers |= zip(again, pool.map(stat, again), strict=True)
    return answers
