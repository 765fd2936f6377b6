"""One attempt at one node: send, wait for an answer or its first content, and say what happened.

Clocks end it: connecting (the transport's), the first token, the pause between two chunks, a floor in tokens per
second, and the call's deadline. Nothing is passed to the caller before the first content of a stream, so that a failure
until then can be tried elsewhere. After it, a stream that breaks ends with an honest error event, never in silence.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass

from pydantic_core import from_json, to_json

from phase1.engine.call import Call, StreamSource
from phase1.engine.deadlines import Deadlines
from phase1.engine.paced import BelowFloor, Paced, Source
from phase1.engine.sse import BROKEN_EVENT, EventSplitter, Progress, StreamReader
from phase1.engine.transport import Broken, Fields, NeverSent, Transport, TransportError, WireRequest, WireResponse
from phase1.engine.watch import Watched
from phase1.policy.classify import Kind, Outcome, answered, outcome_of_error, outcome_of_status, retry_after_seconds
from phase1.policy.floor import Floor

__all__ = ["Attempt", "Clocks", "try_once"]

_MAX_HELD_EVENTS = 64
_SUCCESS = range(200, 300)
_ENDS = b'}]"'
"""What the last byte of a JSON text is, where nothing follows it."""
_OF_AN_OBJECT = frozenset({"object", "id", "choices", "data", "output"})
_STATUS_IN_BAND = {Kind.RATE_LIMIT: 429, Kind.NODE_REFUSED: 403, Kind.SERVER_ERROR: 500}


NO_FIELDS = Fields.of(())
"""Of an attempt that got no answer."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """Seconds until the first token of a stream, and between two of its chunks; `floor` in tokens per second (0: none).

    A stream may be below its floor for `idle` seconds in all before it is broken off.
    """

    first_token: float
    idle: float
    floor: float = 0.0


@dataclass(slots=True)
class Attempt:
    """What one attempt came to: an HTTP answer with `body` or `stream`, or a failure below HTTP with `error`."""

    outcome: Outcome
    status: int | None = None
    headers: Fields = NO_FIELDS
    body: bytes = b""
    stream: StreamSource | None = None
    error: Exception | None = None


async def try_once(
    transport: Transport,
    request: WireRequest,
    call: Call,
    *,
    clocks: Clocks,
    expires_at: float,
    deadlines: Deadlines,
    watched: Watched | None = None,
) -> Attempt:
    """Make one attempt. `expires_at` is in the loop's time. Never raises, except when cancelled.

    `watched` gets the attempt's clock: whoever watches may let it run out, and that is silence too.
    """
    ends_at = expires_at
    if call.streams:
        ends_at = min(expires_at, asyncio.get_running_loop().time() + clocks.first_token)
    response: WireResponse | None = None
    clock = deadlines.clock(ends_at)
    if watched is not None:
        watched.clock = clock
    try:
        with clock:
            response = await transport.send(request)
            attempt = await _receive(response, clocks, skims=call.parsed)
    except TimeoutError as exc:
        kind = Kind.FIRST_TOKEN_TIMEOUT if clock.given_up or ends_at < expires_at else Kind.TIMEOUT
        attempt = Attempt(Outcome(kind), error=exc)
    except NeverSent as exc:
        attempt = Attempt(Outcome(Kind.CONNECT), error=exc)
    except Broken as exc:
        attempt = Attempt(Outcome(Kind.BROKEN), error=exc)
    except Exception as exc:  # noqa: BLE001 - a bug of ours must still free the slot and reach legacy
        attempt = Attempt(Outcome(Kind.BUG), error=exc)
    except BaseException:
        if response is not None:
            await _close(response)
        raise
    if response is not None and attempt.stream is None and not response.ended:
        await _close(response)
    return attempt


async def _close(response: WireResponse) -> None:
    with contextlib.suppress(Exception):  # what it has answered is no worse for that
        await response.aclose()


def _receive(response: WireResponse, clocks: Clocks, *, skims: bool) -> Awaitable[Attempt]:
    if response.status not in _SUCCESS:
        return _receive_error(response)
    content_type = response.headers.get("content-type") or ""
    if content_type == "application/json":  # mostly
        return _receive_json(response)
    content_type = content_type.partition(";")[0].strip().lower()
    if content_type == "text/event-stream":
        return _receive_stream(response, _EventSource(response, skims=skims), clocks)
    if content_type == "application/json" or content_type.endswith("+json"):
        return _receive_json(response)
    if content_type == "text/html":
        return _refuse_html(response)
    return _receive_stream(response, _OpaqueSource(response), clocks)


async def _refuse_html(response: WireResponse) -> Attempt:
    return Attempt(Outcome(Kind.BROKEN, status=response.status), error=Broken("an HTML page instead of an answer"))


async def _receive_error(response: WireResponse) -> Attempt:
    body = await response.read()
    headers = dict(response.headers)
    code, type_ = _error_code(body)
    outcome = outcome_of_status(
        response.status, code=code, type_=type_, retry_after=retry_after_seconds(headers, now=time.time())
    )
    return Attempt(outcome, status=response.status, headers=response.headers, body=body)


def _error_code(body: bytes) -> tuple[str | None, str | None]:
    try:
        payload = from_json(body)
    except ValueError:
        return None, None
    error = payload.get("error", payload) if isinstance(payload, dict) else None
    return _code_and_type(error) if isinstance(error, dict) else (None, None)


def _code_and_type(error: Mapping[str, object]) -> tuple[str | None, str | None]:
    code, type_ = error.get("code"), error.get("type")
    # Gateways give a status as the code.
    return (str(code) if isinstance(code, str | int) else None), (type_ if isinstance(type_, str) else None)


async def _receive_json(response: WireResponse) -> Attempt:
    body = await response.read()
    if body and body[-1] not in _ENDS and body.rstrip()[-1:] not in {b"}", b"]", b'"'} and not _is_json(body):
        return Attempt(Outcome(Kind.BROKEN, status=response.status), error=Broken("the JSON answer is cut off"))
    if b'"error"' in body and (error := _error_instead(body)) is not None:
        code, type_ = _code_and_type(error)
        return _answer_in_band(response, outcome_of_error(code=code, type_=type_), error)
    return Attempt(answered(response.status), response.status, response.headers, body)


def _error_instead(body: bytes) -> Mapping[str, object] | None:
    """The error that a gateway answers with in the place of an object, under a 200; objects may have one inside."""
    payload = from_json(body)
    error = payload.get("error") if isinstance(payload, dict) and not payload.keys() & _OF_AN_OBJECT else None
    return error if isinstance(error, dict) else None


def _is_json(body: bytes) -> bool:
    try:
        from_json(body)
    except ValueError:
        return False
    return True


async def _receive_stream(response: WireResponse, source: _EventSource | _OpaqueSource, clocks: Clocks) -> Attempt:
    outcome = await source.begin()
    if source.error is not None:
        return _answer_in_band(response, outcome, source.error)
    if outcome.kind is not Kind.OK:
        error = Broken(f"the stream ended before its first content ({outcome.kind})")
        return Attempt(outcome, status=response.status, error=error)
    rest = Paced(source, Floor(clocks.floor, grace=clocks.idle)) if clocks.floor else source
    stream = _LiveStream(rest, idle=clocks.idle)
    return Attempt(outcome, status=response.status, headers=response.headers, stream=stream)


def _answer_in_band(response: WireResponse, outcome: Outcome, error: Mapping[str, object]) -> Attempt:
    """The upstream's own error, as the HTTP answer that it would have been a moment earlier."""
    kept = [(name, value) for name, value in response.headers if name != "content-type"]
    return Attempt(
        outcome,
        status=_STATUS_IN_BAND.get(outcome.kind, 400),
        headers=Fields.of([("content-type", "application/json"), *kept]),
        body=to_json({"error": error}),
    )


def _what_broke(error: Exception) -> str | None:
    if not isinstance(error, TimeoutError):
        return None
    return "floor" if isinstance(error, BelowFloor) else "idle"


class _EventSource:
    """A stream of server-sent events, read up to its first content by `begin`."""

    def __init__(self, response: WireResponse, *, skims: bool) -> None:
        self.response = response
        self.held: list[bytes] = []
        self._reader = StreamReader(skims=skims)
        self._splitter = EventSplitter()
        self._chunks = response.body()
        self._unread: list[bytes] = []
        self._malformed: ValueError | None = None

    async def _arrived(self) -> list[bytes]:
        """Whole events that nobody has looked at; empty at the end."""
        if events := self._unread:
            self._unread = []
            return events
        async for chunk in self._chunks:
            if events := self._splitter.feed(chunk):
                return events
        # Servers forget the last blank line.
        return self._splitter.feed(b"\n\n") if self._splitter.rest().strip() else []

    async def begin(self) -> Outcome:
        """Read until content, an end or a failure. OK means: pass on what is held and go on."""
        try:
            while events := await self._arrived():
                if self._hold(events):
                    return self.said or answered(self.response.status)
        except ValueError:
            return Outcome(Kind.TRUNCATED, status=self.response.status)
        return Outcome(Kind.EMPTY, status=self.response.status)

    def _hold(self, events: list[bytes]) -> bool:
        """Hold events up to the one that decides; whether there was one. What comes after it stays unread."""
        for number, event in enumerate(events, start=1):
            if not self._reader.read(event):
                continue  # a keep-alive: there is nobody yet whom it would keep
            self.held.append(event)
            if self._reader.progress is not Progress.WAITING or len(self.held) >= _MAX_HELD_EVENTS:
                self._unread = events[number:]
                return True
        return False

    async def more(self) -> list[bytes]:
        """The events that came next; empty at the end. Raises `ValueError` at one that is malformed, not before it."""
        if self._malformed is not None:
            raise self._malformed
        events = await self._arrived()
        for number, event in enumerate(events):
            try:
                self._reader.read(event)
            except ValueError as exc:
                if not number:
                    raise
                self._malformed = exc
                return events[:number]
        return events

    def final(self) -> Outcome:
        """What a stream that has ended, after its first content, came to."""
        kind = Kind.BROKEN_AFTER_TOKEN if self._reader.checkable else Kind.OK
        return self.said or Outcome(kind, status=self.response.status)

    @property
    def said(self) -> Outcome | None:
        """What the answer came to by its own words, though the stream may go on: whole, or an error of the upstream."""
        if self.error is not None:
            code, type_ = _code_and_type(self.error)
            return outcome_of_error(code=code, type_=type_)
        whole = self._reader.progress is Progress.FINISHED
        return answered(self.response.status) if whole else None

    @property
    def error(self) -> Mapping[str, object] | None:
        """The upstream's own error, told to the caller like every other event."""
        return self._reader.error

    last_word = BROKEN_EVENT


class _OpaqueSource:
    """Bytes that mean nothing to us: audio, files. It has begun with its first chunk and is whole at its end."""

    said: Outcome | None = None
    error: Mapping[str, object] | None = None
    last_word: bytes | None = None
    """Bytes have no way to say that they broke: the exception does."""

    def __init__(self, response: WireResponse) -> None:
        self.response = response
        self.held: list[bytes] = []
        self._bytes = response.body()

    async def begin(self) -> Outcome:
        """Read the first chunk."""
        first = await anext(self._bytes, b"")
        self.held.append(first)
        return answered(self.response.status)

    async def more(self) -> list[bytes]:
        """The next chunk; empty at the end."""
        async for chunk in self._bytes:
            return [chunk]
        return []

    def final(self) -> Outcome:
        """A whole body."""
        return answered(self.response.status)


class _LiveStream:
    """The rest of a stream whose first content is at hand: a `StreamSource` for the caller's `AnswerStream`."""

    __slots__ = ("_idle", "_outcome", "_source")

    def __init__(self, source: Source, *, idle: float) -> None:
        self._source = source
        self._idle = idle
        self._outcome: Outcome | None = None

    @property
    def outcome(self) -> Outcome:
        """What it came to; of a stream that was left early, what the answer had said by then."""
        return self._outcome or self._source.said or Outcome(Kind.CANCELLED)

    @property
    def begun(self) -> list[bytes]:
        """The first events."""
        return self._source.held

    @property
    def ended(self) -> bool:
        """Whether nothing more will be asked of the upstream: what `batches` still yields is the last word."""
        return self._outcome is not None

    async def batches(self) -> AsyncIterator[list[bytes]]:
        """What was held back, then the rest. A break ends with an error event, or raises where events mean nothing.

        What breaks after the answer's last word loses nothing.
        """
        yield self._source.held
        try:
            while batch := await self._next():
                yield batch
            self._outcome = self._source.final()
        except (TimeoutError, TransportError, ValueError) as exc:
            self._outcome = self._source.said or Outcome(Kind.BROKEN_AFTER_TOKEN, code=_what_broke(exc))
            if self._source.last_word is None:
                raise Broken("the body broke before its end") from exc
        if self._outcome.kind is Kind.BROKEN_AFTER_TOKEN:
            yield [self._source.last_word or b""]

    async def _next(self) -> list[bytes]:
        async with asyncio.timeout(self._idle):
            return await self._source.more()

    async def aclose(self) -> None:
        """Close the upstream response."""
        await _close(self._source.response)
