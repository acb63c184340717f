"""The way to the web: proxies, certificates, and what goes to no other host, on real servers."""

from __future__ import annotations

import gzip
import http.server
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from yt_dlp import YoutubeDL
from yt_dlp.networking.exceptions import RequestError

from k600.errors import (
    DestinationError,
    ListError,
    MirrorDeniedError,
    MirrorError,
    MirrorUnreachableError,
    OptionError,
)
from k600.loading.request import make_request
from k600.miniature import Miniature, make_miniature
from k600.mirror.mirror import Mirror
from k600.network import _CERTIFICATES, Network, read_network
from k600.publish.destination import FileDestination
from k600.publish.hub import HubDestination
from k600.youtube.options import yt_dlp_params
from tests.conftest import Load, contents, expected
from tests.hub import TOKEN, loopback_hub
from tests.servers import LOOPBACK, S3Server, serving, web_server
from tests.web_proxy import web_proxy
from tests.youtube_replica import CERTIFICATE, TLS_CONTEXT

DATA = os.urandom(2_000_000)
USER = "me:p%40ss word"  # as it stands in an address: its @ is percent-encoded
SENT = "me:p@ss word"

Setenv = Callable[..., None]


@pytest.fixture(autouse=True)
def setenv(monkeypatch: pytest.MonkeyPatch) -> Setenv:
    """Begin with an environment that says nothing of the network; returns what sets it."""
    for name in [*os.environ]:
        if name.lower().endswith("_proxy") or name in _CERTIFICATES:
            monkeypatch.delenv(name)

    def setenv(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return setenv


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Miniature:
    return make_miniature(tmp_path_factory.mktemp("host"), classes=["surfing water", "zumba"])


@pytest.fixture
def authority(tmp_path: Path) -> str:
    """The file of the certificate that the encrypted servers on loopback show."""
    path = tmp_path / "authority.pem"
    path.write_bytes(CERTIFICATE)
    return str(path)


@pytest.fixture
def encrypted(host: Miniature) -> Iterator[str]:
    with web_server(host.root.parent, tls=TLS_CONTEXT) as server:
        yield server.url


@pytest.fixture
def plain(host: Miniature) -> Iterator[str]:
    with web_server(host.root.parent) as server:
        yield server.url


def read(mirror: Mirror, path: str) -> bytes:
    with mirror.open(path) as raw:
        return b"".join(iter(lambda: raw.read(1 << 16), b""))


# ---------------------------------------------------------------- what the environment says


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("*", "http://a.test", True),
        ("a.test", "http://a.test", True),
        ("a.test", "http://b.a.test/x", True),
        (".a.test", "http://b.a.test", True),
        ("*.a.test", "http://b.a.test", True),
        ("a.test", "http://ba.test", False),
        ("A.Test", "https://a.TEST", True),
        ("other, a.test", "http://a.test", True),
        ("other a.test", "http://a.test", True),
        ("a.test:8080", "http://a.test:8080", True),
        ("a.test:8080", "http://a.test", False),
        ("a.test:443", "https://a.test", True),
        ("10.0.0.0/8", "http://10.1.2.3:80", True),
        ("10.0.0.0/8", "http://11.1.2.3", False),
        ("10.0.0.0/8", "http://a.test", False),
        ("127.0.0.1", "http://127.0.0.1:9", True),
        ("::1", "http://[::1]:9", True),
        ("[::1]:9", "http://[::1]:9", True),
        ("fd00::/8", "http://[fd12::1]", True),
        ("", "http://a.test", False),
    ],
)
def test_no_proxy_names_hosts_in_all_usual_ways(
    setenv: Setenv, no_proxy: str, url: str, direct: bool
) -> None:
    setenv(ALL_PROXY="http://proxy.test:3128", NO_PROXY=no_proxy)
    assert (read_network().proxy_for(url) is None) is direct


@pytest.mark.parametrize(
    ("variables", "http", "https"),
    [
        ({}, None, None),
        ({"HTTP_PROXY": "http://p:1"}, "http://p:1", None),
        ({"https_proxy": "http://p:1"}, None, "http://p:1"),
        ({"ALL_PROXY": "p:1"}, "http://p:1", "http://p:1"),
        ({"all_proxy": "http://p", "HTTPS_PROXY": "https://q"}, "http://p:80", "https://q:443"),
        ({"HTTPS_PROXY": "http://p:1", "https_proxy": "http://q:2"}, None, "http://q:2"),
        ({"https_proxy": "http://u:secret@p:1"}, None, "http://p:1"),
    ],
)
def test_a_proxy_is_named_in_either_case_for_a_scheme_or_for_all(
    setenv: Setenv, variables: dict[str, str], http: str | None, https: str | None
) -> None:
    setenv(**variables)
    network = read_network()
    for url, proxy in (("http://a.test", http), ("https://a.test", https)):
        found = network.proxy_for(url)
        assert (found and str(found)) == proxy
        assert "secret" not in repr((network, found))


@pytest.mark.parametrize("proxy", ["socks5://me:secret@p:1080", "http://p:port", "me:secret@"])
def test_a_proxy_that_cannot_be_used_is_named_and_not_gone_round(
    setenv: Setenv, plain: str, proxy: str
) -> None:
    setenv(ALL_PROXY=proxy)
    with pytest.raises(OptionError, match="ALL_PROXY: .*expected a proxy such as") as caught:
        Mirror(f"{plain}/600").head("val/k600_val_path.txt")
    assert "secret" not in str(caught.value)


def test_certificates_that_cannot_be_read_are_named(setenv: Setenv, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for path in (tmp_path / "nosuch.pem", tmp_path / "empty.pem"):
        setenv(REQUESTS_CA_BUNDLE=str(path))
        with pytest.raises(OptionError, match=f"REQUESTS_CA_BUNDLE: '{path}' .*PEM"):
            read_network().tls()


def test_botocore_gets_one_file_of_all_certificates(authority: str, tmp_path: Path) -> None:
    folder = tmp_path / "certificates"
    folder.mkdir()
    (folder / "one.pem").write_bytes(CERTIFICATE)
    assert Network({}).bundle() is None
    assert Network({}, certificates=(("SSL_CERT_FILE", authority),)).bundle() == authority
    several = (("SSL_CERT_DIR", str(folder)), ("CURL_CA_BUNDLE", authority))
    bundle = Network({}, certificates=several).bundle()
    assert bundle is not None
    assert Path(bundle).read_bytes().count(b"BEGIN CERTIFICATE") == 2
    ssl.create_default_context(cafile=bundle)


# ------------------------------------------------------------------ all ways out go that way


def test_a_load_goes_through_the_proxy_lists_labels_and_tarballs(
    setenv: Setenv,
    host: Miniature,
    encrypted: str,
    authority: str,
    load: Load,
    folders: dict[str, Any],
    far: None,
) -> None:
    with web_proxy({"mirror.test": encrypted}, user=SENT) as proxy:
        setenv(HTTPS_PROXY=proxy.with_user(USER), SSL_CERT_FILE=authority)
        options = {"mirror": "https://mirror.test/600"}
        options["test_labels"] = "https://mirror.test/kinetics600.tar.gz"
        labels = load("test", **options)["test"]["label"]
        load("train", **options)
        assert proxy.requests == [("CONNECT", "mirror.test:443")] * len(proxy.requests)
        assert not proxy.refused
    assert sum(label is not None for label in labels) == sum(
        label is not None for label in host.labels.values()
    )
    stored = contents(folders["data_dir"])
    assert {n: d for n, d in stored.items() if n.startswith("train/")} == expected(host, "train")


def test_a_proxy_for_http_is_asked_with_whole_addresses(
    setenv: Setenv, host: Miniature, plain: str
) -> None:
    with web_proxy({"mirror.test": plain}, user=SENT) as proxy:
        setenv(http_proxy=proxy.with_user(USER))
        mirror = Mirror("http://mirror.test/600")
        tarball = read(mirror, "train/zumba.tar.gz")
        assert tarball == (host.root / "train/zumba.tar.gz").read_bytes()
        assert mirror.head("train/zumba.tar.gz").size_bytes == len(tarball)
        methods = {method for method, _ in proxy.requests}
        assert methods == {"GET", "HEAD"}
        assert proxy.hosts() == {"mirror.test:80"}
        assert not proxy.refused


def test_what_no_proxy_names_is_asked_directly(
    setenv: Setenv, plain: str, encrypted: str, authority: str
) -> None:
    with web_proxy({}) as proxy:
        setenv(ALL_PROXY=proxy.url, NO_PROXY="127.0.0.0/8", CURL_CA_BUNDLE=authority)
        for url in (plain, encrypted):
            assert read(Mirror(f"{url}/600"), "val/k600_val_path.txt")
            assert Mirror("s3://600", {"anon": True, "endpoint_url": url}).head(
                "train/zumba.tar.gz"
            )
        assert proxy.requests == []
        assert proxy.refused == 0


@pytest.mark.parametrize(
    "mirror",
    [
        Mirror("https://mirror.test/600"),
        Mirror("http://mirror.test/600"),
        Mirror("s3://600", {"anon": True, "endpoint_url": "https://mirror.test"}),
    ],
)
def test_the_wrong_password_of_a_proxy_is_said(
    setenv: Setenv, encrypted: str, mirror: Mirror
) -> None:
    with web_proxy({"mirror.test": encrypted}, user=SENT) as proxy:
        setenv(ALL_PROXY=proxy.with_user("me:wrongSecret"))
        with pytest.raises(MirrorDeniedError, match="proxy .* user and password") as caught:
            mirror.head("val/k600_val_path.txt")
    assert "wrongSecret" not in str(caught.value)


@pytest.mark.parametrize("variable", [name for name in _CERTIFICATES if name != "SSL_CERT_DIR"])
def test_each_name_of_certificates_serves_every_library(
    setenv: Setenv, host: Miniature, encrypted: str, authority: str, variable: str
) -> None:
    with pytest.raises(MirrorUnreachableError, match="[Cc]ertificate"):
        Mirror(f"{encrypted}/600").head("val/k600_val_path.txt")
    setenv(**{variable: authority})
    tarball = (host.root / "train/zumba.tar.gz").read_bytes()
    mirror = Mirror(f"{encrypted}/600")
    assert read(mirror, "train/zumba.tar.gz") == tarball
    s3 = Mirror("s3://600", {"anon": True, "endpoint_url": encrypted})
    assert s3.head("train/zumba.tar.gz").size_bytes == len(tarball)
    assert read(s3, "train/zumba.tar.gz") == tarball


def test_a_folder_of_certificates_serves_s3_too(
    setenv: Setenv, encrypted: str, authority: str
) -> None:
    setenv(SSL_CERT_DIR=str(Path(authority).parent))
    s3 = Mirror("s3://600", {"anon": True, "endpoint_url": encrypted})
    assert s3.head("train/zumba.tar.gz").size_bytes


def test_the_hub_is_reached_through_the_proxy_with_the_same_certificates(
    setenv: Setenv, authority: str
) -> None:
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    try:
        with (
            loopback_hub(tls=TLS_CONTEXT) as hub,
            web_proxy({"mirror.test": hub.url}, user=SENT) as proxy,
        ):
            setenv(HTTPS_PROXY=proxy.with_user(USER), REQUESTS_CA_BUNDLE=authority)
            set_client_factory(default_client_factory)
            hub.url = "https://mirror.test"  # what it calls itself in its answers
            place = HubDestination("owner/clips", private=True, token=TOKEN, endpoint=hub.url)
            place.prepare()
            place.commit("first", {"notes.txt": b"clips"})
            assert hub.files("owner/clips")["notes.txt"] == b"clips"
            assert "mirror.test:443" in proxy.hosts()
            assert not proxy.refused
    finally:
        set_client_factory(default_client_factory)


def test_yt_dlp_trusts_what_openssl_s_variables_name(
    setenv: Setenv, encrypted: str, authority: str
) -> None:
    def ask() -> int:
        with YoutubeDL(
            yt_dlp_params(make_request("train", default_data_dir="/nowhere").youtube)
        ) as downloader:
            return int(downloader.urlopen(f"{encrypted}/600/val/k600_val_path.txt").status)

    with pytest.raises(RequestError, match="CERTIFICATE_VERIFY_FAILED"):
        ask()
    setenv(SSL_CERT_FILE=authority)
    assert ask() == 200


# ------------------------------------------------------------------------ the public bucket


POISON = """
[default]
region = eu-nowhere-9
endpoint_url = http://127.0.0.1:9
credential_process = {python} -c "open('{mark}', 'w')"
ca_bundle = /no/such/bundle.pem
s3 =
    addressing_style = path
    use_accelerate_endpoint = true
"""


@pytest.mark.parametrize("config", [POISON, "[broken\n= nonsense", "[default]\n\tregion"])
def test_the_public_bucket_is_read_without_anybody_s_aws_profile(
    host: Miniature, encrypted: str, authority: str, tmp_path: Path, config: str
) -> None:
    home, mark = tmp_path / "home", tmp_path / "mark"
    (home / ".aws").mkdir(parents=True)
    for name in ("config", "credentials"):
        text = config.format(python=sys.executable, mark=mark)
        (home / ".aws" / name).write_text(text)
    with web_proxy({"kinetics.s3.amazonaws.com": encrypted}) as proxy:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "HTTPS_PROXY": proxy.url,
            "SSL_CERT_FILE": authority,
            "AWS_PROFILE": "nosuch",
            "AWS_ENDPOINT_URL": f"http://{LOOPBACK}:9",
            "AWS_ENDPOINT_URL_S3": f"http://{LOOPBACK}:9",
            "FSSPEC_S3_ENDPOINT_URL": f"http://{LOOPBACK}:9",
            "AWS_DEFAULT_REGION": "eu-nowhere-9",
            "AWS_DEFAULTS_MODE": "auto",
            "AWS_USE_FIPS_ENDPOINT": "true",
            "AWS_USE_DUALSTACK_ENDPOINT": "true",
            "AWS_CA_BUNDLE": authority,
            "AWS_ACCESS_KEY_ID": "AKIAsecret",
            "HTTP_PROXY": proxy.url,  # what is asked of IMDS would come by
        }
        options = {"data_dir": str(tmp_path / "clips"), "cache_dir": str(tmp_path / "cache")}
        code = f"import kinetics600; print(len(kinetics600.load_dataset('train', **{options!r})))"
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env=environment,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) == len(expected(host, "train"))
        assert proxy.hosts() == {"kinetics.s3.amazonaws.com:443"}
    assert not mark.exists()


def test_a_private_bucket_is_read_with_the_profile_as_ever(
    plain: str, tmp_path: Path, setenv: Setenv
) -> None:
    (tmp_path / "config").write_text(f"[profile mine]\nendpoint_url = {plain}\n")
    (tmp_path / "credentials").write_text(
        "[mine]\naws_access_key_id = AKIA\naws_secret_access_key = word\n"
    )
    setenv(
        AWS_CONFIG_FILE=str(tmp_path / "config"),
        AWS_SHARED_CREDENTIALS_FILE=str(tmp_path / "credentials"),
    )
    mirror = Mirror("s3://600", {"profile": "mine"})
    assert mirror.head("train/zumba.tar.gz").size_bytes
    assert "AKIA" in str(mirror.address("train/zumba.tar.gz"))


# ------------------------------------------------------------------ what goes to no other host


SECRET = "hush0Secret1Word2"


@dataclass
class Hosts:
    """A host that sends everybody on to another one, and what each was told."""

    home: str
    elsewhere: str
    told: dict[str, list[str]] = field(default_factory=dict)
    """By name of the host, all headers of each request as text."""


@pytest.fixture
def redirecting(host: Miniature, request: pytest.FixtureRequest) -> Iterator[Hosts]:
    class Teller(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        name, leads_to = "elsewhere", ""

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            hosts.told.setdefault(self.name, []).append(str(self.headers))
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            file = host.root.parent / unquote(self.path).partition("?")[0].lstrip("/")
            data = file.read_bytes() if file.is_file() and not self.leads_to else b""
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            self.send_response(307 if self.leads_to else 206 if found else 200)
            if self.leads_to:
                self.send_header("Location", f"{self.leads_to}{self.path}")
            elif found:
                start, end = int(found[1]), min(int(found[2]) + 1, len(data))
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
                data = data[start:end]
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", '"one"')
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def do_HEAD(self) -> None:
            self.do_GET()

    class Sender(Teller):
        name = "home"

    hosts = Hosts("", "")
    with serving(Teller) as hosts.elsewhere, serving(Sender) as hosts.home:
        Sender.leads_to = hosts.elsewhere
        yield hosts


def nothing_told_elsewhere(hosts: Hosts) -> None:
    assert any(SECRET in headers for headers in hosts.told["home"])
    assert hosts.told["elsewhere"]
    for headers in hosts.told["elsewhere"]:
        assert SECRET not in headers
        assert "x-api-key" not in headers.lower()


SECRETS = [
    {"headers": {"X-Api-Key": SECRET}},
    {"headers": {"Authorization": SECRET, "Cookie": SECRET, "User-Agent": SECRET}},
    {"cookies": {"session": SECRET}},
    {"client_kwargs": {"headers": {"X-Api-Key": SECRET, "Accept": SECRET}}},
    {"client_kwargs": {"cookies": {"session": SECRET}}},
]


@pytest.mark.parametrize("options", SECRETS)
def test_a_redirect_to_another_host_takes_no_header_and_no_cookie_along(
    redirecting: Hosts, host: Miniature, load: Load, options: dict[str, Any], far: None
) -> None:
    labels = f"{redirecting.home}/kinetics600.tar.gz"
    ds = load("test", mirror=f"{redirecting.home}/600", mirror_options=options, test_labels=labels)[
        "test"
    ]
    assert any(label is not None for label in ds["label"])
    nothing_told_elsewhere(redirecting)


def test_a_redirect_of_a_bucket_takes_no_token_along(redirecting: Hosts, host: Miniature) -> None:
    options = {"key": "AKIA", "secret": "word", "token": SECRET, "endpoint_url": redirecting.home}
    mirror = Mirror("s3://600", options)
    assert read(mirror, "train/zumba.tar.gz") == (host.root / "train/zumba.tar.gz").read_bytes()
    assert redirecting.told["elsewhere"]
    with pytest.raises(MirrorError):  # by s3fs, which sends a token and follows nowhere
        Mirror("s3://600", {**options, "requester_pays": True}).head("train/zumba.tar.gz")
    assert any(SECRET in headers for headers in redirecting.told["home"])
    assert not any(SECRET in headers for headers in redirecting.told["elsewhere"])


def test_a_web_server_is_no_destination() -> None:
    place = FileDestination("https://h/600/to", {"headers": {"X-Api-Key": SECRET}})
    with pytest.raises(OptionError, match="a web server takes no files") as caught:
        place.prepare()
    assert SECRET not in str(caught.value)


def test_a_redirect_of_the_hub_takes_no_token_along(redirecting: Hosts) -> None:
    place = HubDestination("a/b", private=True, token=SECRET, endpoint=redirecting.home)
    with pytest.raises(DestinationError, match="who the token is of, and failed"):  # by no Hub
        place.prepare()
    nothing_told_elsewhere(redirecting)


def test_a_host_that_is_led_to_and_refuses_is_named(host: Miniature) -> None:
    class Refuser(http.server.BaseHTTPRequestHandler):
        status, location = 403, ""

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(self.status)
            self.send_header("Location", f"{self.location}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_HEAD(self) -> None:
            self.do_GET()

    with serving(Refuser) as elsewhere:
        sender = type("Sender", (Refuser,), {"status": 302, "location": elsewhere})
        with serving(sender) as home:
            mirror = Mirror(f"{home}/600", {"headers": {"X-Api-Key": SECRET}})
            with pytest.raises(
                MirrorDeniedError, match=f"redirects to {elsewhere}, which gets none"
            ):
                mirror.head("val/k600_val_path.txt")


# --------------------------------------------------------- bytes as they are stored, or the reason


@pytest.mark.parametrize("ranges", [True, False])
def test_a_tarball_that_is_called_content_encoding_gzip_is_read_as_it_is_stored(
    host: Miniature, load: Load, folders: dict[str, Any], ranges: bool
) -> None:
    with web_server(host.root.parent, ranges=ranges, encoding="gzip") as server:
        for options in ({}, {"headers": {"X-Any": "1"}}):  # by plain GETs, and by the file system
            mirror = Mirror(f"{server.url}/600", options)
            tarball = (host.root / "train/zumba.tar.gz").read_bytes()
            assert mirror.head("train/zumba.tar.gz").size_bytes == len(tarball)
            assert read(mirror, "train/zumba.tar.gz") == tarball
        labels = f"{server.url}/kinetics600.tar.gz"
        load("train", mirror=f"{server.url}/600", test_labels=labels)
    assert contents(folders["data_dir"]) == expected(host, "train")


def test_an_object_of_a_bucket_that_is_called_so_is_read_as_it_is_stored(
    host: Miniature, s3: S3Server
) -> None:
    tarball = (host.root / "train/zumba.tar.gz").read_bytes()
    s3.put("kinetics/encoded/zumba.tar.gz", tarball, encoding="gzip")
    for options in (
        s3.options,
        {**s3.options, "requester_pays": False},
    ):  # the second by s3fs alone
        mirror = Mirror("s3://kinetics/encoded", options)
        assert mirror.head("zumba.tar.gz").size_bytes == len(tarball)
        assert read(mirror, "zumba.tar.gz") == tarball


def test_a_list_that_is_stored_gzipped_is_unpacked(host: Miniature, tmp_path: Path) -> None:
    text = (host.root / "val/k600_val_path.txt").read_bytes()
    packed = gzip.compress(text)
    for name, data in {"list": packed, "cut": packed[:-9], "not": packed[:12]}.items():
        (tmp_path / name).write_bytes(data)
    mirror = Mirror(str(tmp_path))
    assert mirror.read_list("list") == text.decode()
    for name, most in (("cut", 1 << 20), ("not", 1 << 20), ("list", len(packed))):
        with pytest.raises(ListError, match="gzip"):
            mirror.read_list(name, most_bytes=most)


def test_a_server_that_packs_what_it_sends_is_refused_for_that_reason(host: Miniature) -> None:
    class Packer(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Encoding", "br")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"3\r\nabc\r\n0\r\n\r\n" if self.command == "GET" else b"")

        def do_HEAD(self) -> None:
            self.do_GET()

    with serving(Packer) as url:
        with pytest.raises(MirrorError, match="Content-Encoding: br and without a length"):
            Mirror(f"{url}/600").head("train/zumba.tar.gz")
