"""One clip from YouTube: the real yt-dlp finds the video, its own network layer reads no more of
it than the clip needs, and PyAV cuts it.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import av
from yt_dlp import YoutubeDL
from yt_dlp.networking import Request
from yt_dlp.networking.exceptions import HTTPError, RequestError
from yt_dlp.utils import YoutubeDLError

from k600.clip import Clip
from k600.disk import is_full
from k600.errors import EncoderError, Stopped
from k600.retry import Retry
from k600.video.cut import CutError, cut_clip
from k600.youtube.options import YouTubeOptions, yt_dlp_params
from k600.youtube.rate_limit import Gate
from k600.youtube.refusals import SIGNED_IN, Refusal, classify

__all__ = ["Fetched", "RefusedError", "VideoFetcher"]

_CHUNK_BYTES = 1 << 19
_MOST_BYTES = 256 << 20
"""More than this for ten seconds, and something is wrong."""
_TOLERANCE_SECONDS = 1.0
"""YouTube gives a video's duration in whole seconds."""


class RefusedError(Exception):
    """YouTube gives no clip; `refusal` says why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.kind}/{refusal.code}: {refusal.message}")
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a clip that is there now did cost; nothing if it was there when its turn came."""

    requests: int = 0
    """All HTTP requests, for the page, the player and the media."""
    received_bytes: int = 0
    """Bytes of media."""


@dataclass(slots=True)
class VideoFetcher:
    """Fetches clips, one at a time, for one thread."""

    options: YouTubeOptions
    cookies: str
    """A cookie file's text; empty without an account."""
    gate: Gate
    _downloader: _Downloader | None = field(default=None, init=False)

    def fetch(self, clip: Clip, part: Path) -> Fetched:
        """Write a clip into a file, cut and checked.

        Args:
            clip: Which.
            part: The file; not there again if this fails.

        Raises:
            RefusedError: YouTube gives no clip, or not now.
            Stopped: The gate lets nobody through any more.
        """
        if self._downloader is None:
            self._downloader = _Downloader(yt_dlp_params(self.options), self.cookies, self.gate)
        downloader = self._downloader
        downloader.forget()
        try:
            info = self._look_up(downloader, clip)
            received_bytes = self._cut(downloader, info, clip, part)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return Fetched(downloader.requests, received_bytes)

    def close(self) -> None:
        """Close the connections."""
        if self._downloader is not None:
            self._downloader.close()
            self._downloader = None

    def _look_up(self, downloader: _Downloader, clip: Clip) -> Mapping[str, Any]:
        """Ask which formats there are of a video."""
        try:
            info: Mapping[str, Any] = downloader.extract_info(
                f"https://www.youtube.com/watch?v={clip.youtube_id}", download=False
            )
        except YoutubeDLError as error:
            self.gate.check()  # what stopped us may have come out as an error of theirs
            refusal = classify(error, downloader.statuses)
            if refusal.kind == "auth" and self.cookies:
                refusal = replace(refusal, code=refusal.code + SIGNED_IN)
            raise RefusedError(refusal) from error

        if info.get("live_status") in ("is_live", "is_upcoming", "post_live"):
            raise RefusedError(Refusal("transient", "live", "the video is a live event"))
        seconds = info.get("duration")
        if seconds and clip.time_start >= seconds + _TOLERANCE_SECONDS:
            message = f"the video ends at second {seconds}"
            raise RefusedError(Refusal("clip", "out_of_range", message))
        return info

    def _cut(self, downloader: _Downloader, info: Mapping[str, Any], clip: Clip, part: Path) -> int:
        """Read the media that the clip lies in, and cut it; return how many bytes came."""
        formats = info.get("requested_formats") or [info]
        media = [_Media(downloader, self.gate, entry) for entry in formats]
        audio = media[1] if len(media) > 1 else formats[0].get("acodec") not in (None, "none")
        wait_seconds = max(entry.get("available_at") or 0 for entry in formats) - time.time()
        if wait_seconds > 0:
            self.gate.rest(min(wait_seconds, 60))

        caught: Exception | None = None
        try:
            facts = cut_clip(
                media[0],
                part,
                clip.time_start,
                clip.time_end,
                short_side=self.options.short_side,
                audio=self.options.audio and audio,
            )
        except (av.error.FFmpegError, CutError, EncoderError, OSError, ValueError) as error:
            caught = error

        seconds = info.get("duration")
        for each in media:
            if each.error is not None:  # the true cause of whatever PyAV made of it
                _refuse(each.error, _refusal_of_media(each.error))
        if caught is not None:
            _refuse(caught, _refusal_of_cut(caught, clip, seconds))

        end = min(clip.time_end, seconds or clip.time_end)
        if facts.seconds < end - clip.time_start - _TOLERANCE_SECONDS:
            message = f"only {facts.seconds:.1f} seconds came"
            raise RefusedError(Refusal("transient", "short", message))
        return sum(each.received_bytes for each in media)


class _Downloader(YoutubeDL):
    """A `YoutubeDL` whose every request passes the gate, and that remembers HTTP errors."""

    def __init__(self, params: Mapping[str, Any], cookies: str, gate: Gate) -> None:
        self._gate = gate
        self._errors: list[HTTPError] = []
        self.requests = 0
        # Its own copy: yt-dlp writes cookies back, and the user's file is not ours to change.
        own = {"cookiefile": io.StringIO(cookies)} if cookies else {}
        super().__init__({**params, **own})

    def forget(self) -> None:
        """Begin to count anew."""
        for error in self._errors:
            error.close()  # those that yt-dlp swallowed hold a connection
        self._errors = []
        self.requests = 0

    @property
    def statuses(self) -> list[int]:
        """The HTTP errors since `forget`."""
        return [error.status for error in self._errors]

    def close(self) -> None:
        """Close the connections."""
        self.forget()
        super().close()

    def urlopen(self, req: Any) -> Any:
        """Open a URL, as yt-dlp does."""
        url = req if isinstance(req, str) else req.url
        if "/youtubei/" in url or "/watch?" in url:
            self._gate.ask()
        else:
            self._gate.check()
        self.requests += 1
        try:
            return super().urlopen(req)
        except HTTPError as error:
            self._errors.append(error)
            raise


class _Media(io.RawIOBase):
    """A file on YouTube's media servers, read in bounded ranges (open-ended ones are throttled).

    PyAV must not see an exception from `read`: an error is kept, and the file ends there.
    """

    def __init__(self, downloader: _Downloader, gate: Gate, found: Mapping[str, Any]) -> None:
        super().__init__()
        self._downloader, self._gate = downloader, gate
        self._url = found["url"]
        self._headers = {**(found.get("http_headers") or {}), "Accept-Encoding": "identity"}
        self._size: int | None = found.get("filesize")
        self._position = self._start = 0
        self._chunk = b""
        self.error: BaseException | None = None
        self.received_bytes = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END and self._size is None:
            self._at(self._position)
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size or 0}
        self._position = base[whence] + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        data = self._at(self._position)[: len(buffer)]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _at(self, position: int) -> bytes:
        """Return some bytes from a position on; none at the end, or after an error."""
        if self.error is not None or (self._size is not None and position >= self._size):
            return b""
        if not self._start <= position < self._start + len(self._chunk):
            try:
                self._fetch(position)
            except BaseException as error:
                self.error = error
                return b""
        return self._chunk[position - self._start :]

    def _fetch(self, position: int) -> None:
        """Request the chunk at a position."""
        last = position + _CHUNK_BYTES - 1
        if self._size is not None:
            last = min(last, self._size - 1)
        request = Request(self._url, headers={**self._headers, "Range": f"bytes={position}-{last}"})
        self._chunk, self._size = _read_range(self._downloader, request, position, self._gate)
        self._start = position
        self.received_bytes += len(self._chunk)
        if self.received_bytes > _MOST_BYTES:
            raise CutError("damaged", f"more than {_MOST_BYTES:,} bytes for one clip")


def _read_range(
    downloader: _Downloader, request: Request, position: int, gate: Gate
) -> tuple[bytes, int]:
    """Return a range's bytes and its file's size; it is requested again if the network fails."""
    retry = Retry(attempts=3, first_pause_seconds=0.6, stop=gate.stop)
    while True:
        try:
            with downloader.urlopen(request) as response:
                return _checked(response, position)
        except (RequestError, OSError) as error:
            is_final = isinstance(error, HTTPError) and error.status < 500
            if is_final or retry.is_over:
                raise
        retry.pause()


def _checked(response: Any, position: int) -> tuple[bytes, int]:
    """Return a range's bytes, if they are what was asked for, and its file's size."""
    header = response.headers.get("Content-Range") or ""
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", header)
    if response.status != 206 or not found or int(found[1]) != position:
        raise OSError(f"the server does not serve ranges (HTTP {response.status})")

    expected = int(found[2]) - position + 1
    if not 0 < expected <= _CHUNK_BYTES:
        raise OSError(f"the server sends {expected} bytes, {_CHUNK_BYTES} were asked for")
    data: bytes = response.read(expected)
    if len(data) != expected:
        raise OSError(f"{len(data)} of {expected} bytes came")
    return data, int(found[3])


def _refuse(error: BaseException, refusal: Refusal | None) -> NoReturn:
    """Raise an error as what it means; None: as it is."""
    if refusal is None:
        raise error
    raise RefusedError(refusal) from error


def _refusal_of_cut(error: Exception, clip: Clip, video_seconds: int | None) -> Refusal | None:
    """Return what an error while cutting means; None if it is no fault of the video."""
    if isinstance(error, CutError):
        # Nothing there although the video is long enough: then its media are cut off.
        is_beyond = not video_seconds or clip.time_start >= video_seconds - 1
        kind = "clip" if error.code == "out_of_range" and is_beyond else "transient"
        return Refusal(kind, error.code, str(error))
    if isinstance(error, EncoderError):
        return Refusal("transient", "not_encoded", str(error))
    if is_full(error):
        return None
    return Refusal("transient", "media_damaged", str(error))


def _refusal_of_media(error: BaseException) -> Refusal | None:
    """Return what an error while reading media means; None if we were stopped."""
    if isinstance(error, (Stopped, KeyboardInterrupt, SystemExit)):
        return None
    if isinstance(error, HTTPError):
        kind = {429: "blocked", 403: "client"}.get(error.status, "transient")
        return Refusal(kind, f"media_http_{error.status}", str(error))
    if isinstance(error, CutError):
        return Refusal("transient", error.code, str(error))
    return Refusal("transient", "media_network", str(error))
