"""A pool of LLM endpoints inside an existing Starlette or FastAPI app, under the OpenAI client that it already has."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phase1 import chat as chat
    from phase1 import offload as offload
    from phase1.asgi.dependencies import LLM, get_llm, llm_for
    from phase1.asgi.install import install
    from phase1.asgi.lifespan import lifespan
    from phase1.asgi.middleware import Phase1Middleware
    from phase1.doors.adopt import adopt
    from phase1.doors.clients import async_http_client, http_client
    from phase1.doors.facade import LLMClient
    from phase1.doors.manager import LLMManager
    from phase1.doors.offload import call, iterate
    from phase1.doors.pools import get_async_llm_client, get_llm_pool, get_load_balancer
    from phase1.doors.relay import relay
    from phase1.doors.sdk import AsyncOpenAI, OpenAI
    from phase1.doors.stages import stage
    from phase1.observe.otel import is_internal
    from phase1.settings import LoadBalanceStrategy, Settings

__all__ = [
    "LLM",
    "AsyncOpenAI",
    "LLMClient",
    "LLMManager",
    "LoadBalanceStrategy",
    "OpenAI",
    "Phase1Middleware",
    "Settings",
    "adopt",
    "async_http_client",
    "call",
    "chat",
    "get_async_llm_client",
    "get_llm",
    "get_llm_pool",
    "get_load_balancer",
    "http_client",
    "install",
    "is_internal",
    "iterate",
    "lifespan",
    "llm_for",
    "offload",
    "relay",
    "stage",
]

_HOMES = {
    "LLM": "phase1.asgi.dependencies",
    "AsyncOpenAI": "phase1.doors.sdk",
    "OpenAI": "phase1.doors.sdk",
    "adopt": "phase1.doors.adopt",
    "async_http_client": "phase1.doors.clients",
    "call": "phase1.doors.offload",
    "http_client": "phase1.doors.clients",
    "is_internal": "phase1.observe.otel",
    "iterate": "phase1.doors.offload",
    "LLMClient": "phase1.doors.facade",
    "LLMManager": "phase1.doors.manager",
    "LoadBalanceStrategy": "phase1.settings",
    "Phase1Middleware": "phase1.asgi.middleware",
    "Settings": "phase1.settings",
    "get_async_llm_client": "phase1.doors.pools",
    "get_llm": "phase1.asgi.dependencies",
    "get_llm_pool": "phase1.doors.pools",
    "get_load_balancer": "phase1.doors.pools",
    "install": "phase1.asgi.install",
    "lifespan": "phase1.asgi.lifespan",
    "llm_for": "phase1.asgi.dependencies",
    "relay": "phase1.doors.relay",
    "stage": "phase1.doors.stages",
}


_ROOMS = frozenset({"chat", "offload"})


def __getattr__(name: str) -> object:
    """Load a public name when it is first used: `import phase1` stays light."""
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
