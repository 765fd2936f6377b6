"""What is the legacy client, and how is it asked?

The app gives one of: an object with `generate_response(messages)` (sync or async) or `generate_response_async`, an
OpenAI client (sync or async), a callable that returns one of these (`legacy=lambda: llm_client`: the global may be
set later), or nothing. With the pool off it is called inline, exactly as before; otherwise a synchronous one runs in
our threads.
"""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, cast

from phase1.doors.threads import run_in_threads
from phase1.events import LegacyFinished
from phase1.exceptions import ConfigurationError

if TYPE_CHECKING:
    import openai

    from phase1.engine.manager import Manager

__all__ = ["Legacy", "Messages"]

Messages = Sequence[Mapping[str, object]]


class _Generates(Protocol):
    def generate_response(self, messages: Messages, **params: object) -> object: ...


class Legacy:
    """The app's own client, whatever it is."""

    __slots__ = ("_given", "_manager", "_returns_it")

    def __init__(self, given: object | Callable[[], object] | None, manager: Manager) -> None:
        self._given = given
        self._returns_it = callable(given) and not _is_client(given)
        self._manager = manager

    def resolve(self) -> object | None:
        """The client as it is now; `None` when there is none (yet)."""
        return cast("Callable[[], object]", self._given)() if self._returns_it else self._given

    @property
    def exists(self) -> bool:
        """Whether there is a client to ask."""
        return self.resolve() is not None

    @property
    def model(self) -> str | None:
        """The model that the legacy object says it uses (`.model` or `.model_name`)."""
        client = self.resolve()
        names = (getattr(client, name, None) for name in ("model", "model_name"))
        return next((name for name in names if isinstance(name, str)), None)

    def sdk_client(self) -> openai.OpenAI | openai.AsyncOpenAI | None:
        """The client if it is the OpenAI SDK's."""
        client = self.resolve()
        return cast("openai.OpenAI | openai.AsyncOpenAI", client) if _is_sdk_client(client) else None

    async def generate(self, messages: Messages, params: Mapping[str, object], *, inline: bool) -> str:
        """Ask it for an answer. `inline`: a synchronous client blocks the loop, as it always did."""
        started = time.perf_counter()
        error: str | None = None
        text: str | None = None
        try:
            text = await self._generate(self._require(), messages, params, inline=inline)
        except BaseException as exc:
            error = f"{type(exc).__module__}.{type(exc).__qualname__}"
            raise
        finally:
            finished = LegacyFinished(time.perf_counter() - started, error, empty=error is None and not text)
            self._manager.events.notify(finished)
        return text

    def generate_blocking(self, messages: Messages, params: Mapping[str, object]) -> str:
        """Ask it from a thread, as the app did. Raises `TypeError` for a client that is asynchronous."""
        answer = _blocking_method(self._require(), self._manager.settings.llm_model)(messages, **params)
        if inspect.isawaitable(answer):
            if inspect.iscoroutine(answer):
                answer.close()
            raise TypeError("the legacy client is asynchronous: await generate_response_async(...) instead")
        return _text(answer)

    def _require(self) -> object:
        client = self.resolve()
        if client is None:
            raise ConfigurationError("there is no legacy client: give one to phase1.install(app, legacy=...)")
        return client

    async def _generate(self, client: object, messages: Messages, params: Mapping[str, object], *, inline: bool) -> str:
        asynchronous = getattr(client, "generate_response_async", None)
        method = asynchronous or _blocking_method(client, self._manager.settings.llm_model)
        if inline or asynchronous or inspect.iscoroutinefunction(method) or _is_async_sdk_client(client):
            answer = method(messages, **params)
        else:
            answer = await run_in_threads(self._manager, method, messages, **params)
        return _text(await answer if inspect.isawaitable(answer) else answer)


def _blocking_method(client: object, model: str | None) -> Callable[..., object]:
    if _is_sdk_client(client):
        return _sdk_method(client, model)
    return cast("_Generates", client).generate_response


def _sdk_method(client: object, model: str | None) -> Callable[..., object]:
    create = cast("openai.OpenAI", client).chat.completions.create

    def ask(messages: Messages, **params: object) -> object:
        return cast("Callable[..., object]", create)(**{"model": model, "messages": list(messages), **params})

    return ask


def _text(answer: object) -> str:
    choices = getattr(answer, "choices", None)
    return choices[0].message.content or "" if choices else cast("str", answer)


def _is_client(given: object) -> bool:
    return any(hasattr(given, name) for name in ("generate_response", "generate_response_async")) or _is_sdk_client(
        given
    )


def _is_sdk_client(given: object) -> bool:
    openai = sys.modules.get("openai")  # not imported by anybody: then it cannot be one
    return openai is not None and isinstance(given, openai.OpenAI | openai.AsyncOpenAI)


def _is_async_sdk_client(given: object) -> bool:
    openai = sys.modules.get("openai")
    return openai is not None and isinstance(given, openai.AsyncOpenAI)
