"""The SDK's resources with a short way in front: chat completions, responses, embeddings."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import cached_property, wraps
from typing import Any

from openai.resources.chat import AsyncChat, Chat
from openai.resources.chat.completions import AsyncCompletions, Completions
from openai.resources.embeddings import AsyncEmbeddings, Embeddings
from openai.resources.responses import AsyncResponses, Responses
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent

from phase1.doors.lean.embeddings import decoded, vectors
from phase1.doors.lean.short import ask, ask_blocking
from phase1.doors.lean.wish import Coded, resource_of

__all__ = ["AsyncLean", "Lean"]

_CHAT: dict[str, Any] = {
    "needs": frozenset({"messages", "model"}),
    "result": ChatCompletion,
    "chunk": ChatCompletionChunk,
}
_RESPONSES: dict[str, Any] = {"needs": frozenset({"input", "model"}), "result": Response, "chunk": ResponseStreamEvent}
_EMBEDDINGS: dict[str, Any] = {
    "needs": frozenset({"input", "model"}),
    "result": CreateEmbeddingResponse,
    "coded": Coded("encoding_format", "base64", read=vectors, finish=decoded),
}
_ASYNC_EMBEDDINGS, _SYNC_EMBEDDINGS = (
    resource_of(AsyncEmbeddings, **_EMBEDDINGS),
    resource_of(Embeddings, **_EMBEDDINGS),
)
_ASYNC_CHAT, _SYNC_CHAT = resource_of(AsyncCompletions, **_CHAT), resource_of(Completions, **_CHAT)
_ASYNC_RESPONSES, _SYNC_RESPONSES = resource_of(AsyncResponses, **_RESPONSES), resource_of(Responses, **_RESPONSES)


class _AsyncCompletions(AsyncCompletions):
    @wraps(AsyncCompletions.create)
    def create(self, **arguments: Any) -> Awaitable[Any]:  # type: ignore[override]  # noqa: ANN401 - the SDK's own signature says more
        return ask(self, _ASYNC_CHAT, arguments)


class _AsyncChat(AsyncChat):
    @cached_property
    def completions(self) -> AsyncCompletions:
        return _AsyncCompletions(self._client)


class _AsyncResponses(AsyncResponses):
    @wraps(AsyncResponses.create)
    def create(self, **arguments: Any) -> Awaitable[Any]:  # type: ignore[override]  # noqa: ANN401
        return ask(self, _ASYNC_RESPONSES, arguments)


class _Completions(Completions):
    @wraps(Completions.create)
    def create(self, **arguments: Any) -> Any:  # type: ignore[override]  # noqa: ANN401
        return ask_blocking(self, _SYNC_CHAT, arguments)


class _Chat(Chat):
    @cached_property
    def completions(self) -> Completions:
        return _Completions(self._client)


class _Responses(Responses):
    @wraps(Responses.create)
    def create(self, **arguments: Any) -> Any:  # type: ignore[override]  # noqa: ANN401
        return ask_blocking(self, _SYNC_RESPONSES, arguments)


class _AsyncEmbeddings(AsyncEmbeddings):
    @wraps(AsyncEmbeddings.create)
    def create(self, **arguments: Any) -> Awaitable[Any]:  # type: ignore[override]  # noqa: ANN401
        return ask(self, _ASYNC_EMBEDDINGS, arguments)


class _Embeddings(Embeddings):
    @wraps(Embeddings.create)
    def create(self, **arguments: Any) -> Any:  # type: ignore[override]  # noqa: ANN401
        return ask_blocking(self, _SYNC_EMBEDDINGS, arguments)


class AsyncLean:
    """What an asynchronous client has in the place of the SDK's resources."""

    @cached_property
    def chat(self) -> AsyncChat:
        """`openai.AsyncOpenAI.chat`."""
        return _AsyncChat(self)  # type: ignore[arg-type]

    @cached_property
    def responses(self) -> AsyncResponses:
        """`openai.AsyncOpenAI.responses`."""
        return _AsyncResponses(self)  # type: ignore[arg-type]

    @cached_property
    def embeddings(self) -> AsyncEmbeddings:
        """`openai.AsyncOpenAI.embeddings`."""
        return _AsyncEmbeddings(self)  # type: ignore[arg-type]


class Lean:
    """The same for a synchronous client."""

    @cached_property
    def chat(self) -> Chat:
        """`openai.OpenAI.chat`."""
        return _Chat(self)  # type: ignore[arg-type]

    @cached_property
    def responses(self) -> Responses:
        """`openai.OpenAI.responses`."""
        return _Responses(self)  # type: ignore[arg-type]

    @cached_property
    def embeddings(self) -> Embeddings:
        """`openai.OpenAI.embeddings`."""
        return _Embeddings(self)  # type: ignore[arg-type]
