"""What becomes of a request's call when its client goes away, over real sockets on both sides?"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio.to_thread
import pytest
import uvicorn
from fastapi import BackgroundTasks, FastAPI, Request
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

import phase1
from phase1.asgi.departure import Departure
from phase1.asgi.middleware import Phase1Middleware
from phase1.doors.manager import LLMManager
from phase1.events import Events
from phase1.lab.chaos.faults import healthy
from phase1.lab.chaos.upstream import Endpoint, Exchange, Hung
from phase1.settings import Settings
from tests.asgi.web import mount
from tests.doors.bench import BOUND, HELLO

Ask = Callable[..., Awaitable[Response] | Response]


class Model:
    """Asked once it hangs; `release` lets it answer."""

    def __init__(self) -> None:
        self.asked = asyncio.Semaphore(0)
        self.answers = False

    async def __call__(self, exchange: Exchange) -> None:
        self.asked.release()
        if not self.answers:
            raise Hung
        await healthy(exchange, latency=0.0)


class World:
    """An app under uvicorn, and its upstream."""

    def __init__(self, model: Model, endpoint: Endpoint, manager: LLMManager) -> None:
        self.model = model
        self.endpoint = endpoint
        self.manager = manager
        self.port = 0
        self.ends: list[str] = []
        """What the endpoint's `finally` has seen."""

    async def open(self, method: str = "GET", body: bytes = b"") -> asyncio.StreamWriter:
        """A client that has sent its request."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = f"{method} /ask HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n"
        writer.write(head.encode() + b"content-type: application/json\r\n\r\n" + body)
        await writer.drain()
        return writer

    async def leave(self, method: str = "GET", body: bytes = b"") -> None:
        """A client that goes away as soon as the upstream has been asked."""
        writer = await self.open(method, body)
        await self.model.asked.acquire()
        writer.close()

    async def gone(self) -> None:
        """The upstream sees its connection go."""
        while self.endpoint.open_connections:  # noqa: ASYNC110 - it is the endpoint's to notice
            await asyncio.sleep(0.01)

    async def until(self, truth: Callable[[], object]) -> None:
        """Wait for it."""
        while not truth():  # noqa: ASYNC110 - things of another task
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def world(build: Callable[[World], FastAPI | Starlette], **overrides: object) -> AsyncIterator[World]:
    """`build` makes the app; phase1 is put into its router, unless it is there already."""
    model = Model()
    async with asyncio.timeout(BOUND), Endpoint(model) as endpoint:
        given = {
            "enable_llm_pool": True,
            "openai_api_key": "sk-test",
            "openai_base_url": endpoint.url,
            "llm_model": "m",
        }
        manager = LLMManager(Settings(**given, **overrides))
        it = World(model, endpoint, manager)
        app = build(it)
        if not any(each.cls is Phase1Middleware for each in app.user_middleware):
            mount(app, manager)
        listening = socket.create_server(("127.0.0.1", 0))
        it.port = listening.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        await it.until(lambda: server.started)
        yield it
        server.should_exit = True
        await serving


def endpoint_of(it: World) -> Ask:
    """Asks, and says how it ended."""

    async def ask(request: Request) -> Response:
        try:
            text = await phase1.get_llm(request).generate_response_async(HELLO)
        except Exception:
            it.ends.append("failed")
            raise
        except asyncio.CancelledError:
            it.ends.append("cancelled")
            raise
        it.ends.append("answered")
        return PlainTextResponse(text)

    return ask


def plain(it: World, *middleware: Middleware) -> Starlette:
    """The simplest app."""
    return Starlette(routes=[Route("/ask", endpoint_of(it), methods=["GET", "POST"])], middleware=middleware)


class Passing(BaseHTTPMiddleware):
    """Does nothing, in another task."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)


class Reading(BaseHTTPMiddleware):
    """Reads the body first."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        await request.body()
        return await call_next(request)


def outermost(it: World) -> Starlette:
    """phase1 around a `BaseHTTPMiddleware` instead of inside it."""
    app = plain(it, Middleware(Passing))
    app.add_middleware(Phase1Middleware, manager=it.manager)
    return app


def with_body(it: World) -> FastAPI:
    """FastAPI reads the body before the endpoint runs."""
    app, ask = FastAPI(), endpoint_of(it)

    @app.post("/ask")
    async def asked(request: Request, body: dict[str, str]) -> Response:
        assert body == {"q": "?"}
        return await ask(request)  # type: ignore[misc]

    return app


def synchronous(it: World) -> FastAPI:
    """A synchronous call inside `async def`: the portal."""
    app, client = FastAPI(), phase1.OpenAI(api_key="sk-test", base_url=it.endpoint.url)

    @app.get("/ask")
    async def asked() -> str | None:
        try:
            return client.chat.completions.create(model="m", messages=HELLO).choices[0].message.content
        except asyncio.CancelledError:
            it.ends.append("cancelled")
            raise

    return app


def threaded(it: World) -> FastAPI:
    """A synchronous call inside `def`: a thread."""
    app, client = FastAPI(), phase1.OpenAI(api_key="sk-test", base_url=it.endpoint.url)

    @app.get("/ask")
    def asked() -> str | None:
        try:
            return client.with_options(timeout=50).chat.completions.create(model="m", messages=HELLO).id
        except Exception:
            it.ends.append("failed")
            raise
        except asyncio.CancelledError:
            it.ends.append("cancelled")
            raise

    return app


def gathered(it: World) -> Starlette:
    """Two calls side by side, in tasks of their own."""

    async def ask(request: Request) -> Response:
        llm = phase1.get_llm(request)
        try:
            await asyncio.gather(llm.generate_response_async(HELLO), llm.generate_response_async(HELLO))
        except asyncio.CancelledError:
            it.ends.append("cancelled")
            raise
        return Response()

    return Starlette(routes=[Route("/ask", ask)])


APPS: dict[str, Callable[[World], FastAPI | Starlette]] = {
    "plain": plain,
    "inside BaseHTTPMiddleware": lambda it: plain(it, Middleware(Passing)),
    "inside two of them": lambda it: plain(it, Middleware(Passing), Middleware(Passing)),
    "around BaseHTTPMiddleware": outermost,
    "body read by middleware": lambda it: plain(it, Middleware(Reading)),
    "body": with_body,
    "portal": synchronous,
    "thread": threaded,
    "gather": gathered,
}


@pytest.mark.parametrize("kind", APPS)
async def test_call_is_cancelled_when_the_client_goes_away(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """The upstream's connection is closed, the endpoint ends there, nothing is blamed, no error is logged."""
    async with world(APPS[kind]) as it:
        await it.leave("POST" if "body" in kind else "GET", b'{"q": "?"}' if "body" in kind else b"")
        await it.gone()
        await it.until(lambda: it.ends)
        calls = it.manager.tally.finished
        assert it.ends == ["cancelled"]
        assert it.manager.tally.abandoned == calls == (2 if kind == "gather" else 1)
        assert it.manager.tally.calls == {"cancelled": calls}
        assert it.manager.breaker.snapshot().consecutive_failures == 0
        binding = it.manager.bindings.current()
        assert binding.admission.in_flight == 0
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("kind", ["plain", "inside BaseHTTPMiddleware", "body", "portal", "thread"])
async def test_client_that_stays_has_its_answer(kind: str) -> None:
    """However long it takes: the watch changes nothing."""

    class Slow(Model):
        async def __call__(self, exchange: Exchange) -> None:
            await healthy(exchange, latency=0.3)

    slow = Slow()
    async with world(APPS[kind]) as it:
        it.endpoint._behaviour = slow
        writer = await it.open("POST" if kind == "body" else "GET", b'{"q": "?"}' if kind == "body" else b"")
        await it.until(lambda: it.manager.tally.finished)
        assert it.manager.tally.calls == {"ok": 1}
        assert it.manager.tally.abandoned == 0
        writer.close()


async def test_answer_is_waited_for_where_the_app_wants_it() -> None:
    """`LLM_CANCEL_ON_DISCONNECT=false`: it may be stored."""
    async with world(plain, llm_cancel_on_disconnect=False, llm_request_deadline=0.6, llm_connect_timeout=0.5) as it:
        await it.leave()
        await it.until(lambda: it.ends)
        assert it.ends == ["failed"]
        assert it.manager.tally.abandoned == 0


async def test_body_that_is_read_after_the_call_is_all_there() -> None:
    """What was fetched ahead is kept, in order."""
    bodies = []

    def build(it: World) -> Starlette:
        async def ask(request: Request) -> Response:
            await phase1.get_llm(request).generate_response_async(HELLO)
            bodies.append(await request.body())
            bodies.append(await request.is_disconnected())  # type: ignore[arg-type]
            return JSONResponse({})

        return Starlette(routes=[Route("/ask", ask, methods=["POST"])])

    async def slow(exchange: Exchange) -> None:
        await healthy(exchange, latency=0.3)

    async with world(build) as it:
        it.endpoint._behaviour = slow
        body = json.dumps({"text": "x" * 300_000}).encode()
        writer = await it.open("POST", body)
        await it.until(lambda: len(bodies) == 2)
        assert bodies == [body, False]
        writer.close()


async def test_call_in_a_background_task_is_not_cancelled() -> None:
    """The response is complete: servers say `http.disconnect` to everybody then."""

    def build(it: World) -> Starlette:
        async def work(request: Request) -> None:
            await endpoint_of(it)(request)  # type: ignore[misc]

        async def ask(request: Request) -> Response:
            return PlainTextResponse("later", background=BackgroundTask(work, request))

        return Starlette(routes=[Route("/ask", ask)])

    async def slow(exchange: Exchange) -> None:
        await healthy(exchange, latency=0.3)

    async with world(build) as it:
        it.endpoint._behaviour = slow
        writer = await it.open()
        await asyncio.sleep(0.1)
        writer.close()
        await it.until(lambda: it.ends)
        assert it.ends == ["answered"]


async def test_stream_that_waits_for_its_first_token_is_cancelled_too() -> None:
    """Before any byte of the response, and while Starlette itself listens for the client."""

    def build(it: World) -> FastAPI:
        app, client = FastAPI(), phase1.AsyncOpenAI(api_key="sk-test", base_url=it.endpoint.url)

        @app.get("/ask")
        async def asked(tasks: BackgroundTasks) -> StreamingResponse:
            async def words() -> AsyncIterator[str]:
                async for chunk in await client.chat.completions.create(model="m", messages=HELLO, stream=True):
                    yield chunk.choices[0].delta.content or ""

            return StreamingResponse(words())

        return app

    async with world(build) as it:
        await it.leave()
        await it.gone()
        await it.until(lambda: it.manager.tally.finished)
        assert it.manager.tally.calls == {"cancelled": 1}


# -- the watch by itself, with a server that says what the test says


class Server:
    """A server's side of one request."""

    def __init__(self, *, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self.says: asyncio.Queue[object] = asyncio.Queue()
        self.sent: list[str] = []
        self.asked = 0
        scope = {"type": "http", "headers": headers}
        self.departure = Departure(scope, self.receive, self.send, Events())  # type: ignore[arg-type]

    async def receive(self) -> dict[str, object]:
        self.asked += 1
        message = await self.says.get()
        if isinstance(message, Exception):
            raise message
        return message  # type: ignore[return-value]

    async def send(self, message: dict[str, object]) -> None:  # type: ignore[misc]
        self.sent.append(str(message["type"]))

    def call(self) -> asyncio.Task[str]:
        """Something that waits for an upstream."""

        async def wait() -> str:
            task = self.departure.begin()
            try:
                await asyncio.sleep(0.3)
            finally:
                self.departure.end(task)
            return "answered"

        return asyncio.create_task(wait())


PART = {"type": "http.request", "body": b"part", "more_body": True}
REST = {"type": "http.request", "body": b"rest", "more_body": False}
GONE = {"type": "http.disconnect"}


async def test_disconnect_is_said_again_and_again() -> None:
    """As servers do; also to a call that begins afterwards."""
    server = Server()
    server.says.put_nowait(GONE)
    with pytest.raises(asyncio.CancelledError):
        await server.call()
    assert await server.departure.receive() == GONE
    assert await server.departure.receive() == GONE
    with pytest.raises(asyncio.CancelledError):
        await server.call()
    assert server.asked == 1


async def test_no_more_than_one_unread_part_is_fetched() -> None:
    """Of a body that nobody has read: an upload is not drawn into memory."""
    server = Server()
    for message in (PART, PART, REST):
        server.says.put_nowait(message)
    assert await server.call() == "answered"
    assert server.asked == 1
    assert [await server.departure.receive() for _ in range(3)] == [PART, PART, REST]


async def test_app_that_reads_meanwhile_gets_every_message_in_order() -> None:
    """What we fetch while it asks is handed over; nobody asks twice at once."""
    server, read = Server(), []

    async def app() -> None:
        while len(read) < 3:
            read.append(await server.departure.receive())

    call = server.call()
    await asyncio.sleep(0.1)
    reading = asyncio.create_task(app())
    for message in (PART, REST, GONE):
        server.says.put_nowait(message)
        await asyncio.sleep(0.02)
    with pytest.raises(asyncio.CancelledError):
        await call
    await reading
    assert read == [PART, REST, GONE]


async def test_app_that_listens_itself_is_not_disturbed() -> None:
    """Its own `receive` tells us too."""
    server = Server()
    listening = asyncio.create_task(server.departure.receive())
    call = server.call()
    await asyncio.sleep(0.1)
    assert server.asked == 1
    server.says.put_nowait(GONE)
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await listening == GONE


async def test_quick_call_asks_nobody() -> None:
    """A timer, and no more."""
    server = Server()
    task = server.departure.begin()
    server.departure.end(task)
    await asyncio.sleep(0.1)
    assert server.asked == 0


async def test_body_that_has_to_be_asked_for_is_left_to_the_app() -> None:
    """`expect: 100-continue`: to read is to say yes."""
    server = Server(headers=((b"expect", b"100-continue"),))
    assert await server.call() == "answered"
    assert server.asked == 0
    server.says.put_nowait(REST)
    assert await server.departure.receive() == REST
    server.says.put_nowait(GONE)
    with pytest.raises(asyncio.CancelledError):
        await server.call()


async def test_error_of_the_server_is_the_apps_to_hear() -> None:
    """Ours is forgotten; whoever asks gets the next one."""
    server = Server()
    server.says.put_nowait(OSError("broken"))
    assert await server.call() == "answered"
    server.says.put_nowait(OSError("broken"))
    with pytest.raises(OSError, match="broken"):
        await server.departure.receive()


async def test_end_of_the_request_ends_the_watch() -> None:
    """No task and no timer is left."""
    before = asyncio.all_tasks()
    server = Server()
    call = server.call()
    await asyncio.sleep(0.1)
    server.departure.close()
    assert await call == "answered"
    assert asyncio.all_tasks() == before


async def test_other_cancellations_are_not_excused() -> None:
    """A server that shuts down, a task group of the app's."""
    server = Server()
    assert not server.departure.excuses(asyncio.CancelledError())
    server.says.put_nowait(GONE)
    with pytest.raises(asyncio.CancelledError):
        await server.call()
    assert not server.departure.excuses(ValueError())
    assert server.departure.excuses(asyncio.CancelledError())
    await server.departure.answer()
    assert server.sent == ["http.response.start", "http.response.body"]


async def test_thread_of_another_loop_is_left_alone() -> None:
    """A call on a loop of its own, from a thread inside the request."""

    def build(it: World) -> Starlette:
        async def ask(request: Request) -> Response:
            def work() -> None:
                async def call() -> None:
                    async with phase1.AsyncOpenAI(api_key="sk-test", base_url=it.endpoint.url) as client:
                        await client.chat.completions.create(model="m", messages=HELLO)

                asyncio.run(call())

            await anyio.to_thread.run_sync(work)
            it.ends.append("answered")
            return Response()

        return Starlette(routes=[Route("/ask", ask)])

    async def slow(exchange: Exchange) -> None:
        await healthy(exchange, latency=0.2)

    async with world(build) as it:
        it.endpoint._behaviour = slow
        writer = await it.open()
        await it.until(lambda: it.endpoint.requests)
        writer.close()
        await it.until(lambda: it.ends)
        assert it.manager.tally.abandoned == 0
