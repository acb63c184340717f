"""Under which circumstances YouTube is asked: what makes another, and that none is a secret."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from k600.errors import OptionError
from k600.loading.request import make_request
from k600.youtube.circumstances import Circumstances, read_facts
from k600.youtube.cookies import Cookies, check_cookies, read_cookies

PROXY = "http://user-country-de:the-password@127.0.0.1:3128"


def cookies(**values: str) -> str:
    lines = [f".youtube.com\tTRUE\t/\tTRUE\t4102444800\t{n}\t{v}\n" for n, v in values.items()]
    return "# Netscape HTTP Cookie File\n" + "".join(lines)


SIGNED_IN = cookies(LOGIN_INFO="the-login", SAPISID="the/secret")


def account_of(text: str, tmp_path: Path) -> str:
    file = tmp_path / "cookies.txt"
    file.write_text(text)
    found = read_cookies(file, None)
    assert found.text.count("\t") == text.count("\t")  # all go along, whoever they sign in
    return found.account


def facts(**options: Any) -> dict[str, str]:
    made = make_request("train", default_data_dir="/nowhere", **options)
    return dict(Circumstances(made.youtube))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("address", {"proxy": PROXY}),
        ("address", {"yt_dlp_options": {"source_address": "127.0.0.1"}}),
        ("clients", {"yt_dlp_options": {"extractor_args": {"youtube": {"player_client": ["tv"]}}}}),
        (
            "clients",
            {
                "yt_dlp_options": {
                    "extractor_args": {"youtube": {"po_token": ["mweb.gvs+the-token"]}}
                }
            },
        ),
        ("runtime", {"yt_dlp_options": {"js_runtimes": {"deno": {"path": "/no/such/deno"}}}}),
        ("account", {"cookies": SIGNED_IN}),
    ],
)
def test_what_an_option_makes_different(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    if "cookies" in options:
        (tmp_path / "cookies.txt").write_text(options["cookies"])
        options = {"cookies": str(tmp_path / "cookies.txt")}
    usual, changed = facts(), facts(**options)
    assert {each for each in usual if usual[each] != changed[each]} == {name}
    assert changed == facts(**options)


def test_what_is_taken_of_a_video_makes_nothing_different() -> None:
    assert facts(short_side=1080, audio=False) == facts()


def test_a_plugin_of_yt_dlp_s_own_folder_makes_the_clients_different(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = facts()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delitem(sys.modules, "yt_dlp_plugins", raising=False)
    monkeypatch.delitem(sys.modules, "yt_dlp_plugins.extractor", raising=False)
    plugins = tmp_path / "yt-dlp/plugins"
    plugins.mkdir(parents=True)
    with zipfile.ZipFile(plugins / "tokens.zip", "w") as file:
        file.writestr("yt_dlp_plugins/extractor/getpot_tokens.py", "")
    after = facts()
    assert {name for name in before if before[name] != after[name]} == {"clients"}


def test_the_ledger_s_text_is_read_back_and_holds_no_secret(tmp_path: Path) -> None:
    (tmp_path / "cookies.txt").write_text(SIGNED_IN)
    further = {"extractor_args": {"youtube": {"po_token": ["mweb.gvs+the-token"]}}}
    options = {"proxy": PROXY, "cookies": str(tmp_path / "cookies.txt"), "yt_dlp_options": further}
    made = make_request("train", default_data_dir="/nowhere", **options)
    here = Circumstances(made.youtube)
    assert {**read_facts(str(here)), "version": here["version"]} == dict(here)
    assert "the" not in str(here)
    assert facts(proxy=PROXY)["address"] == facts(proxy=PROXY.replace("the-", "a-"))["address"]
    assert facts(proxy=PROXY)["address"] != facts(proxy=PROXY.replace("-de", "-fr"))["address"]


def test_a_proxy_of_the_environment_is_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    assert facts()["address"] == "direct"
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    assert facts()["address"] == facts(proxy=PROXY)["address"]


def test_a_proxy_that_only_yt_dlp_can_use_is_an_address_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for url in ("socks5h://127.0.0.1:1080", "127.0.0.1:none"):
        monkeypatch.setenv("ALL_PROXY", url)
        assert facts()["address"] != "direct"
    monkeypatch.setenv("NO_PROXY", "youtube.com")
    assert facts()["address"] == "direct"


@pytest.mark.parametrize(
    ("names", "signed_in"),
    [
        (("LOGIN_INFO", "SAPISID"), True),
        (("LOGIN_INFO", "__Secure-3PAPISID"), True),
        (("LOGIN_INFO",), False),
        (("PREF", "__Secure-3PAPISID"), False),  # what a rotation leaves
    ],
)
def test_cookies_that_sign_in_nobody_are_a_guest_s(
    names: tuple[str, ...], signed_in: bool, tmp_path: Path
) -> None:
    found = account_of(cookies(**dict.fromkeys(names, "a/b")), tmp_path)
    assert (found != "guest") == signed_in


def test_another_account_is_another_and_a_new_login_is_not(tmp_path: Path) -> None:
    again = cookies(LOGIN_INFO="another-login", SAPISID="the/secret")
    known = account_of(SIGNED_IN, tmp_path)
    assert account_of(again, tmp_path) == known
    assert account_of(again.replace("the/", "a/"), tmp_path) != known
    assert read_cookies(None, None) == Cookies("", "guest")


@pytest.mark.parametrize(
    "content", [b"SQLite format 3\0\x80", "# Netscape HTTP Cookie File\n".encode("utf-16"), b"[{}]"]
)
def test_a_file_that_holds_no_cookies_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "cookies.txt"
    file.write_bytes(content)
    with pytest.raises(OptionError, match=r"^cookies: '.*cookies.txt' cannot be read \(it is no "):
        read_cookies(
            make_request("train", default_data_dir="/", cookies=str(file)).youtube.cookies, None
        )


FAR = 2_147_483_647
ODD_LINES = {
    "spaces for tabs": f".youtube.com TRUE / TRUE {FAR} SAPISID the/secret",
    "a field too many": f".youtube.com\tTRUE\t/\tTRUE\t{FAR}\tSAPISID\tthe/secret\t",
    "no time": ".youtube.com\tTRUE\t/\tTRUE\tsoon\tSAPISID\tthe/secret",
    "for HTTP only, and cut off": "#HttpOnly_.youtube.com\tTRUE\t/\tthe/secret",
    "no line of a table": "SAPISID=the/secret",
}


@pytest.mark.parametrize("line", ODD_LINES.values(), ids=ODD_LINES)
def test_a_line_that_is_no_cookie_is_counted_and_never_printed(
    line: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cookies.txt"
    file.write_text(f"{SIGNED_IN.rstrip()}\n{line}\n")
    found = read_cookies(check_cookies(str(file)), None)
    assert found.account == account_of(SIGNED_IN, tmp_path)
    assert found.left_out.startswith("There is no cookie in 1 line of the file")

    file.write_text(f"# Netscape HTTP Cookie File\n{line}\n")
    with pytest.raises(OptionError, match="no cookie that is still good.* 1 line of") as error:
        read_cookies(file, None)
    for said in (*capfd.readouterr(), found.left_out, str(error.value)):
        assert "the/secret" not in said
