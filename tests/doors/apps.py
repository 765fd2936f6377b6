"""An app as people write it: one client for the whole process, called in every place there is.

It knows nothing of phase1. Every endpoint asks the model once and answers with its words, "Hello".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import openai
from fastapi import BackgroundTasks, Depends, FastAPI, WebSocket
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from .cases import HELLO

__all__ = ["BLOCKING", "ENDPOINTS", "STREAMING", "make_app"]

ENDPOINTS = (
    "/direct",
    "/deep",
    "/dependency",
    "/embeddings",
    "/stream",
    "/raw",
    "/in-a-def",
    "/def-stream",
    "/task",
    "/gathered",
)
"""Where a synchronous call blocks nobody."""
STREAMING = ("/streamed-by-generator", "/streamed-from-endpoint", "/streamed-by-thread")
"""Where the answer is passed on while it comes."""
BLOCKING = ("/callback",)
"""Where nothing can wait: outside of a task."""


def make_app(client: openai.OpenAI) -> FastAPI:  # noqa: C901 - many small endpoints
    """The app."""
    app = FastAPI()
    app.state.said = []

    def text() -> str:
        return str(client.chat.completions.create(model="m", messages=HELLO).choices[0].message.content)

    def stream() -> Any:  # noqa: ANN401 - of every SDK version
        return client.chat.completions.create(model="m", messages=HELLO, stream=True)

    def words(answer: Any) -> Iterator[str]:  # noqa: ANN401
        for chunk in answer:
            yield chunk.choices[0].delta.content or ""

    @app.get("/direct")
    async def direct() -> Response:
        return PlainTextResponse(text())

    @app.get("/deep")
    async def deep() -> Response:
        def level_one() -> str:
            return level_two()

        def level_two() -> str:
            return text()

        return PlainTextResponse(level_one())

    async def asked() -> str:
        return text()

    @app.get("/dependency")
    async def dependency(said: str = Depends(asked)) -> Response:  # noqa: FAST002 - `asked` is not a global
        return PlainTextResponse(said)

    @app.get("/embeddings")
    async def embeddings() -> Response:
        client.embeddings.create(model="m", input="hello")
        return PlainTextResponse("Hello")

    @app.get("/stream")
    async def consumed() -> Response:
        return PlainTextResponse("".join(words(stream())))

    @app.get("/raw")
    async def raw() -> Response:
        with client.chat.completions.with_streaming_response.create(model="m", messages=HELLO) as answer:
            return PlainTextResponse(str(answer.parse().choices[0].message.content))

    @app.get("/in-a-def")
    def in_a_def() -> Response:
        return PlainTextResponse(text())

    @app.get("/def-stream")
    def def_stream() -> Response:
        return PlainTextResponse("".join(words(stream())))

    @app.get("/background")
    async def background(tasks: BackgroundTasks) -> Response:
        async def later() -> None:
            app.state.said.append(text())

        tasks.add_task(later)
        return PlainTextResponse("later")

    @app.get("/streamed-by-generator")
    async def by_generator() -> Response:
        async def body() -> AsyncIterator[str]:
            for word in words(stream()):
                yield word

        return StreamingResponse(body(), media_type="text/plain")

    @app.get("/streamed-from-endpoint")
    async def from_endpoint() -> Response:
        answer = stream()

        async def body() -> AsyncIterator[str]:
            for word in words(answer):
                yield word

        return StreamingResponse(body(), media_type="text/plain")

    @app.get("/streamed-by-thread")
    async def by_thread() -> Response:
        return StreamingResponse(words(stream()), media_type="text/plain")

    @app.get("/task")
    async def task() -> Response:
        return PlainTextResponse(await asyncio.create_task(asked()))

    @app.get("/gathered")
    async def gathered() -> Response:
        return PlainTextResponse((await asyncio.gather(asked()))[0])

    @app.get("/callback")
    async def callback() -> Response:
        said = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(lambda: said.set_result(text()))
        return PlainTextResponse(await said)

    @app.websocket("/websocket")
    async def websocket(socket: WebSocket) -> None:
        await socket.accept()
        with suppress(RuntimeError):
            await socket.send_text(text())
        await socket.close()

    return app
