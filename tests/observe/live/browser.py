"""A real Chromium on the page: Debian's, headless, with a fresh profile."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from tests.observe.live.stage import ROOT, program, wait_for

__all__ = ["Browser", "chromium"]

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
)


class Browser:
    """What a test asks of it."""

    def __init__(self, driver: webdriver.Chrome, folder: Path) -> None:
        self.driver = driver
        self._folder = folder

    def open(self, url: str) -> None:
        self.driver.get(url)

    def run(self, script: str) -> Any:  # noqa: ANN401 - JavaScript's
        """What JavaScript returns."""
        return self.driver.execute_script(script)

    def text(self, selector: str) -> str:
        """The text of an element; empty if it is not there."""
        return str(self.run(f"return document.querySelector({selector!r})?.innerText ?? ''"))

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for the page."""
        wait_for(condition, f"{what}; the page says: {self.text('body')[:1500] if condition else ''}")

    def size(self, width: int, height: int = 1000) -> None:
        """As if the window were so large."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def scheme(self, name: str) -> None:
        """Light or dark."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def keep(self, name: str) -> Path:
        """A screenshot of the whole page; CI keeps `build/screenshots`."""
        width, height = self.run("return [innerWidth, document.documentElement.scrollHeight]")
        self.size(width, height)
        path = self._folder / f"{name}.png"
        self.driver.save_screenshot(str(path))
        self.size(width)
        return path

    def complaints(self) -> list[str]:
        """What stands in the console since the last time."""
        return [entry["message"] for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """A browser that ends with the block. Without Chromium the test is skipped; in CI it fails."""
    binary, driver = program("chromium", "chromium-browser", "google-chrome"), program("chromedriver")
    kept = ROOT / "build" / "screenshots" if os.environ.get("CI") == "true" else folder
    kept.mkdir(parents=True, exist_ok=True)
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*_FLAGS, f"--user-data-dir={folder / 'profile'}", "--window-size=1320,1000"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    running = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield Browser(running, kept)
    finally:
        running.quit()
