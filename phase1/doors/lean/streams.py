"""How do a pooled stream's events become the SDK's chunks?

The SDK's own stream classes, read event by event as the engine has cut them: one validation each, strict as in
`answers`. What is not taken (an error in-band, another provider's shapes) is read by the SDK's own code. An httpx
response is made only for those who look at `stream.response`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, cast

import openai

from phase1.doors.http import async_response_of, sync_response_of, taking_turn
from phase1.doors.lean.answers import Asked, validated
from phase1.engine.call import Answer, AnswerStream
from phase1.engine.sse import BROKEN_EVENT, fields_of
from phase1.engine.transport import TransportError
from phase1.policy.classify import Kind, Outcome

if TYPE_CHECKING:
    from phase1.doors.bridge import Bridge

__all__ = ["LeanAsyncStream", "LeanStream"]

_DRAINED = 0.1
"""Seconds after `[DONE]` for the end of the body, as in the SDK: the connection can be used again then."""
_DONE = object()
_NOTHING = object()


class _Malformed(ValueError):
    """An event that is no JSON: tokens are lost."""


class _Reading:
    """What both streams share: events to chunks, and the SDK's stream as far as it has attributes."""

    def __init__(self, asked: Asked, answer: Answer, source: AnswerStream) -> None:
        self._asked = asked
        self._answer = answer
        self._source = source
        self._cast_to: Any = asked.resource.chunk
        self._client: Any = asked.client
        self._slices = taking_turn.get().slices
        self._iterator: Any = self.__stream__()
        self._closed = False
        self._begun = False
        self._made: Any = None

    def phase1_events(self) -> AsyncIterator[list[bytes]]:
        """The events as they came, for who wants no objects, on the engine's loop. Raises `ValueError` when begun."""
        if self._begun or self._made is not None:
            raise ValueError("the stream has been read already: relay it instead of iterating over it")
        self._begun = True
        return self._source.batches()

    async def _next_batch(self, batches: AsyncIterator[list[bytes]]) -> list[bytes]:
        """What has arrived, when it is one's turn to read it; empty at the end."""
        batch: list[bytes] = await anext(batches, [])
        if batch and self._slices is not None:
            await self._slices.next()
        return batch

    if TYPE_CHECKING:

        def __stream__(self) -> Any: ...  # noqa: ANN401
        def _response(self) -> Any: ...  # noqa: ANN401

    @property
    def response(self) -> Any:  # noqa: ANN401 - an httpx response
        """The answer as httpx has it, made when it is asked for."""
        if self._made is None:
            self._made = self._response()
            self._made.is_closed = self._closed
        return self._made

    def _read(self, event: bytes) -> Any:  # noqa: ANN401 - a chunk, `_DONE` or `_NOTHING`
        """What one event is to the SDK's caller."""
        resource = self._asked.resource
        if resource.chunks is not None:
            name, data = fields_of(event)
            cls = resource.chunks.get(name)
        elif event.startswith(b"data: {") and event.endswith(b"}\n\n") and b'"error"' not in event:
            cls, data = resource.chunk, event[6:-2]
        else:
            cls, data = None, b""
        chunk = None if cls is None else validated(cls, data)
        return self._read_by_the_sdk(event) if chunk is None else chunk

    def _read_by_the_sdk(self, event: bytes) -> Any:  # noqa: ANN401
        _, data = fields_of(event)
        if not data:
            return _NOTHING
        if data.startswith(b"[DONE]"):
            return _DONE
        try:
            payload = json.loads(data)
        except ValueError as exc:
            raise _Malformed from exc
        if isinstance(payload, dict) and (error := payload.get("error")):
            raise self._error(error)
        return self._client._process_response_data(  # noqa: SLF001 - its way for everything else
            data=payload, cast_to=self._cast_to, response=self.response
        )

    def _error(self, error: object) -> openai.APIError:
        message = error.get("message") if isinstance(error, dict) else None
        if not message or not isinstance(message, str):
            message = "An error occurred during streaming"
        return openai.APIError(message=message, request=self._asked.request(), body=error)

    def _broken(self) -> openai.APIError:
        payload = json.loads(fields_of(BROKEN_EVENT)[1])
        return self._error(payload["error"])


class LeanAsyncStream(_Reading, openai.AsyncStream[Any]):  # type: ignore[override]  # a `response` made late
    """`openai.AsyncStream` over the engine's events."""

    def _response(self) -> Any:  # noqa: ANN401
        return async_response_of(self._answer, self._asked.request())

    async def __anext__(self) -> Any:  # noqa: ANN401
        return await self._iterator.__anext__()

    def __aiter__(self) -> AsyncIterator[Any]:
        return cast("AsyncIterator[Any]", self._iterator)

    async def __stream__(self) -> AsyncIterator[Any]:
        self._begun = True
        batches = self._source.batches()
        try:
            while batch := await self._next_batch(batches):
                for event in batch:
                    chunk = self._read(event)
                    if chunk is _DONE:
                        await _drain(batches)
                        return
                    if chunk is not _NOTHING:
                        yield chunk
        except _Malformed as exc:
            await self._source.aclose(Outcome(Kind.BROKEN_AFTER_TOKEN))
            raise self._broken() from exc
        except TransportError as exc:
            raise openai.APIConnectionError(request=self._asked.request()) from exc
        finally:
            await self.close()

    async def close(self) -> None:
        """Close the upstream response, and release its place in the pool."""
        self._closed = True
        await self._source.aclose()
        if self._made is not None:
            await self._made.aclose()


class LeanStream(_Reading, openai.Stream[Any]):  # type: ignore[override]  # as above
    """`openai.Stream` over the engine's events: it waits once for all that has arrived."""

    def __init__(self, asked: Asked, answer: Answer, source: AnswerStream, bridge: Bridge) -> None:
        super().__init__(asked, answer, source)
        self._bridge = bridge

    def _response(self) -> Any:  # noqa: ANN401
        return sync_response_of(self._answer, self._asked.request(), self._bridge)

    def __next__(self) -> Any:  # noqa: ANN401
        return next(self._iterator)

    def __iter__(self) -> Iterator[Any]:
        return cast("Iterator[Any]", self._iterator)

    def __stream__(self) -> Iterator[Any]:
        self._begun = True
        batches = self._source.batches()
        try:
            while batch := self._bridge.wait(self._next_batch(batches)):
                for event in batch:
                    chunk = self._read(event)
                    if chunk is _DONE:
                        self._bridge.wait(_drain(batches))
                        return
                    if chunk is not _NOTHING:
                        yield chunk
        except _Malformed as exc:
            self._bridge.finish(self._source.aclose(Outcome(Kind.BROKEN_AFTER_TOKEN)))
            raise self._broken() from exc
        except TransportError as exc:
            raise openai.APIConnectionError(request=self._asked.request()) from exc
        except GeneratorExit:  # dropped, perhaps by the garbage collector: nobody may wait there
            self._closed = True
            self._bridge.leave(self._source.aclose())
            raise
        finally:
            self.close()

    def close(self) -> None:
        """Close the upstream response, and release its place in the pool."""
        if self._closed:
            return
        self._closed = True
        self._bridge.finish(self._source.aclose())
        if self._made is not None:
            self._made.close()


async def _drain(batches: AsyncIterator[list[bytes]]) -> None:
    with contextlib.suppress(TimeoutError, TransportError):
        async with asyncio.timeout(_DRAINED):
            async for _ in batches:
                pass
