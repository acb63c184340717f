from __future__ import annotations

import os
from pathlib import Path

import pytest

from k600.mirror.identity import mirror_identity
from k600.mirror.mirror import Mirror

PUBLIC = [
    "s3://kinetics/600",
    "s3://kinetics/600/",
    "s3a://kinetics/600",
    "https://s3.amazonaws.com/kinetics/600",
    "https://S3.Amazonaws.com:443/kinetics/600//",
    "http://s3.amazonaws.com/kinetics/600",
    "https://s3.us-east-1.amazonaws.com/kinetics/600",
    "https://s3-us-west-2.amazonaws.com/kinetics/600",
    "https://s3.dualstack.us-east-1.amazonaws.com/kinetics/600",
    "https://kinetics.s3.amazonaws.com/600",
    "https://kinetics.s3.us-east-1.amazonaws.com/600/",
    "https://user:secret@kinetics.s3.amazonaws.com/600?X-Amz-Signature=secret",
]


@pytest.fixture(autouse=True)
def no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("url", PUBLIC)
def test_a_public_bucket_has_one_identity_however_it_is_spelled(url: str) -> None:
    assert mirror_identity(url, {}) == "s3://kinetics/600"


@pytest.mark.parametrize(
    ("url", "options", "identity"),
    [
        ("s3://kinetics", {}, "s3://kinetics"),
        ("s3://Kinetics/600", {"key": "k", "secret": "s"}, "s3://Kinetics/600"),
        ("s3://a.dotted.bucket/600", {}, "s3://a.dotted.bucket/600"),
        ("https://a.dotted.bucket.s3.amazonaws.com/600", {}, "s3://a.dotted.bucket/600"),
        (
            "https://s3.cn-north-1.amazonaws.com.cn/b",
            {},
            "https://s3.cn-north-1.amazonaws.com.cn/b",
        ),
        ("https://not-s3.amazonaws.com.example/b", {}, "https://not-s3.amazonaws.com.example/b"),
        ("s3://b/600", {"endpoint_url": "http://HOST:8333/"}, "http://host:8333/b/600"),
        ("s3://b/600", {"endpoint_url": "http://u:p@host:8333"}, "http://host:8333/b/600"),
        ("s3://b/600", {"client_kwargs": {"endpoint_url": "http://host"}}, "http://host/b/600"),
        ("http://host:8333/b/600", {}, "http://host:8333/b/600"),
        ("s3://b/600", {"endpoint_url": "https://s3.us-east-1.amazonaws.com"}, "s3://b/600"),
        ("HTTPS://user:secret@Example.org:443/x/?token=secret", {}, "https://example.org/x"),
        ("https://example.org:8443/A%20b", {}, "https://example.org:8443/A b"),
        ("http://example.org/x", {}, "http://example.org/x"),
        ("http://example.org:port/x?secret", {}, "http://example.org:port/x"),
        ("s3://b/600", {"client_kwargs": "odd"}, "s3://b/600"),
        ("gcs://b/600", {}, "gs://b/600"),
        ("abfs://b/600", {"account_name": "x", "account_key": "y"}, "abfs://b/600#account_name=x"),
        ("simplecache::s3://b/600?secret", {}, "simplecache::s3://b/600"),
    ],
)
def test_another_place_has_another_identity_without_secrets(
    url: str, options: dict[str, object], identity: str
) -> None:
    assert mirror_identity(url, options) == identity
    assert Mirror(url, options).identity == identity


def test_a_folder_is_its_real_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "600").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "600")
    monkeypatch.chdir(tmp_path)
    real = os.path.realpath(tmp_path / "600")
    spellings = ["600", "./600/", str(tmp_path / "600"), (tmp_path / "600").as_uri(), "link"]
    assert {mirror_identity(each, {}) for each in spellings} == {real}


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_an_endpoint_of_the_environment_is_another_place(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "http://localhost:8333")
    assert mirror_identity("s3://lab/600", {}) == "http://localhost:8333/lab/600"
    options = {"endpoint_url": "https://s3.amazonaws.com"}
    assert mirror_identity("s3://lab/600", options) == "s3://lab/600"
    assert mirror_identity("s3://kinetics/600", {}) == "s3://kinetics/600"  # as it is read
    signed = {"key": "k", "secret": "s"}
    assert mirror_identity("s3://kinetics/600", signed) == "http://localhost:8333/kinetics/600"
