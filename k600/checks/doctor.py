"""Is this machine fit to load Kinetics-600? One small check for each thing that it needs.

Nothing is fetched or changed. A check that itself fails is a finding, too, and no finding holds a
password or a key.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib
import importlib.metadata
import os
import platform
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from k600.dataset.splits import SPLITS
from k600.errors import Kinetics600Error, OptionError, StoreError
from k600.errors.disk import SHARING, free_space, nearest_folder
from k600.errors.text import counted, public_url
from k600.loading.cheaper import MEAN_CLIP_BYTES
from k600.loading.infos import read_info
from k600.loading.options import OPTIONS
from k600.mirror.mirror import Mirror
from k600.network import (
    OFFLINE_VARIABLES,
    OPENSSL_CERTIFICATES,
    Network,
    offline_variable,
    read_network,
)
from k600.store.ledger_file import check_length
from k600.store.store import META_DIR, Store
from k600.video.encoder import has_codec
from k600.youtube.options import YouTubeOptions, yt_dlp_params
from k600.youtube.reach import page_status
from k600.youtube.tools import (
    OLD_AFTER_DAYS,
    js_runtimes,
    upgrade_advice,
    yt_dlp_age_days,
)

PACKAGES = ("datasets", "huggingface_hub", "s3fs", "fsspec", "pyarrow", "isal")
"""Packages of which only presence and version are checked."""

_TORCHCODEC = "import torchcodec, torchcodec.decoders as _; print(torchcodec.__version__)"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    name: str
    state: str
    """`ok`, `warning`, `error`, or `skipped`: not checked, as the network is not to be used."""
    detail: str
    advice: str = ""


def check_python() -> Finding:
    """Return version and place of this Python."""
    return Finding("python", "ok", f"{platform.python_version()} at {shlex.quote(sys.executable)}")


def _version_of(package: str) -> str:
    """Return a package's version; empty if it is not installed."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return ""


def check_package(name: str) -> Finding:
    """Check that a package is installed, in a version that the loader takes."""
    from packaging.requirements import Requirement

    version = _version_of(name)
    if not version:
        return Finding(name, "error", "not installed", f"pip install '{name}'")
    try:
        texts = importlib.metadata.requires("kinetics600") or []
    except importlib.metadata.PackageNotFoundError:  # run from a folder, not installed
        texts = []
    for wanted in map(Requirement, texts):
        if wanted.name.replace("-", "_") == name and not wanted.specifier.contains(version, True):
            detail = f"{version}, and {wanted.specifier} is needed"
            return Finding(name, "error", detail, f"pip install '{name}{wanted.specifier}'")
    if name == "isal":
        importlib.import_module("isal.igzip")  # a wheel for another machine fails here
    return Finding(name, "ok", version)


def check_yt_dlp(today: datetime.date | None = None) -> Finding:
    """Check how old yt-dlp is: YouTube changes, and only a newer one knows."""
    advice, version = upgrade_advice(), _version_of("yt-dlp")
    if not version:
        return Finding("yt-dlp", "error", "not installed", advice)
    days = yt_dlp_age_days(today)
    if days > OLD_AFTER_DAYS:
        return Finding("yt-dlp", "warning", f"{version}, {days} days old", advice)
    return Finding("yt-dlp", "ok", f"{version}, {counted(days, 'day')} old")


def check_solver() -> Finding:
    """Check that the scripts are here with which yt-dlp solves the player's challenges."""
    if version := _version_of("yt-dlp-ejs"):
        return Finding("yt-dlp-ejs", "ok", version)
    detail = "not installed: YouTube gives few formats without it, or none"
    return Finding("yt-dlp-ejs", "warning", detail, upgrade_advice())


def check_js_runtime(wanted: Mapping[str, Any] | None = None) -> Finding:
    """Check for a JavaScript runtime; `wanted` is yt-dlp's parameter `js_runtimes`."""
    wanted = {"deno": {}} if wanted is None else wanted
    found = js_runtimes(dict.fromkeys([*wanted, "deno", "node", "bun"]) | dict(wanted))
    here = ", ".join(
        f"{info.name} {info.version} at {shutil.which(info.path) or info.path}"
        for info in found.values()
    )
    if any(info.supported for name, info in found.items() if name in wanted):
        return Finding("javascript", "ok", here)
    others = [name for name, info in found.items() if info.supported]
    detail = f"{' or '.join(wanted)} is not here or too old: some videos do not come from YouTube"
    advice = "pip install deno"
    if others:
        advice += f", or pass yt_dlp_options={{'js_runtimes': {{'{others[0]}': {{}}}}}}"

    return Finding("javascript", "warning", f"{detail}{f' (here: {here})' if here else ''}", advice)


def check_codecs() -> Finding:
    """Check that PyAV can read YouTube's formats and write ours."""
    import av

    wanted = {
        "encoder libx264": has_codec("w", "libx264"),
        "encoder aac": has_codec("w", "aac"),
        "decoder h264": has_codec("r", "h264"),
        "decoder vp9": has_codec("r", "vp9") or has_codec("r", "libvpx-vp9"),
        # FFmpeg's own `av1` needs a graphics card.
        "decoder av1": has_codec("r", "libdav1d") or has_codec("r", "libaom-av1"),
    }
    missing = [name for name, there in wanted.items() if not there]
    if missing:
        detail = f"PyAV {av.__version__} lacks {', '.join(missing)}"
        return Finding("codecs", "warning", detail, "pip install --force-reinstall av")
    return Finding("codecs", "ok", f"PyAV {av.__version__}: {', '.join(wanted)}")


def check_torchcodec() -> Finding:
    """Import torchcodec in a process of its own: a broken one can crash the interpreter."""
    command = [sys.executable, "-c", _TORCHCODEC]
    advice = (
        "Needed for decode=True alone: pip install torch torchcodec, and FFmpeg's libraries "
        "(apt-get install ffmpeg), in versions that fit each other"
    )
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:
        return Finding("torchcodec", "warning", "was not imported within 30 seconds", advice)
    if done.returncode == 0:
        return Finding("torchcodec", "ok", done.stdout.strip())
    named = [line for line in done.stderr.splitlines() if re.match(r"[\w.]+: ", line)]
    problem = named[0] if named else f"its import ended the process ({done.returncode})"
    if problem.endswith("No module named 'torchcodec'"):
        return Finding("torchcodec", "ok", "not installed; only decode=True needs it")
    return Finding("torchcodec", "warning", f"broken: {problem}", advice)


_MOST_SECONDS = 40.0
_ANY_HOST = "host.invalid"
"""One that no NO_PROXY names."""
Check = Callable[[], Finding]


def examine(
    store: Store, mirror: Mirror, youtube: YouTubeOptions, *, offline: bool
) -> list[Finding]:
    """Run every check, all at a time; return their findings in a fixed order."""
    # In this thread: while `requests` loads, it changes what Python warns of. That it cannot be
    # imported is what its check finds.
    with contextlib.suppress(Exception):
        import yt_dlp  # noqa: F401

    checks: dict[str, Check] = {
        "python": check_python,
        **{name: partial(check_package, name) for name in PACKAGES},
        "yt-dlp": check_yt_dlp,
        "yt-dlp-ejs": check_solver,
        "javascript": lambda: check_js_runtime(youtube.yt_dlp_options.get("js_runtimes")),
        "codecs": check_codecs,
        "torchcodec": check_torchcodec,
        "environment": partial(check_environment, os.environ),
        "network": lambda: check_network(read_network()),
        "disk": partial(check_disk, store),
        "data_dir": partial(check_writable, store),
        "mirror": partial(check_mirror, mirror, offline=offline),
        "youtube": lambda: check_youtube(yt_dlp_params(youtube), offline=offline),
    }
    return run_checks(checks)


def run_checks(
    checks: Mapping[str, Check], *, most_seconds: float = _MOST_SECONDS
) -> list[Finding]:
    """Run checks in parallel; one that raises, or is not done in time, is a finding as well."""
    found: dict[str, Finding] = {}

    def run(name: str, check: Check) -> None:
        try:
            found[name] = check()
        except Exception as error:
            first = (str(error).strip().splitlines() or ["no message"])[0]
            detail = f"the check itself failed ({type(error).__name__}: {first})"
            found[name] = Finding(name, "error", detail, "Repair or install this part anew")

    threads = [
        threading.Thread(target=run, args=item, daemon=True, name=f"k600-doctor-{item[0]}")
        for item in checks.items()
    ]
    # Daemons, not a pool: a check that hangs must not keep the process from its end.
    deadline = time.monotonic() + most_seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))

    late = f"no answer within {most_seconds:g} seconds"
    return [
        _without_secrets(found.get(name) or Finding(name, "error", late, "Try again"))
        for name in checks
    ]


def check_environment(environ: Mapping[str, str]) -> Finding:
    """Note the variables that change what the loader does."""
    known = [option.variable for option in OPTIONS.values() if option.variable is not None]
    notes = [
        f"{name}={shlex.quote(public_url(environ[name]))}" for name in known if environ.get(name)
    ]
    odd = [n for n in sorted(environ) if n.startswith("KINETICS600_") and n not in known]
    notes += [f"{name}={environ[name]}" for name in OFFLINE_VARIABLES if environ.get(name)]
    notes += [f"{name} is set, and no variable of this release" for name in odd]

    detail = "; ".join(notes) or "no variable changes anything"
    if (offline := offline_variable(environ)) is not None:
        advice = f"Nothing is fetched so; to fetch: unset {offline}"
        return Finding("environment", "warning", detail, advice)
    if odd:
        return Finding("environment", "warning", detail, f"Known are {' and '.join(known)}")
    return Finding("environment", "ok", detail)


def check_network(network: Network) -> Finding:
    """Name the proxies and certificates of the environment, and try whether they can be used."""
    try:
        ways = {name: network.proxy_for(f"{name}://{_ANY_HOST}") for name in ("http", "https")}
        network.tls()
    except OptionError as error:
        return Finding("network", "error", str(error), "Correct the variable, or unset it")

    notes = [f"{name}:// through {proxy}" for name, proxy in ways.items() if proxy]
    if notes and network.no_proxy:
        notes.append(f"not for {', '.join(network.no_proxy)} (NO_PROXY)")
    named: dict[str, list[str]] = {}
    for name, path in network.certificates:
        named.setdefault(path, []).append(name)
    notes += [f"certificates of {path} ({', '.join(names)})" for path, names in named.items()]

    detail = "; ".join(notes) or "no proxy, and this machine's own certificates"
    names = {name for name, _ in network.certificates}
    if names and not names & OPENSSL_CERTIFICATES:
        advice = (
            "yt-dlp knows SSL_CERT_FILE and SSL_CERT_DIR only: for YouTube, set one of them too"
        )
        return Finding("network", "warning", detail, advice)
    return Finding("network", "ok", detail)


def check_disk(store: Store) -> Finding:
    """Compare the room on the store's volume, in bytes and in files, with what the splits need."""
    free = free_space(store.root)
    fits: list[str] = []
    too_large: list[str] = []
    for split in SPLITS:
        size = int(read_info(split).get("download_size", 0))
        clips = size // MEAN_CLIP_BYTES
        too_many = free.files is not None and clips >= free.files
        shown = f"{split} ({decimal(size)}{f', about {clips:,} files' if too_many else ''})"
        (too_large if too_many or size >= free.size_bytes else fits).append(shown)

    detail = f"{decimal(free.size_bytes)} free"
    if free.files is not None:
        detail += f", in {counted(free.files, 'file')} at most"
    detail += f": room for {', '.join(fits)}" * bool(fits)
    detail += f"; none for {', '.join(too_large)}" * bool(too_large)
    if fits:
        return Finding("disk", "ok", detail)
    advice = "Choose classes=[…] or max_samples=…, stream, or --data-dir on a larger volume"
    return Finding("disk", "warning", detail, advice)


def check_writable(store: Store) -> Finding:
    """Check that clips can be stored: what a load proves at its start, and what a group needs."""
    there = os.path.isdir(store.root)  # (no error for a name that is too long)
    try:
        store.check_folder()
        check_length(store.ledger_path)
        with tempfile.TemporaryFile(dir=nearest_folder(store.root)) as file:
            file.write(b"k600")
        if store.ledger_path.is_file():
            store.prove(wait_seconds=5)
    except StoreError as error:
        detail, _, advice = str(error).removeprefix("data_dir: ").partition(". ")
        return Finding("data_dir", "warning" if there else "error", detail, advice)
    except OSError as error:
        detail = f"{shlex.quote(str(store.root))} cannot be written ({error.strerror or error})"
        if there:
            detail += "; clips that are in it can be loaded"
        advice = "Pass --data-dir a folder that you may write, or set KINETICS600_HOME"
        return Finding("data_dir", "warning" if there else "error", detail, advice)

    detail = shlex.quote(str(store.root)) + ("" if there else ", made by the first load")
    if problem := _group_problem(store.root):
        detail += f"; its group may write, but {problem}"
        return Finding("data_dir", "warning", detail, SHARING)
    return Finding("data_dir", "ok", detail)


def _group_problem(root: Path) -> str:
    """Return why a folder that a group may write does not serve the group; empty if it does."""
    if not root.is_dir() or not hasattr(os, "getegid"):
        return ""
    status = root.stat()
    if not status.st_mode & stat.S_IWGRP:
        return ""

    umask = os.umask(0o077)  # (there is no other way to read it)
    os.umask(umask)
    if umask & 0o070:
        return f"not what you make in it: your umask is {umask:03o}"
    if not status.st_mode & stat.S_ISGID and status.st_gid != os.getegid():
        return "what you make in it belongs to another group: it is not setgid"
    own = root / META_DIR
    for place in (own, own / "locks", own / "ledger.sqlite"):
        if place.exists() and not place.stat().st_mode & stat.S_IWGRP:
            return f"not '{place}'"
    return ""


def check_mirror(mirror: Mirror, *, offline: bool = False) -> Finding:
    """Ask the mirror for the size of a list."""
    if offline and mirror.is_network:
        return Finding("mirror", "skipped", f"{mirror} not asked: offline")
    began = time.monotonic()
    try:
        dataclasses.replace(mirror, request_seconds=5.0).head("val/k600_val_path.txt")
    except Kinetics600Error as error:
        advice = "If only the web gets through here: --mirror https://s3.amazonaws.com/kinetics/600"
        return Finding("mirror", "error", str(error).removeprefix("mirror: "), advice)
    return Finding("mirror", "ok", f"{mirror} answers in {time.monotonic() - began:.2f} s")


def check_youtube(params: Mapping[str, Any], *, offline: bool = False) -> Finding:
    """Request a page of YouTube, through yt-dlp's own network layer."""
    if offline:
        return Finding("youtube", "skipped", "not asked: offline")
    from yt_dlp import YoutubeDL
    from yt_dlp.networking.exceptions import RequestError

    advice = "Clips come from the tarballs meanwhile; else try --proxy, or later"
    began = time.monotonic()
    try:
        with YoutubeDL({**params, "socket_timeout": 5}) as downloader:
            status = page_status(downloader)
    except RequestError as error:
        return Finding("youtube", "warning", f"cannot be reached ({error})", advice)
    if status in (403, 429) or status >= 500:
        return Finding("youtube", "warning", f"refuses this address (HTTP {status})", advice)
    proxied = " through the proxy" if params.get("proxy") else ""
    return Finding("youtube", "ok", f"answers in {time.monotonic() - began:.2f} s{proxied}")


def _without_secrets(finding: Finding) -> Finding:
    """Remove users, passwords and queries from all URLs in a finding."""

    def clean(text: str) -> str:
        text = re.sub(r"(\w://)[^\s/@]*@", r"\1", text)
        return re.sub(r"(\w://[^\s?]*)\?[^\s)'\"]*", r"\1", text)

    detail, advice = clean(finding.detail), clean(finding.advice)
    return dataclasses.replace(finding, detail=detail, advice=advice)
