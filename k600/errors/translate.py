"""Errors of the system and of libraries as this project's own: one function for each of them.

    with translate_errors(store_error, path, "read"):
        ...

Each function returns the error to raise instead; None leaves it as it is.
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import Timeout

from k600.errors import (
    DestinationDeniedError,
    DestinationError,
    DestinationTakenError,
    DiskFullError,
    Kinetics600Error,
    MirrorDeniedError,
    MirrorNotFoundError,
    MirrorUnreachableError,
    OptionError,
    StoreError,
)
from k600.errors.disk import SHARING, is_full, owner_text, why_full, why_refused
from k600.errors.text import plain_text

PASSING_STATUSES = (408, 412, 425, 429, 500, 502, 503, 504)
"""HTTP statuses after which the same request may succeed later."""


@contextlib.contextmanager
def translate_errors(
    translation: Callable[..., Kinetics600Error | None], *about: object
) -> Iterator[None]:
    """Translate other errors by a function of this module, called with the error and `about`."""
    try:
        yield
    except Kinetics600Error:
        raise
    except Exception as error:
        ours = translation(error, *about)
        if ours is None:
            raise
        raise ours from error


def store_error(error: Exception, path: Path, doing: str = "written") -> StoreError | None:
    """Return the error for a path in a store that cannot be `written` or `read`."""
    # (A lock that is held is an `OSError`, too.)
    if not isinstance(error, OSError) or isinstance(error, Timeout):
        return None
    if is_full(error):
        return DiskFullError(
            f"data_dir: {why_full(path, error)}. Make room and call again: clips that are there "
            "stay"
        )

    why, advice = f"({error.strerror or error})", ""
    if error.errno in (errno.EACCES, errno.EPERM):
        why, advice = f"{why}: {owner_text(path)}", f"{SHARING}. Else: "
    if doing == "written":
        advice += "Pass data_dir=… a folder that you may write, or set KINETICS600_HOME; "
        advice += "source='local' reads what is there"
    else:
        advice += "Pass data_dir=… another folder, or call again if that may pass"
    return StoreError(f"data_dir: '{path}' cannot be {doing} {why}. {advice}")


def ledger_error(error: Exception, path: Path, wait_seconds: float) -> StoreError | None:
    """Return the error for one of SQLite's, by its words: Python 3.10 has no codes."""
    undecodable = isinstance(error, UnicodeDecodeError)  # of a damaged file
    if not undecodable and not isinstance(error, sqlite3.Error):
        return None
    words, ledger = str(error), f"data_dir: the ledger '{path}'"

    if "is full" in words:
        return DiskFullError(
            f"data_dir: {why_full(path)}. Make room and call again: clips that are there stay"
        )
    if "readonly" in words or "access permission" in words:
        return StoreError(
            f"{ledger} cannot be written ({words}): {owner_text(path)}. {SHARING}; where the whole "
            "volume is read-only, pass data_dir=… another folder. source='local' reads what is "
            "there. Leave the ledger where it is: it is good"
        )

    if "unable to open" in words:
        return StoreError(
            f"{ledger} cannot be opened ({words}): {owner_text(path.parent)}. SQLite needs to "
            f"write there, for its journal. {SHARING}. source='local' reads what is there"
        )
    if "locked" in words or "locking" in words:
        return StoreError(
            f"{ledger} is in use ({words}): another process has held it for {wait_seconds:g} "
            "seconds, or its file system does not give locks back. Call again when that process is "
            "through ('fuser' names it); leave the ledger where it is: it is good"
        )
    if "disk I/O" in words:
        return StoreError(
            f"{ledger} cannot be used now ({words}): the disk or the network file system failed. "
            "Look into the system's log (dmesg), and call again once that works; leave the ledger "
            "where it is"
        )

    damaged = "malformed" in words or "not a database" in words or undecodable
    why = f"is damaged ({words})" if damaged else f"cannot be used ({words})"
    return StoreError(
        f"{ledger} {why}. Put a copy of it back that was good, or move the file away: clips that "
        "are there stay, and what is known of the others is found out anew"
    )


def mirror_error(error: BaseException, url: str) -> Kinetics600Error:
    """Return the error for an address of the mirror.

    fsspec's HTTP file system says "not found" of everything, with the real error as its cause: the
    innermost HTTP status decides.
    """
    if isinstance(error, Kinetics600Error):
        return error
    chain = [e for e in _causes(error) if type(e).__name__ != "CancelledError"] or [error]
    status = next((s for e in reversed(chain) if (s := _http_status(e)) is not None), None)
    cause = chain[-1]
    brief = plain_text(f"{type(cause).__name__}: {cause}").rstrip(": ")

    not_there = isinstance(cause, FileNotFoundError | NotADirectoryError)
    if status == 404 or (status is None and not_there):
        return MirrorNotFoundError(
            f"mirror: {url} does not exist. Check the mirror's address: below it, "
            "'val/k600_val_path.txt' and the like are expected"
        )
    if status == 407:
        return MirrorDeniedError(
            f"mirror: {url} is out of reach, as the proxy that the environment names asks for "
            f"another user and password ({brief}). Set them in HTTPS_PROXY, HTTP_PROXY or ALL_PROXY"
        )

    no_credentials = type(cause).__name__.endswith("CredentialsError")  # botocore's
    denied = no_credentials or (status is None and isinstance(error, PermissionError))
    if status in (401, 403) or denied:
        return MirrorDeniedError(
            f"mirror: {url} is refused ({brief}). Pass credentials as "
            "mirror_options=…, or check the address: S3 refuses a missing object, too, where "
            "listing is not allowed"
        )
    untried = isinstance(cause, (ImportError, ValueError, TypeError))
    untried |= type(cause).__name__ == "ParamValidationError"  # botocore's, for a bucket's name
    if untried and not isinstance(cause, OSError):  # a bad certificate is both
        return OptionError(
            f"mirror: {url} cannot be opened with these mirror_options ({brief}). Allowed is any "
            "fsspec URL, such as 's3://kinetics/600', 'https://…' or a folder"
        )
    return MirrorUnreachableError(
        f"mirror: {url} cannot be reached ({brief}). Check the network and the mirror's address; "
        "calling again goes on where this stopped"
    )


def output_error(error: Exception, path: Path, what: str) -> StoreError | None:
    """Return the error for a path that a user named, to write `what` to."""
    if not isinstance(error, OSError):
        return None
    kind = DiskFullError if is_full(error) else StoreError
    return kind(unwritable(path, what, why_refused(path, error)))


def unwritable(path: Path, what: str, reason: str) -> str:
    """Return the words for a path that a user named, and why it cannot be written."""
    return (
        f"{what}: '{path}' cannot be written ({reason}). Pass the path of a file in a folder that "
        "exists and that you may write"
    )


def shard_error(error: Exception, folder: Path) -> StoreError | None:
    """Return the error for a folder where shards are made."""
    if not isinstance(error, OSError):
        return None
    message = f"a shard cannot be written to '{folder}'"
    if is_full(error):
        return DiskFullError(f"{message}: {why_full(folder, error)}. Two shards need room there")
    return StoreError(f"{message} ({error.strerror or error})")


def rows_error(error: Exception, folder: Path) -> DiskFullError | None:
    """Return the error for one of `datasets`, if the volume of its Arrow files is full."""
    full = next(filter(is_full, _causes(error)), None)
    if full is None:
        return None
    return DiskFullError(
        f"cache_dir: {why_full(folder, full)}, so no rows can be written. Make room, or pass "
        "cache_dir=… on another volume, and call again: clips that are there stay"
    )


def destination_error(error: Exception, address: str, folder: Path | None) -> Kinetics600Error:
    """Return the error for a place to publish to, perhaps a folder of this machine."""
    if is_full(error):
        full = f"the volume of {address} is full" if folder is None else why_full(folder, error)
        return DiskFullError(f"to: {full}. Make room and call again: shards that are there stay")
    words = getattr(error, "strerror", None) or plain_text(error)
    return DestinationError(
        f"to: {address} cannot be used ({type(error).__name__}: {words}). Pass to=… a place that "
        "you may write to, with its credentials and endpoint in to_options=…"
    )


def hub_error(
    error: Exception, address: str, endpoint: str, token: str | None, what: str, attempts: int
) -> DestinationError:
    """Return the error for a repository on the Hub of which `what` was requested, not the token."""
    answer = answer_of(error)
    status = None if answer is None else int(answer.status_code)
    words = plain_text(getattr(error, "server_message", None) or error.__cause__ or error)
    if token:
        words = words.replace(token, "…")

    if status == 401:
        return DestinationDeniedError(
            f"token: {endpoint} does not know the token ({words}). Make a new one at "
            f"{endpoint}/settings/tokens, then 'hf auth login', or set HF_TOKEN"
        )
    if status == 403:
        return DestinationDeniedError(
            f"repo: the token may not write to {address} ({words}). Choose a name below your own "
            "user or an organisation of yours, and a token that may write there"
        )
    if status == 404:
        return DestinationTakenError(f"repo: {address} is gone, or is not shown ({words})")
    if status in PASSING_STATUSES:
        why = f"it answered {status} {attempts} times"
    else:
        why = f"{status or type(error).__name__}: {words}"
    return DestinationError(
        f"repo: {address} was asked {what}, and failed ({why}). What is there stays: the same "
        "command goes on"
    )


def answer_of(error: BaseException) -> Any:
    """Return the Hub's response to an error, which may be wrapped."""
    responses = (getattr(cause, "response", None) for cause in _causes(error))
    return next((found for found in responses if found is not None), None)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _http_status(error: BaseException) -> int | None:
    status = getattr(error, "status", None)  # aiohttp
    if not isinstance(status, int):
        response = getattr(error, "response", None)
        if isinstance(response, dict):  # botocore
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:  # the Hub's client
            status = getattr(response, "status_code", None)
    return status if isinstance(status, int) else None
