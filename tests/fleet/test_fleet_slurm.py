"""The fleet on Slurm: what is handed in, and, where Slurm is installed, a real job on one host."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kinetics600
from k600.errors import MissingDependencyError, OptionError
from k600.fleet.options import FleetOptions
from k600.fleet.run import Fleet, run_fleet
from k600.miniature import Miniature, make_clip, make_tarball
from tests.fleets import made, wait_for
from tests.servers import LOOPBACK, free_port

Run = Callable[..., Fleet]

SBATCH = """#!/bin/sh
echo "$@" >> "$SBATCH_CALLS"
echo "Submitted batch job $(wc -l < "$SBATCH_CALLS")"
"""

CONFIGURATION = """
ClusterName=k600
SlurmctldHost={host}({address})
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
SwitchType=switch/none
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SlurmdParameters=config_overrides
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdSpoolDir={folder}/spool
StateSaveLocation={folder}/state
NodeName={host} NodeAddr={address} CPUs=2 RealMemory=16000
PartitionName=here Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture
def run(miniature: Miniature, tmp_path: Path) -> Run:
    """`run_fleet` of two splits on Slurm, or on this machine."""

    def run(
        to: Path,
        *,
        executor: str = "slurm",
        split: str = "all",
        host: Miniature = miniature,
        shards: int = 4,
        **more: Any,
    ) -> Fleet:
        options = {"mirror": str(host.root), "test_labels": str(host.test_labels)}
        request = kinetics600.make_request(split, data_dir=str(tmp_path / "clips"), **options)
        how = FleetOptions(
            to=str(to),
            to_options={"auto_mkdir": True},
            shards_multiple_of=shards,
            executor=executor,
            workers=2,
            tasks=3,
            logs=str(tmp_path / "logs"),
            executor_options=more,
        )
        return run_fleet(request, how)

    return run


def test_jobs_are_handed_in_that_wait_for_one_another(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/sbatch"
    program.write_text(SBATCH)
    program.chmod(0o755)
    calls = tmp_path / "calls"
    calls.touch()
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SBATCH_CALLS", str(calls))
    done = run(tmp_path / "a", partition="cpu", time="01:00:00", sbatch_args={"account": "lab"})
    assert [split.state for split in done.splits] == ["submitted"] * 3
    assert done.submitted
    given = calls.read_text().splitlines()
    assert len(given) == 12
    assert "--dependency" not in given[0]
    for number, line in enumerate(given[1:], 1):
        assert f"--dependency=afterok:{number} " in line
    (folder,) = (tmp_path / "logs").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in folder.iterdir()} == {
        f"{split}-{stage}"
        for split in ("train", "validation", "test")
        for stage in ("read", "plan", "merge", "end")
    }
    script = (folder / "train-read/launch_script.slurm").read_text()
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    for line in (
        "#SBATCH --partition=cpu",
        "#SBATCH --time=01:00:00",
        "#SBATCH --account=lab",
        "#SBATCH --array=0-2%2",
        "#SBATCH --job-name=kinetics600-train-read",
        "#SBATCH --requeue",
    ):
        assert f"{line}\n" in script
    assert "--qos" not in script
    assert re.search(rf"launch_pickled_pipeline {folder}/train-read/executor.pik\n", script)
    assert "--array=0-0%1\n" in (folder / "train-end/launch_script.slurm").read_text()
    for path in folder.rglob("*"):  # no copy of the options that anyone would come upon
        assert path.suffix == ".pik" or path.is_dir() or "auto_mkdir" not in path.read_text()


def test_wrong_options(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="executor: 'slurm' needs the program sbatch"):
        run(tmp_path / "a", partition="cpu")
    program = tmp_path / "sbatch"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(OptionError, match=r"executor_options: .*'partition'.* is needed"):
        run(tmp_path / "a")
    with pytest.raises(OptionError, match=r"sbatch refused \(exit code 3\)"):
        run(tmp_path / "a", partition="cpu")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Slurm of this host alone, on loopback."""
    for name in ("spool", "state"):
        (tmp_path / name).mkdir()
    configuration = tmp_path / "slurm.conf"
    configuration.write_text(
        CONFIGURATION.format(
            host=socket.gethostname().partition(".")[0],
            address=LOOPBACK,
            ports=(free_port(), free_port()),
            user=getpass.getuser(),
            folder=tmp_path,
        )
    )
    monkeypatch.setenv("SLURM_CONF", str(configuration))
    with contextlib.ExitStack() as stack:
        for name in ("slurmctld", "slurmd"):
            log = stack.enter_context(open(tmp_path / f"{name}.log", "wb"))
            process = subprocess.Popen([name, "-D"], stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            time.sleep(0.5)
        wait_for(lambda: "idle" in said("sinfo", "-h", "-o", "%T"))
        yield


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@pytest.mark.skipif(shutil.which("slurmctld") is None, reason="Slurm is not installed")
@pytest.mark.timeout(300)
def test_a_real_slurm_makes_the_same_bytes_as_this_machine(
    run: Run, cluster: None, tmp_path: Path
) -> None:
    options = {"partition": "here", "time": "00:10:00", "mem_per_cpu_gb": 1}
    run(tmp_path / "a", split="validation", **options)
    wait_for(lambda: not said("squeue", "-h"), seconds=120)
    logs = [path.read_text() for path in (tmp_path / "logs").rglob("*.out")]
    assert (tmp_path / "a/README.md").exists(), logs
    run(tmp_path / "b/a", split="validation", executor="local")
    assert made(tmp_path / "a") == made(tmp_path / "b/a")
    again = run(tmp_path / "a", split="validation", **options)
    assert [split.state for split in again.splits] == ["done"]
    assert not said("squeue", "-h")


@pytest.mark.skipif(shutil.which("slurmctld") is None, reason="Slurm is not installed")
@pytest.mark.timeout(300)
def test_on_slurm_a_damaged_part_is_read_again_by_the_task_that_finds_it(
    run: Run, cluster: None, own_miniature: Miniature, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="number of clips, which is 10"):
        run(tmp_path / "a", executor="local", split="train", host=own_miniature, shards=64)
    own = tmp_path / "a/.kinetics600/train"
    part, other = sorted((own / "parts").iterdir())
    part.write_bytes(bytes(part.stat().st_size))
    name = json.loads((own / f"units/{other.name}.json").read_text())["name"]
    members = {f"newclip{n:04d}_000000_000010.mp4": make_clip(900 + n) for n in range(60)}
    (own_miniature.root / f"train/{name}.tar.gz").write_bytes(make_tarball(members))
    options = {"partition": "here", "time": "00:10:00", "mem_per_cpu_gb": 1}
    run(tmp_path / "a", split="train", host=own_miniature, shards=64, **options)
    wait_for(lambda: not said("squeue", "-h"), seconds=120)
    logs = [path.read_text() for path in (tmp_path / "logs").rglob("*.out")]
    assert (tmp_path / "a/README.md").exists(), logs
    run(tmp_path / "b/a", executor="local", split="train", host=own_miniature, shards=64)
    assert made(tmp_path / "a") == made(tmp_path / "b/a")
