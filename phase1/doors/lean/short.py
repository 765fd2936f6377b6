"""The short way of one call: which calls may take it, and what happens when the pool has no answer for them?

    create(**arguments)
        plain?  no → the SDK's ordinary way, which ends in the door's `request`
        learnt? no → the ordinary way once, with the transport taking notes
        pool?   no → the ordinary way
        → bytes → engine → object

A failure that legacy may answer goes the ordinary way too: the door's `request` finds the guard in `falling_back`, and
does not ask the pool a second time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import openai

from phase1.doors.background import close_with_loop
from phase1.doors.bridge import bridge_for
from phase1.doors.departing import send_for_caller
from phase1.doors.http import async_response_of, sync_response_of, taking_turn
from phase1.doors.lean.answers import Asked, events_of, model_of
from phase1.doors.lean.learnt import NOT_YET, learn, recall
from phase1.doors.lean.streams import LeanAsyncStream, LeanStream
from phase1.doors.lean.wish import Resource, body_of
from phase1.engine.call import Answer
from phase1.exceptions import PoolError

if TYPE_CHECKING:
    from phase1.doors.bridge import Bridge
    from phase1.doors.guard import PoolGuard
    from phase1.engine.manager import Manager

__all__ = ["Way", "ask", "ask_blocking", "falling_back"]

Arguments = dict[str, Any]

falling_back: ContextVar[PoolGuard | None] = ContextVar("phase1_falling_back", default=None)
"""The guard of a call whose answer legacy is to give: the pool has been asked."""

Way = tuple["Manager", "PoolGuard"]
"""To which nodes one call goes, and who says whether legacy may answer instead."""

_YES_OR_NO = (True, False, None)


async def ask(caller: Any, resource: Resource, arguments: Arguments) -> Any:  # noqa: ANN401 - the SDK's
    """`create(**arguments)` of an asynchronous client's `resource`, whose own object is `caller`."""
    client = caller._client  # noqa: SLF001
    asked = _asked(client, resource, arguments)
    if asked is None:
        return await resource.ordinary(caller, arguments)
    if asked.learnt is NOT_YET:
        with learn(client, asked.what):
            return await resource.ordinary(caller, arguments)
    way: Way | None = client._phase1_way(asked.learnt)  # noqa: SLF001
    if way is None:
        return await resource.ordinary(caller, arguments)
    home, guard = way
    with guard:
        answer = await _send(home, asked)
        model = model_of(asked, answer)
        return await _other_result(asked, answer) if model is None else model
    with _legacy_answers(guard):
        return await resource.ordinary(caller, arguments)


def ask_blocking(caller: Any, resource: Resource, arguments: Arguments) -> Any:  # noqa: ANN401
    """The same for a synchronous client."""
    client = caller._client  # noqa: SLF001
    asked = _asked(client, resource, arguments)
    if asked is None:
        return resource.ordinary(caller, arguments)
    if asked.learnt is NOT_YET:
        with learn(client, asked.what):
            return resource.ordinary(caller, arguments)
    way: Way | None = client._phase1_way(asked.learnt)  # noqa: SLF001
    bridge = bridge_for(way[1].unit) if way is not None else None
    if way is None or bridge is None:
        return resource.ordinary(caller, arguments)
    home, guard = way
    with guard:
        return _result_over(bridge, asked, bridge.wait(_send(home, asked)))
    with _legacy_answers(guard):
        return resource.ordinary(caller, arguments)


def _asked(client: Any, resource: Resource, arguments: Arguments) -> Asked | None:  # noqa: ANN401
    """The call, if it may go the short way."""
    if "_phase1_lean" not in type(client).__dict__:  # not inherited: a subclass, Azure's or the app's, may do anything
        return None
    stream = arguments.get("stream")
    body = body_of(resource, arguments) if stream in _YES_OR_NO else None
    if body is None:
        return None
    coded = resource.coded if resource.coded is not None and resource.coded.concerns(arguments) else None
    streams, model = stream is True, arguments.get("model")
    named = model if isinstance(model, str) else None
    return Asked(client, resource, recall(client, (resource.name, streams)), body, streams, coded, named)


@contextlib.contextmanager
def _legacy_answers(guard: PoolGuard) -> Iterator[None]:
    token = falling_back.set(guard)
    try:
        yield
    finally:
        falling_back.reset(token)


async def _send(home: Manager, asked: Asked) -> Answer:
    """Raises what the SDK raises."""
    turn = taking_turn.get()
    close_with_loop(home)
    try:
        return await send_for_caller(home, asked.call(), turn)
    except PoolError as exc:
        error = asked.raised(exc)
        raise error from error.__cause__


async def _other_result(asked: Asked, answer: Answer) -> Any:  # noqa: ANN401
    if (events := events_of(asked, answer)) is not None:
        return LeanAsyncStream(asked, answer, events)
    response = async_response_of(answer, asked.request())
    if answer.stream is not None and not asked.stream:
        await response.aread()
    return await asked.made_by_the_sdk(response, openai.AsyncStream)


def _result_over(bridge: Bridge, asked: Asked, answer: Answer) -> Any:  # noqa: ANN401
    if (model := model_of(asked, answer)) is not None:
        return model
    if (events := events_of(asked, answer)) is not None:
        return LeanStream(asked, answer, events, bridge)
    response = sync_response_of(answer, asked.request(), bridge)
    if answer.stream is not None and not asked.stream:
        response.read()
    return asked.made_by_the_sdk(response, openai.Stream)
