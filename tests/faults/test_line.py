"""A bad line between s3fs and a real S3 server: cut, reset, stalled, slow; no TLS, no name."""

from __future__ import annotations

from typing import Any

import pytest

from k600.errors import MirrorUnreachableError
from k600.miniature import Miniature
from tests.conftest import expected
from tests.faults.host import faulty_host
from tests.faults.proxy import BadLine
from tests.faults.trial import Note, assert_intact, assert_whole, fetch
from tests.servers import S3Server
from tests.youtube_replica import TLS_CONTEXT

KIB = 1024


@pytest.fixture(scope="module")
def stored(origin: Miniature, s3: S3Server) -> Miniature:
    """The origin, in a real S3 server."""
    s3.upload(origin.root, "kinetics/line/600")
    return origin


def mirror_of(line: BadLine) -> dict[str, Any]:
    options = {"anon": True, "endpoint_url": line.url}
    return {"mirror": "s3://kinetics/line/600", "mirror_options": options}


NORMAL = [("cut", 14), ("reset", 20)]
LONG = [(harm, kib) for harm in ("cut", "reset") for kib in (*range(5, 14), *range(15, 20), 21, 22)]


@pytest.mark.parametrize(
    ("harm", "kib"),
    [*NORMAL, *(pytest.param(*case, marks=pytest.mark.slow) for case in LONG)],
)
def test_a_line_that_breaks_every_so_many_kib_brings_the_same_bytes(
    harm: str, kib: int, stored: Miniature, s3: S3Server, data_dir: str, note: Note
) -> None:
    with BadLine(s3.url, kib * KIB, harm) as line:
        options = {"data_dir": data_dir, "classes": "zumba", **mirror_of(line)}
        result = fetch(patience_seconds=30, **options)
        assert line.harmed > 0
        assert result.recovered, result
        whole = (stored.root / "train/zumba.tar.gz").stat().st_size
        twice = max(line.passed_bytes - whole, 0)
    wanted = {k: v for k, v in expected(stored, "train").items() if "/zumba/" in k}
    assert_whole(data_dir, wanted)
    note(f"{harm} every k KiB", recovered=1, bytes_twice=twice, seconds=result.seconds)


@pytest.mark.parametrize("harm", ["stall", "trickle"])
def test_a_line_that_stalls_or_trickles_brings_the_same_bytes(
    harm: str,
    stored: Miniature,
    s3: S3Server,
    data_dir: str,
    note: Note,
) -> None:
    with BadLine(s3.url, 14 * KIB, harm, most=3) as line:
        result = fetch(
            patience_seconds=60,
            request_seconds=4,  # on a busy machine, an answer takes a second or more
            data_dir=data_dir,
            **mirror_of(line),
        )
        assert line.harmed > 0
    assert result.recovered, result
    assert_whole(data_dir, expected(stored, "train"))
    note(harm, recovered=1, seconds=result.seconds)


def test_a_line_that_stalls_for_ever_is_given_up_in_bounded_time(
    stored: Miniature, s3: S3Server, data_dir: str, note: Note
) -> None:
    options: dict[str, Any] = {"data_dir": data_dir}
    with BadLine(s3.url, 3 * KIB, "stall") as line:
        result = fetch(patience_seconds=0.2, request_seconds=0.3, **options, **mirror_of(line))
        assert isinstance(result.error, MirrorUnreachableError)
        assert result.seconds < 15
    assert_intact(data_dir, expected(stored, "train"))
    with BadLine(s3.url, 0, "cut", most=0) as line:
        # On a busy machine, an answer takes a second or more.
        again = fetch(patience_seconds=60, request_seconds=10, **options, **mirror_of(line))
        assert again.recovered, again
    assert_whole(data_dir, expected(stored, "train"))
    note("stall for ever", refused=1, said=result.said, seconds=result.seconds)


@pytest.mark.parametrize(
    ("fault", "mirror"),
    [
        ("no TLS where TLS is expected", "https://{address}/600"),
        ("no TLS where TLS is expected", "s3://kinetics/600"),
        ("a name that is in no DNS", "http://no-such-host.invalid/600"),
        ("nobody listens", "http://127.0.0.1:9/600"),
    ],
)
def test_a_mirror_out_of_reach_is_one_clear_error(
    fault: str, mirror: str, s3: S3Server, data_dir: str, note: Note
) -> None:
    address = s3.url.partition("://")[2]
    options: dict[str, Any] = {"mirror": mirror.format(address=address)}
    if mirror.startswith("s3"):
        options["mirror_options"] = {"endpoint_url": f"https://{address}"}
    result = fetch(request_seconds=3, data_dir=data_dir, **options)
    assert isinstance(result.error, MirrorUnreachableError), result
    assert "Check the network" in str(result.error)
    assert result.seconds < 15
    note(fault, refused=1, said=result.said, seconds=result.seconds)


def test_a_certificate_of_nobody_is_refused(origin: Miniature, data_dir: str, note: Note) -> None:
    with faulty_host(origin.root.parent, tls=TLS_CONTEXT) as host:
        result = fetch(data_dir=data_dir, **host.mirror_of("http"))
        assert host.requests == []
    assert isinstance(result.error, MirrorUnreachableError)
    assert "CERTIFICATE_VERIFY_FAILED" in str(result.error)
    note("a certificate of nobody", refused=1, said=result.said, seconds=result.seconds)
