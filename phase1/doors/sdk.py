"""How do the SDK's clients get into the pool, with every resource they have?

Through the one method that all resources go through: `request(cast_to, options, stream=, stream_cls=)`. A pooled call
is made by a *view* of the client: the SDK's own class with the same options, but with the engine in the place of its
HTTP client and without retries. The client itself stays what it was, and is the legacy route: its own connections,
its own retries. So results, streams, errors and options are the SDK's by construction.

Left alone: a client with its own `http_client=`, with a provider or a workload identity, and everything that does not
go through `request` (realtime websockets).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import openai
from openai._base_client import AsyncHttpxClientWrapper, SyncHttpxClientWrapper

from phase1.doors.background import default_manager
from phase1.doors.bridge import bridge_for
from phase1.doors.guard import PoolGuard
from phase1.doors.http import async_engine_client, crossing, sync_engine_client
from phase1.doors.offloaded import offload_stream
from phase1.doors.sites import calling_site
from phase1.doors.threads import run_in_threads
from phase1.doors.unit import Unit, current_unit
from phase1.engine.homes import DEFAULT_BASE_URL, PLACEHOLDER_KEY
from phase1.events import BlockingCall, LegacyFinished
from phase1.policy.selection import Route

if TYPE_CHECKING:
    from phase1.doors.bridge import Bridge
    from phase1.doors.manager import LLMManager
    from phase1.engine.manager import Manager

__all__ = ["AsyncDoor", "AsyncOpenAI", "OpenAI", "SyncDoor", "adopted", "cached_resources", "unit_of_call"]

_log = logging.getLogger("phase1")

_Call = Callable[..., Any]
ClientT = TypeVar("ClientT", bound="openai.OpenAI | openai.AsyncOpenAI")


class _Door:
    """What both doors know about the class they are mixed into."""

    _phase1_trusted = False
    """The app has adopted the client: it means the configured nodes, whatever its key."""
    _phase1_manager: LLMManager | None = None
    """The manager that the client is bound to; `None` = the app request's, or the process's default."""
    _phase1_request: Any
    """`request` as the SDK has it for this class."""
    _phase1_view_class: Any
    """The SDK's own class, which views are made of; `None` = the client's."""
    _phase1_resources: frozenset[str]
    """Attributes that hold a client's cached resources, which point back to it."""

    def __init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401 - whatever a subclass of the SDK's client takes
        super().__init_subclass__(**kwargs)
        stock: Any = next((base for base in cls.__mro__[1:] if not issubclass(base, _Door)), object)
        cls._phase1_view_class = stock
        cls._phase1_request = getattr(stock, "request", None)
        cls._phase1_resources = cached_resources(cls)


def cached_resources(cls: type) -> frozenset[str]:
    """The names under which clients of `cls` keep their resources."""
    return frozenset(
        name for base in cls.__mro__ for name, value in vars(base).items() if isinstance(value, cached_property)
    )


class AsyncDoor(_Door):
    """Mixed into `openai.AsyncOpenAI` and its subclasses: `request` goes to the pool, or stays."""

    async def request(
        self,
        cast_to: Any,  # noqa: ANN401 - the SDK's own signature
        options: Any,  # noqa: ANN401
        *,
        stream: bool = False,
        stream_cls: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Send one request of any resource."""
        stock = type(self)._phase1_request  # noqa: SLF001 - from the class: unbound
        call = partial(stock, cast_to=cast_to, options=options, stream=stream, stream_cls=stream_cls)
        unit = unit_of_call(self)
        home = _home(self, unit)
        if home is None:
            return await call(self)
        if unit.selection.route is Route.LEGACY:
            return await _timed(unit, call(self))
        guard = PoolGuard(unit, has_legacy=True, other_credentials=lambda: _has_other_key(self, home))
        with guard:
            return await call(_view(self, async_engine_client(home, str(self.base_url))))  # type: ignore[attr-defined]
        async with guard.time_left():
            return await _timed(unit, call(self))


class SyncDoor(_Door):
    """Mixed into `openai.OpenAI` and its subclasses: `request` goes to the pool without blocking the loop, or stays."""

    def request(
        self,
        cast_to: Any,  # noqa: ANN401 - the SDK's own signature
        options: Any,  # noqa: ANN401
        *,
        stream: bool = False,
        stream_cls: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Send one request of any resource."""
        stock = type(self)._phase1_request  # noqa: SLF001 - from the class: unbound
        call = partial(stock, cast_to=cast_to, options=options, stream=stream, stream_cls=stream_cls)
        unit = unit_of_call(self)
        home = _home(self, unit)
        if home is None:
            return call(self)
        bridge = bridge_for(unit)
        if bridge is None:
            unit.manager.events.notify(BlockingCall(calling_site()))
            return call(self)
        return _through_bridge(self, call, unit, home, bridge)


def _through_bridge(client: Any, call: _Call, unit: Unit, home: Manager, bridge: Bridge) -> Any:  # noqa: ANN401
    if unit.selection.route is Route.LEGACY:
        return _legacy_through_bridge(partial(call, client), unit, bridge)
    token = crossing.set(bridge)
    try:
        with PoolGuard(unit, has_legacy=True, other_credentials=lambda: _has_other_key(client, home)):
            return call(_view(client, sync_engine_client(home, str(client.base_url))))
    finally:
        crossing.reset(token)
    return _legacy_through_bridge(partial(call, client), unit, bridge)


def _legacy_through_bridge(ask: Callable[[], Any], unit: Unit, bridge: Bridge) -> Any:  # noqa: ANN401
    """The client's own way: in this thread if it is one, else in one of ours while the task is suspended."""
    if not bridge.portal:
        return ask()
    answer = bridge.wait(_timed(unit, run_in_threads(unit.manager, ask)))
    offload_stream(answer, unit.manager, bridge)
    return answer


async def _timed(unit: Unit, asking: Any) -> Any:  # noqa: ANN401
    started = time.perf_counter()
    error: str | None = None
    try:
        return await asking
    except BaseException as exc:
        error = f"{type(exc).__module__}.{type(exc).__qualname__}"
        raise
    finally:
        unit.manager.events.notify(LegacyFinished(time.perf_counter() - started, error))


def unit_of_call(client: AsyncDoor | SyncDoor) -> Unit:
    """The app request's unit; outside of one, or for a client of another manager, a new one."""
    own = client._phase1_manager  # noqa: SLF001
    unit = current_unit.get()
    if unit is None or (own is not None and unit.manager is not own):
        return Unit(own or default_manager())
    return unit


def _home(client: Any, unit: Unit) -> Manager | None:  # noqa: ANN401 - an SDK client with a door
    """Whose nodes serve this client; `None` = leave it alone."""
    manager = unit.manager
    if not manager.switches.enabled or not _is_stock(client):
        return None
    return manager.home_of(str(client.base_url), client.api_key, trusted=client._phase1_trusted)  # noqa: SLF001


def _is_stock(client: Any) -> bool:  # noqa: ANN401
    """Whether it speaks for itself: an own `http_client=`, a provider or a workload identity are the app's choice."""
    http_client = type(client._client)  # noqa: SLF001
    if http_client not in {AsyncHttpxClientWrapper, SyncHttpxClientWrapper}:
        if client.max_retries:  # a view of ours has none
            _say_once(f"an OpenAI client with its own http_client= ({http_client.__qualname__}) is left alone")
        return False
    return getattr(client, "workload_identity", None) is None and getattr(client, "_provider_runtime", None) is None


def _has_other_key(client: Any, home: Manager) -> bool:  # noqa: ANN401
    """Whether the client's own key is none that the pool may have found throttled."""
    return all(node.api_key not in {"", client.api_key} for node in home.nodes)


@lru_cache(maxsize=64)
def _say_once(text: str) -> None:
    _log.warning("%s", text)


def _view(client: Any, http_client: object) -> Any:  # noqa: ANN401
    """The same client as the SDK's own class on another HTTP client, without retries and without cached resources."""
    cls = client._phase1_view_class or type(client)  # noqa: SLF001
    view = _clone(client, cls, client._phase1_resources)  # noqa: SLF001
    view._client = http_client  # noqa: SLF001
    view.max_retries = 0
    return view


def _clone(client: Any, cls: type, resources: frozenset[str]) -> Any:  # noqa: ANN401
    twin: Any = object.__new__(cls)
    twin.__dict__.update({name: value for name, value in client.__dict__.items() if name not in resources})
    return twin


class AsyncOpenAI(AsyncDoor, openai.AsyncOpenAI):
    """`openai.AsyncOpenAI` whose requests go through the pool: same arguments, resources, types and exceptions."""

    @classmethod
    def bound_to(cls, manager: LLMManager) -> AsyncOpenAI:
        """A client of `manager`'s configured nodes, wherever it is called."""
        spec = manager.nodes[0] if manager.nodes else None
        client = cls(
            api_key=spec.api_key if spec else PLACEHOLDER_KEY,
            base_url=spec.base_url.partition("?")[0] if spec else DEFAULT_BASE_URL,
        )
        client._phase1_manager = manager
        client._phase1_trusted = True
        return client


class OpenAI(SyncDoor, openai.OpenAI):
    """`openai.OpenAI` whose requests go through the pool: same arguments, resources, types and exceptions.

    Called inside an `async def` endpoint it suspends the request's task instead of blocking the event loop.
    """


def adopted(client: ClientT) -> ClientT:
    """The same client with a door, trusted to mean the app's nodes. The one given stays as it is."""
    cls = _pooled_class(cast("Hashable", type(client)))
    return cast("ClientT", _clone(client, cls, cls._phase1_resources))


@lru_cache(maxsize=64)
def _pooled_class(client_class: Hashable) -> Any:  # noqa: ANN401 - a class of the SDK
    """The SDK's `OpenAI`, `AsyncAzureOpenAI` … with the door that suits it."""
    cls = cast("type[Any]", client_class)
    if issubclass(cls, _Door):
        return cls
    door = AsyncDoor if issubclass(cls, openai.AsyncOpenAI) else SyncDoor
    namespace = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return type(cls.__name__, (door, cls), {**namespace, "_phase1_trusted": True})
