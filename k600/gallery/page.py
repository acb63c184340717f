"""The gallery: one HTML page, complete in itself, that shows the clips of a loaded dataset.

The page is `page.html` with title, security policy, one block of JSON with every fact, and the
embedded clips in base64. Whatever comes from data is in the JSON; the script never makes HTML of
it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from k600.dataset.labels import NAMES
from k600.dataset.splits import SPLITS
from k600.errors import OptionError
from k600.errors.text import csv_text
from k600.gallery.rows import Row, check_target, count_rows, previews, read_rows, write_file
from k600.gallery.thumbnails import Preview, to_jpeg
from k600.values import whole_number

_MANIFEST = ("split", "label", "youtube_id", "time_start", "time_end")
"""The columns of a manifest that name a clip."""

_YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}", re.ASCII)
_ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&"})


def write_gallery(
    rows: Iterable[Mapping[str, Any]],
    path: str | os.PathLike[str],
    *,
    title: str = "Kinetics-600",
    embed_bytes: int = 64 << 20,
    most: int = 2000,
) -> Path:
    """Write one HTML page that shows clips by class, plays them, and searches and filters them.

    `rows` are a `Dataset`, an `IterableDataset`, a dictionary of either by split, or dictionaries
    with the same keys; the first `most` are shown. A clip that cannot be decoded is shown with the
    reason. The page needs no network and no other file, except for clips that do not fit in
    `embed_bytes` (it grows by 4/3 of them): those are linked. Returns the page's absolute path.

    Raises:
        OptionError: `rows` is empty or no dataset, or an option is not allowed.
        StoreError: The page cannot be written; one that was there stays.

    Example:
        >>> import tempfile
        >>> from k600.miniature import make_clip
        >>> rows = [{"video": {"path": "a.mp4", "bytes": make_clip(1)}, "label": 599}]
        >>> write_gallery(rows, tempfile.mkdtemp() + "/gallery.html").name
        'gallery.html'
    """
    target = check_target(path, "gallery")

    def place_of(_: int, file: str) -> tuple[str, str]:
        return _shown_path(file, target.parent), _link(file, target.parent)

    page = make_page(rows, title=title, embed_bytes=embed_bytes, most=most, place_of=place_of)
    write_file(target, page, "gallery")
    return target


def make_page(
    rows: Iterable[Mapping[str, Any]],
    *,
    title: str,
    embed_bytes: int,
    most: int,
    place_of: Callable[[int, str], tuple[str, str]],
) -> bytes:
    """Return such a page.

    Args:
        rows: As of `write_gallery`, and so are title and limits.
        title: Title of the page.
        embed_bytes: Most bytes of clips to put in.
        most: Most clips to show.
        place_of: Returns the path to show and the address to link, of a clip's number and its file.
    """
    embed_bytes = whole_number("embed_bytes", embed_bytes, least=0)
    most = whole_number("most", most, least=1)

    found = read_rows(rows)
    clips: list[dict[str, Any]] = []
    videos: list[str] = []
    room_bytes = embed_bytes
    for row, preview in previews(itertools.islice(found, most)):
        data = _data(row, preview, room_bytes)
        if data is not None:
            room_bytes -= len(data)
            block = f'<script type="text/plain" id="video-{len(clips)}">{_base64(data)}</script>'
            videos.append(block)
        file = row.video if isinstance(row.video, str) and preview.size_bytes is not None else None
        place = place_of(len(clips), file) if file else (row.path, None)
        clips.append(_clip(row, preview, *place, embedded=data is not None))
    if not clips:
        raise OptionError("rows: the dataset is empty, there is nothing to show")

    facts = {
        "manifest": csv_text([_MANIFEST]),
        "title": str(title),
        "more": next(found, None) is not None,
        "total": count_rows(rows),
        "embed_bytes": embed_bytes,
        "clips": clips,
    }
    return _page(facts, videos)


def _page(facts: Mapping[str, Any], videos: Iterable[str]) -> bytes:
    parts = {
        "title": html.escape(facts["title"]),
        "data": json.dumps(facts, separators=(",", ":"), allow_nan=False).translate(_ESCAPES),
        "videos": "\n".join(videos),
    }
    # In one pass: braces in a part are not replaced again.
    pattern = rf"\{{\{{({'|'.join(parts)})\}}\}}"
    page = re.sub(pattern, lambda found: parts[found[1]], _template())
    return page.encode("utf-8", "replace")


def _data(row: Row, preview: Preview, room: int) -> bytes | None:
    """Return a clip's bytes if it is to be embedded, else None."""
    if preview.image is None or preview.size_bytes is None or preview.size_bytes > room:
        return None
    if not isinstance(row.video, str):
        return row.video
    try:
        data = Path(row.video).read_bytes()
    except OSError:
        return None
    return data if len(data) <= room else None


def _clip(
    row: Row, preview: Preview, path: str | None, link: str | None, *, embedded: bool
) -> dict[str, Any]:
    """Return the facts about a clip for the page's script."""
    facts = {name: getattr(row, name) for name in Row.__slots__ if name != "video"}
    facts |= {name: getattr(preview, name) for name in Preview.__slots__ if name != "image"}
    return {
        **facts,
        "path": path,
        "link": link,
        "youtube": _youtube(row),
        "embedded": embedded,
        "manifest": _manifest_line(row),
        "picture": None if preview.image is None else _base64(to_jpeg(preview.image)),
    }


def _manifest_line(row: Row) -> str | None:
    """Return a clip's line of a manifest; None if it cannot be named there."""
    named = row.label in NAMES or (row.label is None and row.split == "test")
    times = row.time_start is not None and row.time_end is not None
    if not (named and times and row.split in SPLITS and _YOUTUBE_ID.fullmatch(row.youtube_id)):
        return None
    return csv_text([[getattr(row, name) for name in _MANIFEST]])


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _youtube(row: Row) -> str | None:
    if not _YOUTUBE_ID.fullmatch(row.youtube_id):
        return None
    start = f"&t={row.time_start}s" if row.time_start is not None and row.time_start >= 0 else ""
    return f"https://www.youtube.com/watch?v={row.youtube_id}{start}"


def _link(path: str, folder: Path) -> str:
    """Return a file's URL: relative to the page's folder if they share more than the root."""
    shown = Path(_shown_path(path, folder))
    return shown.as_uri() if shown.is_absolute() else quote(os.fsencode(shown.as_posix()))


def _shown_path(path: str, folder: Path) -> str:
    try:
        shared = os.path.commonpath([path, folder])
    except ValueError:  # another drive
        return path
    return path if os.path.dirname(shared) == shared else os.path.relpath(path, folder)


@cache
def _template() -> str:
    """Return the page with its policy: no network, no script or style but its own."""
    text = Path(__file__).with_name("page.html").read_text("utf-8")
    hashes = {}
    for tag in ("script", "style"):
        own = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert own is not None
        digest = hashlib.sha256(own[1].encode()).digest()
        hashes[tag] = f"'sha256-{_base64(digest)}'"
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data: blob:; "
        "media-src blob: data: file: 'self'; "
        f"style-src {hashes['style']}; script-src {hashes['script']}"
    )
    return text.replace("{{policy}}", policy)
