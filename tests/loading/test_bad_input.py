"""Each mistake is one error at once, that names the option and what to do; nothing is left."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import Any

import pytest

import kinetics600
from k600.errors import (
    DiskFullError,
    ListError,
    MirrorDeniedError,
    MirrorNotFoundError,
    MirrorUnreachableError,
    OfflineError,
    OptionError,
    StoreError,
    UnknownClassError,
    UnknownSplitError,
)
from k600.miniature import CLASSES, Miniature
from tests.conftest import Load, contents
from tests.servers import S3Server


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("options", "kind", "word"),
    [
        ({"classes": ["surfing watr"]}, UnknownClassError, "'surfing water'"),
        ({"source": "aws"}, OptionError, "source"),
        ({"num_workers": -1}, OptionError, "num_workers"),
        ({"clases": "zumba"}, OptionError, "'classes'"),
        ({"decode": "yes"}, OptionError, "decode"),
        ({"mirror": "http://127.0.0.1:9/600"}, MirrorUnreachableError, "127.0.0.1:9"),
        ({"mirror": "/no/such/folder"}, MirrorNotFoundError, "/no/such/folder"),
        ({"mirror": "nosuch://x"}, OptionError, "mirror"),
        ({"mirror": "s3://my bucket/600"}, OptionError, "my bucket"),
        ({"mirror": __file__}, MirrorNotFoundError, "does not exist"),
    ],
)
def test_a_bad_option(
    load: Load,
    folders: dict[str, Any],
    streaming: bool,
    options: dict[str, Any],
    kind: type[Exception],
    word: str,
) -> None:
    with pytest.raises(kind, match=word) as caught:
        load("validation", streaming=streaming, **options)
    assert isinstance(caught.value, kinetics600.Kinetics600Error)
    assert not contents(folders["data_dir"]) if os.path.isdir(folders["data_dir"]) else True
    shown = "".join(traceback.format_exception(caught.value))
    assert "concurrent" not in shown
    assert "During handling" not in shown
    assert "direct cause" not in shown


@pytest.mark.parametrize(
    "name", ["data_dir", "mirror", "index", "test_labels", "manifest", "cookies_from_browser"]
)
def test_an_empty_text_is_no_default(load: Load, name: str) -> None:
    """Else a variable of the shell that is not set would have the default folder deleted."""
    with pytest.raises(OptionError, match=f"{name}: '' is not allowed"):
        load("validation", **{name: ""})


@pytest.mark.parametrize("options", [{}, {"max_samples": 2}, {"classes": "zumba"}])
def test_no_configuration(load: Load, folders: dict[str, Any], options: dict[str, Any]) -> None:
    with pytest.raises(UnknownSplitError, match="'train', 'validation', 'test', 'all'"):
        load(**options)
    assert not any(files for _, _, files in os.walk(folders["data_dir"]))
    assert not os.path.exists(os.path.join(folders["cache_dir"], "kinetics600"))


def test_an_unknown_configuration(load: Load) -> None:
    with pytest.raises(UnknownSplitError, match="did you mean 'validation'"):
        load("validaton", classes="zumba")
    with pytest.raises(UnknownSplitError, match="did you mean 'validation'"):
        load("val")


def test_a_data_dir_that_cannot_be_used(load: Load, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for bad in (tmp_path / "file", Path("/proc/clips")):
        with pytest.raises(StoreError, match="data_dir"):
            load("train", data_dir=str(bad))


def test_a_data_dir_without_room(
    load: Load, monkeypatch: pytest.MonkeyPatch, folders: dict[str, Any]
) -> None:
    import shutil

    usage = shutil.disk_usage("/")._replace(free=10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DiskFullError, match=r"need .* has 10\.0 kB free"):
        load("train")
    assert contents(folders["data_dir"]) == {}


def test_a_mirror_that_serves_web_pages(own_miniature: Miniature, load: Load) -> None:
    page = b"<!DOCTYPE html>\n<html>please log in</html>\n"
    (own_miniature.root / "train/k600_train_path.txt").write_bytes(page)
    with pytest.raises(ListError, match="HTML.*check the mirror's address"):
        load("train", mirror=str(own_miniature.root))


def test_a_web_page_in_place_of_a_tarball_is_the_line_s_fault(
    own_miniature: Miniature, load: Load, lines: pytest.LogCaptureFixture, folders: dict[str, Any]
) -> None:
    (own_miniature.root / "train/zumba.tar.gz").write_bytes(b"<html>log in</html>")
    assert len(load("train", mirror=str(own_miniature.root))["train"]) == 5
    assert "5  tarball_unreachable" in lines.text
    report = Path(folders["data_dir"], ".kinetics600/reports/train-missing.csv").read_text()
    assert "a web page came instead of a tarball. A log-in page or a proxy may stand" in report


@pytest.mark.parametrize("name", ["train/k600_train_path.txt", "annotations/train.txt"])
def test_a_truncated_list(own_miniature: Miniature, load: Load, name: str) -> None:
    path = own_miniature.root / name
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ListError, match=f"{path.name}.*truncated"):
        load("train", mirror=str(own_miniature.root))


def test_a_mirror_that_denies_access(load: Load, tmp_path: Path) -> None:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        options = {"anon": True, "endpoint_url": f"http://{host}:{port}"}
        keys = {**options, "anon": False, "key": "k", "secret": "s"}
        import s3fs

        fs = s3fs.S3FileSystem(**keys)
        fs.mkdir("kinetics")
        fs.pipe("kinetics/600/train/k600_train_path.txt", b"x\n")
        with pytest.raises(MirrorDeniedError, match="refused.*mirror_options"):
            load("train", mirror="s3://kinetics/600", mirror_options=options)
    finally:
        server.stop()


def test_a_bucket_that_is_not_there(load: Load, s3: S3Server) -> None:
    with pytest.raises(MirrorNotFoundError, match="does not exist"):
        load("train", mirror="s3://no-such-bucket/600", mirror_options=s3.options)


def test_one_class_that_the_mirror_does_not_have(load: Load) -> None:
    with pytest.raises(MirrorNotFoundError, match="yoga.tar.gz does not exist"):
        load("train", classes="yoga")


def test_test_classes_without_the_list_of_labels(load: Load) -> None:
    with pytest.raises(OfflineError, match="classes: .* test_labels=…"):
        load("test", classes=CLASSES[0], test_labels="/no/such.csv")


def test_labels_that_are_none(load: Load, tmp_path: Path) -> None:
    (tmp_path / "wrong.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ListError, match="test_labels: .*its columns are"):
        load("test", test_labels=str(tmp_path / "wrong.csv"))


def test_nothing_in_the_store_and_no_network(load: Load) -> None:
    with pytest.raises(kinetics600.Kinetics600Error, match="not one of the clips.*source='auto'"):
        load("train", source="local")


def test_decoding_without_torchcodec(load: Load) -> None:
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, RuntimeError, OSError):
        with pytest.raises(ImportError, match=r"decode: .*pip install torch torchcodec"):
            load("train", decode=True)
    else:
        decoder = load("train", decode=True)["train"][0]["video"]
        assert len(decoder) == 50
        assert tuple(decoder[0].shape) == (3, 96, 128)
