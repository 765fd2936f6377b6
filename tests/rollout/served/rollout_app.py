"""A small app for real workers: one endpoint, users by header, a legacy client that always answers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import phase1


class Legacy:
    """Takes a moment, like a network."""

    async def generate_response(self, messages: Sequence[Mapping[str, str]]) -> str:
        await asyncio.sleep(0.005)
        return "from legacy"


async def ask(request: Request) -> Response:
    """One answer, and who gave it."""
    llm = phase1.get_llm(request)
    text = await llm.generate_response_async([{"role": "user", "content": "hello"}])
    return JSONResponse({"text": text, "route": llm.route, "reason": llm.reason, "pid": os.getpid()})


app = Starlette(routes=[Route("/ask", ask)])
phase1.install(app, Legacy())
