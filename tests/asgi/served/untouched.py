"""An app that knows nothing of phase1, for real servers: it blocks its loop with each call."""

from __future__ import annotations

from openai import OpenAI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

client = OpenAI()


def answer() -> str:
    """One level down, and blocking."""
    completion = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])
    return completion.choices[0].message.content or ""


async def ask(request: Request) -> Response:
    """One answer."""
    return PlainTextResponse(answer())


app = Starlette(routes=[Route("/ask", ask)])


def make() -> Starlette:
    """The same from a factory."""
    return app
