"""A replica of YouTube on loopback, as far as yt-dlp can tell, with what goes wrong there.

It is an HTTP proxy that speaks TLS itself after `CONNECT www.youtube.com:443`, so the unmodified
yt-dlp reaches it through its real network stack. Nothing here decides what a failure means.
"""

from __future__ import annotations

import contextlib
import datetime
import http.server
import ipaddress
import json
import math
import random
import re
import socket
import ssl
import struct
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

LOOPBACK = "127.0.0.1"
BOT_CHECK = "Sign in to confirm you’re not a bot"
ITAGS = {144: 160, 240: 133, 360: 134, 480: 135, 720: 136, 1080: 137}
ITAGS_60 = {720: 298, 1080: 299}
WEB = {"clientName": "WEB", "clientVersion": "2.20260708.00.00", "visitorData": "CgtyZXBsaWNh"}
PLAYER_JS = "/s/player/0123abcd/player_es6.vflset/en_US/base.js"

PO_TOKEN = "dG9rZW4x"
ROTATED = 3
"""By how many characters the player's script rotates what an address is challenged with."""

Bytes = bytes | Callable[[], bytes]


@dataclass(frozen=True)
class Stream:
    """A further stream of a video, beside its `formats`."""

    itag: int
    data: Bytes
    mime: str
    facts: dict[str, Any] = field(default_factory=dict)
    """Further entries of `streamingData`, such as `audioTrack`."""
    query: str = ""
    """Ends its address, as `&xtags=sr%3D1`."""


@dataclass
class Video:
    """How one video id behaves."""

    media: Bytes = b""
    """An mp4 with avc1 pictures only; nothing here or in `progressive` means no formats."""
    audio: Bytes = b""
    """An m4a, offered beside it as itag 140."""
    progressive: Bytes = b""
    """An mp4 with pictures and sound, offered as itag 18 in the same size as `media`."""
    width: int = 320
    height: int = 180
    fps: int = 30
    duration_seconds: float = 10
    status: str = "OK"
    """`playabilityStatus`, as are the next two; the web page and every client say the same."""
    reason: str = ""
    subreason: str = ""
    fault: str = ""
    """A misbehaviour; one of `FAULTS`."""
    cut_bytes: int = 5_000
    """Media bytes sent before a "cut"; less where less was asked for."""
    countries: tuple[str, ...] = ()
    """Where alone it is available."""
    smaller: tuple[Video, ...] = ()
    """The same in other sizes, offered beside it; only their `media`, size and rate count."""
    further: tuple[Stream, ...] = ()
    ways: dict[str, str] = field(default_factory=dict)
    """How single clients get addresses; one of `WAYS`."""
    told: dict[str, tuple[str, str]] = field(default_factory=dict)
    """What single clients hear instead of `status` and `reason`."""
    ad_seconds: int = 0
    """Length of the advertisement before it: media are due after it only."""
    trailer: str = ""
    """Id of the video that is shown instead, to those who have not paid."""
    odd: bool = False
    """Whether answers hold what yt-dlp does not expect, and stumbles over."""
    shown_id: str = ""
    """Id of another video, which clients are told of in its place."""
    live: str = ""
    """`is_live` for a live stream, `post_live` for one that has just ended, whose last hours alone
    are there, and `was_live` for the replay that becomes of it."""

    def formats(self) -> dict[int, tuple[Bytes, Video]]:
        """Return what is offered, by itag."""
        found: dict[int, tuple[Bytes, Video]] = {}
        for video in (self, *self.smaller):
            side = min(video.width, video.height)
            size = min(ITAGS, key=lambda known: abs(known - side))
            itag = ITAGS_60.get(size, ITAGS[size]) if video.fps > 30 else ITAGS[size]
            if video.media:
                found[itag] = (video.media, video)
        found.update({140: (self.audio, self)} if self.audio else {})
        found.update({18: (self.progressive, self)} if self.progressive else {})
        return found


WAYS = {
    "plain": "addresses that serve as they are",
    "none": "no addresses (the web player has had SABR only since 2025)",
    "n": "addresses that serve once their parameter `n` is solved, by the player's script",
    "signature": "no addresses but what they are made of, by the player's script",
    "token": "addresses that serve with a PO token only",
    "manifests": "HLS and DASH manifests only",
}
FAULTS = {
    "player_403": "403 from the player API",
    "player_429": "429 from the player API",
    "player_503": "503 from the player API",
    "player_503_once": "the same, the first time only",
    "player_drop": "connection closed in place of an answer of the player API",
    "page_429": "429 from everything at www.youtube.com",
    "kids": "apps say that it is not available; the embedded player has it",
    "cut": "media connection reset after `cut_bytes`",
    "cut_once": "the same, the first time only",
    "short": "fewer bytes than Content-Length says, then a clean end",
    "no_range": "200 with everything for each range",
    "garbage": "random bytes of the right number",
    "stall": "media request accepted, never answered",
    "media_403": "403 for media",
    "media_403_once": "403 for media, the first time only, as for an address that ran out",
    "media_429": "429 for media",
    "media_503_once": "503 for media, the first time only",
    "truncated": "half of the file, as if that were all",
}


@dataclass
class Request:
    """One request that arrived."""

    method: str
    host: str
    path: str
    query: dict[str, str]
    video_id: str = ""
    client: str = ""
    """Innertube client of a player request, as VISIONOS."""
    range: str = ""
    status: int = 0
    """0 while, or if never, answered."""
    sent_bytes: int = 0
    """Bytes of the body."""
    cookie: str = ""
    at: float = field(default_factory=time.monotonic)


@dataclass
class Replica:
    """A running replica."""

    url: str
    """To be yt-dlp's `proxy`, with `nocheckcertificate`."""
    videos: dict[str, Video] = field(default_factory=dict, repr=False)
    """By video id; any other is unavailable."""
    requests: list[Request] = field(default_factory=list, repr=False)
    """Everything but CONNECT, in the order of arrival."""
    blocked: bool = False
    """While True every video asks for the bot check, as for a blocked address."""
    rotated: bool = False
    """While True accounts' cookies are taken back, as when their browser has got others since."""
    happened: set[str] = field(default_factory=set)
    """Ids whose "once" is over."""
    connections: int = 0
    lock: Any = field(default_factory=threading.Lock)
    script_functions: int = 0
    """Functions in the player's script beside those that matter; a real one has some 25,000."""
    answer_seconds: float = 0
    """How long each answer takes that is no media."""
    media_bytes_per_second: float = math.inf
    """How fast media come, for each connection."""

    def count(self, kind: str, video_id: str = "") -> int:
        """Return how many requests there were with a part of address, as "player"."""
        return sum(
            kind in f"{request.host}{request.path}" and video_id in ("", request.video_id)
            for request in list(self.requests)
        )


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = False  # joined at the end: a test must not leave threads behind
    replica: Replica

    def __init__(self, handler: type[http.server.BaseHTTPRequestHandler]) -> None:
        self.open: set[socket.socket] = set()
        super().__init__((LOOPBACK, 0), handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be silent about a client that leaves before it has everything."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        self.replica.connections += 1
        super().process_request(request, client_address)

    def server_close(self) -> None:
        for connection in list(self.open):  # one that is kept alive would never end by itself
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        super().server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    host = ""

    def log_message(self, *args: Any) -> None:
        pass

    def do_CONNECT(self) -> None:
        self.host = self.path.rpartition(":")[0]
        self.send_response(200, "Connection established")
        self.end_headers()
        plain = self.connection
        self.rfile.close()
        self.wfile.close()
        self.connection = TLS_CONTEXT.wrap_socket(
            plain, server_side=True, do_handshake_on_connect=False
        )
        self.server.open.add(self.connection)
        self.server.open.discard(plain)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
        self.connection.do_handshake()
        self.close_connection = False

    def do_GET(self) -> None:
        address = urllib.parse.urlsplit(self.path)
        host = self.host or address.hostname or ""
        query = dict(urllib.parse.parse_qsl(address.query))
        video_id = query.get("v") or query.get("id") or ""
        self.asked = Request(self.command, host, address.path, query, video_id)
        self.asked.cookie = self.headers.get("Cookie", "")
        self.asked.range = self.headers.get("Range", "")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if address.path.startswith("/youtubei/"):
            message = json.loads(body)
            self.asked.video_id = message.get("videoId", "")
            self.asked.client = message["context"]["client"]["clientName"]
        elif address.path.startswith("/embed/"):
            self.asked.video_id = address.path.rpartition("/")[2]
        self.server.replica.requests.append(self.asked)
        if host.endswith(".googlevideo.com"):
            self._media(query)
        elif host.endswith((".youtube.com", ".googleapis.com")):
            self._page(address.path)
        elif host == "i.ytimg.com":
            self._reply(200, b"\xff\xd8\xff\xd9", "image/jpeg")
        else:
            self._reply(404, b"")

    do_HEAD = do_POST = do_GET  # noqa: N815

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        self.server.open.discard(self.connection)
        self.connection.close()

    def _page(self, path: str) -> None:
        asked, replica = self.asked, self.server.replica
        time.sleep(replica.answer_seconds)
        kinds = ("page_", "player_") if path.endswith("/player") else ("page_",)
        code = self._fault(*kinds).partition("_")[2]
        if code == "drop":
            self.close_connection = True
        elif code:
            error = {"error": {"code": int(code), "message": PLAYER_ERRORS[code]}}
            self._reply(int(code), json.dumps(error).encode(), "application/json")
        elif path.endswith("/player"):
            answer = player_response(replica, asked.video_id, asked.client)
            self._reply(200, json.dumps(answer).encode(), "application/json")
        elif path.startswith("/youtubei/"):
            self._reply(200, b'{"contents": {"twoColumnWatchNextResults": {}}}', "application/json")
        elif path == "/iframe_api":
            self._reply(200, f"var url = '{PLAYER_JS}';".encode(), "text/javascript")
        elif path.startswith("/s/player/"):
            script = player_script(replica.script_functions)
            self._reply(200, script.encode(), "text/javascript")
        else:
            client = "MWEB" if asked.host.startswith("m.") else "WEB"
            client = "WEB_EMBEDDED_PLAYER" if path.startswith("/embed/") else client
            page = watch_page(replica, asked.video_id, client)
            self._reply(200, page.encode(), "text/html; charset=utf-8")

    def _fault(self, *kinds: str) -> str:
        """Return what shall go wrong with this request, if it is of these kinds."""
        replica, video_id = self.server.replica, self.asked.video_id
        fault = replica.videos.get(video_id, UNAVAILABLE).fault
        if not fault.startswith(kinds):
            return ""
        if not fault.endswith("_once"):
            return fault
        with replica.lock:
            done = video_id in replica.happened
            replica.happened.add(video_id)
        return "" if done else fault[: -len("_once")]

    def _media(self, query: dict[str, str]) -> None:
        video = self.server.replica.videos.get(self.asked.video_id, UNAVAILABLE)
        fault = self._fault("media_", "cut", "short", "no_range", "stall")
        source, kind = media_of(video, query)
        if fault.startswith("media_") or source is None or not is_solved(query):
            self._reply(404 if source is None else int(fault[-3:] or 403), b"", "text/plain")
            return
        if fault == "stall":
            with contextlib.suppress(OSError):
                self.connection.recv(1)  # until the client, or the replica, gives up
            self.close_connection = True
            return
        data = media_bytes(video, source)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.asked.range)
        if not wanted or fault == "no_range":
            start, end = 0, len(data)
        else:
            start, end = int(wanted[1]), min(int(wanted[2] or len(data)) + 1, len(data))
        if start >= end:
            self._reply(416, b"", headers={"Content-Range": f"bytes */{len(data)}"})
            return
        ranged = {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}
        ranged = ranged if wanted and fault != "no_range" else {}
        sent_bytes = {"cut": min(video.cut_bytes, (end - start) // 2), "short": (end - start) // 2}
        status = 206 if ranged else 200
        time.sleep((end - start) / self.server.replica.media_bytes_per_second)
        self._reply(status, data[start:end], kind, headers=ranged, most=sent_bytes.get(fault))
        if fault == "cut":  # close() resets the connection
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif fault == "short":
            self.connection.settimeout(0)  # says goodbye as TLS wants it, and waits for no answer
            with contextlib.suppress(OSError, ValueError):
                self.connection.unwrap()

    def _reply(
        self,
        status: int,
        body: bytes,
        kind: str = "text/html",
        *,
        headers: dict[str, str] | None = None,
        most: int | None = None,
    ) -> None:
        """Answer; with `most`, announce the whole body, send its beginning, and hang up."""
        sent = b"" if self.command == "HEAD" else body[:most]
        self.asked.status, self.asked.sent_bytes = status, len(sent)
        self.close_connection = self.close_connection or most is not None
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Accept-Ranges": "bytes",
            **({"Set-Cookie": TAKEN_BACK} if self.server.replica.rotated else {}),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(sent)


TAKEN_BACK = "LOGIN_INFO=; Domain=.youtube.com; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
PLAYER_ERRORS = {
    "403": "The caller does not have permission",
    "429": "Resource has been exhausted (e.g. check quota).",
    "503": "The service is currently unavailable.",
}
UNAVAILABLE = Video(status="ERROR", reason="Video unavailable")


def media_of(video: Video, query: dict[str, str]) -> tuple[Bytes | None, str]:
    """Return what an address leads to, and of which kind it is."""
    if "further" in query:
        stream = video.further[int(query["further"])]
        return stream.data, stream.mime.partition(";")[0]
    found = video.formats().get(int(query.get("itag", 0)))
    kind = "audio/mp4" if query.get("itag") == "140" else "video/mp4"
    return (None, kind) if found is None else (found[0], kind)


def rotated(text: str) -> str:
    """Return what solves a challenge of `player_script`."""
    return text[ROTATED:] + text[:ROTATED]


def is_solved(query: dict[str, str]) -> bool:
    """Whether an address has the parameter that it is to have."""
    return query.get(query.get("proof", ""), "") == query.get("proven", "")


def player_script(functions: int) -> str:
    """Return the script of the web player: what yt-dlp's solver looks for, and other functions."""
    others = "".join(
        f"function f{n}(a,b,c){{for(var d=0;d<a.length;d++){{if(b[d]!=={n})c.p{n}=a[d]*{n}.5}}"
        f"return c.p{n}||b}}\n"
        for n in range(functions)
    )
    return (
        """var _yt_player={};
(function(g){
var window=this;
var facts={signatureTimestamp:20400};
class Address{
constructor(parts){this.parts=parts}
set(name,value){this.parts[name]=value}
get(name){return this.parts[name]}
clone(){return new Address({...this.parts})}
finish(){var n=this.parts.n;if(n!==undefined)this.parts.n=n.slice(ROTATED)+n.slice(0,ROTATED)}
}
function addressOf(text,name,signature){
var made=new Address({text:text});
made.set("alr","yes");
if(signature){
var s=decodeURIComponent(signature);
made.set(name,encodeURIComponent(s.slice(ROTATED)+s.slice(0,ROTATED)));
}
return made;
}
""".replace("ROTATED", str(ROTATED))
        + others
        + "})(_yt_player);\n"
    )


def media_bytes(video: Video, source: Bytes) -> bytes:
    """Return the file as the replica serves it, faults included."""
    data = source if isinstance(source, bytes) else source()
    if video.fault == "truncated":
        return data[: len(data) // 2]
    return random.Random(0).randbytes(len(data)) if video.fault == "garbage" else data


def player_response(replica: Replica, video_id: str, client: str) -> dict[str, Any]:
    """Return what the player API says to a client, which is also in the web page for WEB."""
    video = replica.videos.get(video_id, UNAVAILABLE)
    status, reason, subreason = video.status, video.reason, video.subreason
    if client in video.told:
        status, reason = video.told[client]
    if replica.blocked:
        status, reason, subreason = "LOGIN_REQUIRED", BOT_CHECK, ""
    elif video.fault == "kids" and client in ("VISIONOS", "ANDROID_VR"):
        status, reason = "UNPLAYABLE", "This video is not available"
    said: dict[str, Any] = {"status": status}
    answer: dict[str, Any] = {"responseContext": {}, "playabilityStatus": said}
    if reason:
        texts = {"reason": reason, "subreason": subreason}
        shown = {name: {"simpleText": text} for name, text in texts.items() if text}
        said.update(reason=reason, errorScreen={"playerErrorMessageRenderer": shown})
    if status not in ("ERROR", "LOGIN_REQUIRED"):
        answer["videoDetails"] = {
            "videoId": video_id,
            "title": f"Video {video_id}",
            "lengthSeconds": str(round(video.duration_seconds)),
            "channelId": "UC" + "x" * 22,
            "isLiveContent": status == "LIVE_STREAM_OFFLINE",
            **({"isUpcoming": True} if status == "LIVE_STREAM_OFFLINE" else {}),
        }
        country = {"availableCountries": list(video.countries)} if video.countries else {}
        answer["microformat"] = {"playerMicroformatRenderer": country}
    if video.live:
        answer["videoDetails"]["isLiveContent"] = True
        answer["videoDetails"]["isPostLiveDvr"] = video.live == "post_live"
        times = {
            "startTimestamp": "2017-08-01T18:00:00+00:00",
            "isLiveNow": video.live == "is_live",
        }
        answer["microformat"]["playerMicroformatRenderer"]["liveBroadcastDetails"] = times
    if video.trailer:
        shown = {"playerLegacyDesktopYpcTrailerRenderer": {"trailerVideoId": video.trailer}}
        said["errorScreen"] = shown
    if video.shown_id:
        answer["videoDetails"]["videoId"] = video.shown_id
    if video.ad_seconds:
        start = {"adPlacementConfig": {"kind": "AD_PLACEMENT_KIND_START"}}
        length = {"playerVars": f"length_seconds={video.ad_seconds}"}
        advertisement = {"config": start, "renderer": {"instreamVideoAdRenderer": length}}
        answer["adPlacements"] = [{"adPlacementRenderer": advertisement}]
    if status == "OK" and (video.formats() or video.further):
        answer["streamingData"] = streaming_data(video_id, video, client)
    return answer


def streaming_data(video_id: str, video: Video, client: str) -> dict[str, Any]:
    """Return what a client is told of a video's streams."""
    way = video.ways.get(client, "none" if client == "WEB" else "plain")
    if way == "manifests":
        base = f"https://manifest.googlevideo.com/api/manifest/{{}}/id/{video_id}/"
        manifests = {"hlsManifestUrl": f"{base}file/index.m3u8", "dashManifestUrl": base}
        return {name: url.format(name[:-11]) for name, url in manifests.items()}

    streams = [stream_data(itag, video) for itag in video.formats()]
    streams += [further_data(stream, video) for stream in video.further]
    host = f"rr{sum(video_id.encode()) % 5 + 1}---sn-x.googlevideo.com"
    numbers = [""] * len(video.formats()) + [f"&further={n}" for n in range(len(video.further))]
    for stream, number in zip(streams, numbers, strict=True):
        if video.live in ("is_live", "post_live"):
            stream["targetDurationSec"] = 5
        url = f"https://{host}/videoplayback?expire=4102444800&id={video_id}&itag={stream['itag']}"
        stream.update(addressed(url + number + stream.pop("query", ""), way))
    return {
        "expiresInSeconds": "21540",
        "formats": [stream for stream in streams if stream["itag"] == 18],
        "adaptiveFormats": [stream for stream in streams if stream["itag"] != 18],
    }


def addressed(url: str, way: str) -> dict[str, str]:
    """Return the entries of a stream that say where it is, in one of `WAYS`."""
    challenge = "".join(random.Random(url).choices("abcdefghijkmpqrstuvwxyz0123456789", k=20))
    solved = {"proven": rotated(challenge)}
    if way == "none":
        return {}
    if way == "n":
        query = {"n": challenge, "proof": "n", **solved}
        return {"url": f"{url}&{urllib.parse.urlencode(query)}"}
    if way == "signature":
        query = {"proof": "sig", **solved}
        cipher = {"s": challenge, "sp": "sig", "url": f"{url}&{urllib.parse.urlencode(query)}"}
        return {"signatureCipher": urllib.parse.urlencode(cipher)}
    return {"url": f"{url}&proof=pot&proven={PO_TOKEN}" if way == "token" else url}


def stream_data(itag: int, video: Video) -> dict[str, Any]:
    """Return one entry of `streamingData`, but for its address."""
    source, size = video.formats()[itag]
    stream = measured(itag, media_bytes(video, source), video.duration_seconds)
    if itag == 140:
        kind = 'audio/mp4; codecs="mp4a.40.2"'
        sound = {"audioQuality": "AUDIO_QUALITY_MEDIUM", "audioSampleRate": "44100"}
        return {**stream, "mimeType": kind, "quality": "tiny", "audioChannels": 1, **sound}
    codecs = "avc1.42001E, mp4a.40.2" if itag == 18 else "avc1.4d401e"
    kind = f'video/mp4; codecs="{codecs}"'
    odd: dict[str, Any] = {"quality": {}} if video.odd else {}
    return {**stream, **shape_of(size.width, size.height, size.fps), "mimeType": kind, **odd}


def further_data(stream: Stream, video: Video) -> dict[str, Any]:
    """Return the entry of a further stream."""
    data = stream.data if isinstance(stream.data, bytes) else stream.data()
    found = measured(stream.itag, data, video.duration_seconds)
    if stream.mime.startswith("video"):
        found |= shape_of(video.width, video.height, video.fps)
    return {**found, "mimeType": stream.mime, "query": stream.query, **stream.facts}


def measured(itag: int, data: bytes, seconds: float) -> dict[str, Any]:
    """Return the entries of a stream that say how large it is."""
    return {
        "itag": itag,
        "contentLength": str(len(data)),
        "approxDurationMs": str(round(seconds * 1000)),
        "bitrate": max(1, round(len(data) * 8 / seconds)),
    }


def shape_of(width: int, height: int, fps: int) -> dict[str, Any]:
    """Return the entries of a stream that say what its frames are like."""
    side = min(width, height)
    quality = "small" if side < 360 else "medium" if side < 480 else "large"
    label = f"{side}p{fps if fps > 30 else ''}"
    return {"width": width, "height": height, "fps": fps, "quality": quality, "qualityLabel": label}


def watch_page(replica: Replica, video_id: str, client: str) -> str:
    """Return the web page for a client, with what yt-dlp reads out of it."""
    context = {"client": {**WEB, "clientName": client}}
    settings = {"INNERTUBE_CONTEXT": context, "STS": 20400, "PLAYER_JS_URL": PLAYER_JS}
    page = f"<title>Video {video_id}</title><script>ytcfg.set({json.dumps(settings)});"
    if client == "WEB":
        response = json.dumps(player_response(replica, video_id, "WEB"))
        page += f"var ytInitialPlayerResponse = {response};"
        page += 'var ytInitialData = {"contents": {"twoColumnWatchNextResults": {}}};'
    kids = replica.videos.get(video_id, UNAVAILABLE).fault == "kids"
    return f"<html>{page}</script>{'made for kids' if kids else ''}</html>"


def _identity() -> tuple[bytes, ssl.SSLContext]:
    """Make a certificate for loopback, and for names that a proxy may lead there, that nobody
    trusts, and what a server with it needs.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "youtube.replica")])
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - day).not_valid_after(now + day)
    names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(LOOPBACK))]
    names += [x509.DNSName(name) for name in ("mirror.test", "kinetics.s3.amazonaws.com")]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "both.pem").write_bytes(private + certificate)
        context.load_cert_chain(Path(folder, "both.pem"))
    return certificate, context


# Made with the module: a server's threads that made them on demand could each make a pair.
CERTIFICATE, TLS_CONTEXT = _identity()


@contextlib.contextmanager
def youtube_replica() -> Iterator[Replica]:
    """Run a replica until the block ends; everything it opened is closed then."""
    server = _Server(_Handler)
    server.replica = Replica(f"http://{LOOPBACK}:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.replica
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
