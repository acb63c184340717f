from __future__ import annotations

import pytest

from tests.faults.fuzz import CORPUS, TARGETS, saved

FILES = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_saved_input_is_read_or_refused(path) -> None:  # type: ignore[no-untyped-def]
    TARGETS[path.parent.name](path.read_bytes())


def test_every_target_has_a_saved_input_and_what_is_saved_is_what_is_made() -> None:
    assert {path.parent.name for path in FILES} == {*TARGETS}
    for target, files in saved().items():
        for name, data in files.items():
            assert (CORPUS / target / name).exists()
            if not data.startswith(b"\0\0\0") and target != "tarball":  # an encoder's bytes differ
                assert (CORPUS / target / name).read_bytes() == data
