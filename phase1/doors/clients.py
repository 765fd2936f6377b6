"""How do libraries get in that take an httpx client: LangChain, LlamaIndex, instructor, the SDK's own `http_client=`?

    ChatOpenAI(http_client=phase1.http_client(), http_async_client=phase1.async_http_client())

They are ordinary clients with connections of their own: these are the legacy route, and the way of everything that is
no API call. An API call brings a key; it goes to an address below the app's own base URLs, or asks a model by a path
that says so: its base URL is what stands before that.
"""

from __future__ import annotations

import asyncio
import importlib
import re
from collections.abc import Coroutine
from functools import cache, partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from phase1.doors.background import default_manager
from phase1.doors.bridge import bridge_for
from phase1.doors.guard import PoolGuard
from phase1.doors.http import STREAMS, Ours, async_engine_client, crossing, family_of, refusal, sync_engine_client
from phase1.doors.offloaded import offload_response
from phase1.doors.shadow.shadow import CHAT
from phase1.doors.shadow.watch import beside, beside_blocking
from phase1.doors.sites import calling_site
from phase1.doors.threads import run_in_threads
from phase1.doors.unit import Unit, current_unit
from phase1.engine.transport.family import httpx as sdk_family
from phase1.events import BlockingCall
from phase1.exceptions import ConfigurationError, Refused
from phase1.policy.selection import Route

if TYPE_CHECKING:
    import httpx2 as httpx

    from phase1.doors.bridge import Bridge
    from phase1.engine.manager import Manager

__all__ = ["async_http_client", "http_client"]

_ASKS_A_MODEL = re.compile(
    r"(.+)/(?:chat/completions|(?<!/chat/)completions|responses|embeddings|moderations"
    r"|images/(?:generations|edits|variations)|audio/(?:speech|transcriptions|translations))(?:[/?]|$)"
)
_FAMILIES = ("httpx", "httpx2")


def http_client(*, family: str | None = None, **options: Any) -> httpx.Client:  # noqa: ANN401 - httpx's own options
    """An `httpx.Client` whose API calls go through the pool; `options` are those of `httpx.Client`.

    `family`: `"httpx"` or `"httpx2"`; default = the one that the installed OpenAI SDK is built on. Raises
    `ConfigurationError` for another one, or one that is not installed.
    """
    return cast("httpx.Client", _sync_class(_family(family))(**options))


def async_http_client(*, family: str | None = None, **options: Any) -> httpx.AsyncClient:  # noqa: ANN401
    """An `httpx.AsyncClient` whose API calls go through the pool; arguments as of `http_client`."""
    return cast("httpx.AsyncClient", _async_class(_family(family))(**options))


def _family(name: str | None) -> ModuleType:
    if name is None:
        return sdk_family
    if name not in _FAMILIES:
        raise ConfigurationError(f"family={name!r}: must be one of {', '.join(_FAMILIES)}")
    try:
        return importlib.import_module(name)
    except ImportError as exc:
        raise ConfigurationError(f"family={name!r}: is not installed") from exc


def _plan(request: httpx.Request) -> tuple[Unit, Manager, str] | None:
    """Unit, nodes and base URL of an API call; `None` = not our business."""
    unit = current_unit.get() or Unit(default_manager())
    key = _key(request)
    if not key or not unit.manager.switches.enabled:
        return None
    url = str(request.url)
    base_url = unit.manager.homes.base_of(url) or _guessed_base(url)
    home = base_url and unit.manager.home_of(base_url, key, trusted=False)
    return (unit, home, base_url) if home else None


def _guessed_base(url: str) -> str:
    match = _ASKS_A_MODEL.match(url)
    return match[1] if match else ""


def _key(request: httpx.Request) -> str:
    bearer = str(request.headers.get("authorization", "")).removeprefix("Bearer ")
    return bearer or str(request.headers.get("api-key", ""))


class _Async(Ours):
    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:  # noqa: ANN401
        own = partial(super().send, request, **options)  # type: ignore[misc]  # the family's client is mixed in
        plan = _plan(request)
        if plan is None:
            return cast("httpx.Response", await own())
        unit, home, base_url = plan
        if unit.selection.route is Route.LEGACY:
            if unit.manager.shadow is None or home is not unit.manager or options.get("stream"):
                return await _timed(own(), request, unit, None)
            return await beside(unit, _question(request, base_url), _timed(own(), request, unit, None))
        with PoolGuard(unit, has_legacy=True, other_credentials=lambda: False) as guard:
            response = await async_engine_client(home, base_url, family_of(request)).send(request, **options)
            guard.check()
            return response
        return await _timed(own(), request, unit, guard.remaining)


class _Sync(Ours):
    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:  # noqa: ANN401
        own = partial(super().send, request, **options)  # type: ignore[misc]
        plan = _plan(request)
        if plan is None:
            return cast("httpx.Response", own())
        unit, home, base_url = plan
        bridge = bridge_for(unit)
        if bridge is None:
            unit.manager.events.notify(BlockingCall(calling_site()))
            return cast("httpx.Response", own())
        if unit.selection.route is Route.LEGACY:
            if unit.manager.shadow is None or home is not unit.manager or options.get("stream"):
                return _own_way(own, request, unit, bridge, None)
            return beside_blocking(
                unit, _question(request, base_url), partial(_own_way, own, request, unit, bridge, None)
            )
        token = crossing.set(bridge)
        try:
            with PoolGuard(unit, has_legacy=True, other_credentials=lambda: False) as guard:
                response = sync_engine_client(home, base_url, family_of(request)).send(request, **options)
                guard.check()
                return response
        finally:
            crossing.reset(token)
        return _own_way(own, request, unit, bridge, guard.remaining)


def _question(request: httpx.Request, base_url: str) -> bytes | None:
    """The body of a chat completion; `None` = it is another call, or its body is a stream of the app's."""
    path = str(request.url).partition("?")[0].removeprefix(base_url.rstrip("/"))
    return request.content if path == CHAT and hasattr(request, "_content") else None


def _own_way(
    own: partial[Any], request: httpx.Request, unit: Unit, bridge: Bridge, seconds: float | None
) -> httpx.Response:
    if not bridge.portal:
        with unit.legacy_call(streamed=_streams(request)):
            return cast("httpx.Response", own())
    try:
        response = bridge.wait(_timed(run_in_threads(unit.manager, own), request, unit, seconds))
    except Refused as exc:
        return refusal(exc, request)
    offload_response(response, unit.manager, bridge)
    return response


def _streams(request: httpx.Request) -> bool:
    try:
        return STREAMS.search(request.content) is not None
    except family_of(request).RequestNotRead:  # the app sends a body piece by piece
        return False


async def _timed(
    asking: Coroutine[Any, Any, Any], request: httpx.Request, unit: Unit, seconds: float | None
) -> httpx.Response:
    """The ordinary way, bounded by what the deadline leaves it."""
    try:
        async with asyncio.timeout(seconds):
            with unit.legacy_call(streamed=_streams(request)):
                return cast("httpx.Response", await asking)
    except TimeoutError as exc:
        raise family_of(request).ReadTimeout("the request's deadline ran out", request=request) from exc


@cache
def _async_class(family: ModuleType) -> type[Any]:
    return type("AsyncClient", (_Async, family.AsyncClient), {"__module__": family.__name__})


@cache
def _sync_class(family: ModuleType) -> type[Any]:
    return type("Client", (_Sync, family.Client), {"__module__": family.__name__})
