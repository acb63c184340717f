"""Single clips out of tarballs, by one request each: of many tarballs, of a few, and repair."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from isal import isal_zlib

from benchmarks.measure import Figures, Way, python
from benchmarks.paced_server import PacedServer
from benchmarks.peers import EACH, PIPED
from benchmarks.report import Aim, Column, Table
from benchmarks.settings import HTTP, LINK, MB_PER_S, S3, Settings, mirror_of, per_gigabyte, url_of
from benchmarks.tarballs import Host
from benchmarks.whole_split import shape_of
from k600.dataset.clip import Place
from k600.loading.columns import PLACE
from k600.loading.index import read_index
from k600.loading.selection import Candidate, Limits, choose_clips

__all__ = ["measure"]

SEED = 1
CONNECTIONS = 16
WHOLE, STOPPED = "wget, then tar: all of each", "wget, and tar up to the clip"
EARLY, PLACED = f"{HTTP}, no index", f"{HTTP}, index"
COLUMNS = (
    Column("wall_s", "wall s", spread=True),
    Column("sent_mb", "MB sent", 1),
    Column("sent_x", "x of the clips' bytes"),
    Column("requests", "requests", 0),
    Column("cpu_s", "CPU s"),
    Column("memory_mb", "memory MB", 0),
)
SENT = "What the server sent includes lists, and what lay in buffers unread."


def measure(settings: Settings) -> list[Table]:
    return [_ten(settings), _spread(settings), _repair(settings), _finding(settings)]


class Chosen:
    """Clips that are asked for, and what is known of them."""

    def __init__(self, host: Host, index: Path, *, per_class: int) -> None:
        self.host, self.index = host, index
        self.limits = {"max_per_class": per_class, "shuffle": True, "seed": SEED}
        clips = choose_clips(host.clips, Limits(max_per_class=per_class, shuffle=True, seed=SEED))
        self.places: Mapping[Candidate, Place]
        self.places, _ = read_index(index.read_bytes(), index.name).places("validation", clips)
        self.clip_bytes = sum(place.entry.size_bytes for place in self.places.values())
        self.checksums = {clip: host.clips[clip[0]][clip[1]] for clip in clips}

    @property
    def arguments(self) -> dict[str, object]:
        """What a load is asked for."""
        return {"classes": list(self.host.clips), **self.limits}

    def right(self, folder: Path, figures: Figures) -> bool:
        """Whether a folder holds these clips and no others, byte by byte, whatever is hidden."""
        found: dict[Candidate, int] = {}
        for root, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                if name.endswith(".mp4"):
                    clip = (os.path.basename(root), name)
                    found[clip] = isal_zlib.crc32(Path(root, name).read_bytes())
        repaired = figures.get("repaired", len(found))
        return found == self.checksums and repaired == len(found)

    def way(self, name: str, command: list[str], server: PacedServer, **more: object) -> Way:
        """Return a way that ends with these clips in its folder."""
        return Way(  # type: ignore[arg-type]
            name, command, self.right, self._finish(server), before=server.sent, **more
        )

    def ours(self, server: PacedServer, name: str, kind: str = HTTP, **more: object) -> Way:
        """Return a load of them."""
        arguments = mirror_of(kind, server.url, self.host) | more
        return self.way(name, python("ours", "to_disk", folder="{folder}", **arguments), server)

    def shell(self, settings: Settings, server: PacedServer, name: str, script: str) -> Way:
        """Return a loop of a shell over them. It is slow, so it runs once."""
        listed = settings.work / f"clips-of-{self.host.root.parent.name}"
        lines = (f"{url_of(self.host, server.url, c[0])}\t{c[0]}\t{c[1]}\n" for c in self.places)
        listed.write_text("".join(lines))
        command = ["sh", "-c", script, "sh", "{folder}", str(listed)]
        return self.way(name, command, server, needs="wget", repeats=1)

    def _finish(self, server: PacedServer) -> Callable[[Figures], None]:
        def finish(figures: Figures) -> None:
            figures |= server.sent()
            figures["sent_mb"] = figures["bytes"] / 1e6
            figures["sent_x"] = figures["bytes"] / self.clip_bytes
            figures["mb_per_s"] = self.clip_bytes / 1e6 / figures["wall_s"]
            figures["line_percent"] = 100 * figures["mb_per_s"] / (2 * MB_PER_S)

        return finish


def _ten(settings: Settings) -> Table:
    one = settings.host(1, 1000)
    host = settings.copies(one, 10)
    chosen = Chosen(host, settings.index(host, copies=True), per_class=1)
    arguments = chosen.arguments
    with_index = arguments | {"index": str(chosen.index)}
    with settings.far() as server:
        rows = settings.in_turns(
            [
                chosen.shell(settings, server, WHOLE, EACH),
                chosen.shell(settings, server, STOPPED, PIPED),
                chosen.ours(server, EARLY, **arguments),
                chosen.ours(server, PLACED, **with_index),
                chosen.ours(server, f"{S3}, index", S3, **with_index),
            ]
        )
    return Table(
        "Ten clips of ten tarballs, paced link",
        f"One random clip of each; {shape_of(host)}, which are copies of one file; {LINK}. {SENT}",
        rows,
        COLUMNS,
        PLACED,
        (
            Aim("wall s", PLACED, "wall_s", 1.5, at_most=True),
            Aim("x of the clips' bytes", PLACED, "sent_x", 1.2, at_most=True),
            Aim("early stop in each, wall", PLACED, "wall_s", 1, EARLY),
            Aim("fetching all of each, wall", PLACED, "wall_s", 50, WHOLE),
        ),
    )


def _spread(settings: Settings) -> Table:
    host = settings.host(4, 300)
    chosen = Chosen(host, settings.index(host), per_class=settings.pick(75, 4))
    manifest = settings.work / "manifest.csv"
    with settings.light() as light:
        arguments = mirror_of(HTTP, light.url, host) | chosen.arguments
        more = {"index": str(chosen.index), "to": str(manifest), "folder": "{folder}"}
        settings.prepare("freeze", **arguments, **more)
    older = _without_places(manifest)
    parts = [
        (url_of(host, "{url}", place.tarball.name), start, start + place.entry.span_bytes)
        for place in chosen.places.values()
        for start in [place.entry.entry_offset]
    ]
    bare, placed = f"{CONNECTIONS} bare connections, the same ranges", f"{HTTP}, manifest"
    with settings.far() as server:
        asked = [(url.replace("{url}", server.url), *part) for url, *part in parts]
        link = python("peers", "ranges", parts=asked, connections=CONNECTIONS)
        rows = settings.in_turns(
            [
                Way(bare, link, finish=chosen.way(bare, link, server).finish, before=server.sent),
                chosen.ours(server, placed, manifest=str(manifest)),
                chosen.ours(server, f"{S3}, manifest", S3, manifest=str(manifest)),
                chosen.ours(server, f"{HTTP}, manifest without places", manifest=str(older)),
            ]
        )
    return Table(
        "Clips spread over four tarballs by a manifest, paced link",
        f"{len(chosen.places)} random clips of {shape_of(host)}; {LINK}. {SENT}",
        rows,
        (*COLUMNS, Column("line_percent", "% of 2 connections", 0)),
        placed,
        (
            Aim("share of the bare connections' rate", placed, "wall_s", 0.85, bare),
            Aim("x of the clips' bytes", placed, "sent_x", 1.15, at_most=True),
        ),
    )


def _without_places(manifest: Path) -> Path:
    """Write a manifest as releases before places did."""
    columns: Collection[str] = {column.name for column in PLACE}
    older = manifest.with_name("manifest-without-places.csv")
    with open(manifest, newline="") as source, open(older, "w", newline="") as target:
        rows = csv.DictReader(source)
        kept = [name for name in rows.fieldnames or () if name not in columns]
        writer = csv.DictWriter(target, kept, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return older


def _repair(settings: Settings) -> Table:
    host = settings.copies(settings.host(4, 300), 20)
    chosen = Chosen(host, settings.index(host, copies=True), per_class=1)
    name = f"{HTTP}, verify --repair"
    with settings.far() as server:
        arguments = mirror_of(HTTP, server.url, host) | chosen.arguments
        more = {"index": str(chosen.index), "server": server.url, "folder": "{folder}"}
        rows = settings.in_turns(
            [
                chosen.shell(settings, server, STOPPED, PIPED),
                chosen.way(name, python("ours", "repair", **arguments, **more), server),
            ]
        )
    return Table(
        "Repair of twenty clips of twenty tarballs, paced link",
        f"One random clip of each was cut in half; {shape_of(host)}, which are copies of one file; "
        f"{LINK}. The peer only fetches them.",
        rows,
        COLUMNS,
        name,
        (Aim("wall s", name, "wall_s", 3, at_most=True),),
    )


def _finding(settings: Settings) -> Table:
    host = settings.host(4, 300)
    index = read_index((path := settings.index(host)).read_bytes(), path.name).table
    found = 100 * (1 - index["entry_offset"].null_count / len(index))
    with settings.light() as server:
        load = mirror_of(HTTP, server.url, host) | {"folder": "{folder}", "num_workers": 2}
        read = {"folder": "{folder}", "root": str(host.root), "paths": host.tarballs}
        commands = {
            "whole path": python("ours", "to_disk", **load),
            "whole path, not looked for": python("ours", "without_finding", way="to_disk", **load),
            "reader alone": python("ours", "untar", **read),
            "reader alone, not looked for": python("ours", "without_finding", way="untar", **read),
        }
        rows = settings.in_turns([_counted(*way, host, found) for way in commands.items()], times=3)
    return Table(
        "What finding entries costs",
        f"{shape_of(host)}, from a server on loopback that has the kernel copy the bytes, and from "
        "the local disk; the same with the finder switched off.",
        rows,
        (
            Column("wall_s", "wall s", spread=True),
            Column("cpu_s", "CPU s", 3, spread=True),
            Column("cpu_s_per_gb", "CPU s/GB", 3),
            Column("found_percent", "% of clips with an entry"),
        ),
        "whole path",
        (
            Aim(
                "CPU, of that without",
                "whole path",
                "cpu_s",
                1.03,
                "whole path, not looked for",
                turned=True,
                at_most=True,
            ),
            Aim("% of clips with an entry", "whole path", "found_percent", 99.5),
        ),
    )


def _counted(name: str, command: list[str], host: Host, found_percent: float) -> Way:
    def finish(figures: Figures) -> None:
        per_gigabyte(host.clip_bytes)(figures)
        if "not looked for" not in name:
            figures["found_percent"] = found_percent

    return Way(name, command, finish=finish)
