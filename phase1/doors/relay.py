"""How does a provider's stream reach a browser without becoming objects on the way?

    stream = await client.chat.completions.create(..., stream=True)
    return StreamingResponse(phase1.relay(stream), media_type="text/event-stream")

The bytes go through as they came: of a pooled stream whole events, of another one what its HTTP client hands out.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from phase1.doors.lean.streams import LeanAsyncStream, LeanStream
from phase1.doors.offload import iterate
from phase1.engine.sse import BROKEN_EVENT

if TYPE_CHECKING:
    import openai

__all__ = ["relay"]


async def relay(stream: openai.AsyncStream[Any] | openai.Stream[Any]) -> AsyncIterator[bytes]:
    """The server-sent events of an SDK's stream as bytes, `[DONE]` included; nothing in them is looked at.

    One that breaks ends with an event that says so, as every pooled stream does; whoever stops reading closes the
    upstream response. Raises `ValueError` when the stream has been read already.
    """
    try:
        async for chunk in _bytes(stream):
            yield chunk
    finally:
        closed = stream.close()
        if inspect.isawaitable(closed):
            await closed


def _bytes(stream: Any) -> AsyncIterator[bytes]:  # noqa: ANN401
    if isinstance(stream, LeanAsyncStream | LeanStream):
        return _joined(stream.phase1_events())
    response = stream.response
    if response.is_stream_consumed or response.is_closed:
        raise ValueError("the stream has been read already: relay it instead of iterating over it")
    chunks = response.aiter_bytes() if hasattr(stream, "__anext__") else iterate(response.iter_bytes())
    return _honest(response, chunks)


async def _joined(batches: AsyncIterator[list[bytes]]) -> AsyncIterator[bytes]:
    async for batch in batches:
        yield b"".join(batch)


async def _honest(response: Any, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:  # noqa: ANN401
    family = sys.modules[type(response).__module__.partition(".")[0]]
    try:
        async for chunk in chunks:
            yield chunk
    except family.TransportError:
        yield BROKEN_EVENT
