"""The fleet on a real Ray cluster of two nodes, one of which is lost in the middle of a run.

`.ci/run` runs this where Ray installs; README's test command leaves it out.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kinetics600
from k600.fleet.options import FleetOptions
from k600.fleet.run import Fleet, run_fleet
from k600.miniature import Miniature
from tests.fleets import made, stored, wait_for
from tests.servers import S3Server, web_server

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own


class Cluster:
    """Two nodes of one CPU each."""

    def __init__(self) -> None:
        size = {"num_cpus": 1, "object_store_memory": 100 << 20, "memory": 4 << 30}
        self._cluster = cluster_utils.Cluster(
            initialize_head=True, head_node_args={**size, "include_dashboard": False}
        )
        self._second = self._cluster.add_node(**size)
        ray.init(address=self._cluster.address, log_to_driver=False)

    def lose_a_node(self) -> None:
        self._cluster.remove_node(self._second, allow_graceful=False)

    def close(self) -> None:
        ray.shutdown()
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.close()


def run(to: Path | str, host: Miniature, *, executor: str, **options: Any) -> Fleet:
    place = {"to": str(to), "to_options": options.pop("to_options", {})}
    wanted = {"mirror": str(host.root), "data_dir": "/nonexistent", **options}
    return run_fleet(
        kinetics600.make_request("train", **wanted),
        FleetOptions(**place, executor=executor, workers=2, tasks=4, shards_multiple_of=4),
    )


@pytest.mark.timeout(300)
def test_two_nodes_make_the_same_bytes_as_this_machine(
    cluster: Cluster, s3: S3Server, miniature: Miniature
) -> None:
    s3.make_bucket("fleet")
    options = {"mirror": "s3://kinetics/600", "mirror_options": {"endpoint_url": s3.url}}
    done = run("s3://fleet/ray", miniature, executor="ray", to_options=s3.options, **options)
    assert (done.splits[0].clips, done.splits[0].shards) == (30, 4)
    assert done.splits[0].fetched_tarballs == 6
    run("s3://fleet/x/ray", miniature, executor="local", to_options=s3.options, **options)
    there = stored(s3, "fleet/ray")
    assert there == stored(s3, "fleet/x/ray")
    again = run("s3://fleet/ray", miniature, executor="ray", to_options=s3.options, **options)
    assert again.splits[0].fetched_tarballs == 0
    assert stored(s3, "fleet/ray") == there


@pytest.mark.timeout(300)
def test_what_a_lost_node_had_in_hand_is_done_by_the_other(
    cluster: Cluster, miniature: Miniature, tmp_path: Path
) -> None:
    held: set[str] = set()
    gate = threading.Event()

    def hold(method: str, path: str) -> None:
        if method == "GET" and path.endswith(".tar.gz"):
            held.add(path)
            gate.wait(200)

    found: list[Fleet] = []
    with web_server(miniature.root.parent, hold=hold) as server:
        mirror = {"mirror": f"{server.url}/600"}

        def work() -> None:
            found.append(run(tmp_path / "a", miniature, executor="ray", **mirror))

        thread = threading.Thread(target=work)
        thread.start()
        wait_for(lambda: len(held) == 2)  # one on each node
        cluster.lose_a_node()
        gate.set()
        thread.join(200)
        assert found
        assert found[0].splits[0].clips == 30
        again = run(tmp_path / "a", miniature, executor="ray", **mirror)
        assert again.splits[0].fetched_tarballs == 0
    run(tmp_path / "b/a", miniature, executor="local")
    assert made(tmp_path / "a") == made(tmp_path / "b/a")
