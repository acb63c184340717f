"""Whether anything answers on the way to YouTube: one quick try, whose failure is remembered.

A firewall that drops what is sent to YouTube would hold each process for minutes: yt-dlp waits for
every address, player and clip anew.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from k600.errors import OptionError
from k600.errors.text import counted, plain_text, public_url
from k600.store.notes import MachineNotes
from k600.store.store import Store
from k600.youtube.circumstances import Circumstances, proxy_url
from k600.youtube.options import YOUTUBE, YouTubeOptions, yt_dlp_params

_SECONDS = 3.0
_REMEMBERED_SECONDS = 3600
_FILE = "youtube-silence.json"
"""When nothing answered, by the address that YouTube sees."""
_PAGE = f"{YOUTUBE}/robots.txt"


def why_out_of_reach(store: Store, options: YouTubeOptions, *, afresh: bool) -> str:
    """Return why YouTube is out of reach, empty if it is not; unless `afresh`, also as remembered.

    What is refused at once costs the next process nothing either, and may soon be otherwise: only
    silence is remembered, beside the clips, for other processes of this machine. `OptionError` as
    `find_silence`.
    """
    notes, address = MachineNotes(store, _FILE), Circumstances(options)["address"]
    seconds = time.time() - (notes.recall(address) or 0)
    if not afresh and 0 <= seconds < _REMEMBERED_SECONDS:
        return (
            f"it did not answer {counted(round(seconds / 60), 'minute')} ago; this is remembered "
            "for an hour, and source='youtube' tries all the same"
        )

    why = find_silence(options)
    notes.note(address, time.time() if "timed out" in why else None)
    return why


def find_silence(options: YouTubeOptions) -> str:
    """Ask for a page, for some seconds; return why YouTube is out of reach, empty if it is not.

    Raises:
        OptionError: The option `proxy` names one that does not take a connection.
    """
    from yt_dlp import YoutubeDL
    from yt_dlp.networking.exceptions import RequestError
    from yt_dlp.utils import YoutubeDLError

    if options.proxy is not None:
        _check_proxy(options.proxy)
    try:
        downloader = YoutubeDL({**yt_dlp_params(options), "socket_timeout": _SECONDS})
    except (YoutubeDLError, ValueError, TypeError, AttributeError):
        return ""  # `check_tools` says what yt-dlp does not accept
    found: queue.SimpleQueue[str] = queue.SimpleQueue()

    def ask() -> None:
        try:
            with downloader:
                page_status(downloader)
            found.put("")
        except (RequestError, OSError, ValueError) as error:
            found.put(plain_text(error))

    # yt-dlp tries one address of a host after the other, each for as long.
    threading.Thread(target=ask, name="k600-youtube-reach", daemon=True).start()
    try:
        why = found.get(timeout=2 * _SECONDS)
    except queue.Empty:
        why = "timed out"
    return why and f"{public_url(proxy_url(options) or YOUTUBE)} does not answer ({why})"


def page_status(downloader: Any) -> int:
    """Return the HTTP status of a small page of YouTube, as yt-dlp gets it.

    Its `RequestError` is raised if nobody answers.
    """
    from yt_dlp.networking.exceptions import HTTPError

    try:
        with downloader.urlopen(_PAGE) as response:
            return int(response.status)
    except HTTPError as error:
        error.close()
        return int(error.status)


def _check_proxy(url: str) -> None:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 1080)
    try:
        socket.create_connection((str(parts.hostname), port), _SECONDS).close()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise OptionError(
            f"proxy: '{public_url(url)}' does not answer ({why}). Check the address, or leave "
            "proxy out"
        ) from None
