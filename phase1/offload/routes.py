"""Which routes are there? Start, resume, cancel, look; all of it for the one whose task it is.

They may be mounted by hand, in an app that has phase1: `app.mount("/api/async", phase1.offload.router)`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, cast

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router

from phase1.asgi.context import context_of
from phase1.offload import views
from phase1.offload.backend import Backend
from phase1.offload.bodies import BatchBody, ChatBody, Dialect, FeedbackBody, complaint
from phase1.offload.dialects import DEFAULT, DIALECTS, StreamFacts, renderer
from phase1.offload.identity import Identity, identify
from phase1.offload.intake import Intake, Started
from phase1.offload.journal import START, Code, Cursor, Meta
from phase1.offload.pages import page_routes
from phase1.offload.problems import Problem, gone, not_found, unavailable
from phase1.offload.service import UNAVAILABLE, Offload
from phase1.offload.streaming import JournalStream
from phase1.offload.works import day_of

__all__ = ["HOME", "KEY", "offload_of", "router"]

HOME: Final = "/api/async"
KEY: Final = "phase1.offload"
"""Where `install` has put the app's `Offload` into the scope."""

_AHEAD: Final = 400
"""Frames that a reader may be ahead of a journal that has come back from its disk."""

B = TypeVar("B", bound=BaseModel)
_Answer = Callable[["_Visit"], Awaitable[Any]]


def offload_of(request: Request) -> Offload:
    """The app's: of `install`, else made once for the app's manager. Raises `Phase1Error` without phase1."""
    if (offload := request.scope.get(KEY)) is not None:
        return cast("Offload", offload)
    manager = context_of(request).unit.manager
    made = manager.door_clients.get(KEY)
    if made is None:
        made = manager.door_clients[KEY] = Offload(manager)
    return cast("Offload", made)


class _Visit:
    """One request, by somebody."""

    def __init__(self, request: Request, offload: Offload, who: Identity) -> None:
        self.request = request
        self.offload = offload
        self.who = who

    @property
    def user(self) -> str:
        """The pseudonym."""
        return self.who.key

    @property
    def home(self) -> str:
        """Where the routes are, as the client sees it."""
        path = self.request.scope["path"]
        root: str = self.request.scope.get("root_path", "")
        return root if path.startswith(root) else HOME

    async def body(self, kind: type[B]) -> B:
        """The validated body. Raises `Problem`: 413, 415, 400, 422."""
        if self.request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Problem(415, "unsupported_media_type", "Content-Type must be application/json")
        raw = await self._bounded()
        try:
            return kind.model_validate_json(raw)
        except ValidationError as error:
            if error.errors(include_url=False, include_input=False)[0]["type"] == "json_invalid":
                raise Problem(400, "invalid_json", "the body is not JSON") from None
            where, what = complaint(error)
            raise Problem(422, "invalid_request", f"{where}: {what}", param=where) from None

    async def _bounded(self) -> bytes:
        limit = self.offload.config.max_body
        raw = bytearray()
        async for part in self.request.stream():
            raw += part
            if len(raw) > limit:
                raise Problem(413, "body_too_large", f"the body must have at most {limit} bytes")
        return bytes(raw)

    async def task(self) -> tuple[Backend, str, Meta]:
        """The task that the path names, if it is this user's. Raises `Problem`."""
        task = self.request.path_params["task"]
        backend = self.offload.backend_of(task)
        if backend is None:
            raise not_found("unknown_task_here" if self.offload.config.backend == "memory" else "unknown_task")
        meta = await backend.journal.meta(task)
        if meta is None:
            raise gone()
        if meta.user != self.user:
            raise not_found()
        return backend, task, meta

    def dialect(self, default: Dialect | None = None) -> Dialect:
        """What the query asks for. Raises `Problem`."""
        asked = self.request.query_params.get("dialect", default or DEFAULT)
        if asked not in DIALECTS:
            allowed = ", ".join(DIALECTS)
            raise Problem(422, "unknown_dialect", f"dialect {asked[:40]!r}: allowed: {allowed}", param="dialect")
        return cast("Dialect", asked)

    def stream(self, started: Started, dialect: Dialect, after: Cursor, created: int, position: int) -> JournalStream:
        """The SSE response. Raises `Problem` when this user reads too many."""
        limit = self.offload.config.streams_per_user
        if self.offload.streams[self.user] >= limit:
            raise Problem(429, "too_many_streams", f"at most {limit} open streams of one user", retry_after=5)
        url = f"{self.home}/chat/stream/{started.task}"
        facts = StreamFacts(task=started.task, url=url, model=started.model, created=created // 1000, position=position)
        headers = {"location": url, "x-task-id": started.task, **started.headers}
        if self.who.cookie:
            headers["set-cookie"] = self.who.cookie
        return JournalStream(
            self.offload,
            started.backend,
            started.task,
            self.user,
            after=after,
            renderer=renderer(dialect, facts),
            headers=headers,
        )

    def json(self, content: object, status: int = 200, **headers: str) -> JSONResponse:
        """A JSON answer."""
        cookie = {"set-cookie": self.who.cookie} if self.who.cookie else {}
        return JSONResponse(content, status, {"cache-control": "no-store", **cookie, **headers})


async def _start(visit: _Visit) -> object:
    body = await visit.body(ChatBody)
    dialect = visit.dialect(body.dialect)
    started = await Intake(visit.offload, visit.request, visit.who).chat(
        body if body.dialect == dialect else body.model_copy(update={"dialect": dialect})
    )
    meta = await started.backend.journal.meta(started.task)  # whoever resumes reads the same `created_at`
    return visit.stream(started, dialect, START, meta.created if meta else int(time.time() * 1000), 0)


async def _resume(visit: _Visit) -> object:
    dialect = visit.dialect()
    after = _cursor(visit.request)
    backend, task, meta = await visit.task()
    if after.epoch > meta.epoch + 1 or (after.epoch == meta.epoch and after.seq > meta.seq + _AHEAD):
        raise Problem(400, "cursor_ahead", f"cursor {after}: the task has not got that far", param="Last-Event-ID")
    if meta.state == "done" and not await backend.journal.read(task, after, 1):
        return Response(status_code=204, headers={"cache-control": "no-store"})
    position, model = await views.place(backend.journal, task, after)
    return visit.stream(Started(backend, task, model, {}), dialect, after, meta.created, position)


def _cursor(request: Request) -> Cursor:
    text = request.headers.get("last-event-id") or request.query_params.get("after")
    if text is None:
        return START
    if (cursor := Cursor.parse(text)) is None:
        raise Problem(400, "bad_cursor", "Last-Event-ID must be <number>-<number>", param="Last-Event-ID")
    return cursor


async def _cancel(visit: _Visit) -> object:
    backend, task, _ = await visit.task()
    reply = await backend.journal.cancel(task, visit.user)
    if reply.code is Code.GONE:
        raise gone()
    status = {Code.CLOSED_HERE: "cancelled", Code.OK: "cancelling", Code.DETACHED: "detached"}.get(reply.code, "done")
    return visit.json({"task_id": task, "status": status}, 202)


async def _feedback(visit: _Visit) -> object:
    body = await visit.body(FeedbackBody)
    started = await Intake(visit.offload, visit.request, visit.who).feedback(body)
    location = f"{visit.home}/tasks/{started.task}"
    return visit.json({"task_id": started.task, "status": "processing"}, 202, location=location)


async def _batch(visit: _Visit) -> object:
    body = await visit.body(BatchBody)
    batch, tasks = await Intake(visit.offload, visit.request, visit.who).batch(body)
    location = f"{visit.home}/tasks/{batch}"
    return visit.json({"task_id": batch, "status": "processing", "tasks": tasks}, 202, location=location)


async def _task(visit: _Visit) -> object:
    task = visit.request.path_params["task"]
    backend = visit.offload.backend_of(task)
    if backend is not None and (tasks := await backend.state.gathered(visit.user, task)):
        return visit.json(await views.batch(backend.journal, task, tasks))
    backend, task, meta = await visit.task()
    return visit.json(await views.task(backend.journal, task, meta))


async def _usage(visit: _Visit) -> object:
    day = day_of(int(time.time() * 1000))
    used = await visit.offload.primary.state.usage(visit.user, day)
    return visit.json({"day": day, **used})


def _endpoint(answer: _Answer) -> Callable[[Request], Awaitable[Any]]:
    async def endpoint(request: Request) -> object:
        offload = offload_of(request)
        offload.start()
        try:
            visit = _Visit(request, offload, await identify(request, offload.hooks, offload.signer))
            return await answer(visit)
        except Problem as problem:
            return problem.response()
        except UNAVAILABLE as error:
            offload.failed(offload.primary, error)
            return unavailable("journal_unavailable", "tasks cannot be looked up now").response()

    return endpoint


async def _health(request: Request) -> Response:
    offload = offload_of(request)
    offload.start()
    status, facts = await offload.health()
    return JSONResponse({"status": status, **facts}, 503 if status == "down" else 200, {"cache-control": "no-store"})


_STREAM: Final = "/chat/stream/{task}"

router = Router(
    routes=[
        Route("/chat/stream", _endpoint(_start), methods=["POST"]),
        Route(_STREAM, _endpoint(_resume), methods=["GET"]),
        Route(_STREAM, _endpoint(_cancel), methods=["DELETE"]),
        Route(_STREAM + "/cancel", _endpoint(_cancel), methods=["POST"]),
        Route("/chat/feedback", _endpoint(_feedback), methods=["POST"]),
        Route("/chat/batch", _endpoint(_batch), methods=["POST"]),
        Route("/tasks/{task}", _endpoint(_task), methods=["GET"]),
        Route("/usage", _endpoint(_usage), methods=["GET"]),
        Route("/health", _health, methods=["GET"]),
        *page_routes(lambda request: offload_of(request).manager.settings),
    ],
    redirect_slashes=False,
)
"""An ASGI app of all routes, relative to where it is mounted (`/api/async`)."""
