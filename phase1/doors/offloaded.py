"""How is a blocking stream of legacy read on the loop's thread? Chunk by chunk in our threads, over the bridge."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from phase1.doors.threads import run_in_threads

if TYPE_CHECKING:
    from phase1.doors.bridge import Bridge
    from phase1.engine.manager import Manager

__all__ = ["offload_response", "offload_stream"]


def offload_stream(answer: Any, manager: Manager, bridge: Bridge) -> None:  # noqa: ANN401 - whatever the SDK returned
    """If `answer` holds an HTTP response whose body has not been read yet, have it read in threads."""
    response = getattr(answer, "http_response", None) or getattr(answer, "response", None)
    if hasattr(response, "is_stream_consumed"):
        offload_response(response, manager, bridge)


def offload_response(response: Any, manager: Manager, bridge: Bridge) -> None:  # noqa: ANN401 - of either httpx
    """If the body of `response` has not been read yet, have it read in threads."""
    if not response.is_stream_consumed and not response.is_closed:
        family = sys.modules[type(response).__module__.partition(".")[0]]
        response.stream = _class(family)(response.stream, manager, bridge)


class _Offloaded:
    def __init__(self, stream: Any, manager: Manager, bridge: Bridge) -> None:  # noqa: ANN401 - httpx's union
        self._stream = stream
        self._manager = manager
        self._bridge = bridge

    def __iter__(self) -> Iterator[bytes]:
        chunks = iter(self._stream)
        while (chunk := self._bridge.wait(run_in_threads(self._manager, _next, chunks))) is not None:
            yield chunk

    def close(self) -> None:
        self._bridge.finish(run_in_threads(self._manager, self._stream.close))


def _next(chunks: Iterator[bytes]) -> bytes | None:
    return next(chunks, None)


@cache
def _class(family: ModuleType) -> Callable[..., object]:
    return type("Offloaded", (_Offloaded, family.SyncByteStream), {})
