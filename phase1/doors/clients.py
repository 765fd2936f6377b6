"""How do libraries get in that take an httpx client: LangChain, LlamaIndex, instructor, the SDK's own `http_client=`?

    ChatOpenAI(http_client=phase1.http_client(), http_async_client=phase1.async_http_client())

They are ordinary clients with connections of their own: these are the legacy route, and the way of everything that is
no API call. An API call is known by its path; its base URL is what stands before that.
"""

from __future__ import annotations

import importlib
import re
from functools import cache, partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from phase1.doors.background import default_manager
from phase1.doors.bridge import bridge_for
from phase1.doors.guard import PoolGuard
from phase1.doors.http import async_engine_client, crossing, family_of, sync_engine_client
from phase1.doors.offloaded import offload_response
from phase1.doors.sites import calling_site
from phase1.doors.threads import run_in_threads
from phase1.doors.unit import Unit, current_unit
from phase1.engine.transport.family import httpx as sdk_family
from phase1.events import BlockingCall
from phase1.exceptions import ConfigurationError
from phase1.policy.selection import Route

if TYPE_CHECKING:
    import httpx2 as httpx

    from phase1.doors.bridge import Bridge
    from phase1.engine.manager import Manager

__all__ = ["async_http_client", "http_client"]

_API_CALL = re.compile(
    r"/(?:chat/completions|completions|responses|embeddings|moderations|models|files|uploads|batches"
    r"|images/(?:generations|edits|variations)|audio/(?:speech|transcriptions|translations))(?=[/?]|$)"
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
    url = str(request.url)
    match = _API_CALL.search(url)
    if match is None or not unit.manager.switches.enabled:
        return None
    base_url = url[: match.start()]
    home = unit.manager.home_of(base_url, _key(request), trusted=False)
    return None if home is None else (unit, home, base_url)


def _key(request: httpx.Request) -> str:
    bearer = str(request.headers.get("authorization", "")).removeprefix("Bearer ")
    return bearer or str(request.headers.get("api-key", ""))


class _Async:
    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:  # noqa: ANN401
        own = partial(super().send, request, **options)  # type: ignore[misc]  # the family's client is mixed in
        plan = _plan(request)
        if plan is None or plan[0].selection.route is Route.LEGACY:
            return cast("httpx.Response", await own())
        unit, home, base_url = plan
        with PoolGuard(unit, has_legacy=True, other_credentials=lambda: False) as guard:
            response = await async_engine_client(home, base_url, family_of(request)).send(request, **options)
            guard.check()
            return response
        return cast("httpx.Response", await own())


class _Sync:
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
            return _own_way(own, unit, bridge)
        token = crossing.set(bridge)
        try:
            with PoolGuard(unit, has_legacy=True, other_credentials=lambda: False) as guard:
                response = sync_engine_client(home, base_url, family_of(request)).send(request, **options)
                guard.check()
                return response
        finally:
            crossing.reset(token)
        return _own_way(own, unit, bridge)


def _own_way(own: partial[Any], unit: Unit, bridge: Bridge) -> httpx.Response:
    if not bridge.portal:
        return cast("httpx.Response", own())
    response = bridge.wait(run_in_threads(unit.manager, own))
    offload_response(response, unit.manager, bridge)
    return cast("httpx.Response", response)


@cache
def _async_class(family: ModuleType) -> type[Any]:
    return type("AsyncClient", (_Async, family.AsyncClient), {"__module__": family.__name__})


@cache
def _sync_class(family: ModuleType) -> type[Any]:
    return type("Client", (_Sync, family.Client), {"__module__": family.__name__})
