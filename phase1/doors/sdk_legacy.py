"""How does the app's own SDK client answer a request that was made for the pool's?

An asynchronous client takes the request as it is. A synchronous one runs in our threads, and its stream is read there,
item by item.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from types import GenericAlias
from typing import TYPE_CHECKING, Any

import openai

from phase1.doors.threads import iterate_in_threads, run_in_threads
from phase1.events import LegacyFinished

if TYPE_CHECKING:
    from phase1.engine.manager import Manager

__all__ = ["SdkLegacy"]


class SdkLegacy:
    """The app's `openai.OpenAI` or `openai.AsyncOpenAI` as the legacy route."""

    __slots__ = ("_client", "_manager")

    def __init__(self, client: openai.OpenAI | openai.AsyncOpenAI, manager: Manager) -> None:
        self._client = client
        self._manager = manager

    @property
    def other_credentials(self) -> bool:
        """Whether its key is none of the pool's."""
        return all(self._client.api_key != node.api_key for node in self._manager.nodes)

    async def request(
        self,
        cast_to: Any,  # noqa: ANN401 - the SDK's own signature
        options: Any,  # noqa: ANN401
        *,
        stream: bool,
        stream_cls: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Send it the client's own way, retries included."""
        started = time.perf_counter()
        error: str | None = None
        try:
            return await self._request(cast_to, options, stream=stream, stream_cls=stream_cls)
        except BaseException as exc:
            error = f"{type(exc).__module__}.{type(exc).__qualname__}"
            raise
        finally:
            self._manager.events.notify(LegacyFinished(time.perf_counter() - started, error, stream))

    async def _request(self, cast_to: Any, options: Any, *, stream: bool, stream_cls: Any) -> Any:  # noqa: ANN401
        client = self._client
        if isinstance(client, openai.AsyncOpenAI):
            return await client.request(cast_to, options, stream=stream, stream_cls=stream_cls)
        if not stream:
            return await run_in_threads(self._manager, client.request, cast_to, options)
        source = await run_in_threads(
            self._manager, client.request, cast_to, options, stream=True, stream_cls=_blocking_twin(stream_cls)
        )
        return ThreadedStream(source, self._manager) if isinstance(source, openai.Stream) else source


def _blocking_twin(stream_cls: Any) -> Any:  # noqa: ANN401 - typing's generic aliases have no common type
    arguments = getattr(stream_cls, "__args__", None)
    return GenericAlias(openai.Stream, arguments) if arguments else openai.Stream


class ThreadedStream(openai.AsyncStream[Any]):
    """A blocking stream of the SDK as an asynchronous one."""

    def __init__(self, source: openai.Stream[Any], manager: Manager) -> None:
        self.response = source.response
        self._source = source
        self._manager = manager
        self._iterator = iterate_in_threads(manager, iter(source))

    async def __anext__(self) -> Any:  # noqa: ANN401
        return await anext(self._iterator)

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for item in self._iterator:
            yield item

    async def close(self) -> None:
        """Close the blocking stream, in a thread."""
        await asyncio.shield(run_in_threads(self._manager, self._source.close))
