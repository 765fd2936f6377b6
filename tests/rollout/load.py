"""Users who ask all the while, an upstream that can fail, and what both have seen."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.doors.server import serving

__all__ = ["Answer", "Load", "Upstream", "upstream"]

BOUND = 60.0


@dataclass(frozen=True)
class Answer:
    """One request, as its user has seen it."""

    began: float
    seconds: float
    status: int
    route: str
    reason: str
    pid: int
    text: str


class Upstream:
    """Counts who asks, and fails when told to."""

    def __init__(self) -> None:
        self.failing = False
        self.calls = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.url = ""

    async def chat(self, request: Request) -> Response:
        """A chat completion."""
        self.calls += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(0.02 if self.failing else 0.005)
        finally:
            self.in_flight -= 1
        if self.failing:
            return JSONResponse({"error": {"message": "x", "type": "server_error", "code": None}}, 500)
        message = {"role": "assistant", "content": "from the pool"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
        document = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "usage": usage}
        return JSONResponse({**document, "choices": [choice]})


@contextlib.contextmanager
def upstream() -> Iterator[Upstream]:
    """One on a real socket."""
    made = Upstream()
    with serving(Starlette(routes=[Route("/v1/chat/completions", made.chat, methods=["POST"])])) as served:
        made.url = f"{served.url}/v1"
        yield made


class Load:
    """Users in a thread of their own; `with` it.

    Each request is another user, and connections are new ones now and then: so every worker gets some.
    """

    def __init__(self, url: str, *, users: int = 8) -> None:
        self._url = url
        self._users = users
        self._over = threading.Event()
        self._numbers = itertools.count()
        self.answers: list[Answer] = []
        self.errors: list[str] = []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()), daemon=True)

    async def _all(self) -> None:
        await asyncio.gather(*(self._user() for _ in range(self._users)))

    async def _user(self) -> None:
        while not self._over.is_set():
            async with httpx.AsyncClient(trust_env=False, timeout=BOUND) as client:
                for _ in range(20):
                    await self._ask(client)
                    if self._over.is_set():
                        return

    async def _ask(self, client: httpx.AsyncClient) -> None:
        headers = {"x-user": f"user-{next(self._numbers) % 5000}"}
        began = time.monotonic()
        try:
            response = await client.get(self._url + "/ask", headers=headers)
            said = response.json() if response.status_code == 200 else {}
        except (httpx.HTTPError, ValueError) as exc:
            self.errors.append(f"{type(exc).__name__}: {exc}")
            return
        if not said:
            self.errors.append(f"{response.status_code}: {response.text}")
            return
        seconds = time.monotonic() - began
        self.answers.append(Answer(began, seconds, response.status_code, **said))

    def since(self, moment: float) -> list[Answer]:
        """Of requests that began then or later."""
        return [answer for answer in tuple(self.answers) if answer.began >= moment]

    def workers(self, *, since: float = 0.0, route: str | None = None) -> set[int]:
        """Those that have answered requests which began then or later, if need be by that route."""
        return {answer.pid for answer in self.since(since) if route in {None, answer.route}}

    def until(self, condition: Callable[[], bool], what: str) -> float:
        """Wait for it; how long it took."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < BOUND, f"{what}: not within {BOUND} s"
            assert not self.errors, self.errors[:3]
            time.sleep(0.02)
        return time.monotonic() - began

    def run_for(self, seconds: float) -> list[Answer]:
        """Let them ask for so long."""
        began = time.monotonic()
        time.sleep(seconds)
        return self.since(began)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join(BOUND)
