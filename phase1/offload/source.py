"""Where do an answer's frames come from? From the same manager as in the app: pool, canary, breaker, legacy."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from phase1.exceptions import ConfigurationError
from phase1.policy.selection import Route

if TYPE_CHECKING:
    from phase1.doors.facade import LLMClient
    from phase1.doors.manager import LLMManager
    from phase1.offload.bodies import TaskRequest

__all__ = ["ManagerSource", "Source"]

_CLOSING: Final = 2.0
"""Seconds that the upstream's stream has to close."""


class Source(Protocol):
    """Answers one request."""

    def frames(self, request: TaskRequest, user: str) -> AsyncIterator[Mapping[str, Any]]:
        """Frames `t`, `r`, `tc`, `u`, and at the end `finish`. Raises what the SDK raises."""


class ManagerSource:
    """Asks the LLM through `manager`."""

    def __init__(self, manager: LLMManager) -> None:
        self._manager = manager

    @property
    def configured(self) -> bool:
        """Whether there is anybody to ask."""
        return self._manager.pool_wanted or self._manager.legacy.exists

    async def frames(self, request: TaskRequest, user: str) -> AsyncIterator[Mapping[str, Any]]:
        """See `Source`."""
        if not self.configured:
            raise ConfigurationError("there is no LLM to ask: ENABLE_LLM_POOL=true, or a legacy client")
        llm = self._manager.llm(user)
        if llm.route == Route.LEGACY and self._manager.legacy.sdk_client() is None and self._manager.legacy.exists:
            yield {"t": await llm.generate_response_async(_messages(request))}
            yield {"finish": "stop"}
            return
        async for frame in self._streamed(llm, request):
            yield frame

    async def _streamed(self, llm: LLMClient, request: TaskRequest) -> AsyncIterator[Mapping[str, Any]]:
        create = cast("Any", llm.chat.completions.create)
        stream = await create(
            model=request.model,
            messages=_messages(request),
            stream=True,
            stream_options={"include_usage": True},
        )
        try:
            async for chunk in stream:
                for frame in _frames(chunk):
                    yield frame
        finally:
            await _close(stream)


def _messages(request: TaskRequest) -> list[dict[str, object]]:
    return [{"role": message.role, "content": message.content} for message in request.messages]


def _frames(chunk: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - a chunk of the SDK, or what a gateway makes of one
    found: list[dict[str, Any]] = []
    if chunk.choices:
        choice = chunk.choices[0]
        delta = choice.delta
        if delta is not None:
            if reasoning := getattr(delta, "reasoning_content", None):
                found.append({"r": reasoning})
            if delta.content:
                found.append({"t": delta.content})
            if delta.tool_calls:
                found.append({"tc": [call.model_dump(exclude_none=True) for call in delta.tool_calls]})
        if choice.finish_reason:
            found.append({"finish": choice.finish_reason})
    if getattr(chunk, "usage", None):
        usage = chunk.usage
        found.append(
            {
                "u": {
                    "prompt_tokens": usage.prompt_tokens,
                    "completion_tokens": usage.completion_tokens,
                    "total_tokens": usage.total_tokens,
                }
            }
        )
    return found


async def _close(stream: Any) -> None:  # noqa: ANN401
    """Closed even when its reader was cancelled: the provider stops, and stops billing."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_CLOSING):
            await asyncio.shield(stream.close())
