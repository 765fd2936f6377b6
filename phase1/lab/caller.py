"""How do many users ask one app at little cost? One HTTP client for all of them, with as many connections as it takes.

A request that went out on a connection which the server was just closing is sent again on a new one, as browsers and
proxies do: a server that was busy for longer than its keep-alive time does that to everybody.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Final

import aiohttp

from phase1.lab.load import NoAnswerError
from phase1.lab.target import Ask

__all__ = ["HttpCaller", "open_caller"]

_KEEP: Final = 3.0
"""Seconds that an unused connection is kept: shorter than uvicorn's five."""


class HttpCaller:
    """Asks one URL."""

    def __init__(self, session: aiohttp.ClientSession, url: str, ask: Ask) -> None:
        self._session = session
        self._url = url
        self._ask = ask

    async def ask(self, user: int) -> int:
        """Ask as user number `user`: the status, once the whole answer is there. Raises `NoAnswerError`."""
        try:
            return await self._once(user, used := SimpleNamespace(before=False))
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            if not used.before:
                raise NoAnswerError(str(error)) from error
        except aiohttp.ClientError as error:
            raise NoAnswerError(str(error)) from error
        try:
            return await self._once(user, SimpleNamespace(before=False))
        except aiohttp.ClientError as error:
            raise NoAnswerError(str(error)) from error

    async def _once(self, user: int, used: SimpleNamespace) -> int:
        async with self._session.request(
            self._ask.method,
            self._url,
            data=self._ask.body_of(user),
            headers=self._ask.headers_of(user),
            trace_request_ctx=used,
            allow_redirects=False,
        ) as response:
            await response.read()
            return response.status


@asynccontextmanager
async def open_caller(url: str, ask: Ask, *, local: bool = True) -> AsyncIterator[HttpCaller]:
    """A caller whose patience has no end: its users' own clocks decide. `local` = never by a proxy."""
    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(_reused)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=not local,
        trace_configs=[trace],
    ) as session:
        yield HttpCaller(session, url, ask)


async def _reused(
    _: aiohttp.ClientSession, context: SimpleNamespace, __: aiohttp.TraceConnectionReuseconnParams
) -> None:
    context.trace_request_ctx.before = True
