"""What the loader promises when everything around it fails; `SECURITY.md` names these tests.

`python -m tests.faults.report` runs them and prints a table of what was tried and what happened;
with `-m slow` it is the long size, of hundreds of kills and 600 tarballs.
"""
