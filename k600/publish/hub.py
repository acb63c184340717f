"""A dataset repository on the Hub as a place to publish to.

Files are uploaded first and become visible together in one commit: what a killed run has uploaded
is not sent again, and nothing unfinished is ever seen.
"""

from __future__ import annotations

import datetime
import hashlib
import logging
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar

import huggingface_hub
from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.errors import (
    EntryNotFoundError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils._validators import validate_repo_id

from k600.errors import (
    DestinationDeniedError,
    DestinationTakenError,
    Kinetics600Error,
    OfflineError,
    OptionError,
)
from k600.errors.retry import Retry
from k600.errors.text import plain_text
from k600.errors.translate import PASSING_STATUSES, answer_of, hub_error
from k600.network import OPENSSL_CERTIFICATES, read_network
from k600.progress import without_bars_of
from k600.publish.destination import Destination

logger = logging.getLogger("kinetics600")

T = TypeVar("T")

ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 1.0
PATIENCE_SECONDS = 60.0
"""How long a failing request is repeated, without the pauses that the Hub itself names. (The client
has retried an upload five times by itself before it fails: 23 s each time.)"""
MOST_PAUSE_SECONDS = 300.0
"""Longest pause that the Hub may ask for: the usual window of its rate limits."""
_SILENT_SECONDS = 300.0  # it takes long to answer a commit of many files


class HubDestination(Destination):
    """A dataset repository on the Hub."""

    def __init__(
        self,
        repo_id: str,
        *,
        private: bool | None,
        token: str | None = None,
        endpoint: str | None = None,
        offline: bool = False,
    ) -> None:
        """Check `repo_id`, `USER/NAME`; nothing is sent yet.

        `private` None leaves it to the Hub's default, or as it is. `token` is this machine's by
        default, `endpoint` HF_ENDPOINT or https://huggingface.co.
        """
        check_repo_id(repo_id)
        self.repo_id, self.private, self._token = repo_id, private, token
        # What reads a mirror may be on the network where the Hub's client may not.
        self._offline = offline or huggingface_hub.constants.HF_HUB_OFFLINE
        self._api = huggingface_hub.HfApi(endpoint=endpoint, token=token)
        self._sent: list[CommitOperationAdd] = []
        self.address = f"{self._api.endpoint}/datasets/{repo_id}"

    def prepare(self) -> None:
        if self._offline:
            raise OfflineError(
                "repo: the Hub is needed, but HF_DATASETS_OFFLINE or HF_HUB_OFFLINE forbids it. "
                "Unset it, or publish to a folder with to=…"
            )

        if not (self._token or huggingface_hub.get_token()):
            raise DestinationDeniedError(
                "token: there is no token of the Hub on this machine. Make one that may write at "
                f"{self._api.endpoint}/settings/tokens, then run 'hf auth login' or set HF_TOKEN"
            )
        self._ask("who the token is of", self._api.whoami)
        found = self._ask("about it", self._info)
        if found is None:
            new = {"repo_type": "dataset", "private": self.private, "exist_ok": True}
            self._ask("to make it", self._api.create_repo, self.repo_id, **new)
            found = self._ask("about it", self._info)
        if found is None:
            raise DestinationTakenError(
                f"repo: the name {self.repo_id!r} is taken, by a repository that this token may "
                "not see. Choose another"
            )

        if self.private and not found.private:
            raise DestinationTakenError(
                f"repo: {self.address} is there already, and public. Make it private in its "
                "settings, choose another name, or say --public (private=False)"
            )
        if self.private is False and found.private:
            logger.info("%s is private, and stays so", self.address)
        self.private = bool(found.private)

    def _info(self) -> Any:
        """Return the Hub's description of the repository; None if this token may not see one."""
        try:
            return self._api.repo_info(self.repo_id, repo_type="dataset")
        except RepositoryNotFoundError:
            return None

    def _entries(self, folder: str) -> dict[str, Any]:
        """Return the Hub's description of each entry of a folder, by name."""

        def entries() -> dict[str, Any]:
            try:
                tree = self._api.list_repo_tree(self.repo_id, folder or None, repo_type="dataset")
                return {entry.path.rpartition("/")[2]: entry for entry in tree}
            except EntryNotFoundError:
                return {}

        return self._ask(f"what is in {folder or 'it'}", entries)

    def read(self, path: str) -> bytes | None:
        def data() -> bytes | None:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    file = self._api.hf_hub_download(
                        self.repo_id, path, repo_type="dataset", local_dir=folder
                    )
                except LocalEntryNotFoundError as error:  # the client raises it for any refusal
                    raise (error.__cause__ or error) from None
                except EntryNotFoundError:
                    return None
                return Path(file).read_bytes()

        return self._ask(f"for {path}", data)

    def _is_same(self, there: Any, entry: Mapping[str, Any]) -> bool:
        if getattr(there, "lfs", None):
            return bool(there.lfs.sha256 == entry["sha256"])
        data = self.read(there.path) or b""  # a small one, of which the Hub says no SHA-256
        return hashlib.sha256(data).hexdigest() == str(entry["sha256"])

    def send(self, path: str, file: Path, sha256: str | None = None) -> str:
        def upload() -> CommitOperationAdd:
            operation = CommitOperationAdd(path_in_repo=path, path_or_fileobj=str(file))
            self._api.preupload_lfs_files(self.repo_id, [operation], repo_type="dataset")
            if not getattr(operation, "_is_uploaded", True):  # no large file, to this repository
                operation = CommitOperationAdd(path_in_repo=path, path_or_fileobj=file.read_bytes())
            return operation

        self._sent.append(self._ask(f"to take {path}", upload))
        return ""  # the Hub identifies a file by its SHA-256

    def roll_back(self, paths: Sequence[str]) -> None:
        self._sent.clear()

    def commit(self, message: str, files: Mapping[str, bytes], delete: Sequence[str] = ()) -> None:
        deleted = [CommitOperationDelete(path_in_repo=path) for path in delete]
        added = [CommitOperationAdd(path, data) for path, data in files.items()]
        operations = [*self._sent, *deleted, *added]
        facts = {"commit_message": message, "repo_type": "dataset"}
        self._ask("to commit", self._api.create_commit, self.repo_id, operations, **facts)
        self._sent.clear()

    def _ask(self, what: str, call: Callable[..., T], *given: Any, **options: Any) -> T:
        """Call the Hub, retry failures that may pass, and translate the others."""
        retry = Retry(
            attempts=ATTEMPTS,
            patience_seconds=PATIENCE_SECONDS,
            first_pause_seconds=FIRST_PAUSE_SECONDS,
        )
        while True:
            try:
                _prepare_client()
                with without_bars_of(huggingface_hub.utils):
                    return call(*given, **options)
            except Kinetics600Error:
                raise
            except Exception as error:
                least = _seconds_to_wait(error)
                if least is None or retry.is_over:
                    about = (self.address, self._api.endpoint, self._token, what, retry.attempts)
                    raise hub_error(error, *about) from None
                wait = max(least, retry.pause_seconds)
                why = getattr(answer_of(error), "status_code", type(error).__name__)
                message = "%s: asked %s, it failed (%s); again in %.0f s"
                logger.info(message, self.address, what, why, wait)
            retry.pause(wait)


def check_repo_id(repo_id: str) -> None:
    """Raise `OptionError` unless this is `USER/NAME` as the Hub allows it."""
    try:
        validate_repo_id(repo_id)
        if repo_id.count("/") != 1:
            raise HFValidationError("a user or organisation, a slash and a name are needed")
    except HFValidationError as error:
        raise OptionError(
            f"repo: {repo_id!r} is not allowed, expected USER/NAME ({plain_text(error)}). A folder "
            "or a bucket is given by to=…"
        ) from None


def _prepare_client() -> None:
    """Give the Hub's client this process's certificates and a timeout, unless it has its own.

    The client reads proxies from the environment, but of certificates only OpenSSL's two variables,
    and has no read timeout.
    """
    from huggingface_hub.utils import _http

    network = read_network()
    default: Any = getattr(_http, "default_client_factory", None)

    def make() -> Any:
        client = default()
        client.close()
        options = {"follow_redirects": True, "timeout": _SILENT_SECONDS}
        return type(client)(event_hooks=client.event_hooks, verify=network.tls(), **options)

    further = {name for name, _ in network.certificates} - OPENSSL_CERTIFICATES
    if further and default and default is getattr(_http, "_GLOBAL_CLIENT_FACTORY", None):
        _http.set_client_factory(make)
    client = huggingface_hub.get_session()
    limits = getattr(client, "timeout", None)  # an older one has none to set
    if limits is not None and {limits.connect, limits.read, limits.write} == {None}:
        client.timeout = _SILENT_SECONDS


def _seconds_to_wait(error: Exception) -> float | None:
    """Return the least pause before a retry; None if a retry would not help."""
    answer = answer_of(error)
    if answer is not None:
        passing = int(answer.status_code) in PASSING_STATUSES
        return (_named_pause(answer.headers) or 0.0) if passing else None
    if isinstance(error, (ValueError, TypeError, AttributeError, NotADirectoryError)):
        return None
    return 0.0  # the network, whatever the client's library calls it


def _named_pause(headers: Mapping[str, str]) -> float | None:
    """Return the pause that the Hub asks for: the rest of the rate-limit window, or `Retry-After`.

    Example:
        >>> _named_pause({"ratelimit": '"api";r=0;t=26', "ratelimit-policy": '"api";q=500;w=300'})
        27.0
        >>> _named_pause({"retry-after": "5"})
        5.0
    """
    lower = {name.lower(): value for name, value in headers.items()}
    window = re.search(r";\s*w=(\d+)", lower.get("ratelimit-policy", ""))
    most = float(window[1]) if window else MOST_PAUSE_SECONDS
    if limit := re.search(r";\s*t=(\d+)", lower.get("ratelimit", "")):
        return min(float(limit[1]), most) + 1  # the window may end late in the last second

    after = lower.get("retry-after", "").strip()
    if after.isdecimal():
        return min(float(after), most)
    try:
        at = parsedate_to_datetime(after)
    except ValueError:
        return None
    left = (at - datetime.datetime.now(at.tzinfo)).total_seconds()
    return min(max(left, 0.0), most)
