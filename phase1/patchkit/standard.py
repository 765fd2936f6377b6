"""What do the functions of Python and of the frameworks do with what they are given?"""

from __future__ import annotations

import builtins
from typing import Final

__all__ = ["BUILTINS", "argument_called", "argument_offloaded", "consumes", "is_followed", "is_transparent"]

BUILTINS: Final = frozenset(vars(builtins))

_TRANSPARENT: Final = frozenset(
    {"anyio.to_thread.run_sync", "copy.copy", "copy.deepcopy", "contextlib.aclosing", "contextlib.closing"}
    | {f"asyncio.{name}" for name in ("create_task", "ensure_future", "gather", "run", "shield", "wait_for")}
    | {f"builtins.{name}" for name in ("aiter", "anext", "enumerate", "iter", "list", "next", "reversed", "set")}
    | {f"builtins.{name}" for name in ("sorted", "tuple", "zip")}
    | {f"instructor.{name}" for name in ("from_anthropic", "from_openai", "patch")}
    | {"fastapi.concurrency.iterate_in_threadpool", "starlette.concurrency.iterate_in_threadpool"}
    | {"langsmith.wrappers.wrap_openai", "phase1.adopt", "phase1.iterate"}
)
_OFFLOADERS: Final = frozenset(
    {"anyio.to_thread.run_sync", "asgiref.sync.sync_to_async", "asyncio.to_thread", "phase1.call"}
    | {"fastapi.concurrency.run_in_threadpool", "starlette.concurrency.run_in_threadpool"}
)
_CALLERS: Final = frozenset({"builtins.map", "functools.partial"})
_CONSUMERS: Final = frozenset(
    f"builtins.{name}"
    for name in (
        *("all", "any", "dict", "enumerate", "list", "max", "min"),
        *("next", "set", "sorted", "sum", "tuple", "zip"),
    )
)
_FOLLOWED: Final = frozenset(
    {"anyio", "asgiref", "asyncio", "builtins", "concurrent", "contextlib", "copy", "functools", "multiprocessing"}
    | {"threading", "typing", "aiohttp", "fastapi", "flask", "litestar", "quart", "sanic", "slack_bolt", "socketio"}
    | {"starlette", "anthropic", "cerebras", "cohere", "dashscope", "google", "groq", "huggingface_hub", "instructor"}
    | {"langfuse", "langsmith", "litellm", "llama_index", "mistralai", "ollama", "openai", "phase1", "replicate"}
    | {"together", "vertexai", "zhipuai"}
)


def is_followed(dotted: str) -> bool:
    """Whether objects of this library say something; those of all others are not followed."""
    return dotted.partition(".")[0] in _FOLLOWED or dotted.startswith(("langchain", "langgraph"))


def is_transparent(path: str) -> bool:
    """Whether a call gives back what it was given."""
    return path in _TRANSPARENT or path.rpartition(".")[2] in {"create_task", "run_until_complete"}


def argument_offloaded(path: str) -> int | None:
    """Which argument is a function that a call runs in a thread, with the arguments behind it."""
    return 1 if path.endswith(".run_in_executor") else 0 if path.endswith(".submit") or path in _OFFLOADERS else None


def argument_called(path: str) -> int | None:
    """Which argument is a function that a call runs anywhere, with the arguments behind it."""
    return 0 if path in _CALLERS else argument_offloaded(path)


def consumes(path: str) -> bool:
    """Whether a call goes through the iterator that it was given."""
    return path in _CONSUMERS
