"""How does an endpoint get a second way of answering that can be switched off, and that its own code stands behind?

    @app.post("/chat")
    @optimized(better_chat, switch="use_optimized_chat")
    async def chat(chat_data: ChatMessage, llm: phase1.LLM) -> ChatResponse: ...     # as it was

With `ENABLE_LLM_POOL=false`, `USE_OPTIMIZED_CHAT=false` or `EMERGENCY_MODE=true`, for users outside of the canary, and
in an app without phase1, the endpoint runs as if the line above it were not there. Otherwise `better_chat` answers,
called with the same arguments; when it fails before the model was asked, or with the answer in hand but nothing saved,
the endpoint does. An `HTTPException` is an answer, and an error of the model is the caller's: its client has fallbacks
of its own. A database that hangs is a 503: the endpoint's own query would hold up everybody.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any, Literal

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from phase1.chat.exceptions import DatabaseTimeout
from phase1.chat.progress import Progress, current_progress
from phase1.doors.unit import current_unit
from phase1.policy.selection import Reason, Route

__all__ = ["Switch", "optimized"]

_log = logging.getLogger("phase1")

Switch = Literal["use_optimized_chat", "use_optimized_agent"]
Endpoint = Callable[..., Any]

_OUTSIDE_THE_CANARY = frozenset({Reason.SPLIT, Reason.STALE, Reason.DEFAULT, Reason.TARGETING_MATCH})


def optimized(better: Callable[..., Awaitable[object]], *, switch: Switch) -> Callable[[Endpoint], Endpoint]:
    """A decorator for an endpoint: `better` answers in its place where the setting `switch` and the pool's allow it.

    It stands below the route's decorator. `better` takes the endpoint's parameters. Raises `ValueError` for another
    setting.
    """
    if switch not in {"use_optimized_chat", "use_optimized_agent"}:
        raise ValueError(f"switch={switch!r}: must be use_optimized_chat or use_optimized_agent")

    def decorate(endpoint: Endpoint) -> Endpoint:
        @wraps(endpoint)
        async def answer(*args: object, **kwargs: object) -> object:
            if _is_on(switch, kwargs):
                progress = Progress()
                token = current_progress.set(progress)
                try:
                    return await better(*args, **kwargs)
                except DatabaseTimeout as exc:
                    raise HTTPException(503, "The database did not answer in time") from exc
                except Exception as exc:
                    if isinstance(exc, HTTPException) or not progress.may_start_over:
                        raise
                    _log.warning(
                        "%s failed (%s); the endpoint's own code answers", _name(better), type(exc).__qualname__
                    )
                finally:
                    current_progress.reset(token)
            return await _ordinary(endpoint, args, kwargs)

        answer.__signature__ = _resolved(endpoint)  # type: ignore[attr-defined]  # read by FastAPI
        return answer

    return decorate


def _is_on(switch: Switch, arguments: Mapping[str, object]) -> bool:
    unit = current_unit.get()
    if unit is None or not unit.manager.switches.enabled or unit.manager.switches.emergency:
        return False
    settings = unit.manager.settings
    if not (settings.use_optimized_chat if switch == "use_optimized_chat" else settings.use_optimized_agent):
        return False
    return not _is_outside_the_canary(arguments)


def _is_outside_the_canary(arguments: Mapping[str, object]) -> bool:
    """By the route of the endpoint's `LLMClient`; without one the canary has nothing to say."""
    from phase1.doors.facade import LLMClient  # noqa: PLC0415 - imports the SDK

    selections = [value.selection for value in arguments.values() if isinstance(value, LLMClient)]
    return any(one.route is Route.LEGACY and one.reason in _OUTSIDE_THE_CANARY for one in selections)


async def _ordinary(endpoint: Endpoint, args: tuple[object, ...], kwargs: Mapping[str, object]) -> object:
    if inspect.iscoroutinefunction(endpoint):
        return await endpoint(*args, **kwargs)
    return await run_in_threadpool(endpoint, *args, **kwargs)  # as the framework does with it


def _resolved(endpoint: Endpoint) -> inspect.Signature:
    """Its annotations as objects: as text they would be looked up in this module."""
    try:
        return inspect.signature(endpoint, eval_str=True)
    except NameError:  # a name of a function's inside; frameworks that unwrap look there themselves
        return inspect.signature(endpoint)


def _name(fn: object) -> str:
    return str(getattr(fn, "__name__", type(fn).__name__))
