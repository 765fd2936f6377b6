"""What do `http_client()` and `async_http_client()` send through the pool, and what do they leave alone?"""

# ruff: noqa: ANN401 - of either httpx

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest

import phase1
from phase1.doors.portal import in_portal
from phase1.engine.transport.family import httpx as sdk_family
from phase1.exceptions import ConfigurationError

from .answers import AUDIO, Reply, error, json_reply, sse_reply, words
from .cases import HELLO
from .provider import Gate, Provider, Providers
from .world import APP_KEY, BOUND, Calls, app_request, bounded, given, manager_of

pytest_plugins = ["tests.doors.providing"]

OWN_KEY = "sk-of-a-user"
FAMILIES = [name for name in ("httpx", "httpx2") if importlib.util.find_spec(name)]
BEARER = {"Authorization": f"Bearer {APP_KEY}"}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Each that is installed."""
    return str(request.param)


@pytest.fixture(params=["async", "portal"])
def make(request: pytest.FixtureRequest, family: str) -> Callable[..., Any]:
    """Makes a client of ours, for one `async with`."""
    maker = phase1.async_http_client if request.param == "async" else phase1.http_client

    @asynccontextmanager
    async def opened(**options: Any) -> AsyncIterator[Any]:
        client: Any = maker(family=family, timeout=BOUND, **options)
        try:
            yield client
        finally:
            await given(client.aclose() if hasattr(client, "aclose") else client.close())

    return opened


async def post(client: Any, url: str, **options: Any) -> Any:
    """One API call."""
    body = {"model": "m", "messages": HELLO}
    return await given(client.post(url, json=body, **({"headers": BEARER} | options)))


async def test_an_api_call_goes_through_the_pool(make: Any, provider: Provider, family: str) -> None:
    """Any library that posts to the app's address is pooled, and gets its own family's response."""
    async with manager_of(provider) as manager, app_request(manager), make() as client:
        response = await post(client, f"{provider.url}/chat/completions")
        assert response.json()["choices"][0]["message"]["content"] == "Hello"
        assert isinstance(response, importlib.import_module(family).Response)
        assert sum(manager.tally.calls.values()) == 1


async def test_the_nodes_bring_their_own_keys(make: Any, provider: Provider) -> None:
    """A library that was given the placeholder is served by the nodes."""
    async with manager_of(provider) as manager, app_request(manager), make() as client:
        await post(client, f"{provider.url}/chat/completions", headers={"Authorization": "Bearer phase1"})
    assert provider.keys == [f"Bearer {APP_KEY}"]


async def test_a_key_of_its_own_is_sent_as_it_is(make: Any, provider: Provider) -> None:
    """The pool's connections, the caller's key."""
    async with manager_of(provider) as manager, app_request(manager), make() as client:
        await post(client, f"{provider.url}/chat/completions", headers={"Authorization": f"Bearer {OWN_KEY}"})
        await post(client, f"{provider.url}/chat/completions", headers={"api-key": OWN_KEY})
        assert sum(manager.tally.calls.values()) == 2
    assert provider.keys == [f"Bearer {OWN_KEY}", OWN_KEY]


async def test_another_provider_gets_a_pool_of_its_own(make: Any, providers: Providers) -> None:
    """A path that asks a model, at another address: its own connections, its own key."""
    app, other = providers.new(), providers.new()
    async with manager_of(app) as manager, app_request(manager), make() as client:
        await post(client, f"{other.url}/chat/completions")
        assert sum(manager.tally.calls.values()) == 1
        assert len(manager.homes.all()) == 1
    assert other.keys == [f"Bearer {APP_KEY}"]
    assert app.requests == []


@pytest.mark.parametrize("path", ["/files?limit=2", "/files/f1/content", "/models", "/batches/b1", "/audio/speech"])
async def test_below_the_apps_address_everything_is_an_api_call(make: Any, path: str, provider: Provider) -> None:
    """As at the SDK's door: every resource."""
    async with manager_of(provider) as manager, app_request(manager), make() as client:
        await given(client.get(provider.url + path, headers=BEARER))
        assert sum(manager.tally.calls.values()) == 1


@pytest.mark.parametrize(
    "path",
    ["/health", "/vector_stores/v1/files", "/files/f1/content", "/v2/files", "/completionists", "/images/cat.png"],
)
async def test_what_asks_no_model_elsewhere_goes_the_ordinary_way(
    make: Any, path: str, provider: Provider, providers: Providers
) -> None:
    """Another host's files are none of our business, whatever they are called."""
    other = providers.new()
    other.answers(json_reply({}))
    async with manager_of(provider) as manager, app_request(manager), make() as client:
        assert (await given(client.get(other.url + path, headers=BEARER))).status_code == 200
        assert not manager.tally.calls
        assert manager.homes.all() == []
    assert other.paths == [f"GET {path}"]


async def test_a_request_without_a_key_goes_the_ordinary_way(make: Any, provider: Provider) -> None:
    """No credentials, no API call: nothing is added to it."""
    async with manager_of(provider) as manager, app_request(manager), make() as client:
        await post(client, f"{provider.url}/chat/completions", headers={})
        assert not manager.tally.calls
    assert provider.keys == [None]


@pytest.mark.parametrize("base", ["/models/org/name/v1", "/openai/deployments/m", "/completions/v1"])
async def test_the_base_is_what_stands_before_the_last_resource(make: Any, base: str, providers: Providers) -> None:
    """Addresses that contain the name of a resource are read right."""
    app, other = providers.new(), providers.new(base)
    other.answers(json_reply({}))
    async with manager_of(app) as manager, app_request(manager), make() as client:
        await post(client, f"{other.url}/chat/completions")
        ((home,),) = [home.nodes for home in manager.homes.all()]
        assert home.base_url == other.url
    assert other.paths == ["POST /chat/completions"]


async def test_a_stream_comes_as_it_comes(make: Any, provider: Provider) -> None:
    """`client.stream(...)`: chunk by chunk, and closed early without a trace."""
    gate = Gate()
    provider.answers(sse_reply(*words("Hel", "lo")[:2], gate))
    async with manager_of(provider) as manager, app_request(manager), make() as client:
        calls = Calls(manager)
        opening = client.stream("POST", f"{provider.url}/chat/completions", json={"stream": True}, headers=BEARER)
        if hasattr(opening, "__aenter__"):
            async with opening as response:
                first = await anext(response.aiter_lines())
        else:
            with opening as response:
                first = next(response.iter_lines())
        assert first.startswith("data: ")
        assert await (await provider.arrived(1)).gone()
        await calls.are_over()


async def test_a_body_is_a_body(make: Any, provider: Provider) -> None:
    """Bytes that mean nothing to us arrive whole."""
    async with manager_of(provider) as manager, app_request(manager), make() as client:
        response = await post(client, f"{provider.url}/audio/speech")
        assert response.content == AUDIO


async def test_options_of_the_client_are_httpxs_own(make: Any, provider: Provider) -> None:
    """Header fields and base URL that the client was made with are on pooled requests too."""
    async with manager_of(provider) as manager, app_request(manager):
        async with make(base_url=provider.url, headers={**BEARER, "X-Own": "1"}) as client:
            await post(client, "/chat/completions", headers={})
        assert sum(manager.tally.calls.values()) == 1
    assert provider.requests[0].header("x-own") == "1"


async def test_an_error_status_is_the_librarys_to_judge(make: Any, provider: Provider) -> None:
    """The pool's answer is the answer, a 404 too."""
    provider.answers(error(404))
    async with manager_of(provider) as manager, app_request(manager), make() as client:
        assert (await post(client, f"{provider.url}/chat/completions")).status_code == 404
    assert len(provider.requests) == 1


async def test_redirects_are_followed_as_the_sdk_does(make: Any, provider: Provider, providers: Providers) -> None:
    """A moved API answers all the same."""
    moved = providers.new()
    provider.answers(Reply(307, [("location", f"{moved.url}/chat/completions"), ("content-length", "0")]))
    async with manager_of(provider) as manager, app_request(manager), make() as client:
        assert (await post(client, f"{provider.url}/chat/completions")).status_code == 200
    assert len(moved.requests) == 1


async def test_with_the_pool_off_they_are_ordinary_clients(make: Any, provider: Provider) -> None:
    """Nothing of ours is between them and the network."""
    async with manager_of(provider, enable_llm_pool=False) as manager, app_request(manager), make() as client:
        await post(client, f"{provider.url}/chat/completions")
        assert (dict(manager.tally.calls), dict(manager.tally.legacy)) == ({}, {})
    assert len(provider.requests) == 1


async def test_without_a_portal_the_plain_call_is_counted(provider: Provider, family: str) -> None:
    """The place is the app's line, not the HTTP library's."""
    async with manager_of(provider) as manager, app_request(manager, portal=False):
        with phase1.http_client(family=family) as client:
            assert (await post(client, f"{provider.url}/chat/completions")).status_code == 200
        ((site, times),) = manager.tally.blocking_sites.items()
    assert (site.rpartition(":")[0], times) == (__file__, 1)
    assert not manager.tally.calls


async def test_many_users_wait_at_once(make: Any, provider: Provider) -> None:
    """A library's synchronous calls in `async def` endpoints block nobody."""
    provider.party(5)
    async with manager_of(provider) as manager, make() as client:

        async def endpoint() -> int:
            async with app_request(manager):
                return int((await post(client, f"{provider.url}/chat/completions")).status_code)

        assert await bounded(asyncio.gather(*(in_portal(endpoint()) for _ in range(5)))) == [200] * 5  # type: ignore[arg-type]


async def test_the_ordinary_way_uses_the_proxies_of_the_environment(
    make: Any, provider: Provider, providers: Providers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The legacy route goes where it always went: through the environment's proxy."""
    async with manager_of(provider, force_legacy_llm=True) as manager, app_request(manager):
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{providers.port}")
        async with make() as client:
            await post(client, f"{provider.url}/chat/completions")
    assert [request.proxied for request in provider.requests] == [True]


async def test_a_client_made_before_the_pool_starts_is_pooled_later(provider: Provider, family: str) -> None:
    """Libraries make their clients when they are imported."""
    client: Any = phase1.async_http_client(family=family)
    async with manager_of(provider) as manager, app_request(manager):
        await post(client, f"{provider.url}/chat/completions")
        assert sum(manager.tally.calls.values()) == 1
    await client.aclose()


def test_the_default_family_is_the_sdks() -> None:
    """What `OpenAI(http_client=…)` takes."""
    with phase1.http_client() as client:
        assert isinstance(client, sdk_family.Client)
        assert openai.OpenAI(api_key="k", http_client=client)._client is client


@pytest.mark.parametrize("maker", [phase1.http_client, phase1.async_http_client])
def test_an_unknown_family_is_refused(maker: Callable[..., Any]) -> None:
    """The text says what is allowed."""
    with pytest.raises(ConfigurationError, match="httpx, httpx2"):
        maker(family="requests")


def test_a_family_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of ours, not an ImportError from somewhere."""
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(ConfigurationError, match="not installed"):
        phase1.http_client(family="httpx2")
