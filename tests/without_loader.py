"""The beginning of a program for a process in which this loader is not installed."""

from __future__ import annotations

__all__ = ["WITHOUT_LOADER"]

WITHOUT_LOADER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("kinetics600", "k600"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocker())
"""
