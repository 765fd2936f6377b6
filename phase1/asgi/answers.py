"""What does each of our pages answer to somebody who may have it?

What takes time (reading other workers' files, rendering) happens in a thread of our own: the app's thread pool may be
full of the very requests that somebody wants to look at.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from starlette.datastructures import Headers, QueryParams
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from phase1.asgi.body import read_json
from phase1.asgi.negotiate import prefers_html, prefers_json
from phase1.exceptions import Phase1Error
from phase1.observe.exposition import AVAILABLE, render
from phase1.observe.page import page

if TYPE_CHECKING:
    from starlette.types import Receive, Scope

    from phase1.asgi.control import Control
    from phase1.doors.manager import LLMManager
    from phase1.observe.monitor import Monitor

__all__ = ["Answers", "Asked"]

T = TypeVar("T")

_LOG_INTERVAL = 1.0
_VARY = {"vary": "accept"}
_SHOWN = 200
_MOST_SHOWN = 1000


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for a page. `rest`: what stands below the page's path."""

    rest: str
    scope: Scope
    headers: Headers
    receive: Receive | None

    def query(self, name: str) -> str | None:
        """One parameter."""
        return QueryParams(self.scope["query_string"]).get(name)


class Answers:
    """Each public method is a page."""

    def __init__(self, manager: LLMManager, monitor: Monitor, control: Control, *, clock: Callable[[], float]) -> None:
        self._manager = manager
        self._monitor = monitor
        self._control = control
        self._clock = clock
        self._logged_at = float("-inf")
        self._thread: ThreadPoolExecutor | None = None
        self._rendering: dict[str, asyncio.Future[tuple[bytes, str]]] = {}

    async def _aside(self, work: Callable[[], T]) -> T:
        """`work()` in our thread, which begins with the first need of it and ends with the process."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="phase1-pages")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _json(self, make: Callable[[], object]) -> Response:
        """What `make` says, written down in our thread too: it may be a hundred kilobytes."""
        body = await self._aside(lambda: json.dumps(make(), ensure_ascii=False, separators=(",", ":")).encode())
        return Response(body, media_type="application/json", headers=_VARY)

    async def debug(self, asked: Asked) -> Response:
        """The whole state, as JSON or as the live page."""
        wanted = asked.query("format")
        if wanted not in {None, "json", "html"}:
            return _unknown_format("json, html")
        if wanted == "html" or (wanted is None and prefers_html(asked.headers.get("accept", ""))):
            nonce = secrets.token_urlsafe(16)
            policy = {"content-security-policy": _policy(nonce), "x-frame-options": "DENY"}
            return HTMLResponse(page(nonce), headers={**_VARY, **policy})
        return await self._json(self._monitor.document)

    async def requests(self, asked: Asked) -> Response:
        """The flight recorder's list, newest first."""
        given = asked.query("limit") or str(_SHOWN)
        if not given.isdecimal() or not 1 <= int(given[:6]) <= _MOST_SHOWN:
            return _text(400, f"limit={given[:20]!r}: must be one whole number between 1 and {_MOST_SHOWN}")
        return await self._json(lambda: {"requests": self._monitor.requests(int(given))})

    async def request(self, asked: Asked) -> Response:
        """One call."""
        found = await self._aside(lambda: self._monitor.request(asked.rest))
        return JSONResponse(found) if found else _text(404, "no such request is remembered; the last thousand are")

    async def metrics(self, asked: Asked) -> Response:
        """The numbers, for Prometheus or as JSON."""
        wanted, accept = asked.query("format"), asked.headers.get("accept", "*/*")
        if wanted not in {None, "json", "prometheus"}:
            return _unknown_format("json, prometheus")
        if wanted == "json" or not AVAILABLE or (wanted is None and prefers_json(accept)):
            return await self._json(lambda: self._monitor.document()["metrics"])
        body, content_type = await self._rendered(asked.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type, **_VARY})

    async def _rendered(self, accept: str) -> tuple[bytes, str]:
        """One rendering serves all who ask for it while it is made."""
        running = self._rendering.get(accept)
        if running is None:
            running = asyncio.ensure_future(self._aside(lambda: render(self._monitor.numbers(), accept)))
            self._rendering[accept] = running
            running.add_done_callback(lambda _: self._rendering.pop(accept, None))
        return await asyncio.shield(running)

    async def log_status(self, _asked: Asked) -> Response:
        """Writes the state to the log."""
        now = self._clock()
        if now - self._logged_at < _LOG_INTERVAL:
            response = _text(429, "the status was logged a moment ago")
            response.headers["retry-after"] = "1"
            return response
        self._logged_at = now
        self._manager.log_status()
        return JSONResponse({"logged": True})

    async def control(self, asked: Asked) -> Response:
        """Switches at run time."""
        try:
            wishes = await read_json(asked.headers, asked.receive)
            grant = partial(self._control.apply, wishes, by=_who(asked.scope))
            return JSONResponse(await self._aside(grant) if self._control.waiting & wishes.keys() else grant())
        except Phase1Error as exc:
            return _text(getattr(exc, "status", 400), str(exc))


def _who(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "a unix socket"


def _policy(nonce: str) -> str:
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _unknown_format(allowed: str) -> Response:
    return _text(400, f"format: must be one of {allowed}")


def _text(status: int, text: str) -> Response:
    return PlainTextResponse(text + "\n", status_code=status)
