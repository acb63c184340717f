"""Ten clips of one class out of a tarball of a gigabyte, over a distant link."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.measure import Figures, Way, python
from benchmarks.paced_server import PacedServer
from benchmarks.peers import SCRIPTS
from benchmarks.report import Aim, Column, Table
from benchmarks.settings import HTTP, LINK, S3, Settings, mirror_of, same_clips, urls_of
from benchmarks.tarballs import Host
from benchmarks.whole_split import shape_of

__all__ = ["measure"]

CLIPS = 10
COLUMNS = (
    Column("wall_s", "wall s", spread=True),
    Column("sent_mb", "MB sent", 1),
    Column("sent_percent", "% of the tarball", 1),
    Column("first_s", "first clip after s"),
    Column("cpu_s", "CPU s"),
    Column("memory_mb", "memory MB", 0),
)
WHOLE = "wget, then tar: all of it"


def measure(settings: Settings) -> list[Table]:
    host = settings.host(1, 1000)
    mixed = settings.host(1, 300, mixed=True)
    with settings.far() as server:
        ways = [
            _whole(settings, host, server),
            *(_stored(host, server, name) for name in (HTTP, S3)),
            *(_streamed(host, server, name) for name in (HTTP, S3)),
            _stored(mixed, server, HTTP, " to disk, 300 members in no order"),
        ]
        rows = settings.in_turns(ways)
    http, s3 = f"{HTTP} to disk", f"{S3} to disk"
    return [
        Table(
            "Ten clips of one class, paced link",
            f"{shape_of(host)}; {LINK}. What the server sent includes what lay in buffers unread.",
            rows,
            COLUMNS,
            http,
            (
                Aim("fetching it whole, wall", http, "wall_s", 50, WHOLE),
                Aim("fetching it whole, wall, s3fs", s3, "wall_s", 50, WHOLE),
                Aim("% of the bytes", http, "sent_percent", 2, at_most=True),
                Aim("% of the bytes, s3fs", s3, "sent_percent", 2, at_most=True),
                Aim("first clip, s", http, "first_s", 0.5, at_most=True),
                Aim("first clip, s, s3fs", s3, "first_s", 0.7, at_most=True),
                Aim(
                    "first clip of a stream, s", f"{HTTP} as a stream", "first_s", 0.5, at_most=True
                ),
            ),
        )
    ]


def _whole(settings: Settings, host: Host, server: PacedServer) -> Way:
    listed = settings.work / "urls-few"
    listed.write_text("\n".join(urls_of(host, server.url)) + "\n")
    command = ["sh", "-c", SCRIPTS, "sh", "{folder}", str(listed)]
    return _way(WHOLE, command, host, server, same_clips(host), needs="wget", repeats=2)


def _stored(host: Host, server: PacedServer, name: str, said: str = " to disk") -> Way:
    more = {"max_samples": CLIPS, "classes": list(host.clips)}
    arguments = mirror_of(name, server.url, host) | more
    command = python("ours", "to_disk", folder="{folder}", **arguments)
    return _way(f"{name}{said}", command, host, server, partial(_first_by_name, host))


def _streamed(host: Host, server: PacedServer, name: str) -> Way:
    more = {"classes": list(host.clips), "most": CLIPS}
    arguments = mirror_of(name, server.url, host) | more

    def right(folder: Path, figures: Figures) -> bool:
        return bool(figures["clips"] == CLIPS)

    return _way(f"{name} as a stream", python("ours", "stream", **arguments), host, server, right)


def _way(
    name: str,
    command: list[str],
    host: Host,
    server: PacedServer,
    right: Callable[[Path, Figures], bool],
    **more: object,
) -> Way:
    def finish(figures: Figures) -> None:
        sent = server.sent()["bytes"]
        figures["sent_mb"] = sent / 1e6
        figures["sent_percent"] = 100 * sent / host.tarball_bytes

    return Way(name, command, right, finish, before=server.sent, **more)  # type: ignore[arg-type]


def _first_by_name(host: Host, folder: Path, figures: Figures) -> bool:
    """Whether a folder holds the first clips by name, and no others."""
    [(label, names)] = host.clips.items()
    first = {name: names[name] for name in sorted(names)[:CLIPS]}
    return same_clips(Host(host.root, {label: first}, 0, 0))(folder, figures)
