"""Does the browser's client keep an answer through reloads, lost networks and restarts? In a real Chromium."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from .browser import Browser, chromium
from .model import Model, answer, question
from .processes import environment, web
from .proxy import Wire, wire
from .redis_server import needed_program, started

pytestmark = pytest.mark.timeout(120)

CLIENT = Path(__file__).parents[2] / "phase1" / "offload" / "client"


@pytest.fixture(scope="module")
def line(shared_model: Model) -> Iterator[Wire]:
    """The wire to a web process that runs chats itself and keeps them in Redis."""
    with ExitStack() as stack:
        redis = stack.enter_context(started(needed_program()))
        _, url = stack.enter_context(web(environment(shared_model, redis, LLM_OFFLOAD_BACKEND="redis")))
        yield stack.enter_context(wire(int(url.rpartition(":")[2])))


@pytest.fixture
def site(line: Wire) -> Iterator[str]:
    """Its address."""
    yield f"http://127.0.0.1:{line.port}/api/async/"
    line.mend()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One Chromium for all of these tests."""
    with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture
def page(browser: Browser, site: str, model: Model) -> Iterator[Browser]:
    """The chat page, with nothing remembered."""
    browser.open(site + "chat")
    browser.run("sessionStorage.clear()")
    browser.open(site + "chat")
    yield browser
    browser.offline(yes=False)


def ask(page: Browser, text: str) -> None:
    """Type it, and send."""
    page.run(
        "document.getElementById('message').value = args[0]; document.getElementById('form').requestSubmit()", text
    )


def reached(model: Model, gate: str) -> None:
    """The model waits there."""
    asyncio.run(model.reached(gate))


def test_answer_streams(page: Browser, model: Model, tmp_path: Path) -> None:
    """It is shown while it comes, and its end is told; the console stays silent."""
    ask(page, question(n=8, at=4, gate="g"))
    page.until(lambda: page.text("li.answer") == answer(4), "the beginning")
    assert page.text("#state") == "answering"
    model.open("g")
    page.until(lambda: page.text("#state").startswith("completed"), "the end")
    assert page.text("li.answer") == answer(8)
    assert page.text("#state") == "completed, 15 tokens"
    assert page.complaints() == []
    page.driver.save_screenshot(str(tmp_path / "chat.png"))


def test_reload_resumes(page: Browser, model: Model, site: str) -> None:
    """A new page goes on with the same answer; the model is asked once."""
    text = question(n=20, at=10, gate="g")
    ask(page, text)
    page.until(lambda: page.text("li.answer") == answer(10), "the first half")
    page.open(site + "chat")
    page.until(lambda: page.text("li.answer") == answer(10), "the first half again")
    model.open("g")
    page.until(lambda: page.text("#state").startswith("completed"), "the end")
    assert page.text("li.answer") == answer(20)
    assert model.asked[text] == 1
    page.open(site + "chat")
    assert page.text("li.answer") == ""  # it is over: there is nothing to resume


def test_stop_button(page: Browser, model: Model) -> None:
    """The model is hung up on, and what was written stays."""
    ask(page, question(n=9, at=3, gate="never"))
    page.until(lambda: page.text("li.answer") == answer(3), "the beginning")
    page.run("document.getElementById('stop').click()")
    page.until(lambda: page.text("#state").startswith("cancelled"), "the stop")
    assert page.text("li.answer") == answer(3)
    assert model.hung_up.wait(10)
    ask(page, question(n=2))
    page.until(lambda: page.text("li.answer") == answer(2), "another chat")


def test_offline_and_online_again(page: Browser, model: Model, line: Wire) -> None:
    """Nothing is lost, nothing is asked again."""
    text = question(n=30, at=10, gate="g")
    ask(page, text)
    page.until(lambda: page.text("li.answer") == answer(10), "the beginning")
    page.offline(yes=True)
    line.cut()
    reached(model, "g")
    model.open("g")
    page.until(lambda: page.text("#state").startswith("reconnecting"), "the lost network")
    assert page.text("li.answer") == answer(10)
    line.mend()
    page.offline(yes=False)
    page.until(lambda: page.text("#state").startswith("completed"), "the end")
    assert page.text("li.answer") == answer(30)
    assert model.asked[text] == 1


def test_failure_is_told(page: Browser) -> None:
    """In the server's words, and the next question can be asked."""
    ask(page, question(status=500))
    page.until(lambda: page.text("#state") == "upstream_error", "the failure")
    assert page.text("li.failed") == "the language model failed"
    page.run("document.getElementById('model').value = 'nope'")
    ask(page, "hello")
    page.until(lambda: page.text("#state") == "unknown_model", "the refusal")


_IMPORT = "const { AsyncChatClient, EventParser, AsyncChatError } = await import('./async-chat-client.js');"

_FAKE = (
    _IMPORT
    + """
const calls = [], seen = [], encoder = new TextEncoder();
const event = (type, id, data) => `event: ${type}\\nid: ${id}\\ndata: ${JSON.stringify({ type, ...data })}\\n\\n`;
const streams = args[0].map((parts) => parts.map(([type, id, data]) => event('response.' + type, id, data)).join(''));
const fetch = async (url, options) => {
  calls.push([options.method ?? 'GET', options.headers['last-event-id'] ?? null]);
  const text = streams.shift();
  if (text === '') throw new TypeError('no network');
  const body = new ReadableStream({ start(c) { if (text) c.enqueue(encoder.encode(text)); c.close(); } });
  return new Response(body, { headers: { 'x-task-id': 't1', location: 'https://elsewhere.example/steal' } });
};
const client = new AsyncChatClient({
  fetch, storage: null,
  onMessage: ({ content }) => seen.push(content), onReset: () => seen.push('reset'),
});
const result = await client.sendMessage('hello', 'm');
return { calls, seen, result, own: client.own('https://elsewhere.example/steal', 't1') };
"""
)


def test_asks_once_and_resumes_by_cursor(page: Browser) -> None:
    """Two lost connections: one POST, two GETs with the cursor; the text begins anew when the server says so."""
    told: dict[str, Any] = page.run(
        _FAKE,
        [
            [["output_text.delta", "1-1", {"delta": "a"}]],
            [],
            [
                ["output_text.delta", "1-2", {"delta": "b"}],
                ["reset", "2-0", {"reason": "worker_lost"}],
                ["output_text.delta", "2-1", {"delta": "c"}],
            ],
            [["completed", "2-2", {"usage": {"total_tokens": 3}}]],
        ],
    )
    assert told["calls"] == [["POST", None], ["GET", "1-1"], ["GET", "1-1"], ["GET", "2-1"]]
    assert told["seen"] == ["a", "ab", "reset", "c"]
    assert (told["result"]["text"], told["result"]["status"]) == ("c", "completed")


def test_address_of_another_origin_is_not_followed(page: Browser, site: str) -> None:
    """A `Location` may not send cookies elsewhere."""
    told: dict[str, Any] = page.run(_FAKE, [[["completed", "1-1", {}]]])
    assert told["own"] == "/api/async/chat/stream/t1"


_STREAM = (
    "\ufeff: hello\r\nretry: 50\r\n\r\nevent: a\rid: 1-1\rdata: one\rdata: zwei ü€😀\r\r"
    "data:three\nid: 2\u0000\nid\n\nevent: x\n\n"
)


def test_parser_takes_chunks_cut_anywhere(page: Browser) -> None:
    """CR, LF, CRLF, a byte order mark, several data lines, UTF-8 cut in the middle: at every byte the same events."""
    results = page.run(
        _IMPORT
        + """
        const bytes = new TextEncoder().encode(args[0]);
        const found = new Set();
        for (let cut = 0; cut <= bytes.length; cut += 1) {
          const parser = new EventParser(), decoder = new TextDecoder('utf-8', { ignoreBOM: true });
          const events = [bytes.slice(0, cut), bytes.slice(cut)].flatMap(
            (part) => parser.feed(decoder.decode(part, { stream: true })));
          found.add(JSON.stringify([events, parser.retry]));
        }
        return [...found];
        """,
        _STREAM,
    )
    assert len(results) == 1
    assert results[0] == (
        '[[{"type":"a","data":"one\\nzwei ü€😀","id":"1-1"},{"type":"message","data":"three","id":""}],50]'
    )


def test_parser_is_bounded(page: Browser) -> None:
    """A line without an end does not fill the memory."""
    said = page.run(_IMPORT + "new EventParser().feed('data: ' + 'x'.repeat(1 << 21)); return 'fine'")
    assert "too large" in said


def test_types_name_what_there_is() -> None:
    """Every option, method and export of the declaration is in the module."""
    declared, module = ((CLIENT / f"async-chat-client.{kind}").read_text(encoding="utf-8") for kind in ("d.ts", "js"))
    fields = declared.partition("AsyncChatClientOptions {")[2].partition("\n}")[0]
    options = re.findall(r"^  (\w+)\?:", fields, re.MULTILINE)
    assert "onMessage" in options
    assert [name for name in options if f"options.{name}" not in module] == []
    exported = set(re.findall(r"export declare class (\w+)", declared))
    assert exported == set(re.findall(r"export class (\w+)", module))
    for method in ("sendMessage", "resume", "stop"):
        assert re.search(rf"^  async {method}\(", module, re.MULTILINE)
        assert f"  {method}(" in declared
