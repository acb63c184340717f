"""Keys, passwords, cookies and signatures: none in a log, a message, a file or a pickle."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

import kinetics600
from k600.errors import Kinetics600Error
from k600.miniature import Miniature
from k600.publish.options import PublishOptions
from k600.publish.run import publish
from tests.faults.host import Answer, Host
from tests.faults.trial import Note
from tests.hub import loopback_hub
from tests.servers import LOOPBACK
from tests.youtube_replica import youtube_replica
from tests.youtube_videos import good_video

WORD = "hush0Secret1Word2"
"""What no one may ever see."""


@pytest.fixture
def everything(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Iterator[list[str]]:
    """Collect what was said; at the end look for the word there, in every file and every name."""
    caplog.set_level(logging.DEBUG, logger="kinetics600")
    said: list[str] = []
    yield said
    out, err = capfd.readouterr()
    for text in (*said, caplog.text, out, err):
        assert WORD not in text, text[max(text.index(WORD) - 300, 0) :][:600]
    for path in tmp_path.rglob("*"):
        if path.name == "cookies.txt" or "host" in path.relative_to(tmp_path).parts[:1]:
            continue  # the user's own file
        assert WORD not in str(path)
        assert not path.is_file() or WORD.encode() not in path.read_bytes(), path


def use(everything: list[str], tmp_path: Path, **options: Any) -> Any:
    """Load and do all that writes something; collect errors as a user would see them."""
    places = {"data_dir": str(tmp_path / "clips"), "cache_dir": str(tmp_path / "cache")}
    try:
        ds = kinetics600.load_dataset("train", **places, **options)
    except Kinetics600Error as error:
        everything += [str(error), repr(error), *traceback.format_exception(error)]
        return None
    kinetics600.save_manifest(ds, tmp_path / "chosen.csv")
    kinetics600.gallery(ds, str(tmp_path / "page.html"))
    everything += [repr(ds), repr(ds.info), str(ds.cache_files), ds._fingerprint]
    everything.append(pickle.dumps(ds).decode("latin-1"))
    return ds


KEYS = {"key": "AKIA0000", "secret": WORD, "token": WORD}


@pytest.mark.parametrize("status", [200, 403, 302])
def test_the_keys_of_a_bucket(
    status: int, everything: list[str], host: Host, tmp_path: Path, note: Note
) -> None:
    def answer(answer: Answer) -> None:
        if status != 200 and answer.path.endswith(".tar.gz"):
            answer.say(status, b"", Location=f"{host.url}/other?X-Amz-Signature={WORD}")

    host.fault = answer
    options = {**KEYS, "endpoint_url": host.url}
    ds = use(everything, tmp_path, mirror="s3://kinetics/600", mirror_options=options)
    assert (ds is not None) == (status == 200)
    note("keys of a bucket", refused=1)


@pytest.mark.parametrize("status", [200, 302])
def test_a_web_mirror_s_password_headers_and_signatures(
    status: int, everything: list[str], host: Host, tmp_path: Path, note: Note
) -> None:
    def answer(answer: Answer) -> None:
        if status == 302 and answer.path.endswith(".tar.gz") and "signed" not in answer.path:
            location = f"{host.url}/signed/x.tar.gz?X-Amz-Signature={WORD}"
            answer.say(302, b"", Location=location)
        elif status != 200 and answer.path.endswith(".tar.gz"):
            answer.say(status if status != 302 else 403, b"")

    host.fault = answer
    url = host.url.replace("://", f"://me:{WORD}@")
    options = {"headers": {"X-Token": WORD}, "cookies": {"session": WORD}}
    ds = use(everything, tmp_path, mirror=f"{url}/600", mirror_options=options)
    assert (ds is not None) == (status == 200)
    note("password of a web mirror", refused=1)


@pytest.mark.parametrize(
    "options",
    [
        {
            "mirror": "s3://kinetics/600",
            "mirror_options": {**KEYS, "endpoint_url": f"http://me:{WORD}@{LOOPBACK}:9"},
        },
        {
            "mirror": "s3://kinetics/600",
            "mirror_options": {
                **KEYS,
                "endpoint_url": f"http://{LOOPBACK}:9",
                "config_kwargs": {"proxies": {"http": f"http://me:{WORD}@{LOOPBACK}:9"}},
            },
        },
        {"mirror": f"http://me:{WORD}@{LOOPBACK}:9/600"},
        {
            "mirror": f"http://{LOOPBACK}:9/600",
            "mirror_options": {"client_kwargs": {"auth": WORD}},
        },
        {"mirror": f"http://me:{WORD}@no-such-host.invalid/600?token={WORD}"},
        {"mirror": f"nosuch://me:{WORD}@host/600"},
        {"mirror": "s3://kinetics/600", "mirror_options": {"no_such_option": WORD}},
        {"mirror": f"ftp://me:{WORD}@{LOOPBACK}:9/600"},
        {"data_dir": f"s3://me:{WORD}@bucket/x"},
    ],
)
def test_a_mirror_that_cannot_be_reached_or_opened(
    options: dict[str, Any], everything: list[str], tmp_path: Path
) -> None:
    try:
        everything.append(str(use(everything, tmp_path, **options)))
    except TypeError:  # data_dir is given twice
        with pytest.raises(Kinetics600Error) as caught:
            kinetics600.load_dataset("train", **options)
        everything.append(str(caught.value))
    assert everything


def test_the_address_of_the_labels(
    everything: list[str], host: Host, origin: Miniature, tmp_path: Path
) -> None:
    labels = f"{host.url}/kinetics600.tar.gz?X-Amz-Signature={WORD}"
    options = {"mirror": str(origin.root), "test_labels": labels}
    ds = kinetics600.load_dataset(
        "test",
        data_dir=str(tmp_path / "clips"),
        cache_dir=str(tmp_path / "cache"),
        **options,
    )
    everything.append(str(ds.info))


@pytest.mark.parametrize("good", [True, False])
def test_cookies_and_the_password_of_a_proxy(
    good: bool, everything: list[str], origin: Miniature, tmp_path: Path, note: Note
) -> None:
    cookies = tmp_path / "cookies.txt"
    cookies.write_text(
        f"# Netscape HTTP Cookie File\n.youtube.com\tTRUE\t/\tTRUE\t2147483647\tSID\t{WORD}\n"
    )
    with youtube_replica() as youtube:
        for name in origin.clips["train"]["zumba"]:
            youtube.videos[name[:11]] = good_video(96, 64, 5, seconds=600)
        proxy = youtube.url if good else f"http://{LOOPBACK}:9"
        ds = use(
            everything,
            tmp_path,
            classes="zumba",
            max_samples=1,
            source="youtube",
            mirror=str(origin.root),
            cookies=str(cookies),
            proxy=proxy.replace("://", f"://me:{WORD}@"),
            patience_seconds=0,
            yt_dlp_options={"nocheckcertificate": True, "socket_timeout": 2},
        )
        assert (ds is not None) == good
        if good:
            assert any(WORD in request.cookie for request in youtube.requests)
    note("cookies and a proxy's password", refused=1)


def test_the_token_of_the_hub(
    everything: list[str],
    origin: Miniature,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    note: Note,
) -> None:
    monkeypatch.setattr("k600.publish.hub.FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    request = kinetics600.make_request(
        "train", mirror=str(origin.root), data_dir=str(tmp_path / "clips")
    )
    with loopback_hub() as hub:
        for endpoint in (hub.url, f"http://{LOOPBACK}:9"):
            with pytest.raises(Kinetics600Error) as caught:
                how = PublishOptions(token=f"hf_{WORD}")
                publish(request, "owner/clips", how, endpoint=endpoint)
            everything += [str(caught.value), *traceback.format_exception(caught.value)]
    note("token of the Hub", refused=1)


def test_a_stream_carries_the_keys_that_its_workers_need_and_shows_them_to_nobody(
    everything: list[str], host: Host, tmp_path: Path
) -> None:
    options = {**KEYS, "endpoint_url": host.url}
    ds = datasets.load_dataset(
        "kinetics600",
        "train",
        streaming=True,
        data_dir=str(tmp_path / "clips"),
        cache_dir=str(tmp_path / "cache"),
        mirror="s3://kinetics/600",
        mirror_options=options,
    )["train"]
    everything += [repr(ds), str(ds), repr(ds.state_dict()), repr(ds.info)]
    assert next(iter(ds))["youtube_id"]
