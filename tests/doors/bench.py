"""What do the tests of doors and asgi build their worlds from? An upstream, legacy clients, a clock: no network.

The upstream is a function behind `MockTransport`: it answers by its script, and can be held at a gate.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from phase1.doors.legacy import Messages
from phase1.doors.manager import LLMManager
from phase1.engine.transport import NeverSent, Transport, WireRequest
from phase1.engine.transport.mock import MockResponse, MockTransport
from phase1.events import Event
from phase1.settings import Settings

BOUND = 10.0
"""Seconds after which whatever waits gives up, so that a failing test ends."""

POOL_KEY = "sk-pool-0123456789"
HELLO = [{"role": "user", "content": "hello"}]

SHADOW = {
    "llm_canary_percent": 0,
    "llm_shadow_percent": 100,
    "llm_shadow_budget": 1.0,
    "llm_shadow_prices": "*=1/2",
    "llm_model": "m",
}
"""Everybody on legacy, and every call copied."""

Answer = MockResponse | Exception


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until `condition` holds."""
    async with asyncio.timeout(BOUND):
        while not condition():  # noqa: ASYNC110 - whatever it is, it is on this loop
            await asyncio.sleep(0)


def settings(**overrides: object) -> Settings:
    """The pool on, with one node, and no retries: each request is one attempt."""
    defaults = {
        "enable_llm_pool": True,
        "openai_api_key": POOL_KEY,
        "openai_base_url": "http://upstream.test/v1",
        "openai_max_retries": 0,
        "llm_model": "m",
    }
    return Settings.load(**(defaults | overrides))


def completion(text: str | None = "from the pool") -> MockResponse:
    """A whole chat completion."""
    message = {"role": "assistant", "content": text}
    body = {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    return MockResponse(chunks=[json.dumps(body).encode()])


def failure(status: int, code: str | None = None, **headers: str) -> MockResponse:
    """An error as the API writes it."""
    body = {"error": {"message": "scripted", "type": "scripted", "param": None, "code": code}}
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return MockResponse(status, [("content-type", "application/json"), *named], [json.dumps(body).encode()])


def refused() -> NeverSent:
    """Nobody listens there."""
    return NeverSent("ConnectError")


class Upstream:
    """Answers by its script, the last answer again and again. While `gate` is clear, every call waits for it."""

    def __init__(self, *answers: Callable[[], Answer]) -> None:
        self.script = list(answers) or [completion]
        self.requests: list[WireRequest] = []
        self.transports: list[MockTransport] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Condition()

    def transport(self, connections: int, connect_timeout: float) -> Transport:
        """One client's connections."""
        self.transports.append(MockTransport(self._answer))
        return self.transports[-1]

    async def _answer(self, request: WireRequest) -> MockResponse:
        self.requests.append(request)
        async with self.arrived:
            self.arrived.notify_all()
        await self.gate.wait()
        answer = (self.script.pop(0) if len(self.script) > 1 else self.script[0])()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def seen(self, number: int) -> None:
        """Wait until so many requests have arrived."""
        async with asyncio.timeout(BOUND), self.arrived:
            await self.arrived.wait_for(lambda: len(self.requests) >= number)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """What was asked."""
        return [json.loads(request.body) for request in self.requests]


class SyncLegacy:
    """A blocking client of the seeds' kind. While `gate` is clear, every call waits for it in its thread."""

    model = "legacy-model"

    def __init__(self, answer: object = "from legacy") -> None:
        self.answer = answer
        self.calls: list[tuple[Messages, Mapping[str, object]]] = []
        self.threads: list[threading.Thread] = []
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Semaphore(0)
        self.running = 0

    def generate_response(self, messages: Messages, **params: object) -> object:
        self.calls.append((messages, params))
        self.threads.append(threading.current_thread())
        self.running += 1
        self.started.release()
        assert self.gate.wait(BOUND)
        self.running -= 1
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    async def has_started(self, times: int = 1) -> None:
        """Wait until so many more calls are in their threads."""
        for _ in range(times):
            assert await asyncio.to_thread(self.started.acquire, timeout=BOUND)


class AsyncLegacy:
    """A client whose `generate_response` is a coroutine function."""

    def __init__(self, answer: object = "from async legacy") -> None:
        self.answer = answer
        self.threads: list[threading.Thread] = []
        self.tasks: list[asyncio.Task[Any] | None] = []

    async def generate_response(self, messages: Messages, **params: object) -> object:
        self.threads.append(threading.current_thread())
        self.tasks.append(asyncio.current_task())
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class Clock:
    """Moves only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Ear:
    """Hears every event."""

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def on_event(self, event: Event, /) -> None:
        self.heard.append(event)

    def of(self, kind: type[Event]) -> list[Any]:
        """What was heard of one kind."""
        return [event for event in self.heard if isinstance(event, kind)]


class Bench:
    """A manager with its surroundings. `luck` is what the random generator returns."""

    def __init__(
        self, *answers: Callable[[], Answer], legacy: object | Callable[[], object] | None = None, **overrides: object
    ) -> None:
        self.upstream = Upstream(*answers)
        self.clock = Clock()
        self.luck = 0.5
        self.manager = LLMManager(
            settings(**overrides),
            legacy,
            transport=self.upstream.transport,
            clock=self.clock,
            rng=lambda: self.luck,
        )
        self.ear = Ear()
        self.manager.events.subscribe(self.ear)

    async def ask(self, key: str | None = "user-1", messages: Messages = HELLO, **params: object) -> str:
        """One app request that asks once."""
        return await self.manager.llm(key).generate_response_async(messages, **params)

    async def ask_in_turn(self, times: int, key: str | None = "user-1") -> Sequence[str]:
        """So many app requests, one after the other."""
        return [await self.ask(key) for _ in range(times)]
