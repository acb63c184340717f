"""Whether anything answers on the way to YouTube: one quick try, whose failure is remembered.

A firewall that drops what is sent to YouTube would hold each process for minutes: yt-dlp waits for
every address, player and clip anew.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from urllib.parse import urlsplit

from k600.errors import OptionError
from k600.errors.text import counted
from k600.network import Proxy
from k600.store.notes import MachineNotes
from k600.store.store import Store
from k600.youtube.circumstances import Circumstances, proxy_url
from k600.youtube.options import YOUTUBE, YouTubeOptions

_SECONDS = 3.0
_REMEMBERED_SECONDS = 3600
_FILE = "youtube-silence.json"
"""When nothing answered, by the address that YouTube sees."""


def why_out_of_reach(store: Store, options: YouTubeOptions, *, afresh: bool) -> str:
    """Return why YouTube is out of reach, empty if it is not; unless `afresh`, also as remembered.

    What is refused at once costs the next process nothing either, and may soon be otherwise: only
    silence is remembered. `OptionError` as `find_silence`.
    """
    if not afresh and (silence := recall_silence(store, options)):
        return silence
    began = time.monotonic()
    silence = find_silence(options)
    has_waited = time.monotonic() - began > _SECONDS / 2
    note_silence(store, options, is_silent=bool(silence) and has_waited)
    return silence


def find_silence(options: YouTubeOptions, address: tuple[str, int] | None = None) -> str:
    """Try a connection for three seconds; return why YouTube is out of reach, empty if it is not.

    `address` is YouTube's host and port, unless it is the usual one.

    Raises:
        OptionError: The option `proxy` names one that does not take a connection.
    """
    host, port = address or (urlsplit(YOUTUBE).hostname or "", 443)
    url = proxy_url(options)
    source = options.yt_dlp_options.get("source_address")
    proxy, is_connected = None, False
    try:
        proxy = _parts_of(url) if url else None
        first_host, first_port = (proxy.host, proxy.port) if proxy else (host, port)
        with _connection(first_host, first_port, source) as connection:
            is_connected = True
            connection.settimeout(_SECONDS)
            if proxy is None or proxy.scheme == "https":
                _begin_tls(connection, first_host)
            else:
                connection.sendall(_greeting(proxy.scheme, host, port))
                connection.recv(1 << 16)  # whatever it says, it answers
    except (OSError, ValueError) as error:
        # (An error's own text about a port may hold a part of a password.)
        what = (error.strerror or error) if isinstance(error, OSError) else "it is no address"
        if options.proxy is not None and not is_connected:
            raise OptionError(
                f"proxy: '{proxy}' does not answer ({what}). Check the address, or leave proxy out"
            ) from None
        return f"{proxy or host} does not answer ({what})"
    return ""


def recall_silence(store: Store, options: YouTubeOptions) -> str:
    """Return what `note_silence` noted within the last hour, in words; empty if nothing."""
    at = MachineNotes(store, _FILE).recall(Circumstances(options)["address"])
    if at is None or not 0 <= (seconds := time.time() - at) < _REMEMBERED_SECONDS:
        return ""
    return (
        f"it did not answer {counted(round(seconds / 60), 'minute')} ago; this is remembered for "
        "an hour, and source='youtube' tries all the same"
    )


def note_silence(store: Store, options: YouTubeOptions, *, is_silent: bool) -> None:
    """Note beside the clips, for other processes of this machine, what `find_silence` found."""
    at = time.time() if is_silent else None
    MachineNotes(store, _FILE).note(Circumstances(options)["address"], at)


def _parts_of(url: str) -> Proxy:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 1080)
    return Proxy(parts.scheme, str(parts.hostname), port)


def _greeting(scheme: str, host: str, port: int) -> bytes:
    """Return what to say first to a proxy, so that it answers."""
    if scheme.startswith("socks5"):
        return b"\x05\x02\x00\x02"  # "without, or with a password?"
    if scheme.startswith("socks"):
        return b"\x04\x01" + port.to_bytes(2, "big") + b"\0\0\0\x01\0" + host.encode() + b"\0"
    return f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def _begin_tls(connection: socket.socket, host: str) -> None:
    """Begin TLS: some firewalls let nothing through but the connection itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with contextlib.suppress(ssl.SSLError):  # an answer, whatever it says
        context.wrap_socket(connection, server_hostname=host).close()


def _connection(host: str, port: int, source: str | None) -> socket.socket:
    """Return a connection to the first address of either family that takes it, from `source`."""
    first: dict[int, tuple[str, int]] = {}
    for family, _, _, _, found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        first.setdefault(family, (str(found[0]), int(found[1])))

    own = (source, 0) if source else None
    *others, last = (first[family] for family in sorted(first))  # IPv4 before IPv6
    seconds = _SECONDS / len(first)
    for address in others:
        with contextlib.suppress(OSError):
            return socket.create_connection(address, seconds, own)
    return socket.create_connection(last, seconds, own)
