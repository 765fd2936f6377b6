"""An app with an LLM in it, as the page's users have one. Run by uvicorn; settings come from the environment."""

from __future__ import annotations

import time
from typing import Any

import openai
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

import phase1

MESSAGES = [{"role": "user", "content": "planted-prompt-canary"}]


class Legacy:
    """The client that was there before."""

    async def generate_response_async(self, messages: object) -> str:
        """An answer from the old way."""
        return "planted-answer-canary"


async def health(_: Request) -> Response:
    """Whether it is up."""
    return PlainTextResponse("ok")


async def chat(request: Request) -> Response:
    """One answer, with some database work around it."""
    llm = phase1.get_llm(request)
    with phase1.stage("db_fetch"):
        pass
    return JSONResponse({"text": await llm.generate_response_async(MESSAGES), "route": llm.route})


async def stream(request: Request) -> Response:
    """One streamed answer, read to its end; the old way has no streams."""
    llm = phase1.get_llm(request)
    if llm.route == "legacy":
        return PlainTextResponse(await llm.generate_response_async(MESSAGES))
    options: Any = {"stream": True, "stream_options": {"include_usage": True}}
    try:
        answer: Any = await llm.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, **options)
    except openai.APIStatusError as exc:  # the upstream has its moods, and there is no old way for streams
        return PlainTextResponse(f"answered {exc.status_code}")
    words = [chunk.choices[0].delta.content or "" async for chunk in answer if chunk.choices]
    return PlainTextResponse("".join(words))


async def typo(request: Request) -> Response:
    """A model that nobody has: the caller's own mistake."""
    llm = phase1.get_llm(request)
    if llm.route == "legacy":
        return PlainTextResponse("the old way knows one model only")
    try:
        await llm.chat.completions.create(model="no-such-model", messages=MESSAGES)  # type: ignore[arg-type]
    except openai.BadRequestError:
        return PlainTextResponse("so it is refused")
    return PlainTextResponse("nobody has noticed", status_code=500)


async def block(_: Request) -> Response:
    """What nobody should do in a coroutine."""
    time.sleep(0.3)  # noqa: ASYNC251 - it is what the page must find
    return PlainTextResponse("at last")


app = Starlette(
    routes=[
        Route("/health", health),
        Route("/chat", chat),
        Route("/stream", stream),
        Route("/block", block),
        Route("/typo", typo),
    ]
)
phase1.install(app, legacy=Legacy())
