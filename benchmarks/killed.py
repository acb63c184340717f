"""A load that was killed late in a tarball of a gigabyte, and the same call once more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Figures, Way, python
from benchmarks.paced_server import PacedServer
from benchmarks.peers import SCRIPTS
from benchmarks.report import Aim, Column, Table
from benchmarks.settings import HTTP, LINK, S3, Settings, mirror_of, same_clips, urls_of
from benchmarks.tarballs import Host
from benchmarks.whole_split import shape_of

__all__ = ["measure"]

COLUMNS = (
    Column("before_percent", "% sent before", 1),
    Column("sent_percent", "% sent after", 1, spread=True),
    Column("again_percent", "% sent twice", 1, spread=True),
    Column("wall_s", "wall s", spread=True),
    Column("cpu_s", "CPU s"),
)
SHARE = 0.9


def measure(settings: Settings) -> list[Table]:
    host = settings.host(1, 1000)
    with settings.far() as server:
        way = _ways(settings, host, server)
        listed = settings.work / "urls-killed"
        listed.write_text("\n".join(urls_of(host, server.url)) + "\n")
        scripts = ["sh", "-c", SCRIPTS, "sh", "{folder}", str(listed)]
        rows = settings.in_turns(
            [
                way("CVDF's scripts", "peers", "again", command=scripts),
                *(
                    way(kind, "ours", "go_on", **mirror_of(kind, server.url, host))
                    for kind in (HTTP, S3)
                ),
            ],
        )
    return [
        Table(
            f"Killed at {SHARE:.0%} of a tarball, and once more, paced link",
            f"{shape_of(host)}; {LINK}. The process is killed as soon as the server has sent so "
            "much; figures are of the second call.",
            rows,
            COLUMNS,
            HTTP,
            (
                Aim("% of the bytes again", HTTP, "sent_percent", 12, at_most=True),
                Aim("% of the bytes again, s3fs", S3, "sent_percent", 12, at_most=True),
            ),
        )
    ]


def _ways(settings: Settings, host: Host, server: PacedServer) -> Callable[..., Way]:
    is_right = same_clips(host)

    def right(folder: Path, figures: Figures) -> bool:
        # What is tiny may be done before it can be killed.
        return is_right(folder, figures) and (figures["killed"] or settings.quick)

    def finish(figures: Figures) -> None:
        percent = 100 / host.tarball_bytes
        figures["before_percent"] = percent * figures["sent_before_bytes"]
        figures["sent_percent"] = percent * server.sent()["bytes"]
        figures["again_percent"] = figures["before_percent"] + figures["sent_percent"] - 100

    def way(name: str, module: str, kind: str, **arguments: object) -> Way:
        where = {"server": server.url, "kill_at_bytes": int(SHARE * host.tarball_bytes)}
        more = {"folder": "{folder}"} if module == "ours" else {}
        command = python(module, kind, **where, **more, **arguments)
        return Way(name, command, right, finish)

    return way
