"""How does an app's own client become pooled without another edit? `client = phase1.adopt(OpenAI())`.

An SDK client comes back with a door; the one given stays its legacy route. Any other object (an own wrapper, a
LangChain model, another provider's client) comes back as a transparent proxy: attributes, `isinstance`, exceptions,
generators and context managers are its own, and a blocking method called on the event loop runs in our threads while
the task is suspended. With the pool off the very same object comes back.
"""

from __future__ import annotations

import copy
import functools
import inspect
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from enum import Enum
from types import BuiltinMethodType, FunctionType, GeneratorType, MethodType
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
_PLAIN = (str, bytes, int, float, complex, list, tuple, dict, set, frozenset, type, Enum)


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
    return cast("T", client if isinstance(client, _Adopted) else _proxy(client))


class _Adopted(wrapt.BaseObjectProxy):  # type: ignore[type-arg]  # of whatever it wraps
    """Everything as the wrapped object has it; what may block is done off the loop."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the wrapped object's own
        return _dressed(getattr(self.__wrapped__, name))

    def __enter__(self) -> Any:  # noqa: ANN401
        entered = _off_the_loop(self.__wrapped__.__enter__)
        return self if entered is self.__wrapped__ else _dressed(entered)

    def __exit__(self, *exc_info: object) -> Any:  # noqa: ANN401
        return _off_the_loop(self.__wrapped__.__exit__, *exc_info)

    async def __aenter__(self) -> Any:  # noqa: ANN401
        entered = await self.__wrapped__.__aenter__()
        return self if entered is self.__wrapped__ else _dressed(entered)

    def __repr__(self) -> str:
        return repr(self.__wrapped__)

    def __copy__(self) -> Any:  # noqa: ANN401
        return _proxy(copy.copy(self.__wrapped__))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:  # noqa: ANN401
        return _proxy(copy.deepcopy(self.__wrapped__, memo))

    def __reduce_ex__(self, protocol: Any) -> Any:  # noqa: ANN401
        return adopt, (self.__wrapped__,)


class _Called:
    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return _call(self.__wrapped__, args, kwargs)  # type: ignore[attr-defined]  # of the proxy that this is mixed into


class _Iterated:
    def __iter__(self) -> Iterator[Any]:
        return cast("Iterator[Any]", _Items(_off_the_loop(iter, self.__wrapped__)))  # type: ignore[attr-defined]


class _AsyncIterated:
    def __aiter__(self) -> AsyncIterator[Any]:
        return aiter(self.__wrapped__)  # type: ignore[attr-defined]


class _Items(_Adopted):
    """A blocking iterator, each item fetched off the loop."""

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:  # noqa: ANN401
        ended, item = _off_the_loop(_step, self.__wrapped__)
        if ended:
            raise StopIteration(item)
        return item


def _step(iterator: Iterator[Any]) -> tuple[bool, Any]:
    """No thread can hand over a `StopIteration`."""
    try:
        return False, next(iterator)
    except StopIteration as end:
        return True, end.value


def _proxy(value: Any) -> Any:  # noqa: ANN401
    abilities = {
        _Called: callable(value),
        _Iterated: hasattr(type(value), "__iter__"),
        _AsyncIterated: hasattr(type(value), "__aiter__"),
    }
    return _class(*(ability for ability, has_it in abilities.items() if has_it))(value)


@functools.cache
def _class(*abilities: type) -> Callable[[Any], Any]:
    """A proxy can be called, or gone through, only if what it wraps can."""
    return type("_Adopted", (*abilities, _Adopted), {})


def _dressed(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, _CALLABLES):
        return value if _is_asynchronous(value) else _offloaded(value)
    if _is_iterator(value):
        return _Items(value)
    return value if _is_plain(value) else _proxy(value)


def _is_asynchronous(fn: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn)


def _is_iterator(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, Iterator) and (isinstance(value, GeneratorType) or not _is_of_python(value))


def _is_plain(value: Any) -> bool:  # noqa: ANN401
    """Data that never blocks, and what is asynchronous by itself."""
    asynchronous = inspect.isawaitable(value) or isinstance(value, AsyncIterable)
    return asynchronous or isinstance(value, _PLAIN) or _is_of_python(value)


def _is_of_python(value: Any) -> bool:  # noqa: ANN401
    return type(value).__module__.partition(".")[0] in sys.stdlib_module_names


def _offloaded(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn, assigned=[name for name in functools.WRAPPER_ASSIGNMENTS if hasattr(fn, name)])
    def method(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return _call(fn, args, kwargs)

    return method


def _call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
    answer = _off_the_loop(fn, *args, **kwargs)
    if _is_iterator(answer):
        return _Items(answer)
    is_twin = type(answer) is type(getattr(fn, "__self__", None))  # `client.with_options(...)`
    return answer if _is_plain(answer) or not is_twin else _proxy(answer)


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
