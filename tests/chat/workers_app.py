"""The smallest app with a cached agent, for servers with several workers."""

from __future__ import annotations

import time

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from phase1.chat import add_agent_cache_route, cached_agent
from phase1.settings import Settings


class ChatAgent:
    """What is built once."""


@cached_agent
def get_chat_agent() -> ChatAgent:
    """The agent of this process."""
    return ChatAgent()


async def chat(request: Request) -> PlainTextResponse:
    """Use the agent, and keep this worker so busy that the others get their share."""
    get_chat_agent()
    time.sleep(0.02)  # noqa: ASYNC251
    return PlainTextResponse("hi")


app = Starlette(routes=[Route("/chat", chat)])
add_agent_cache_route(app, get_chat_agent, settings=Settings.load())
