"""What does an endpoint hold in its hand? `LLMClient`: one request's way to an answer, by pool or by legacy.

The route is chosen at the first use and kept: all calls of one app request take one route.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phase1.doors.bridge import bridge_for
from phase1.doors.guard import PoolGuard
from phase1.doors.http import asked_timeout
from phase1.doors.sdk_legacy import SdkLegacy
from phase1.doors.shadow.watch import beside
from phase1.doors.sites import calling_site
from phase1.events import BlockingCall
from phase1.exceptions import ConfigurationError
from phase1.policy.selection import Route, Selection

if TYPE_CHECKING:
    from openai.resources import AsyncAudio, AsyncEmbeddings, AsyncFiles, AsyncImages, AsyncModels, AsyncModerations
    from openai.resources.chat import AsyncChat
    from openai.resources.responses import AsyncResponses

    from phase1.doors.facade_sdk import FacadeOpenAI
    from phase1.doors.legacy import Messages
    from phase1.doors.unit import Unit

__all__ = ["LLMClient"]


class LLMClient:
    """One app request's client.

    `await llm.generate_response_async(messages)` gives the answer's text, as the seeds' `generate_response` does;
    `llm.chat`, `llm.responses`, `llm.embeddings` … are the SDK's asynchronous resources. Without a legacy client errors
    are the SDK's own exceptions.
    """

    __slots__ = ("_client", "_unit")

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._client: FacadeOpenAI | None = None

    @property
    def key(self) -> str | None:
        """Whose request it is."""
        return self._unit.key

    @property
    def selection(self) -> Selection:
        """The route of this request and its reason, chosen when first asked for."""
        return self._unit.selection

    @property
    def route(self) -> str:
        """`pool` or `legacy`."""
        return self.selection.route

    @property
    def reason(self) -> str:
        """Why: `split`, `disabled`, `kill_switch`, `circuit_open` … (`policy.selection.Reason`)."""
        return self.selection.reason

    async def generate_response_async(self, messages: Messages, **params: object) -> str:
        """The text of the answer to `messages`. `params` go to `chat.completions.create`, or to the legacy client.

        Raises what the legacy client raises on its route, else the SDK's exceptions.
        """
        manager = self._unit.manager
        legacy = manager.legacy
        if not manager.switches.enabled:
            return await legacy.generate(messages, params, inline=True)
        if self.selection.route is Route.LEGACY and legacy.exists:
            asking = legacy.generate(messages, params, inline=False)
            if manager.shadow is None:
                return await asking
            return await beside(self._unit, {"model": manager.model, "messages": messages, **params}, asking)
        guard = PoolGuard(
            self._unit,
            has_legacy=legacy.exists,
            other_credentials=self._other_credentials,
            timeout=asked_timeout(params.get("timeout")),
        )
        with guard:
            return await self._complete(messages, params)
        async with guard.time_left():
            return await legacy.generate(messages, params, inline=False)

    async def _complete(self, messages: Messages, params: dict[str, object]) -> str:
        manager = self._unit.manager
        arguments: dict[str, object] = {"model": manager.model, "messages": messages, **params}
        if arguments["model"] is None:
            raise ConfigurationError("LLM_MODEL is not set, and neither the call nor the legacy client names a model")
        pooled = manager.facade.view(self._unit, None)
        completion = await pooled.chat.completions.create(**arguments)  # type: ignore[call-overload]
        return (completion.choices[0].message.content or "") if completion.choices else ""

    def _other_credentials(self) -> bool:
        manager = self._unit.manager
        client = manager.legacy.sdk_client()
        return client is not None and SdkLegacy(client, manager).other_credentials

    def generate_response(self, messages: Messages, **params: object) -> str:
        """The same for synchronous code: a `def` endpoint, or a helper below an `async def` one.

        Where nothing can wait without blocking the loop, the legacy client is called as before, and the place is
        counted.
        """
        manager = self._unit.manager
        bridge = bridge_for(self._unit) if manager.switches.enabled else None
        if bridge is not None:
            return bridge.wait(self.generate_response_async(messages, **params))
        if manager.switches.enabled:
            manager.events.notify(BlockingCall(calling_site()))
        return manager.legacy.generate_blocking(messages, params)

    @property
    def client(self) -> FacadeOpenAI:
        """The SDK's asynchronous client on this request's route."""
        if self._client is None:
            manager = self._unit.manager
            legacy = manager.legacy.sdk_client()
            own = SdkLegacy(legacy, manager) if legacy is not None else None
            self._client = manager.facade.view(self._unit, own)
        return self._client

    @property
    def chat(self) -> AsyncChat:
        """`openai.AsyncOpenAI.chat`."""
        return self.client.chat

    @property
    def responses(self) -> AsyncResponses:
        """`openai.AsyncOpenAI.responses`."""
        return self.client.responses

    @property
    def embeddings(self) -> AsyncEmbeddings:
        """`openai.AsyncOpenAI.embeddings`."""
        return self.client.embeddings

    @property
    def images(self) -> AsyncImages:
        """`openai.AsyncOpenAI.images`."""
        return self.client.images

    @property
    def audio(self) -> AsyncAudio:
        """`openai.AsyncOpenAI.audio`."""
        return self.client.audio

    @property
    def files(self) -> AsyncFiles:
        """`openai.AsyncOpenAI.files`."""
        return self.client.files

    @property
    def models(self) -> AsyncModels:
        """`openai.AsyncOpenAI.models`."""
        return self.client.models

    @property
    def moderations(self) -> AsyncModerations:
        """`openai.AsyncOpenAI.moderations`."""
        return self.client.moderations

    def __repr__(self) -> str:
        return f"<LLMClient {self._unit!r}>"
