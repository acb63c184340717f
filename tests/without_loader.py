"""Programs for a process in which this loader is not installed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["WITHOUT_LOADER", "run_one_class"]

WITHOUT_LOADER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("kinetics600", "k600"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocker())
"""

_SHOW = """
import hashlib, json
clips = ds.cast_column("video", Video(decode=False))
hashes = [hashlib.sha256(row["video"]["bytes"]).hexdigest() for row in clips]
assert {*ds["label"]} == {label}
print(json.dumps({"hashes": sorted(hashes), "ids": sorted(ds["youtube_id"])}))
"""


def run_one_class(card: str, environment: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """Run what a card has under "One class"; return the clips' hashes and ids."""
    found = re.search(r"## One class\n.*?```python\n(.*?)```", card, re.S)
    assert found is not None
    program = folder / "one_class.py"
    program.write_text(WITHOUT_LOADER + found[1] + _SHOW, "utf-8")
    python = os.environ.get("K600_TEST_PYTHON", sys.executable)
    done = subprocess.run(
        [python, str(program)], env=environment, cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
