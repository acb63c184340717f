"""Measure this loader beside what else one would use, and write a table.

    python -m benchmarks [GROUP ...] [--repeats N] [--quick] [--json FILE] [--markdown FILE]

Groups: whole_split, few_clips, entries, killed, streaming, shuffled, arrow, store, scale,
corruption; without one, all.
The JSON file keeps what it holds of other groups, so that they can run one by one; the table is
made of all that is in it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import merge, render
from benchmarks.settings import Settings

GROUPS = {
    "whole_split": "whole_split",
    "few_clips": "few_clips",
    "entries": "entries",
    "killed": "killed",
    "streaming": "streaming",
    "shuffled": "shuffled",
    "arrow": "arrow",
    "store": "store",
    "scale": "growth",
    "corruption": "corruption",
}
"""Groups by name, with the modules that hold them."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--repeats", type=int, default=3, help="rounds of turns (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round, no meaning")
    parser.add_argument("--json", type=Path, help="keep the figures here, beside other groups'")
    parser.add_argument("--markdown", type=Path, help="write the table here, too")
    parser.add_argument("--folder", type=Path, help="keep the made tarballs here")
    options = parser.parse_args()
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"no such group: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    base = Path(tempfile.mkdtemp(prefix="k600-bench-", dir=options.folder))
    results = options.json or base / "results.json"
    try:
        with contextlib.ExitStack() as stack:
            settings = Settings(
                (options.folder or base) / "hosts",
                base / "work",
                1 if options.quick else options.repeats,
                options.quick,
                stack,
            )
            settings.work.mkdir(parents=True)
            for name in options.groups or GROUPS:
                print(f"{name}", file=sys.stderr, flush=True)
                start = time.perf_counter()
                tables = importlib.import_module(f"benchmarks.{GROUPS[name]}").measure(settings)
                merge(results, name, tables)
                spent = time.perf_counter() - start
                print(f"{name}: {spent:.0f} s", file=sys.stderr, flush=True)
        text = render(json.loads(results.read_text()), () if options.json else options.groups)
        if options.quick:
            text = f"Tiny sizes: these figures mean nothing.\n\n{text}"
        print(text)
        if options.markdown:
            write_below(options.markdown, text)
    finally:
        shutil.rmtree(base, ignore_errors=True)


def write_below(path: Path, text: str) -> None:
    """Write a text into a file, below the line that marks its place if there is one."""
    mark = "<!-- results -->\n"
    before, found, _ = (path.read_text() if path.exists() else "").partition(mark)
    path.write_text(f"{before}{mark}\n{text}" if found else text)


if __name__ == "__main__":
    main()
