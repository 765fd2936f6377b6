"""A small app for real servers: `WAY` says how phase1 gets in, `UPSTREAM` whom its legacy client asks."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Mapping, Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import phase1

MESSAGES = [{"role": "user", "content": "hello"}]


class Legacy:
    """Asks the upstream and blocks; without one it answers by itself."""

    def generate_response(self, messages: Sequence[Mapping[str, str]]) -> str:
        url = os.environ.get("UPSTREAM")
        if url is None:
            return "from legacy"
        body = json.dumps({"model": "m", "messages": messages}).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{url}/chat/completions", body)) as answer:  # noqa: S310
            text = json.load(answer)["choices"][0]["message"]["content"]
        return f"legacy: {text}"


async def ask(request: Request) -> Response:
    """One answer, and who gave it."""
    llm = phase1.get_llm(request)
    return JSONResponse({"text": await llm.generate_response_async(MESSAGES), "route": llm.route, "pid": os.getpid()})


legacy = Legacy()
way = os.environ["WAY"]
app = Starlette(routes=[Route("/ask", ask)], lifespan=phase1.lifespan(legacy=legacy) if way == "lifespan" else None)
if way == "install":
    phase1.install(app, legacy)
if way == "middleware":
    app.add_middleware(phase1.Phase1Middleware, legacy=legacy)
