"""What the tests of YouTube share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.youtube_replica import Replica, youtube_replica


@pytest.fixture(scope="module")
def youtube() -> Iterator[Replica]:
    with youtube_replica() as replica:
        yield replica
