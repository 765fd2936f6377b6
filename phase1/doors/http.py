"""How does an httpx request become a call of the engine, and the answer an httpx response?

What the engine refuses or cannot get becomes what the SDK knows: a 503 with our code and `retry-after`, or the httpx
exception that the SDK turns into `APITimeoutError` or `APIConnectionError`. Every answer says `x-should-retry: false`:
retries have happened inside the pool.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import ModuleType
from typing import TYPE_CHECKING, Self, cast

from phase1.doors.background import close_with_loop
from phase1.doors.departing import send_for_caller
from phase1.doors.lean.learnt import note
from phase1.engine.call import Answer, AnswerStream, Call
from phase1.engine.transport import TransportError
from phase1.engine.transport.family import httpx as sdk_family
from phase1.exceptions import DeadlineExceeded, PoolError, Refused, UpstreamError
from phase1.policy.classify import Kind

if TYPE_CHECKING:
    import httpx2 as httpx

    from phase1.doors.bridge import Bridge
    from phase1.doors.slices import Slices
    from phase1.engine.manager import Manager

__all__ = [
    "STREAMS",
    "EngineTransport",
    "Ours",
    "SyncEngineTransport",
    "Turn",
    "async_engine_client",
    "async_response_of",
    "crossing",
    "family_of",
    "next_batch",
    "refusal",
    "sync_engine_client",
    "sync_response_of",
    "taking_turn",
    "transport_error",
]

# Hop-by-hop, or made anew for the node that gets the call.
_OWN_HEADERS = frozenset(
    {"host", "content-length", "connection", "accept-encoding", "transfer-encoding", "authorization", "api-key"}
)
STREAMS = re.compile(rb'"stream"\s*:\s*true')
"""What the body of a request for a stream holds."""
_CREDENTIALS = ("authorization", "api-key")
_SDK_TIMEOUT = {"connect": 5.0, "read": 600, "write": 600, "pool": 600}
_HTTPX_TIMEOUT = {"connect": 5.0, "read": 5.0, "write": 5.0, "pool": 5.0}
_TIMEOUTS = frozenset({Kind.FIRST_TOKEN_TIMEOUT, Kind.STALL, Kind.TIMEOUT})


@dataclass(slots=True)
class Turn:
    """Whose call it is: the key that waits in the queue, its place in the breaker's ramp, its slices of the loop."""

    key: str | None = None
    share: float = 0.0
    slices: Slices | None = None

    def send(self, manager: Manager, call: Call) -> Awaitable[Answer]:
        """Ask `manager`; return when it is one's turn to go on."""
        answer = manager.send(call, key=self.key, share=self.share)
        return answer if self.slices is None else _in_turn(answer, self.slices)


async def _in_turn(answer: Awaitable[Answer], slices: Slices) -> Answer:
    came = await answer
    await slices.next()
    return came


taking_turn: ContextVar[Turn] = ContextVar("phase1_turn", default=Turn())  # noqa: B039 - frozen
"""The turn of the call that is being made in this context."""

crossing: ContextVar[Bridge] = ContextVar("phase1_bridge")
"""The bridge of the synchronous call that is being made in this context."""


class Ours:
    """Marks an HTTP client that phase1 has made."""


def async_engine_client(manager: Manager, base_url: str, family: ModuleType | None = None) -> httpx.AsyncClient:
    """An httpx client whose requests below `base_url` go to `manager`. It has no connections: one serves every loop.

    `family`: the httpx whose own requests it gets, with that library's default timeouts; `None` = the SDK's requests.
    """
    return cast("httpx.AsyncClient", _engine_client(manager, base_url, family, "AsyncClient", EngineTransport))


def sync_engine_client(manager: Manager, base_url: str, family: ModuleType | None = None) -> httpx.Client:
    """The same for synchronous code, over the bridge that stands in `crossing`."""
    return cast("httpx.Client", _engine_client(manager, base_url, family, "Client", SyncEngineTransport))


def _engine_client(
    manager: Manager, base_url: str, family: ModuleType | None, kind: str, transport: Callable[..., object]
) -> object:
    """Made once. It keeps no cookies: all of the app's clients and users share it."""
    clients = manager.door_clients
    name = f"{kind} of {family.__name__ if family else 'the SDK'} for {base_url}"
    if name not in clients:
        clients[name] = _client_class(family or sdk_family, kind)(
            transport=transport(manager, base_url, plain=family is not None),
            timeout=None,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )
    return clients[name]


@cache
def _client_class(family: ModuleType, kind: str) -> Callable[..., object]:
    return type(kind, (Ours, getattr(family, kind)), {"__module__": family.__name__})


class EngineTransport:
    """The engine in the place of a network. What httpx calls is all it has, so that it serves both families."""

    def __init__(self, manager: Manager, base_url: str, *, plain: bool = False) -> None:
        self._manager = manager
        self._base_path = _base_path(base_url)
        self._plain = plain

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request` through the pool."""
        call = to_call(request, await request.aread(), self._base_path, plain=self._plain)
        note(str(request.url), call)
        answer = await ask(self._manager, call, request)
        if not isinstance(answer, Answer):
            return answer
        return async_response_of(answer, request)

    async def aclose(self) -> None:
        """Nothing of the engine's is closed: the client never owned it."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()


class SyncEngineTransport:
    """The engine in the place of a network, for synchronous code."""

    def __init__(self, manager: Manager, base_url: str, *, plain: bool = False) -> None:
        self._manager = manager
        self._base_path = _base_path(base_url)
        self._plain = plain

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request` through the pool."""
        call = to_call(request, request.read(), self._base_path, plain=self._plain)
        note(str(request.url), call)
        bridge = crossing.get()
        answer = bridge.wait(ask(self._manager, call, request))
        if not isinstance(answer, Answer):
            return answer
        return sync_response_of(answer, request, bridge)

    def close(self) -> None:
        """Nothing of the engine's is closed: the client never owned it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def family_of(request: httpx.Request) -> ModuleType:
    """The httpx that `request` comes from: `httpx` or `httpx2`."""
    return sys.modules[type(request).__module__.partition(".")[0]]


def _base_path(base_url: str) -> bytes:
    return sdk_family.URL(base_url).raw_path.partition(b"?")[0].rstrip(b"/")


async def ask(manager: Manager, call: Call, request: httpx.Request) -> Answer | httpx.Response:
    """The pool's answer, or its refusal as a response. Raises httpx exceptions."""
    turn = taking_turn.get()
    close_with_loop(manager)
    try:
        return await send_for_caller(manager, call, turn)
    except Refused as exc:
        return refusal(exc, request)
    except PoolError as exc:
        raise transport_error(exc, request) from exc


def to_call(request: httpx.Request, body: bytes, base_path: bytes, *, plain: bool = False) -> Call:
    return Call(
        method=request.method,
        path="/" + request.url.raw_path.removeprefix(base_path).lstrip(b"/").decode("ascii"),
        headers=[
            (lower, value)
            for name, value in request.headers.multi_items()
            if (lower := name.lower()) not in _OWN_HEADERS
        ],
        credentials=[(name, request.headers[name]) for name in _CREDENTIALS if name in request.headers],
        body=body,
        timeout=asked_timeout(request.extensions.get("timeout"), plain=plain),
        streams=_is_json(request) and STREAMS.search(body) is not None,
    )


def _is_json(request: httpx.Request) -> bool:
    return str(request.headers.get("content-type", "")).startswith("application/json")


def asked_timeout(timeout: object, *, plain: bool = False) -> float | None:
    """The seconds that the app has asked for (`inf`: none); `None` = it has not, and a library's default stands there.

    `plain`: the request is an httpx client's own, so that httpx's default means nothing either.
    """
    if isinstance(timeout, int | float):
        return float(timeout)
    phases = timeout.as_dict() if hasattr(timeout, "as_dict") else timeout
    if not isinstance(phases, dict) or phases == _SDK_TIMEOUT or (plain and phases == _HTTPX_TIMEOUT):
        return None
    read = phases.get("read")
    return math.inf if read is None else float(read)


def async_response_of(answer: Answer, request: httpx.Request) -> httpx.Response:
    """The answer as httpx has it."""
    return _to_response(answer, request, _async_body(family_of(request)))


def sync_response_of(answer: Answer, request: httpx.Request, bridge: Bridge) -> httpx.Response:
    """The same for synchronous code."""
    return _to_response(answer, request, lambda stream: _sync_body(family_of(request))(stream, bridge))


def _to_response(answer: Answer, request: httpx.Request, body_of: Callable[[AnswerStream], object]) -> httpx.Response:
    body = {"content": answer.body} if answer.stream is None else {"stream": body_of(answer.stream)}
    headers = [*answer.headers, ("x-should-retry", "false")]
    return cast("httpx.Response", family_of(request).Response(answer.status, headers=headers, request=request, **body))


class _SyncBody:
    def __init__(self, stream: AnswerStream, bridge: Bridge) -> None:
        self._stream = stream
        self._bridge = bridge

    def __iter__(self) -> Iterator[bytes]:
        batches = self._stream.batches()
        try:
            while batch := self._bridge.wait(next_batch(batches)):
                yield b"".join(batch)
        except TransportError as exc:
            raise self.broken(str(exc)) from exc

    broken: type[Exception]

    def close(self) -> None:
        self._bridge.finish(self._stream.aclose())


async def next_batch(batches: AsyncIterator[list[bytes]]) -> list[bytes]:
    """What arrives next; empty at the end."""
    async for batch in batches:
        return batch
    return []


class _AsyncBody:
    def __init__(self, stream: AnswerStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                yield chunk
        except TransportError as exc:
            raise self.broken(str(exc)) from exc

    broken: type[Exception]

    async def aclose(self) -> None:
        await self._stream.aclose()


@cache
def _sync_body(family: ModuleType) -> Callable[[AnswerStream, Bridge], object]:
    return type("SyncBody", (_SyncBody, family.SyncByteStream), {"broken": family.ReadError})


@cache
def _async_body(family: ModuleType) -> Callable[[AnswerStream], object]:
    return type("AsyncBody", (_AsyncBody, family.AsyncByteStream), {"broken": family.ReadError})


def refusal(error: Refused, request: httpx.Request) -> httpx.Response:
    """The answer that says so."""
    headers = {"content-type": "application/json", "x-should-retry": "false"}
    if error.retry_after is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after))
    body = {"error": {"message": str(error), "type": "phase1_error", "param": None, "code": error.code}}
    response = family_of(request).Response(503, headers=headers, content=json.dumps(body).encode(), request=request)
    return cast("httpx.Response", response)


def transport_error(error: PoolError, request: httpx.Request) -> Exception:
    """What httpx raises for a failure of the engine."""
    family = family_of(request)
    kind = error.kind if isinstance(error, UpstreamError) else Kind.BROKEN
    if isinstance(error, DeadlineExceeded) or kind in _TIMEOUTS:
        type_ = family.ReadTimeout
    else:
        type_ = family.ConnectError if kind == Kind.CONNECT else family.RemoteProtocolError
    return cast("Exception", type_(str(error), request=request))
