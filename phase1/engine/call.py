"""What does a door hand to the engine, and what does it get back?

Values, not to be changed. Those that every call makes are not frozen all the same, here and in the rooms around: a
frozen one takes three times as long to make.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from phase1.engine.transport import Fields, TransportError
from phase1.engine.usage import Flow
from phase1.policy.classify import Kind, Outcome

__all__ = ["Answer", "AnswerStream", "Call", "StreamSource"]


@dataclass(slots=True)
class Call:
    """One API call, not yet aimed at a node.

    `path` is relative to a node's base URL and starts with a slash, query included. `headers` carry no credentials
    and nothing hop-by-hop, names lower case. `timeout` is what the app asked for explicitly, in seconds: it replaces
    `LLM_REQUEST_DEADLINE` (`inf` = none); `None` = it did not ask. `credentials` are the header fields that the
    client would have sent by itself, for a node that has no key of its own. `parsed`: the caller parses every event
    of a stream, so that the engine need not. `model` is the one that the body names, where the caller knows it.
    """

    method: str
    path: str
    headers: Sequence[tuple[str, str]] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    timeout: float | None = None
    streams: bool = False
    credentials: Sequence[tuple[str, str]] = field(default=(), repr=False)
    parsed: bool = False
    model: str | None = None


class StreamSource(Protocol):
    """Where a streamed answer comes from."""

    def batches(self) -> AsyncIterator[list[bytes]]:
        """What has arrived, to be passed on: whole events, or pieces of bytes. Ends or raises when the stream does."""

    @property
    def begun(self) -> list[bytes]:
        """What was at hand when it became an answer."""

    @property
    def ended(self) -> bool:
        """Whether `batches` has nothing to yield any more but a last word of ours."""

    async def aclose(self) -> None:
        """Close the upstream response."""

    @property
    def outcome(self) -> Outcome:
        """What the stream came to; while `chunks` goes on, what it comes to if it is left here."""


class AnswerStream:
    """The body of a streamed answer: iterate once, by bytes or by `batches`; close at any time.

    `on_end` is called exactly once with the outcome, also when the caller goes away, is cancelled, or drops the
    stream without reading it. A caller who leaves after the last word (the SDK does at `[DONE]`) has had it whole.
    """

    __slots__ = ("__weakref__", "_flow", "_loop", "_on_end", "_source")

    def __init__(self, source: StreamSource, on_end: Callable[[Outcome], None], flow: Flow | None = None) -> None:
        self._source = source
        self._flow = flow or Flow()
        self._on_end: Callable[[Outcome], None] | None = on_end
        self._loop = asyncio.get_running_loop()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for batch in self.batches():
            yield b"".join(batch)

    async def batches(self) -> AsyncIterator[list[bytes]]:
        """What has arrived, as it came: whole server-sent events, or pieces of other bytes."""
        try:
            async for batch in self._source.batches():
                self._flow.add(batch)
                if self._source.ended:
                    await self.aclose()  # the SDK of openai 1 does not come back after an error event
                yield batch
        except TransportError:
            raise
        except Exception:
            self._settle(Outcome(Kind.BUG))
            raise
        finally:
            await self.aclose()

    async def aclose(self, outcome: Outcome | None = None) -> None:
        """Stop here: the upstream connection is closed, the slot released.

        `outcome`: what the caller found it to be; `None` = what it says itself.
        """
        self._settle(outcome or self._source.outcome)
        await self._source.aclose()

    def _settle(self, outcome: Outcome) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(outcome)

    def __del__(self) -> None:
        if self._on_end is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_abandon, self._source, self._on_end)


def _abandon(source: StreamSource, on_end: Callable[[Outcome], None]) -> None:
    on_end(source.outcome)
    task = asyncio.ensure_future(source.aclose())
    task.add_done_callback(lambda done: done.cancelled() or done.exception())


@dataclass(slots=True)
class Answer:
    """What came back: an HTTP answer, already judged.

    A unary answer has `body`; a streamed one has `stream`, whose first content is already at hand.
    """

    status: int
    headers: Fields
    outcome: Outcome
    body: bytes = b""
    stream: AnswerStream | None = None
