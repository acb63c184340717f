"""One clip from YouTube: the real yt-dlp finds the video, its own network layer reads no more of
it than the clip needs, and PyAV cuts it.
"""

from __future__ import annotations

import contextlib
import io
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import av
from yt_dlp import YoutubeDL
from yt_dlp.networking import Request
from yt_dlp.networking.exceptions import HTTPError, RequestError

from k600.dataset.clip import Clip
from k600.errors import EncoderError, Stopped
from k600.errors.disk import is_full
from k600.errors.retry import Retry
from k600.errors.text import counted
from k600.video.cut import CutError, cut_clip
from k600.youtube.cookies import GUEST, Cookies
from k600.youtube.options import YOUTUBE, YouTubeOptions
from k600.youtube.rate_limit import Throttle
from k600.youtube.refusals import OF_ONE_CLIENT, Evidence, Refusal, classify
from k600.youtube.tools import attempts

_CHUNK_BYTES = 1 << 19
_AUDIO_CHUNK_BYTES = 1 << 17
"""Ten seconds of audio are 160 kB."""
_MOST_BYTES = 256 << 20
"""Ten seconds never take more."""
_TOLERANCE_SECONDS = 1.0
"""YouTube gives a video's duration in whole seconds."""
_MOST_MISSING_SECONDS = 2
"""How much earlier than the clip a video may end; it may have been edited since."""
_LEAST_SECONDS = 2
_MOST_IN_VAIN = 3
"""After how many clips in a row that came by the second try alone the first one is left out."""


_one_runtime = threading.Lock()
"""Held while yt-dlp may run JavaScript: deno takes a quarter of a gigabyte, and the pace at which
YouTube may be asked leaves it time enough."""


class RefusedError(Exception):
    """YouTube gives no clip; `refusal` says why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.kind}/{refusal.code}: {refusal.message}")
        self.refusal = refusal


class Fetched(NamedTuple):
    """A clip that was written."""

    received_bytes: int
    """Of media."""
    fps: float | None
    """Frames per second of its file."""


@dataclass(slots=True)
class VideoFetcher:
    """Fetches clips, one at a time, for one thread."""

    options: YouTubeOptions
    cookies: Cookies
    throttle: Throttle
    _downloaders: list[_Downloader] = field(default_factory=list, init=False)
    """For each of `attempts`, in the same order; none before the first clip."""
    _in_vain: int = field(default=0, init=False)
    """Clips in a row that came by the second try alone."""
    _is_blocked: bool = field(default=False, init=False)
    """Whether a block was met that a second try has not proved to be of the first's clients."""

    def fetch(self, clip: Clip, part: Path) -> Fetched:
        """Write a clip into the file `part`, cut and checked.

        After an error there is no file.

        Raises:
            RefusedError: YouTube gives no clip, or not now.
            Stopped: `throttle.stop` was set.
        """
        if not self._downloaders:
            self._downloaders = [
                _Downloader(params, self.cookies, self.throttle)
                for params in attempts(self.options, is_guest=self.cookies.account == GUEST)
            ]
        *cheap, usual = self._downloaders

        if cheap and self._in_vain < _MOST_IN_VAIN:
            try:
                fetched = self._fetch_by(cheap[0], clip, part)
            except RefusedError as error:
                if not self._is_worth_a_second_try(error.refusal):
                    raise
                self._is_blocked = error.refusal.kind == "blocked"
            else:
                self._in_vain, self._is_blocked = 0, False
                return fetched

        fetched = self._fetch_by(usual, clip, part)
        self._in_vain, self._is_blocked = self._in_vain + 1, False
        return fetched

    def _is_worth_a_second_try(self, refusal: Refusal) -> bool:
        """Whether other clients may get a video: sometimes one of them alone is refused."""
        if refusal.kind == "blocked":
            return refusal.code in ("bot", "http_403") and not self._is_blocked
        return refusal.kind == "client" or refusal.code in OF_ONE_CLIENT

    def _fetch_by(self, downloader: _Downloader, clip: Clip, part: Path) -> Fetched:
        downloader.forget_evidence()
        try:
            info = self._extract_info(downloader, clip)
            return self._cut(downloader, info, clip, part)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    @property
    def is_signed_out(self) -> bool:
        """Whether YouTube no longer took the account's cookies: its browser has rotated them."""
        return any(each.is_signed_out for each in self._downloaders)

    def close(self) -> None:
        while self._downloaders:
            self._downloaders.pop().close()

    def _extract_info(self, downloader: _Downloader, clip: Clip) -> Mapping[str, Any]:
        """Return yt-dlp's description of a video and its formats."""
        url = f"{YOUTUBE}/watch?v={clip.youtube_id}"
        try:
            usual = downloader is self._downloaders[-1]
            with _one_runtime if usual else contextlib.nullcontext():
                found = downloader.extract_info(url, download=False, process=False)
            if (found["id"], found.get("_type", "video")) != (clip.youtube_id, "video"):
                # Of one that is paid for, yt-dlp would go on to the trailer.
                message = f"YouTube shows another video in its place, {found['id']}"
                raise RefusedError(Refusal("auth", "paid", message))
            info: Mapping[str, Any] = downloader.process_ie_result(found, download=False)
        except (RefusedError, Stopped):
            raise
        except Exception as error:  # also one of yt-dlp's, that an odd answer has met
            self.throttle.check()  # yt-dlp may have wrapped the exception that stopped us
            raise RefusedError(classify(error, downloader.evidence)) from error

        if info.get("live_status") in ("is_live", "is_upcoming", "post_live"):
            raise RefusedError(Refusal("transient", "live", "the video is a live event"))

        seconds = info.get("duration")
        if seconds and clip.time_end > seconds + _MOST_MISSING_SECONDS:
            message = f"the video ends at second {seconds}, and the clip at {clip.time_end}"
            raise RefusedError(Refusal("clip", "out_of_range", message))
        return info

    def _cut(
        self, downloader: _Downloader, info: Mapping[str, Any], clip: Clip, part: Path
    ) -> Fetched:
        """Read the clip's part of the media, and cut it."""
        formats = info.get("requested_formats") or [info]
        media = [_Media(downloader, entry) for entry in formats]
        audio = media[1] if len(media) > 1 else formats[0].get("acodec") not in (None, "none")
        wait_seconds = max(entry.get("available_at") or 0 for entry in formats) - time.time()
        if wait_seconds > 0:
            self.throttle.sleep(min(wait_seconds, 60))

        error: BaseException | None = None
        try:
            encoded = cut_clip(
                media[0],
                part,
                clip.time_start,
                clip.time_end,
                encoding=self.options.encoding,
                audio=self.options.audio and audio,
            )
        except (av.error.FFmpegError, CutError, EncoderError, OSError, ValueError) as caught:
            error = caught

        seconds = info.get("duration")
        # An error while reading is the true cause of whatever PyAV made of it.
        while_reading = next((each.error for each in media if each.error is not None), None)
        error = while_reading or error
        if error is not None:
            refusal = _refusal_of(error, clip, seconds, reading=while_reading is not None)
            if refusal is None:
                raise error
            raise RefusedError(refusal) from error

        if (shortage := _shortage(clip, encoded.seconds, seconds)) is not None:
            raise RefusedError(shortage)
        return Fetched(sum(each.received_bytes for each in media), encoded.fps)


class _Downloader(YoutubeDL):
    """A `YoutubeDL` whose requests are rate-limited by the throttle; it remembers what failed."""

    def __init__(self, params: Mapping[str, Any], cookies: Cookies, throttle: Throttle) -> None:
        self.throttle = throttle
        self.evidence = Evidence()
        """Since `forget_evidence`."""
        self.is_signed_out = False
        """Whether YouTube no longer took the account's cookies."""
        # A copy: yt-dlp writes cookies back, and the user's file must not change.
        own = {"cookiefile": io.StringIO(cookies.text)} if cookies.text else {}
        super().__init__({**params, **own})

    def forget_evidence(self) -> None:
        for error in self.evidence.errors:
            if isinstance(error, HTTPError):
                error.close()  # those that yt-dlp suppressed hold a connection
        self.evidence = Evidence()

    def close(self) -> None:
        self.forget_evidence()
        super().close()

    def report_warning(self, message: object, only_once: bool = False) -> None:
        self.evidence.warnings.append(str(message))
        if "cookies are no longer valid" in str(message):
            self.is_signed_out = True
        super().report_warning(message, only_once=only_once)

    def urlopen(self, req: Any) -> Any:
        url = req if isinstance(req, str) else req.url
        if "/youtubei/" in url or "/watch?" in url:
            self.throttle.wait_for_turn()
        else:
            self.throttle.check()
        try:
            return super().urlopen(req)
        except RequestError as error:
            self.evidence.errors.append(error)
            raise


class _Media(io.RawIOBase):
    """A file on YouTube's media servers, read in bounded ranges (open-ended ones are throttled).

    PyAV must not see an exception from `read`: an error is kept, and the file ends there.
    """

    def __init__(self, downloader: _Downloader, entry: Mapping[str, Any]) -> None:
        super().__init__()
        self._downloader = downloader
        self._url = entry["url"]
        self._headers = {**(entry.get("http_headers") or {}), "Accept-Encoding": "identity"}
        self._size: int | None = entry.get("filesize")
        self._most_bytes = _AUDIO_CHUNK_BYTES if entry.get("vcodec") == "none" else _CHUNK_BYTES
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
        last = position + self._most_bytes - 1
        if self._size is not None:
            last = min(last, self._size - 1)
        request = Request(self._url, headers={**self._headers, "Range": f"bytes={position}-{last}"})

        retry = Retry(attempts=3, first_pause_seconds=0.6, stop=self._downloader.throttle.stop)
        while True:
            try:
                with self._downloader.urlopen(request) as response:
                    self._chunk, self._size = _checked(response, position, self._most_bytes)
                break
            except (RequestError, OSError) as error:
                is_final = isinstance(error, HTTPError) and error.status < 500
                if is_final or retry.is_over:
                    raise
            retry.pause()

        self._start = position
        self.received_bytes += len(self._chunk)
        if self.received_bytes > _MOST_BYTES:
            raise CutError("damaged", f"more than {_MOST_BYTES:,} bytes for one clip")


def _checked(response: Any, position: int, most_bytes: int) -> tuple[bytes, int]:
    """Return a range's bytes, if they are those requested, and its file's size."""
    header = response.headers.get("Content-Range") or ""
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", header)
    if response.status != 206 or not found or int(found[1]) != position:
        raise OSError(f"the server does not serve ranges (HTTP {response.status})")

    expected = int(found[2]) - position + 1
    if not 0 < expected <= most_bytes:
        raise OSError(f"the server sends {expected} bytes, {most_bytes} were asked for")
    data: bytes = response.read(expected)
    if len(data) != expected:
        raise OSError(f"{len(data)} of {expected} bytes came")
    return data, int(found[3])


def _shortage(clip: Clip, cut_seconds: float, video_seconds: int | None) -> Refusal | None:
    """Return what it means that so much of a clip came; None if that is enough."""
    length = clip.time_end - clip.time_start
    there = min(clip.time_end, video_seconds or clip.time_end) - clip.time_start
    message = f"only {cut_seconds:.1f} of {counted(length, 'second')} came"
    if video_seconds and cut_seconds < there - _TOLERANCE_SECONDS:
        return Refusal("transient", "short", message)  # the video has more
    least = max(
        length - _MOST_MISSING_SECONDS - _TOLERANCE_SECONDS, min(_LEAST_SECONDS, length / 2)
    )
    return Refusal("clip", "short", message) if cut_seconds < least else None


def _refusal_of(
    error: BaseException, clip: Clip, video_seconds: int | None, *, reading: bool
) -> Refusal | None:
    """Return what an error while reading or cutting means; None if it is no fault of YouTube's."""
    if isinstance(error, (Stopped, KeyboardInterrupt, SystemExit)):
        return None
    if isinstance(error, HTTPError):
        kind = {429: "blocked", 403: "client"}.get(error.status, "transient")
        return Refusal(kind, f"media_http_{error.status}", str(error))
    if isinstance(error, CutError):
        # Nothing there although the video is long enough: then its media are cut off.
        is_beyond = not video_seconds or clip.time_start >= video_seconds - 1
        kind = "clip" if error.code == "out_of_range" and is_beyond else "transient"
        return Refusal(kind, error.code, str(error))
    if isinstance(error, EncoderError):
        return Refusal("transient", "not_encoded", str(error))
    if reading:
        return Refusal("transient", "media_network", str(error))
    return None if is_full(error) else Refusal("transient", "media_damaged", str(error))
