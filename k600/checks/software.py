"""The software that a load needs: what of it is here, how old it is, and whether it works."""

from __future__ import annotations

import datetime
import importlib
import importlib.metadata
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from k600.video.encoder import has_codec
from k600.youtube.tools import (
    OLD_AFTER_DAYS,
    js_runtimes,
    upgrade_advice,
    yt_dlp_age_days,
    yt_dlp_version,
)

PACKAGES = ("datasets", "huggingface_hub", "s3fs", "fsspec", "pyarrow", "isal")
"""Packages of which only presence and version are checked."""

_TORCHCODEC = """
import importlib.util
if importlib.util.find_spec("torchcodec") is None:
    print("absent")
else:
    try:
        import torchcodec.decoders
    except BaseException as error:
        print("broken", type(error).__name__ + ":", *str(error).strip().splitlines()[:1])
    else:
        print("works", getattr(torchcodec, "__version__", ""))
"""


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
    return Finding("python", "ok", f"{platform.python_version()} at {sys.executable}")


def check_package(name: str) -> Finding:
    """Check that a package is installed, in a version that the loader takes."""
    from packaging.requirements import Requirement

    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
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
    advice = upgrade_advice()
    try:
        version = yt_dlp_version()
    except importlib.metadata.PackageNotFoundError:
        return Finding("yt-dlp", "error", "not installed", advice)
    days = yt_dlp_age_days(today)
    if days > OLD_AFTER_DAYS:
        return Finding("yt-dlp", "warning", f"{version}, {days} days old", advice)
    return Finding("yt-dlp", "ok", f"{version}, {days} days old")


def check_solver() -> Finding:
    """Check that the scripts are here with which yt-dlp solves the player's challenges."""
    try:
        return Finding("yt-dlp-ejs", "ok", importlib.metadata.version("yt-dlp-ejs"))
    except importlib.metadata.PackageNotFoundError:
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
        "Needed for decode=True alone: pip install 'kinetics600[decode]' and FFmpeg's libraries "
        "(apt-get install ffmpeg), in versions that fit each other"
    )
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:
        return Finding("torchcodec", "warning", "was not imported within 30 seconds", advice)
    word, _, rest = (done.stdout.strip().splitlines() or [""])[-1].partition(" ")
    if word == "absent":
        return Finding("torchcodec", "ok", "not installed; only decode=True needs it")
    if word == "works":
        return Finding("torchcodec", "ok", rest)
    detail = rest if word == "broken" else f"its import ended the process ({done.returncode})"
    return Finding("torchcodec", "warning", f"broken: {detail}", advice)
