"""Ten clips of one class out of a tarball of a gigabyte, over a distant link."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import quote

from benchmarks.measure import Figures, Way, in_turns, python
from benchmarks.paced_server import PacedServer, paced_server
from benchmarks.peers import SCRIPTS
from benchmarks.report import Aim, Column, Table
from benchmarks.settings import Settings, same_clips
from benchmarks.tarballs import Host
from benchmarks.whole_split import HTTP, LATENCY_MS, LINK, MB_PER_S, S3, mirror_of, shape_of

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
    mixed = settings.host(1, 1000, mixed=True)
    buckets = {"kinetics": host.root.parent, "mixed": mixed.root.parent}
    with paced_server(buckets, LATENCY_MS, MB_PER_S) as server:
        ways = [
            _whole(settings, host, server),
            *(_stored(host, server, name) for name in (HTTP, S3)),
            *(_streamed(host, server, name) for name in (HTTP, S3)),
            _stored(mixed, server, HTTP, bucket="mixed"),
        ]
        rows = in_turns(ways, settings.repeats, settings.work)
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
    listed.write_text(f"{server.url}/kinetics/600/{quote(host.tarballs[0])}\n")
    command = ["sh", "-c", SCRIPTS, "sh", "{folder}", str(listed)]
    return _way(WHOLE, command, host, server, same_clips(host), needs="wget", repeats=2)


def _stored(host: Host, server: PacedServer, name: str, *, bucket: str = "kinetics") -> Way:
    arguments = mirror_of(name, server.url)
    arguments["mirror"] = str(arguments["mirror"]).replace("kinetics", bucket)
    more = {"max_samples": CLIPS, "classes": list(host.clips)}
    command = python("ours", "to_disk", folder="{folder}", **arguments, **more)
    shown = " to disk, members in no order" if bucket == "mixed" else " to disk"
    return _way(f"{name}{shown}", command, host, server, partial(_first_by_name, host))


def _streamed(host: Host, server: PacedServer, name: str) -> Way:
    arguments = {**mirror_of(name, server.url), "classes": list(host.clips), "most": CLIPS}

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
