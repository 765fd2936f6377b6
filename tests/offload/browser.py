"""A real Chromium, headless, with a fresh profile."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

__all__ = ["Browser", "chromium"]

BOUND = 30.0
_FLAGS = (
    "--headless",
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--window-size=800,700",
)


class Browser:
    """What a test asks of it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """A page."""
        self.driver.get(url)

    def run(self, script: str, *arguments: object) -> Any:  # noqa: ANN401 - JavaScript's
        """What JavaScript returns; it may be a promise."""
        wrapped = (
            "const done = arguments[arguments.length - 1];"
            f"(async (...args) => {{{script}}})(...arguments).then(done, (e) => done('' + e))"
        )
        return self.driver.execute_async_script(wrapped, *arguments)

    def text(self, selector: str) -> str:
        """The text of the last such element."""
        return str(self.run("return [...document.querySelectorAll(args[0])].at(-1)?.textContent ?? ''", selector))

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for the page."""
        until = time.monotonic() + BOUND
        while not condition():
            assert time.monotonic() < until, f"{what}; the page says: {self.text('main')}"
            time.sleep(0.02)

    def offline(self, *, yes: bool) -> None:
        """Without a network, or with one again."""
        self.driver.execute_cdp_cmd("Network.enable", {})
        conditions = {"offline": yes, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.driver.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)

    def complaints(self) -> list[str]:
        """What stands in the console since the last time."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]


def _program(*names: str) -> str:
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{names[0]} is needed: scripts/services.sh")
        pytest.skip(f"no {names[0]}: scripts/services.sh says how to get it")
    return found


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser that ends with the block. Without Chromium the test is skipped; in CI it fails."""
    options = webdriver.ChromeOptions()
    options.binary_location = _program("chromium", "chromium-browser", "google-chrome")
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(_program("chromedriver")))
    driver.set_script_timeout(BOUND)
    try:
        yield Browser(driver)
    finally:
        driver.quit()
