"""Does the page show what happens? A real Chromium, on a real app, under load."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from selenium.webdriver.common.keys import Keys

from tests.observe.live.browser import Browser, chromium
from tests.observe.live.stage import ADMIN, drive, live_app, upstream

pytestmark = pytest.mark.timeout(120)

PAGE = "/debug/llm-system"
WIDTHS = (375, 800, 1320)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One Chromium for all of these tests."""
    with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The live app, under load until the tests are over."""
    folder = tmp_path_factory.mktemp("app")
    over = threading.Event()
    with upstream(folder) as up, live_app(folder, up) as url:

        def load() -> None:
            while not over.is_set():
                asyncio.run(drive(url, ["/chat", "/stream"], users=6, times=1))

        driving = threading.Thread(target=load)
        driving.start()
        try:
            yield url
        finally:
            over.set()
            driving.join()


@pytest.fixture
def page(browser: Browser, app: str) -> Browser:
    """The page, wide and light, with its first numbers."""
    browser.size(1320)
    browser.scheme("light")
    browser.open(app + PAGE)
    browser.until(lambda: "pool on" in browser.text("#state"), "a state")
    return browser


def control(app: str, **wishes: object) -> None:
    """What an operator sends."""
    answer = httpx.post(
        f"{app}/admin/llm-system/control", json=wishes, headers={"authorization": f"Bearer {ADMIN}"}, trust_env=False
    )
    assert answer.status_code == 200, answer.text


def calls(page: Browser) -> int:
    """How many calls the page has seen."""
    words = page.text(".tile .sub").split()
    return int(words[0]) if words and words[0].isdecimal() else 0


def test_numbers_change_while_the_app_works(page: Browser) -> None:
    """Calls go up, nodes have their share, the recorder lists calls: without a reload."""
    first = calls(page)
    page.until(lambda: calls(page) > first + 5, "more calls")
    page.until(lambda: "eu-west" in page.text("#nodes") and "●up" in page.text("#nodes").replace("\n", ""), "nodes")
    page.until(lambda: page.run("return document.querySelectorAll('#requests .call').length") > 5, "calls")
    assert "app requests to the pool" in page.text("#flow-note")
    assert page.run("return document.querySelectorAll('#flow path').length") >= 5


def test_console_stays_silent(page: Browser) -> None:
    """No error, no violation of our own policy, no request to anybody else."""
    page.complaints()
    page.open(page.run("return location.href"))
    page.until(lambda: calls(page) > 0, "numbers")
    assert page.complaints() == []
    hosts = page.run("return performance.getEntriesByType('resource').map((entry) => new URL(entry.name).host)")
    assert set(hosts) == {page.run("return location.host")}


def test_what_an_operator_does_is_shown(page: Browser, app: str) -> None:
    """A drained node is named in words, with its sign, and the audit says who."""
    control(app, drain="backup", percent=60)
    try:
        page.until(lambda: "node backup is drained" in page.text("#warnings"), "the warning")
        page.until(lambda: "60 % of the keys" in page.text("#state"), "the percent")
        assert "drained" in page.text("#nodes")
        assert "127.0.0.1" in page.text("#audit")
    finally:
        control(app, revive="backup", percent=75)
    page.until(lambda: page.run("return document.getElementById('warnings').hidden"), "no warning")


def test_copies_are_shown_side_by_side(page: Browser) -> None:
    """What was compared, dropped and paid; the old way's text is another one each time."""
    page.until(lambda: "● same" in page.text("#shadow"), "a comparison")
    shown = page.text("#shadow")
    assert all(words in shown for words in ("100 % of the legacy calls", "words in common", "of 1 per worker"))
    assert "planted" not in shown


def test_line_that_blocks_the_loop_is_named(page: Browser, app: str) -> None:
    """By file and line, with the seconds that it stood."""
    assert httpx.get(f"{app}/block", timeout=30, trust_env=False).status_code == 200
    page.until(lambda: "live/app.py:" in page.text("#loop"), "the line")


def test_keyboard_is_enough(page: Browser) -> None:
    """Tab to Pause and to a call; Enter works there, and the focus shows."""
    page.until(lambda: page.run("return document.querySelectorAll('#requests .call').length") > 0, "calls")
    active = page.driver.switch_to
    page.run("document.activeElement.blur()")
    for _ in range(60):
        active.active_element.send_keys(Keys.TAB)
        if page.run("return document.activeElement.id") == "pause":
            break
    assert page.run("return document.activeElement.id") == "pause"
    assert page.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    active.active_element.send_keys(Keys.ENTER)
    page.until(lambda: "paused" in page.text("#beat"), "the pause")
    seen = calls(page)
    active.active_element.send_keys(Keys.TAB)
    assert page.run("return document.activeElement.closest('.call') !== null")
    active.active_element.send_keys(Keys.ENTER)
    assert page.run("return document.activeElement.getAttribute('aria-expanded')") == "true"
    assert page.run("return document.querySelector('.detail:not([hidden])').innerText.length") > 20
    assert calls(page) == seen
    page.run("document.getElementById('pause').click()")
    page.until(lambda: calls(page) > seen, "more calls after the pause")


def test_open_call_stays_open_and_keeps_the_focus(page: Browser) -> None:
    """While new ones come in above it."""
    page.until(lambda: page.run("return document.querySelectorAll('#requests .call').length") > 0, "calls")
    page.run(
        "const button = document.querySelector('#requests .call button');"
        "button.click(); button.focus(); window.mine = button"
    )
    seen = calls(page)
    page.until(lambda: calls(page) > seen + 3, "newer calls")
    assert page.run("return window.mine === document.activeElement && window.mine.isConnected")
    assert page.run("return window.mine.getAttribute('aria-expanded')") == "true"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_and_is_readable(page: Browser, width: int, scheme: str) -> None:
    """Nothing sticks out at any width, and text has contrast in both schemes. The screenshots are kept."""
    page.size(width)
    page.scheme(scheme)
    seen = calls(page)
    page.until(lambda: calls(page) > seen, "a drawing at this size")
    assert page.run("return document.documentElement.scrollWidth") <= width
    background, ink = page.run(
        "const style = getComputedStyle(document.body); return [style.backgroundColor, style.color]"
    )
    assert _contrast(background, ink) > 7
    assert page.keep(f"page-{scheme}-{width}").stat().st_size > 20_000


def _contrast(one: str, other: str) -> float:
    """By WCAG 2."""
    lights = sorted(_luminance(color) for color in (one, other))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def _luminance(color: str) -> float:
    parts = [int(part) / 255 for part in color.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_page_shows_nothing_that_anybody_has_said(page: Browser) -> None:
    """No prompt, answer, key or user: the app works with planted ones."""
    page.until(lambda: calls(page) > 5, "calls")
    page.run("document.getElementById('changed').click()")
    page.run("document.querySelectorAll('#requests .call button').forEach((button) => button.click())")
    assert "planted" not in page.run("return document.documentElement.outerHTML")


def test_open_breaker_is_said_in_words(browser: Browser, tmp_path: Path) -> None:
    """An app whose nodes are all gone: legacy answers, and the page says why."""
    with live_app(tmp_path, "http://127.0.0.1:9", LLM_CANARY_PERCENT="100") as url:
        asyncio.run(drive(url, ["/chat"], users=1, times=6))
        browser.open(url + PAGE)
        browser.until(lambda: "breaker open" in browser.text("#state"), "the state")
        assert "legacy answers" in browser.text("#state")
        browser.until(lambda: "circuit open" in browser.text("#flow-note"), "the reason")
        assert (
            browser.run("return document.querySelector('#breaker [aria-current]').innerText")
            .strip()
            .endswith("disabled")
        )
