"""May this start, and as what? From a validated body to a task in the journal and a message in the queue.

The journal's entry is there before the message is sent: there is no reader who comes too late. What was counted for a
task that does not start is given back.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from pydantic import ValidationError

from phase1.offload.backend import Backend
from phase1.offload.bodies import BatchBody, ChatBody, FeedbackBody, TaskRequest, complaint
from phase1.offload.frames import End
from phase1.offload.gcra import Taken
from phase1.offload.jobs import CHAT, DEFAULT_PRIORITY, FEEDBACK, Job, QueueUnavailable
from phase1.offload.journal import Code, Created, Meta, NewTask
from phase1.offload.problems import Problem, unavailable
from phase1.offload.service import UNAVAILABLE

if TYPE_CHECKING:
    from starlette.requests import Request

    from phase1.offload.identity import Identity
    from phase1.offload.service import Offload

__all__ = ["Intake", "Started"]

T = TypeVar("T")

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
_ROUNDS: Final = 2
"""How often a lost leader of a shared answer is replaced by one request."""
_BATCH_PRIORITY: Final = 9


@dataclass(frozen=True, slots=True)
class Started:
    """A task to be read: new, or one that stands for it (`attached`)."""

    backend: Backend
    task: str
    model: str
    headers: Mapping[str, str]
    attached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What is to be entered into the journal."""

    kind: str
    request: TaskRequest
    priority: int
    restarts: bool = True
    idempotency: tuple[str, str] | None = None
    shared: bool = False


class Intake:
    """Takes what one user asks for."""

    def __init__(self, offload: Offload, request: Request, who: Identity) -> None:
        self._offload = offload
        self._request = request
        self._user = who.key
        self._rate = who.rate

    async def chat(self, body: ChatBody) -> Started:
        """One chat. Raises `Problem`."""
        return await self._anywhere(lambda backend: self._chat(backend, body))

    async def feedback(self, body: FeedbackBody) -> Started:
        """Feedback on a session. Raises `Problem`: 404 when there is none."""
        return await self._anywhere(lambda backend: self._feedback(backend, body))

    async def batch(self, body: BatchBody) -> tuple[str, list[str]]:
        """Several chats under one name. Raises `Problem`."""
        return await self._anywhere(lambda backend: self._batch(backend, body))

    async def _anywhere(self, take: Callable[[Backend], Awaitable[T]]) -> T:
        """By the first backend that is there."""
        offload = self._offload
        if offload.manager.switches.emergency:
            raise unavailable("emergency_mode", "offloaded chats are switched off", retry_after=60)
        if offload.closing.is_set():
            raise unavailable("shutting_down", "this process is shutting down; another one will answer")
        for backend in offload.backends():
            if backend.works is not None and not offload.configured:
                raise unavailable("llm_not_configured", "no language model is configured", retry_after=60)
            try:
                return await take(backend)
            except UNAVAILABLE as error:
                offload.failed(backend, error)
        raise unavailable("queue_unavailable", "the task queue cannot be reached")

    async def _chat(self, backend: Backend, body: ChatBody) -> Started:
        model = self._model(body.model)
        taken = await self._count(backend, 1)
        request = await self._task_request(backend, body, model)
        wish = _Wish(
            kind=CHAT,
            request=request,
            priority=await self._priority(),
            restarts=body.dialect != "openai",
            idempotency=self._idempotency(body.model_dump_json()),
            shared=self._offload.config.cache_seconds > 0,
        )
        return await self._start(backend, wish, taken)

    async def _feedback(self, backend: Backend, body: FeedbackBody) -> Started:
        model = self._model(body.model)
        history = await backend.state.recall(self._user, body.session_id)
        if not history:
            raise Problem(404, "unknown_session", "there is no such session", param="session_id")
        taken = await self._count(backend, 1)
        asked = {"role": "user", "content": self._offload.hooks.feedback}
        request = _validated(model, [*history, asked], None)
        wish = _Wish(
            kind=FEEDBACK,
            request=request,
            priority=DEFAULT_PRIORITY,
            idempotency=self._idempotency(body.model_dump_json()),
        )
        return await self._start(backend, wish, taken)

    async def _batch(self, backend: Backend, body: BatchBody) -> tuple[str, list[str]]:
        model = self._model(body.model)
        taken = await self._count(backend, len(body.items))
        bodies = [ChatBody(message=item.message, session_id=item.session_id) for item in body.items]
        requests = [await self._task_request(backend, one, model) for one in bodies]
        await self._room(backend, taken, len(requests))
        batch = self._offload.new_id(backend)
        tasks = [await self._enter(backend, request) for request in requests]
        await backend.state.gather(self._user, batch, tasks, seconds=self._offload.config.times.kept_running)
        return batch, tasks

    async def _enter(self, backend: Backend, request: TaskRequest) -> str:
        task = self._offload.new_id(backend)
        wish = _Wish(kind=CHAT, request=request, priority=_BATCH_PRIORITY)
        await backend.journal.create(self._new(task, wish))
        await self._send(backend, task, wish)
        return task

    def _model(self, asked: str | None) -> str:
        config = self._offload.config
        model = asked or config.default_model
        if model is None:
            raise Problem(422, "model_required", "model is missing, and no default is configured", param="model")
        if model not in config.models:
            allowed = ", ".join(config.models) or "none (LLM_OFFLOAD_MODELS, LLM_MODEL)"
            raise Problem(422, "unknown_model", f"model {model!r} is not offered; allowed: {allowed}", param="model")
        return model

    async def _priority(self) -> int:
        hook = self._offload.hooks.priority
        if hook is None:
            return DEFAULT_PRIORITY
        found = hook(self._request)
        return min(9, max(0, await found if inspect.isawaitable(found) else found))

    async def _task_request(self, backend: Backend, body: ChatBody, model: str) -> TaskRequest:
        session = body.session_id
        history = await backend.state.recall(self._user, session) if session else []
        return _validated(model, await self._messages(body, history), session)

    async def _messages(self, body: ChatBody, history: Sequence[Mapping[str, str]]) -> Sequence[Mapping[str, str]]:
        hook = self._offload.hooks.messages
        if hook is None:
            return (*history, {"role": "user", "content": body.message})
        found = hook(self._request, body, history)
        return await found if inspect.isawaitable(found) else found

    def _idempotency(self, body: str) -> tuple[str, str] | None:
        key = self._request.headers.get("idempotency-key")
        if key is None:
            return None
        if not _KEY.fullmatch(key):
            raise Problem(400, "bad_idempotency_key", "Idempotency-Key must be 1 to 255 printable ASCII characters")
        return f"{self._user}:{_digest(key)}", _digest(body)

    async def _count(self, backend: Backend, cost: int) -> Taken:
        config = self._offload.config
        taken = await backend.state.take(
            self._rate, per_minute=config.requests_per_minute, burst=config.burst, cost=cost
        )
        if not taken.allowed:
            raise Problem(
                429,
                "rate_limited",
                f"at most {config.requests_per_minute} tasks per minute, {config.burst} at once",
                retry_after=taken.retry_after,
                headers=self._rate_headers(taken),
            )
        return taken

    def _rate_headers(self, taken: Taken) -> dict[str, str]:
        return {
            "x-ratelimit-limit": str(self._offload.config.burst),
            "x-ratelimit-remaining": str(max(0, taken.remaining)),
            "x-ratelimit-reset": str(round(taken.reset)),
        }

    async def _give_back(self, backend: Backend, cost: int) -> None:
        config = self._offload.config
        await backend.state.take(self._rate, per_minute=config.requests_per_minute, burst=config.burst, cost=-cost)

    async def _start(self, backend: Backend, wish: _Wish, taken: Taken) -> Started:
        task = self._offload.new_id(backend)
        await asyncio.gather(self._room(backend, taken, 1), self._slot(backend, task))
        created = await self._create(backend, task, wish)
        headers = self._rate_headers(taken)
        if created.task == task:
            await self._send(backend, task, wish)
            return Started(backend, task, wish.request.model, headers)
        await backend.state.drop(self._user, task)
        await self._give_back(backend, 1)
        if created.code is Code.REUSED:
            raise Problem(422, "idempotency_key_reused", "this Idempotency-Key was used with another body")
        return Started(backend, created.task, wish.request.model, headers, attached=True)

    async def _create(self, backend: Backend, task: str, wish: _Wish) -> Created:
        """Its own entry, or another that stands for it."""
        leader = ""
        for _ in range(_ROUNDS):
            created = await backend.journal.create(self._new(task, wish, leader))
            if created.code is not Code.LEADER:
                return created
            if _is_useful(await backend.journal.meta(created.task)):
                await backend.journal.attach(created.task)
                return created
            leader = created.task
        return await backend.journal.create(self._new(task, wish, share=False))

    def _new(self, task: str, wish: _Wish, leader: str = "", *, share: bool = True) -> NewTask:
        times = self._offload.config.times
        text = wish.request.model_dump_json()
        return NewTask(
            task=task,
            user=self._user,
            kind=wish.kind,
            request=text,
            grace_ms=int(times.queue_grace * 1000),
            deadline_ms=int(times.deadline * 1000),
            restarts=wish.restarts,
            idempotency=wish.idempotency,
            flight=f"{self._user}:{_digest(text + str(wish.restarts))}" if wish.shared and share else None,
            flight_ms=self._offload.config.cache_seconds * 1000,
            leader=leader,
        )

    async def _room(self, backend: Backend, taken: Taken, wanted: int) -> None:
        if await backend.journal.backlog() + wanted <= self._offload.config.queue_size:
            return
        await self._give_back(backend, wanted)
        raise Problem(503, "queue_full", "too many tasks are waiting", retry_after=5, headers=self._rate_headers(taken))

    async def _slot(self, backend: Backend, task: str) -> None:
        """A place among the user's live tasks; those that are over make room."""
        config = self._offload.config
        limit, seconds = config.tasks_per_user, config.times.kept_running
        if await backend.state.hold(self._user, task, limit=limit, seconds=seconds):
            return
        for other in await backend.state.held(self._user):
            meta = await backend.journal.meta(other)
            if meta is None or meta.state == "done":
                await backend.state.drop(self._user, other)
        if await backend.state.hold(self._user, task, limit=limit, seconds=seconds):
            return
        await self._give_back(backend, 1)
        raise Problem(429, "too_many_tasks", f"at most {limit} tasks of one user at once", retry_after=5)

    async def _send(self, backend: Backend, task: str, wish: _Wish) -> None:
        try:
            await backend.queue.submit(Job(task, 1, wish.kind, wish.priority))
        except QueueUnavailable:
            await backend.journal.cancel(task, self._user)
            await backend.state.drop(self._user, task)
            await self._give_back(backend, 1)
            raise


def _is_useful(meta: Meta | None) -> bool:
    """Whether its answer is one that others can have too."""
    return meta is not None and meta.end in {"", End.COMPLETED}


def _validated(model: str, messages: Sequence[Mapping[str, str]], session: str | None) -> TaskRequest:
    try:
        return TaskRequest.model_validate({"model": model, "messages": list(map(dict, messages)), "session": session})
    except ValidationError as error:
        where, what = complaint(error)
        raise Problem(422, "invalid_request", f"{where}: {what}", param=where) from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
