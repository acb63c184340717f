"""Chromium as the system has it, without a window, and what a page must not do in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest


def playwright() -> Any:
    """Return playwright's module; skip what asks for it where it or Chromium is missing."""
    module = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install '.[browser]'"
    )
    if _path() is None:
        pytest.skip("Chromium is not installed: apt-get install chromium", allow_module_level=True)
    return module


def _path() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def start_chromium() -> Iterator[Any]:
    """Start Chromium; skip if it cannot be."""
    with playwright().sync_playwright() as driver:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]  # root, and small /dev/shm
        browser = driver.chromium.launch(executable_path=_path(), args=arguments)
        yield browser
        browser.close()


def watch(page: Any) -> list[str]:
    """Return the list that gets whatever the page does and must not do."""
    wrong: list[str] = []

    def request(request: Any) -> None:
        if urlsplit(request.url).scheme not in {"file", "data", "blob"}:
            wrong.append(f"network: {request.url}")

    def failed(request: Any) -> None:
        if request.resource_type != "media" or request.failure != "net::ERR_ABORTED":  # left early
            wrong.append(f"failed: {request.url[:200]} {request.failure}")

    def console(message: Any) -> None:
        if message.type in {"error", "warning"}:
            wrong.append(f"{message.type}: {message.text}")

    page.on("request", request)
    page.on("requestfailed", failed)
    page.on("console", console)
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    return wrong
