"""The loader itself as part of what is published, in a folder: no script may be at the top.

`datasets` refuses a repository with a script of the repository's name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from k600.publish.destination import Destination
from k600.publish.markers import LOADER, read_json, to_json

_ROOT = Path(__file__).resolve().parents[2]
_FOLDERS = ("k600", "kinetics600-stubs")
_FILES = (
    *("kinetics600.py", "pyproject.toml", "requirements.txt", "dataset_infos.json"),
    *("README.md", "LICENSE"),
)
"""In a checkout, which `pip install` takes; a wheel has the first, and the others' content."""


def publish_loader(destination: Destination) -> None:
    """Write the loader that runs into the folder `loader` of a place, unless it is there."""
    files = {f"loader/{name}": data for name, data in _loader_files()}
    now = {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)}
    before = (read_json(destination, LOADER) or {}).get("files", {})
    if before != now:
        stale = sorted({*before} - files.keys())
        noted = {LOADER: to_json({"files": now})}
        destination.commit("The loader", {**files, **noted}, delete=stale)


def _loader_files() -> Iterator[tuple[str, bytes]]:
    """Yield the loader's files: path below its folder, and content."""
    wheel = _wheel()
    # Beside an installed loader lie other packages' files, and sometimes a README.md of theirs.
    paths = [_ROOT / name for name in (_FILES if wheel is None else _FILES[:1])]
    for folder in _FOLDERS:
        paths += sorted((_ROOT / folder).rglob("*"))
    for path in paths:
        if path.is_file() and path.suffix != ".pyc":
            yield path.relative_to(_ROOT).as_posix(), path.read_bytes()

    if wheel is not None:
        needed = [line for line in wheel.requires or () if "extra ==" not in line]
        yield "requirements.txt", "\n".join([*needed, ""]).encode()
        yield "README.md", str(wheel.metadata.json["description"]).encode()
        yield "LICENSE", (wheel.read_text("licenses/LICENSE") or "").encode()


def _wheel() -> metadata.Distribution | None:
    """Return what was installed of this loader as a wheel; None if it runs from a checkout."""
    try:
        found = metadata.distribution("kinetics600")
    except metadata.PackageNotFoundError:
        return None
    is_whole = "kinetics600.py" in map(str, found.files or ())  # else it points to a checkout
    return found if is_whole and Path(str(found.locate_file(""))).resolve() == _ROOT else None
