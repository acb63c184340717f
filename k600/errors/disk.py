"""Volumes: their free space, the owners of paths on them, and why they refuse something."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from rich.filesize import decimal

SHARING = (
    "To share a folder, its owner runs 'chmod -R g+rwX' and 'chmod g+s' on it, and all use umask "
    "002"
)
"""What a group must do to share a store."""
_FEW_FILES = 64  # so few free inodes are none: other threads free some while one is refused


@dataclass(frozen=True, slots=True)
class Space:
    """Room on a volume, free or needed."""

    size_bytes: int
    files: int | None
    """Files, folders included (inodes); None where a file system has no limit."""


def free_space(path: Path) -> Space:
    """Return the space free for this user on the volume where a path is, or would be."""
    there = nearest_folder(path)
    files = None
    if hasattr(os, "statvfs"):
        found = os.statvfs(there)
        if found.f_files:  # 0 on btrfs, and where it is unknown
            files = found.f_favail
    return Space(shutil.disk_usage(there).free, files)


def nearest_folder(path: Path) -> Path:
    """Return the path if it is a folder, or the nearest folder above it that exists."""
    return next(folder for folder in (path, *path.parents) if os.path.isdir(folder))


def is_full(error: BaseException) -> bool:
    """Return whether an error means that a volume, or the user's quota on it, is used up."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)


def why_full(path: Path, error: BaseException | None = None) -> str:
    """Return what the volume of a path has run out of, in words: bytes, files, or a quota.

    The system's "No space left on device" means bytes and files alike.
    """
    if getattr(error, "errno", None) == errno.EDQUOT:
        return (
            f"your quota on the volume of '{path}' is used up, in bytes or in number of files "
            "('quota -s' shows both)"
        )
    free = free_space(path)
    if free.files is not None and free.files < _FEW_FILES and free.size_bytes >= 1 << 20:
        return (
            f"the volume of '{path}' has no room for more files: its inodes are used up, though "
            f"{decimal(free.size_bytes)} are free. What counts is the number of files"
        )
    reason = getattr(error, "strerror", None)
    return f"the volume of '{path}' is full" + (f" ({reason})" if reason else "")


def why_refused(path: Path, error: OSError) -> str:
    """Return why a path cannot be written, in words."""
    return why_full(path, error) if is_full(error) else error.strerror or str(error)


def owner_text(path: Path) -> str:
    """Return the owner and rights of a path, or of the nearest visible one above it, in words."""
    for place in (path, *path.parents):
        try:
            status = os.stat(place)
        except OSError:
            continue
        try:
            owner = place.owner()
        except (KeyError, NotImplementedError, OSError):
            owner = str(status.st_uid)
        return f"'{place}' belongs to '{owner}', with rights {stat.filemode(status.st_mode)}"
    raise AssertionError("unreachable")  # the root is always visible
