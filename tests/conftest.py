"""Fixtures: one miniature host, on disk, over HTTP and in a real S3 server."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

# `datasets` reads these when it is imported.
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="k600-test-hf-")
for name in ("KINETICS600_MIRROR", "KINETICS600_HOME", "HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE"):
    os.environ.pop(name, None)
# A shell that starts the tests in the background has Ctrl-C ignored, for all that they start, too.
signal.signal(signal.SIGINT, signal.default_int_handler)

import datasets
import hypothesis
import pytest

import kinetics600
from k600.cli import main
from k600.miniature import Miniature, make_miniature
from k600.store.store import Store
from tests.servers import LOOPBACK, S3Server, s3_server, web_server

datasets.disable_progress_bars()

# No time limit for an example (the machine may be busy), and always the same examples: whoever
# works on the code looks for new ones with `--hypothesis-profile hunt`.
hypothesis.settings.register_profile("k600", deadline=None, derandomize=True)
hypothesis.settings.register_profile("hunt", deadline=None)
hypothesis.settings.load_profile("k600")

Load = Callable[..., Any]


@pytest.fixture(scope="session")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Miniature:
    return make_miniature(tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="session")
def s3(miniature: Miniature, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("seaweedfs")) as server:
        server.upload(miniature.root, "kinetics/600")
        yield server


@pytest.fixture
def own_miniature(tmp_path: Path) -> Miniature:
    """A miniature that a test may change."""
    return make_miniature(tmp_path / "host", classes=["surfing water", "zumba"], flaws=False)


@pytest.fixture(params=["s3", "http", "file"])
def mirror_options(
    request: pytest.FixtureRequest, miniature: Miniature
) -> Iterator[dict[str, Any]]:
    """The same mirror over three protocols, as options of `load_dataset`."""
    if request.param == "s3":
        server = request.getfixturevalue("s3")
        yield {"mirror": "s3://kinetics/600", "mirror_options": {"endpoint_url": server.url}}
    elif request.param == "http":
        with web_server(miniature.root.parent) as server:
            yield {"mirror": f"{server.url}/600"}
    else:
        yield {"mirror": miniature.root.as_uri()}


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have loopback count as far, so that all is asked for by ranges."""
    monkeypatch.setattr("k600.mirror.source._NEAR_SECONDS", 0.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store, ready to be written to."""
    store = Store.at(tmp_path / "clips")
    store.prepare()
    return store


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have loopback count as near, however busy the machine is."""
    monkeypatch.setattr("k600.mirror.source._NEAR_SECONDS", 60.0)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Any]:
    """`data_dir` and `cache_dir` of a test's own."""
    return {"data_dir": str(tmp_path / "clips"), "cache_dir": str(tmp_path / "cache")}


@pytest.fixture
def load(folders: dict[str, Any], miniature: Miniature) -> Load:
    """`datasets.load_dataset("kinetics600", …)` on the miniature, unless told otherwise."""

    def load_dataset(*args: Any, **options: Any) -> Any:
        defaults = {"mirror": str(miniature.root), "test_labels": str(miniature.test_labels)}
        return datasets.load_dataset("kinetics600", *args, **{**folders, **defaults, **options})

    return load_dataset


def assert_counts_agree(text: str) -> None:
    """Check that one of something is not called by a plural in what a user sees."""
    assert re.findall(_ONE_OF_MANY, text) == []


_ONE_OF_MANY = r"""(?x) .* (?<![\w.,/-]) 1\ (?:more\ |missing\ |\w+ed\ )? (?:
    attempt | class(?=es) | clip | day | file | frame | link | minute | name | row | sample | second
    | shard | tarball | task | test | time | video | worker )(?:s|es)\b .*"""


@pytest.fixture(autouse=True)
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    caplog.set_level(logging.INFO, logger="kinetics600")
    yield caplog
    for record in caplog.get_records("call"):
        if record.name.startswith("kinetics600"):
            assert_counts_agree(record.getMessage())


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it showed."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Ended]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command line in this process, piped: a second and a half quicker than in its own."""

    def command(
        *arguments: object, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Ended:
        loggers = [logging.getLogger(name) for name in (None, *logging.root.manager.loggerDict)]
        levels = [logger.level for logger in loggers]
        capsys.readouterr()
        with (
            pytest.MonkeyPatch.context() as here,
            mock.patch.dict(os.environ, env or {}),
            warnings.catch_warnings(),
        ):
            here.setattr(logging.root, "handlers", [])  # pytest's own, beside which it is silent
            here.setattr(sys, "argv", ["kinetics600", *map(str, arguments)])
            if cwd is not None:
                here.chdir(cwd)
            code: Any = 0
            try:
                main()
            except SystemExit as ended:
                code = ended.code or 0
            finally:  # `--quiet` sets some
                for logger, level in zip(loggers, levels, strict=True):
                    logger.setLevel(level)
        ended = Ended(code, *capsys.readouterr())
        assert_counts_agree(f"{ended.stdout}\n{ended.stderr}")
        return ended

    return command


def contents(folder: Path | str) -> dict[str, bytes]:
    """Return `{path: bytes}` of the clips below a store's folder, without the store's own."""
    root = Path(folder)
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".kinetics600" not in path.parts
    }


def expected(miniature: Miniature, split: str) -> dict[str, bytes]:
    """Return what `contents` must be after a load of the split."""
    found = {}
    for tarball, clips in miniature.clips[split].items():
        for name, data in clips.items():
            label = tarball if split != "test" else miniature.labels[name] or "_unlabeled"
            found[f"{split}/{label}/{name}"] = data
    return found


assert kinetics600.register()


@pytest.fixture
def silent_server() -> Any:
    """A server that takes connections and never says a word."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        yield f"http://{LOOPBACK}:{listener.getsockname()[1]}"


@pytest.fixture
def dear_tarballs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tarballs that are not worth reading where YouTube may be asked, as if they were large."""
    monkeypatch.setattr("k600.loading.cheaper.LITTLE_BYTES", 0)
    monkeypatch.setattr("k600.loading.cheaper.USUAL_BYTES_PER_SECOND", 1e-3)
