"""How does an app's own client become pooled without another edit? `client = phase1.adopt(OpenAI())`.

An SDK client comes back with a door; the one given stays its legacy route. Any other object (an own wrapper, a
LangChain model, another provider's client) comes back as a transparent proxy: attributes, `isinstance`, exceptions,
generators and context managers are its own, and a blocking method called on the event loop runs in our threads while
the task is suspended. With the pool off the very same object comes back.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from types import BuiltinMethodType, FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any, TypeVar, cast

import wrapt

from phase1.doors.background import default_manager
from phase1.doors.bridge import bridge_for
from phase1.doors.sites import calling_site
from phase1.doors.threads import run_in_threads
from phase1.doors.unit import Unit, current_unit
from phase1.events import BlockingCall
from phase1.settings import pool_requested

__all__ = ["adopt"]

T = TypeVar("T")

_CALLABLES = (FunctionType, MethodType, BuiltinMethodType, functools.partial)
_PLAIN = (str, bytes, int, float, complex, bool, type(None), list, tuple, dict, set, frozenset, type, ModuleType)
_END = object()


def adopt(client: T) -> T:
    """`client`, pooled if it is the OpenAI SDK's, else a proxy whose blocking methods do not block the event loop.

    `ENABLE_LLM_POOL=false`: `client` itself.
    """
    if not pool_requested():
        return client
    openai = sys.modules.get("openai")
    if openai is not None and isinstance(client, openai.OpenAI | openai.AsyncOpenAI):
        from phase1.doors.sdk import adopted  # noqa: PLC0415 - imports the SDK

        return cast("T", adopted(client))
    return cast("T", _Adopted(client))


class _Adopted(wrapt.ObjectProxy):  # type: ignore[type-arg]  # of whatever it wraps
    """Everything as the wrapped object has it; what is called, is called off the loop."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the wrapped object's own
        return _dressed(getattr(self.__wrapped__, name))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return _call(self.__wrapped__, args, kwargs)

    def __iter__(self) -> Iterator[Any]:
        return _Items(iter(self.__wrapped__))


def _dressed(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, _PLAIN) or inspect.isawaitable(value):
        return value
    if isinstance(value, _CALLABLES):
        return value if inspect.iscoroutinefunction(value) else _offloaded(value)
    return _Adopted(value)


def _offloaded(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn, assigned=[name for name in functools.WRAPPER_ASSIGNMENTS if hasattr(fn, name)])
    def method(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return _call(fn, args, kwargs)

    return method


def _call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
    answer = _off_the_loop(fn, *args, **kwargs)
    return _Items(answer) if isinstance(answer, GeneratorType) else answer


def _off_the_loop(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
    unit = current_unit.get() or Unit(default_manager())
    bridge = bridge_for(unit) if unit.manager.switches.enabled else None
    if bridge is None:
        if unit.manager.switches.enabled:
            unit.manager.events.notify(BlockingCall(calling_site()))
        return fn(*args, **kwargs)
    if not bridge.portal:
        return fn(*args, **kwargs)  # a thread may block
    return bridge.wait(run_in_threads(unit.manager, fn, *args, **kwargs))


class _Items(wrapt.ObjectProxy):  # type: ignore[type-arg]
    """A blocking iterator, each item fetched off the loop."""

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:  # noqa: ANN401
        item = _off_the_loop(next, self.__wrapped__, _END)
        if item is _END:
            raise StopIteration
        return item
