"""How do the SDK's clients get into the pool, with every resource they have?

Through the one method that all resources go through: `request(cast_to, options, stream=, stream_cls=)`. A pooled call
is made by a *view* of the client: the SDK's own class with the same options, but with the engine in the place of its
HTTP client and without retries. The client itself stays what it was, and is the legacy route: its own connections,
its own retries. So results, streams, errors and options are the SDK's by construction.

Left alone: a client with its own `http_client=`, with a provider or a workload identity, and everything that does not
go through `request` (realtime websockets).
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import openai
from openai._base_client import AsyncHttpxClientWrapper, SyncHttpxClientWrapper

from phase1.doors.background import default_manager
from phase1.doors.bridge import bridge_for
from phase1.doors.guard import PoolGuard
from phase1.doors.http import Ours, asked_timeout, async_engine_client, crossing, refusal, sync_engine_client
from phase1.doors.lean.learnt import Learnt
from phase1.doors.lean.resources import AsyncLean, Lean
from phase1.doors.lean.short import Way, falling_back
from phase1.doors.offloaded import offload_stream
from phase1.doors.shadow.watch import watched, watched_blocking
from phase1.doors.sites import calling_site
from phase1.doors.threads import run_in_threads
from phase1.doors.unit import Unit, current_unit
from phase1.engine.homes import DEFAULT_BASE_URL, PLACEHOLDER_KEY
from phase1.engine.transport.family import httpx
from phase1.events import BlockingCall
from phase1.exceptions import Refused
from phase1.policy.selection import Route

if TYPE_CHECKING:
    from phase1.doors.bridge import Bridge
    from phase1.doors.manager import LLMManager
    from phase1.engine.manager import Manager

__all__ = [
    "AsyncDoor",
    "AsyncOpenAI",
    "OpenAI",
    "SyncDoor",
    "adopted",
    "cached_resources",
    "timeout_of",
    "unit_of_call",
]

_log = logging.getLogger("phase1")

ClientT = TypeVar("ClientT", bound="openai.OpenAI | openai.AsyncOpenAI")

_SDK = (openai.AsyncOpenAI, openai.OpenAI)
_KEY_HEADERS = frozenset({"authorization", "api-key"})
_KEY_GIVERS = ("_api_key_provider", "_azure_ad_token_provider", "_azure_ad_token")


class _Door:
    """What both doors know about the class they are mixed into."""

    _phase1_trusted: object = None
    """What the client spoke with when the app adopted it: with that it means the configured nodes."""
    _phase1_manager: LLMManager | None = None
    """The manager that the client is bound to; `None` = the app request's, or the process's default."""
    _phase1_request: Any
    """`request` as the SDK has it for this class."""
    _phase1_view_class: Any
    """The SDK's own class, which views are made of; `None` = the client's."""
    _phase1_resources: frozenset[str]
    """Attributes that hold a client's cached resources, which point back to it."""
    _phase1_learnt: dict[tuple[str, bool], Learnt] | None = None
    """What the SDK sends with every call of this client."""

    def __init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401 - whatever a subclass of the SDK's client takes
        super().__init_subclass__(**kwargs)
        stock: Any = next(
            (base for base in cls.__mro__[1:] if issubclass(base, _SDK) and not issubclass(base, _Door)), object
        )
        cls._phase1_view_class = stock
        # Where the SDK's classes have doors (`everywhere`), `request` is one: what it was stands beside it.
        cls._phase1_request = getattr(stock, "_phase1_request", None) or getattr(stock, "request", None)
        cls._phase1_resources = cached_resources(cls)

    def _phase1_way(self: Any, learnt: Learnt) -> Way | None:
        """Where a call like the one `learnt` goes; `None` = the ordinary way decides."""
        unit = unit_of_call(self)
        manager = unit.manager
        if learnt.homes is not manager.homes:
            learnt.home, learnt.homes = _home(self, _Plain, unit), manager.homes
            learnt.other_key = partial(_has_other_key, self, learnt.home)
        home = learnt.home
        if home is None or not manager.switches.enabled or unit.selection.route is Route.LEGACY:
            return None
        return home, PoolGuard(unit, has_legacy=True, other_credentials=learnt.other_key, timeout=learnt.timeout)

    if not TYPE_CHECKING:  # the SDK's own signature says more

        def copy(self, **options: Any) -> Any:  # noqa: ANN401
            """The same client with other options; with another key it is no longer the one that was adopted."""
            twin = super().copy(**options)
            kept = {name: value for name, value in vars(self).items() if name.startswith("_phase1_")}
            twin.__dict__.update(kept | {"_phase1_learnt": None})
            return twin

        with_options = copy


def cached_resources(cls: type) -> frozenset[str]:
    """The names under which clients of `cls` keep their resources."""
    return frozenset(
        name for base in cls.__mro__ for name, value in vars(base).items() if isinstance(value, cached_property)
    )


@dataclass(frozen=True, slots=True)
class _Call:
    """One request of one client. `home`: whose nodes serve it; `None` = leave it alone."""

    client: Any
    request: Callable[..., Any]
    options: Any
    unit: Unit
    home: Manager | None

    @property
    def streams(self) -> bool:
        """Whether the answer is to be a stream."""
        return bool(cast("partial[Any]", self.request).keywords.get("stream"))

    def own_way(self) -> Any:  # noqa: ANN401
        """Send it as the client always did."""
        return self.request(self.client, options=self.options)

    def by(self, view: Any) -> Any:  # noqa: ANN401
        """Send it by a view. The SDK takes something out of the options that the own way still needs."""
        return self.request(view, options=self.options.model_copy())

    def guard(self) -> PoolGuard:
        """Says whether the own way may follow a failure."""
        timeout = timeout_of(self.client, self.options)
        other = partial(_has_other_key, self.client, self.home)
        return PoolGuard(self.unit, has_legacy=True, other_credentials=other, timeout=timeout)


def _has_other_key(client: Any, home: Manager | None) -> bool:  # noqa: ANN401
    """Whether the client's own key is none that the pool may have found throttled."""
    return all(node.api_key not in {"", client.api_key} for node in (home.nodes if home else ()))


class _Plain:
    """The options of a call without any."""

    headers = None


def _call_of(client: Any, options: Any, **kind: Any) -> _Call:  # noqa: ANN401
    unit = unit_of_call(client)
    request = type(client)._phase1_request  # noqa: SLF001 - from the class: unbound
    return _Call(client, partial(request, **kind), options, unit, _home(client, options, unit))


class AsyncDoor(AsyncLean, _Door):
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
        call = _call_of(self, options, cast_to=cast_to, stream=stream, stream_cls=stream_cls)
        if (guard := falling_back.get()) is None:
            if call.home is None:
                return await call.own_way()
            if call.unit.selection.route is Route.LEGACY:
                seen = watched(call) if call.unit.manager.shadow is not None and not stream else call
                with call.unit.legacy_call(streamed=call.streams):
                    return await seen.own_way()
            with (guard := call.guard()):
                return await _by_view(call, call.home)
        falling_back.set(None)
        async with guard.time_left():
            with call.unit.legacy_call(streamed=call.streams):
                return await call.own_way()


async def _by_view(call: _Call, home: Manager) -> Any:  # noqa: ANN401
    view = _view(call.client, async_engine_client(home, str(call.client.base_url)))
    try:
        return await call.by(view)
    finally:
        call.client._platform = view._platform  # noqa: SLF001 - found out in a thread, once per client


class SyncDoor(Lean, _Door):
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
        call = _call_of(self, options, cast_to=cast_to, stream=stream, stream_cls=stream_cls)
        guard = falling_back.get()
        if call.home is None:
            return call.own_way()
        bridge = bridge_for(call.unit)
        if bridge is None:
            call.unit.manager.events.notify(BlockingCall(calling_site()))
            return call.own_way()
        if guard is not None:
            falling_back.set(None)
            return _own_way_over(bridge, call, guard)
        if call.unit.selection.route is Route.LEGACY:
            seen = call.unit.manager.shadow is not None and not stream
            return _own_way_over(bridge, watched_blocking(call) if seen else call)
        token = crossing.set(bridge)
        try:
            with (guard := call.guard()):
                return call.by(_view(self, sync_engine_client(call.home, str(self.base_url))))  # type: ignore[attr-defined]
        finally:
            crossing.reset(token)
        return _own_way_over(bridge, call, guard)


def _own_way_over(bridge: Bridge, call: _Call, guard: PoolGuard | None = None) -> Any:  # noqa: ANN401
    """The client's own way: in this thread if it is one, else in one of ours while the task is suspended."""
    if not bridge.portal:
        with call.unit.legacy_call(streamed=call.streams):
            return call.own_way()
    manager = call.unit.manager
    try:
        answer = bridge.wait(_timed(run_in_threads(manager, call.own_way), call, guard))
    except Refused as exc:
        raise _no_thread(call, exc) from exc
    offload_stream(answer, manager, bridge)
    return answer


async def _timed(asking: Coroutine[Any, Any, Any], call: _Call, guard: PoolGuard | None) -> Any:  # noqa: ANN401
    async with guard.time_left() if guard else contextlib.nullcontext():
        with call.unit.legacy_call(streamed=call.streams):
            return await asking


def _no_thread(call: _Call, error: Refused) -> Exception:
    """In the SDK's words."""
    request = httpx.Request(call.options.method, call.client._prepare_url(call.options.url))  # noqa: SLF001
    return cast("Exception", call.client._make_status_error_from_response(refusal(error, request)))  # noqa: SLF001


def timeout_of(client: Any, options: Any) -> float | None:  # noqa: ANN401 - of the SDK
    """The seconds that the app has asked for, by the call or by the client; `None` = it has not."""
    given = client.timeout if isinstance(options.timeout, openai.NotGiven) else options.timeout
    return math.inf if given is None else asked_timeout(given)


def unit_of_call(client: AsyncDoor | SyncDoor) -> Unit:
    """The app request's unit; outside of one, or for a client of another manager, a new one."""
    own = client._phase1_manager  # noqa: SLF001
    unit = current_unit.get()
    if unit is None or (own is not None and unit.manager is not own):
        return Unit(own or default_manager())
    return unit


def _home(client: Any, options: Any, unit: Unit) -> Manager | None:  # noqa: ANN401 - an SDK client with a door
    """Whose nodes serve this call; `None` = leave it alone."""
    manager = unit.manager
    if not manager.switches.enabled or not _is_stock(client):
        return None
    key = _key_in_headers(client, options)
    if key is None:
        return manager.home_of(str(client.base_url), client.api_key, trusted=_is_trusted(client))
    return manager.home_of(str(client.base_url), key, trusted=False)


def _key_in_headers(client: Any, options: Any) -> str | None:  # noqa: ANN401
    """The key that a header of this call, or of every call of the client, brings instead of the client's own."""
    headers = {**client._custom_headers, **(options.headers or {})}  # noqa: SLF001
    keys = [value for name, value in headers.items() if name.lower() in _KEY_HEADERS]
    return str(keys[-1]).removeprefix("Bearer ") if keys else None


def _is_trusted(client: Any) -> bool:  # noqa: ANN401
    return client._phase1_trusted is not None and client._phase1_trusted == _identity(client)  # noqa: SLF001


def _identity(client: Any) -> object:  # noqa: ANN401
    """What the client speaks with: whoever gives it a key, else the key."""
    givers = (getattr(client, name, None) for name in _KEY_GIVERS)
    return next((giver for giver in givers if giver is not None), client.api_key)


def _is_stock(client: Any) -> bool:  # noqa: ANN401
    """Whether it speaks for itself: an own `http_client=`, a provider or a workload identity are the app's choice."""
    http_client = client._client  # noqa: SLF001
    if type(http_client) not in {AsyncHttpxClientWrapper, SyncHttpxClientWrapper}:
        if not isinstance(http_client, Ours):
            _say_once(
                f"an OpenAI client with its own http_client= ({type(http_client).__qualname__}) is left alone; to pool"
                " it, leave that argument out or give it phase1.http_client() or phase1.async_http_client()"
            )
        return False
    return getattr(client, "workload_identity", None) is None and getattr(client, "_provider_runtime", None) is None


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

    _phase1_lean = True

    @classmethod
    def bound_to(cls, manager: LLMManager) -> AsyncOpenAI:
        """A client of `manager`'s configured nodes, wherever it is called."""
        spec = manager.nodes[0] if manager.nodes else None
        given = manager.settings.openai_api_key
        own_key = given.get_secret_value() if given is not None else PLACEHOLDER_KEY
        client = cls(
            api_key=spec.api_key if spec else own_key,
            base_url=spec.base_url.partition("?")[0] if spec else manager.settings.openai_base_url or DEFAULT_BASE_URL,
        )
        client._phase1_manager = manager
        return client


class OpenAI(SyncDoor, openai.OpenAI):
    """`openai.OpenAI` whose requests go through the pool: same arguments, resources, types and exceptions.

    Called inside an `async def` endpoint it suspends the request's task instead of blocking the event loop.
    """

    _phase1_lean = True


def adopted(client: ClientT) -> ClientT:
    """The same client with a door, trusted to mean the app's nodes. The one given stays as it is."""
    cls = _pooled_class(cast("Hashable", type(client)))
    twin = _clone(client, cls, cls._phase1_resources)
    twin._phase1_trusted = _identity(client)  # noqa: SLF001
    return cast("ClientT", twin)


@lru_cache(maxsize=64)
def _pooled_class(client_class: Hashable) -> Any:  # noqa: ANN401 - a class of the SDK
    """The SDK's `OpenAI`, `AsyncAzureOpenAI` … with the door that suits it."""
    cls = cast("type[Any]", client_class)
    if issubclass(cls, _Door):
        return cls
    door = AsyncDoor if issubclass(cls, openai.AsyncOpenAI) else SyncDoor
    namespace: dict[str, Any] = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    if cls in {openai.OpenAI, openai.AsyncOpenAI}:
        namespace["_phase1_lean"] = True
    return type(cls.__name__, (door, cls), namespace)
