"""How does an endpoint ask for its client?

@app.post("/chat")
async def chat(llm: phase1.LLM): ...                                             # FastAPI

llm = phase1.get_llm(request)                                                    # Starlette

UserLLM = Annotated[phase1.LLMClient, Depends(phase1.llm_for(get_current_user))]  # keyed by the app's own user
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

from starlette.requests import HTTPConnection

from phase1.asgi.context import context_of
from phase1.asgi.keys import user_key_of
from phase1.doors.facade import LLMClient
from phase1.exceptions import Phase1Error

__all__ = ["LLM", "get_llm", "llm_for"]

_REQUEST = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=HTTPConnection)


def get_llm(request: HTTPConnection) -> LLMClient:
    """The client of `request`. Raises `Phase1Error` when phase1 is not in the app."""
    return context_of(request).client


async def _get_llm(request: HTTPConnection) -> LLMClient:
    return get_llm(request)  # FastAPI would send a plain function to a thread


def llm_for(get_current_user: Callable[..., object]) -> Callable[..., Awaitable[LLMClient]]:
    """A FastAPI dependency that gives the client keyed by what `get_current_user` (itself a dependency) returns.

    A user is an id, or a mapping or object with `id`, `user_id`, `sub`, `uid`, `username` or `email`; anything else
    has no key, and is on legacy while the canary is below 100 %.
    """

    async def llm_of_user(request: HTTPConnection, user: Any) -> LLMClient:  # noqa: ANN401 - the app's own type
        return context_of(request).client_for(user_key_of(user))

    user = inspect.Parameter(
        "user", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Any, default=_depends(get_current_user)
    )
    llm_of_user.__signature__ = inspect.Signature([_REQUEST, user])  # type: ignore[attr-defined]  # read by FastAPI
    return llm_of_user


def _depends(dependency: Callable[..., object]) -> object:
    try:
        from fastapi import Depends  # noqa: PLC0415 - only FastAPI apps have it
    except ImportError as exc:
        raise Phase1Error("phase1.LLM and llm_for are FastAPI dependencies: without it use get_llm(request)") from exc
    return Depends(dependency)


if TYPE_CHECKING:
    LLM = LLMClient
else:

    def __getattr__(name: str) -> object:
        if name != "LLM":
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        return Annotated[LLMClient, _depends(_get_llm)]
