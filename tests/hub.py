"""A Hub on loopback: dataset repositories, tokens, commits, large files, and faults on demand.

It speaks as much of the Hub's own protocol as the real `huggingface_hub` and `datasets` ask of it:
repositories are made, private ones shown only to their owner, cards checked, large files taken by
their hash, and several files committed at once. Clients need HF_HUB_DISABLE_XET=1.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import os
import re
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import yaml

from tests.servers import serving

TOKEN = "hf_ownersSecretToken"
STRANGER = "hf_strangersSecretToken"
USERS = {TOKEN: "owner", STRANGER: "stranger"}


@dataclass
class Repo:
    """A dataset repository: what each commit holds, by path the hash of the content."""

    private: bool
    commits: dict[str, dict[str, str]] = field(default_factory=dict)
    head: str = ""

    def commit(self, files: dict[str, str]) -> str:
        self.head = hashlib.sha1(f"{len(self.commits)}{sorted(files)}".encode()).hexdigest()
        self.commits[self.head] = files
        return self.head


@dataclass
class RateLimit:
    """Requests that get 429 until a window has ended, which begins with the first of them."""

    pattern: str
    """Of method and path, such as `POST /api/repos/create`."""
    seconds: float
    refused: int = 0
    ends: float = 0.0

    def left_seconds(self) -> float:
        if not self.refused:
            self.ends = time.monotonic() + self.seconds
        self.refused += 1
        return self.ends - time.monotonic()


class Hub:
    """What is stored, what was asked, and what is to go wrong."""

    def __init__(self) -> None:
        self.url = ""
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        """`(method, path)` of every request so far."""
        self.sent: dict[str, int] = {}
        """Bytes of files that were sent so far, by path in their repository."""
        self.uploads: list[str] = []
        """Hashes of the large files that came, each time one came."""
        self.faults: list[tuple[str, str, int]] = []
        """`(method, pattern of the path, status)`: each goes wrong once."""
        self.rate_limits: list[RateLimit] = []
        self.stop_after: int | None = None
        """Further uploads than so many get no answer."""
        self.stopped = threading.Event()
        """Set once an upload gets no answer."""
        self.lock = threading.RLock()

    def files(self, repo: str) -> dict[str, bytes]:
        """Return what a repository holds now."""
        found = self.repos[repo]
        return {path: self.blobs[oid] for path, oid in found.commits[found.head].items()}

    def store(self, data: bytes) -> str:
        oid = hashlib.sha256(data).hexdigest()
        self.blobs[oid] = data
        return oid


def environment(hub: Hub, folder: Path, token: str = TOKEN) -> dict[str, str]:
    """Return what a client needs that is to know this Hub alone; its files are kept in `folder`."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": token,
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "COLUMNS": "300",
    }


def card_errors(content: str) -> list[str]:
    """Return what the Hub's own check of a card would say: what it needs, in the form it needs."""
    match = re.match(r"---\n(.*?)\n---\n", content, re.S)
    if not match:
        return ["no front matter"]
    card = yaml.safe_load(match[1])
    licences = {"apache-2.0", "cc-by-4.0", "other"}
    sizes = {"n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M"}
    said = [card["license"]] if isinstance(card["license"], str) else card["license"]
    errors = [f"license: {one}" for one in said if one not in licences]
    if "other" in said and not (card.get("license_name") and card.get("license_link")):
        errors.append("license_name and license_link are needed for 'other'")
    errors += [f"size: {one}" for one in card["size_categories"] if one not in sizes]
    if card["task_categories"] != ["video-classification"]:
        errors.append("task_categories")
    names = [config["config_name"] for config in card.get("configs", [])]
    if len(set(names)) < len(names) or any(not re.fullmatch(r"[\w.-]+", name) for name in names):
        errors.append("configs")
    if [info["config_name"] for info in card.get("dataset_info", [])] != names:
        errors.append("dataset_info")
    return errors


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    hub: Hub

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        url = urlparse(self.path)
        path = unquote(url.path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.user = USERS.get((self.headers.get("Authorization") or "")[len("Bearer ") :])
        with self.hub.lock:
            self.hub.requests.append((self.command, path))
            for fault in self.hub.faults:
                method, pattern, status = fault
                if method == self.command and re.search(pattern, path):
                    self.hub.faults.remove(fault)
                    return self._json({"error": "on demand"}, status, {"Retry-After": "0"})
            for limit in self.hub.rate_limits:
                if not re.search(limit.pattern, f"{self.command} {path}"):
                    continue
                if (left := limit.left_seconds()) > 0:
                    said = {"RateLimit": f'"api";r=0;t={int(left)}'}
                    said["RateLimit-Policy"] = '"fixed window";"api";q=500;w=300'
                    return self._json({"error": "Too Many Requests"}, 429, said)
        for method, pattern, name in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in method:
                return getattr(self, name)(*match.groups(), **parse_qs(url.query))
        return self._json({"error": path}, 404, {"X-Error-Code": "EntryNotFound"})

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self._send(data, status, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, data: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _error(self, status: int, code: str) -> None:
        self._json({"error": code}, status, {"X-Error-Code": code, "X-Error-Message": code})

    def _repo(self, repo: str, *, write: bool = False) -> Repo | None:
        """Return a repository that the token may see, else answer as the Hub does."""
        found = self.hub.repos.get(repo)
        owner = repo.partition("/")[0] == self.user
        if found is None or (found.private and not owner):
            self._error(404 if self.user else 401, "RepoNotFound")
            return None
        if write and not owner:
            self._error(403, "Forbidden: you may not write here")
            return None
        return found

    def whoami(self, **_: Any) -> None:
        if self.user is None:
            return self._json({"error": "Invalid credentials in Authorization header"}, 401)
        return self._json({"name": self.user, "type": "user", "orgs": [], "auth": {}})

    def create(self, **_: Any) -> None:
        said = json.loads(self.body)
        repo = f"{said.get('organization') or self.user}/{said['name']}"
        if self.user is None:
            return self._error(401, "Unauthorized")
        if repo in self.hub.repos:
            url = f"{self.hub.url}/datasets/{repo}"
            return self._json({"error": "You already created this dataset repo", "url": url}, 409)
        if repo.partition("/")[0] != self.user:
            return self._error(403, "Forbidden: no rights below this namespace")
        private = said.get("private") or said.get("visibility") == "private"
        self.hub.repos[repo] = made = Repo(bool(private))
        made.commit({".gitattributes": self.hub.store(b"*.parquet filter=lfs\n")})
        return self._json({"url": f"{self.hub.url}/datasets/{repo}", "name": repo, "id": "0"})

    def validate(self, **_: Any) -> None:
        errors = card_errors(json.loads(self.body)["content"])
        found = [{"message": message} for message in errors]
        self._json({"errors": found, "warnings": []}, 400 if errors else 200)

    def info(self, repo: str, revision: str | None = None, **_: Any) -> None:
        if (found := self._repo(repo)) is not None:
            files = found.commits[found.head if revision in (None, "main") else str(revision)]
            siblings = [{"rfilename": path} for path in sorted(files)]
            times = dict.fromkeys(("lastModified", "createdAt"), "2026-01-01T00:00:00.000Z")
            self._json(
                {
                    "id": repo,
                    "_id": "0",
                    "author": repo.partition("/")[0],
                    "sha": found.head,
                    "private": found.private,
                    "gated": False,
                    "disabled": False,
                    "downloads": 0,
                    "likes": 0,
                    "tags": [],
                    "siblings": siblings,
                    **times,
                }
            )

    def refs(self, repo: str, **_: Any) -> None:
        if (found := self._repo(repo)) is not None:
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": found.head}
            self._json({"branches": [main], "converts": [], "tags": []})

    def tree(self, repo: str, revision: str, folder: str | None = None, **query: Any) -> None:
        if (found := self._repo(repo)) is None:
            return None
        files = found.commits[found.head if revision == "main" else revision]
        prefix = f"{folder.strip('/')}/" if folder else ""
        deep = query.get("recursive", ["false"])[0].lower() in ("true", "1")
        entries: dict[str, dict[str, Any]] = {}
        for path, oid in sorted(files.items()):
            if not path.startswith(prefix):
                continue
            parts = path[len(prefix) :].split("/")
            for depth in range(1, len(parts) if deep else min(2, len(parts))):
                name = prefix + "/".join(parts[:depth])
                entries[name] = {"type": "directory", "oid": "0" * 40, "size": 0, "path": name}
            if deep or len(parts) == 1:
                entries[path] = self._entry(path, oid)
        if prefix and not entries:
            return self._error(404, "EntryNotFound")
        return self._json(list(entries.values()))

    def paths(self, repo: str, revision: str, **_: Any) -> None:
        if (found := self._repo(repo)) is None:
            return
        files = found.commits[found.head if revision == "main" else revision]
        asked = (
            json.loads(self.body)["paths"]
            if self.body.startswith(b"{")
            else parse_qs(self.body.decode())["paths"]
        )
        entries = []
        for path in asked:
            if path in files:
                entries.append(self._entry(path, files[path]))
            elif any(name.startswith(f"{path}/") for name in files):
                entry = {"type": "directory", "oid": "0" * 40, "size": 0, "path": path}
                entries.append(entry)
        self._json(entries)

    def _entry(self, path: str, oid: str) -> dict[str, Any]:
        size = len(self.hub.blobs[oid])
        sha1 = hashlib.sha1(b"blob %d\0" % size + self.hub.blobs[oid]).hexdigest()
        entry: dict[str, Any] = {"type": "file", "oid": sha1, "size": size, "path": path}
        if path.endswith(".parquet"):
            entry["lfs"] = {"oid": oid, "size": size, "pointerSize": 134}
        return entry

    def resolve(self, repo: str, revision: str, path: str, **_: Any) -> None:
        if (found := self._repo(repo)) is None:
            return None
        head = found.head if revision == "main" else revision
        commit = {"X-Repo-Commit": head}
        if path not in found.commits[head]:
            code = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
            return self._json({}, 404, {**commit, **code})
        oid = found.commits[head][path]
        data = self.hub.blobs[oid]
        headers = {**commit, "ETag": f'"{oid}"', "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted and self.command == "GET":
            start, end = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            status, data = 206, data[start : end + 1]
        else:
            status = 200
        if self.command == "GET":
            with self.hub.lock:
                self.hub.sent[path] = self.hub.sent.get(path, 0) + len(data)
        return self._send(data, status, headers)

    def preupload(self, repo: str, revision: str, **_: Any) -> None:
        if self._repo(repo, write=True) is not None:
            self._json(
                {
                    "files": [
                        {
                            "path": file["path"],
                            "uploadMode": "lfs" if file["path"].endswith(".parquet") else "regular",
                            "shouldIgnore": False,
                        }
                        for file in json.loads(self.body)["files"]
                    ]
                }
            )

    def batch(self, repo: str, **_: Any) -> None:
        if self._repo(repo, write=True) is None:
            return
        objects = []
        for said in json.loads(self.body)["objects"]:
            entry = {"oid": said["oid"], "size": said["size"]}
            if said["oid"] not in self.hub.blobs:
                href = f"{self.hub.url}/upload/{said['oid']}?X-Amz-Signature=secret"
                entry["actions"] = {"upload": {"href": href, "header": {}}}
            objects.append(entry)
        self._json({"transfer": "basic", "objects": objects})

    def upload(self, oid: str, **_: Any) -> None:
        with self.hub.lock:
            if self.hub.stop_after is not None and len(self.hub.uploads) >= self.hub.stop_after:
                self.hub.stopped.set()
                self.close_connection = True
                return
            self.hub.uploads.append(oid)
        assert self.hub.store(self.body) == oid
        self._json({})

    def commit(self, repo: str, revision: str, **_: Any) -> None:
        if (found := self._repo(repo, write=True)) is None:
            return
        with self.hub.lock:
            files = dict(found.commits[found.head])
            for line in self.body.decode().splitlines():
                said = json.loads(line)
                value = said["value"]
                if said["key"] == "file":
                    files[value["path"]] = self.hub.store(base64.b64decode(value["content"]))
                elif said["key"] == "lfsFile":
                    assert value["oid"] in self.hub.blobs
                    files[value["path"]] = value["oid"]
                elif said["key"] == "deletedFile":
                    del files[value["path"]]
            head = found.commit(files)
        url = f"{self.hub.url}/datasets/{repo}/commit/{head}"
        self._json({"success": True, "commitOid": head, "commitUrl": url})


_REPO = r"/api/datasets/([^/]+/[^/]+)"
_ROUTES = [
    (("GET",), "/api/whoami-v2", "whoami"),
    (("POST",), "/api/repos/create", "create"),
    (("POST",), "/api/validate-yaml", "validate"),
    (("GET",), _REPO, "info"),
    (("GET",), f"{_REPO}/revision/([^/]+)", "info"),
    (("GET",), f"{_REPO}/refs", "refs"),
    (("GET",), f"{_REPO}/tree/([^/]+)(?:/(.*))?", "tree"),
    (("POST",), f"{_REPO}/paths-info/([^/]+)", "paths"),
    (("POST",), f"{_REPO}/preupload/([^/]+)", "preupload"),
    (("POST",), f"{_REPO}/commit/([^/]+)", "commit"),
    (("POST",), r"/datasets/([^/]+/[^/]+)\.git/info/lfs/objects/batch", "batch"),
    (("PUT",), "/upload/([0-9a-f]{64})", "upload"),
    (
        ("GET", "HEAD"),
        r"(?:/api/resolve-cache)?/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)",
        "resolve",
    ),
]


@contextlib.contextmanager
def loopback_hub(tls: ssl.SSLContext | None = None) -> Iterator[Hub]:
    """Run a Hub until the block ends."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with serving(handler, tls) as url:
        hub.url = url
        yield hub
