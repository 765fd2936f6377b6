"""Whose nodes serve a client? A key is never replaced that the app does not know, and no address is ever mixed up."""

# ruff: noqa: ANN401 - the SDK's clients, whatever they are

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import openai
import pytest

import phase1
from phase1.doors.manager import LLMManager
from phase1.engine.homes import MAX_HOMES
from phase1.policy.breaker import BreakerState

from .answers import chat, error, json_reply, spoken
from .bench import HELLO, Upstream, settings
from .provider import Provider, Providers
from .world import APP_KEY, app_request, heard_by, manager_of

pytest_plugins = ["tests.doors.providing"]

OWN_KEY = "sk-of-a-user"
AZURE = "https://res.openai.azure.com/openai"


@pytest.fixture(autouse=True)
def pool_on(env: Callable[..., None]) -> None:
    """`adopt` looks at the environment."""
    env(ENABLE_LLM_POOL="true")


def ask(client: openai.OpenAI, **options: Any) -> str | None:
    """The text of one answer."""
    return client.chat.completions.create(model="m", messages=HELLO, **options).choices[0].message.content  # type: ignore[arg-type]


def nodes(*providers: Provider) -> str:
    """`LLM_NODES` with a key for each provider: `sk-node-0`, `sk-node-1`."""
    return json.dumps(
        [{"name": f"n{i}", "base_url": each.url, "api_key": f"sk-node-{i}"} for i, each in enumerate(providers)]
    )


async def test_a_client_with_the_apps_key_and_address_means_the_nodes(provider: Provider) -> None:
    """It is served by the configured node."""
    async with manager_of(provider) as manager, app_request(manager):
        ask(phase1.OpenAI(api_key=APP_KEY, base_url=provider.url))
        assert manager.homes.all() == []
    assert provider.keys == [f"Bearer {APP_KEY}"]


async def test_with_a_list_of_nodes_the_plain_client_means_all_of_them(providers: Providers) -> None:
    """`OpenAI()` with the app's own key goes to the nodes of `LLM_NODES`, with their keys."""
    first, second = providers.new(), providers.new()
    settings = {"llm_nodes": nodes(first, second), "openai_base_url": "http://plain.test/v1"}
    async with manager_of(first, **settings) as manager, app_request(manager):
        client = phase1.OpenAI(api_key=APP_KEY, base_url="http://plain.test/v1")
        for _ in range(20):
            ask(client)
    assert set(first.keys) <= {"Bearer sk-node-0"}
    assert set(second.keys) <= {"Bearer sk-node-1"}
    assert len(first.keys) + len(second.keys) == 20


async def test_an_unknown_key_stays_what_it_is(provider: Provider) -> None:
    """A user's own key at the app's address is sent as it is: the app never pays for it."""
    async with manager_of(provider) as manager, app_request(manager):
        ask(phase1.OpenAI(api_key=OWN_KEY, base_url=provider.url))
        assert sum(manager.tally.calls.values()) == 1
    assert provider.keys == [f"Bearer {OWN_KEY}"]


@pytest.mark.parametrize("adopted", [False, True])
async def test_a_key_in_a_header_of_one_call_stays_what_it_is(*, adopted: bool, provider: Provider) -> None:
    """`extra_headers={"Authorization": …}` wins over the client's key, and over the nodes'."""
    async with manager_of(provider) as manager, app_request(manager):
        client = openai.OpenAI(api_key=APP_KEY, base_url=provider.url)
        door = phase1.adopt(client) if adopted else phase1.OpenAI(api_key=APP_KEY, base_url=provider.url)
        ask(door, extra_headers={"Authorization": f"Bearer {OWN_KEY}"})
        ask(door)
    assert provider.keys == [f"Bearer {OWN_KEY}", f"Bearer {APP_KEY}"]


async def test_a_key_in_the_clients_headers_stays_what_it_is(provider: Provider) -> None:
    """`default_headers={"Authorization": …}` is a key of the client's own."""
    async with manager_of(provider) as manager, app_request(manager):
        headers = {"Authorization": f"Bearer {OWN_KEY}"}
        ask(phase1.OpenAI(api_key=APP_KEY, base_url=provider.url, default_headers=headers))
    assert provider.keys == [f"Bearer {OWN_KEY}"]


async def test_another_address_gets_a_pool_of_its_own(providers: Providers) -> None:
    """Another provider's client goes to its own address with its own key, even if the key is the app's."""
    app, other = providers.new(), providers.new()
    async with manager_of(app) as manager, app_request(manager):
        ask(phase1.OpenAI(api_key=OWN_KEY, base_url=other.url))
        ask(phase1.OpenAI(api_key=APP_KEY, base_url=other.url))
        assert len(manager.homes.all()) == 1
        assert sum(manager.tally.calls.values()) == 2
    assert other.keys == [f"Bearer {OWN_KEY}", f"Bearer {APP_KEY}"]
    assert app.requests == []


async def test_an_adopted_client_is_trusted(provider: Provider) -> None:
    """The app has said that this client means its nodes: they bring their own keys."""
    async with manager_of(provider) as manager, app_request(manager):
        ask(phase1.adopt(openai.OpenAI(api_key=OWN_KEY, base_url=provider.url)))
    assert provider.keys == [f"Bearer {APP_KEY}"]


async def test_an_adopted_client_of_ours_is_trusted(provider: Provider) -> None:
    """`adopt(phase1.OpenAI(…))` says the same."""
    async with manager_of(provider) as manager, app_request(manager):
        ask(phase1.adopt(phase1.OpenAI(api_key=OWN_KEY, base_url=provider.url)))
    assert provider.keys == [f"Bearer {APP_KEY}"]


async def test_an_adopted_client_with_a_key_giver_is_trusted(provider: Provider) -> None:
    """`api_key=function`: what it gives need not be known."""
    async with manager_of(provider) as manager, app_request(manager):
        door = phase1.adopt(openai.OpenAI(api_key=lambda: OWN_KEY, base_url=provider.url))
        ask(door)
        ask(door)
    assert provider.keys == [f"Bearer {APP_KEY}"] * 2


async def test_a_key_giver_that_was_not_adopted_gives_its_own_key(provider: Provider) -> None:
    """Beside it: without `adopt` the function's key is on the wire."""
    async with manager_of(provider) as manager, app_request(manager):
        ask(phase1.OpenAI(api_key=lambda: OWN_KEY, base_url=provider.url))
    assert provider.keys == [f"Bearer {OWN_KEY}"]


async def test_an_adopted_client_at_another_address_keeps_its_key(providers: Providers) -> None:
    """Trust is about the key, not about the address: the nodes' keys go nowhere else."""
    app, other = providers.new(), providers.new()
    async with manager_of(app) as manager, app_request(manager):
        ask(phase1.adopt(openai.OpenAI(api_key=OWN_KEY, base_url=other.url)))
    assert other.keys == [f"Bearer {OWN_KEY}"]
    assert app.requests == []


async def test_options_of_an_adopted_client_keep_the_trust(provider: Provider) -> None:
    """`with_options(timeout=…)` is the same client."""
    async with manager_of(provider) as manager, app_request(manager):
        door = phase1.adopt(phase1.OpenAI(api_key=OWN_KEY, base_url=provider.url))
        ask(door.with_options(timeout=9))
        ask(door.copy())
    assert provider.keys == [f"Bearer {APP_KEY}"] * 2


async def test_another_key_for_an_adopted_client_ends_the_trust(provider: Provider) -> None:
    """`with_options(api_key=a_users_key)`, or the attribute, means that key."""
    async with manager_of(provider) as manager, app_request(manager):
        door = phase1.adopt(openai.OpenAI(api_key="sk-old", base_url=provider.url))
        ask(door.with_options(api_key=OWN_KEY))
        door.api_key = OWN_KEY
        ask(door)
    assert provider.keys == [f"Bearer {OWN_KEY}"] * 2


async def test_a_managers_client_stays_with_its_manager(providers: Providers) -> None:
    """`manager.client`, and what `with_options` makes of it, work without any request, also inside another app's."""
    own, other = providers.new(), providers.new()
    async with manager_of(own) as manager, manager_of(other) as another, app_request(another):
        await manager.client.chat.completions.create(model="m", messages=HELLO)  # type: ignore[arg-type]
        await manager.client.with_options(timeout=9).chat.completions.create(model="m", messages=HELLO)  # type: ignore[arg-type]
    assert own.keys == [f"Bearer {APP_KEY}"] * 2
    assert other.requests == []


@pytest.mark.parametrize(
    ("configured", "asked"),
    [
        ("http://h.test/v1", "http://h.test/v1/"),
        ("https://API.h.test/v1/", "https://api.h.test/v1/"),
        ("https://h.test:443/v1", "https://h.test/v1/"),
        ("https://h.test/openai?api-version=1", "https://h.test/openai/"),
    ],
)
async def test_an_address_is_known_however_it_is_spelt(configured: str, asked: str, provider: Provider) -> None:
    """Case, default port, last slash and Azure's query make no other address."""
    async with manager_of(provider, openai_base_url=configured) as manager:
        assert manager.home_of(asked, APP_KEY, trusted=False) is manager


@pytest.mark.parametrize("asked", ["http://h.test/v2", "https://h.test/v1", "http://h.test:8080/v1", "http://h.test/"])
async def test_another_address_is_not_taken_for_the_apps(asked: str, provider: Provider) -> None:
    """Beside it: another path, scheme or port is another address."""
    async with manager_of(provider, openai_base_url="http://h.test/v1") as manager:
        assert manager.home_of(asked, APP_KEY, trusted=True) is not manager


async def test_a_refused_key_of_a_user_harms_nobody(provider: Provider) -> None:
    """401 with a caller's own key: his error, no node off, no breaker, no second request."""
    async with manager_of(provider) as manager, app_request(manager):
        provider.answers(error(401, code="invalid_api_key"))
        client = phase1.OpenAI(api_key=OWN_KEY, base_url=provider.url, max_retries=0)
        for _ in range(5):
            with pytest.raises(openai.AuthenticationError):
                ask(client)
        (home,) = manager.homes.all()
        pool = home.bindings.current().pool
        assert pool is not None
        assert [node.up for node in pool.nodes] == [True]
        assert {home.breaker.state, manager.breaker.state} == {BreakerState.ACTIVE}
        assert not manager.tally.fallbacks
        assert len(provider.requests) == 5
        provider.answers(spoken("again"))
        assert ask(client) == "again"


async def test_a_refused_key_of_a_node_switches_it_off(provider: Provider, caplog: pytest.LogCaptureFixture) -> None:
    """Beside it: 401 with the node's own key is the operator's business."""
    async with manager_of(provider) as manager, app_request(manager):
        provider.answers(error(401, code="invalid_api_key"))
        with pytest.raises(openai.AuthenticationError), caplog.at_level(logging.ERROR, "phase1"):
            ask(phase1.OpenAI(api_key=APP_KEY, base_url=provider.url, max_retries=0))
        pool = manager.bindings.current().pool
        assert pool is not None
        assert [node.up for node in pool.nodes] == [False]
    assert "refuses its key" in caplog.text


async def test_one_users_quota_is_not_anothers(provider: Provider) -> None:
    """429 for one key lets other keys at the same address go on."""
    async with manager_of(provider) as manager, app_request(manager):
        provider.answers(error(429, headers={"retry-after": "60"}), spoken("to another key"))
        client = phase1.OpenAI(api_key=OWN_KEY, base_url=provider.url, max_retries=0)
        with pytest.raises(openai.RateLimitError):
            ask(client)
        assert ask(client.with_options(api_key="sk-of-another")) == "to another key"


async def test_a_throttled_key_is_not_asked_again_as_legacy(provider: Provider) -> None:
    """429: the same key would only meet the same limit."""
    async with manager_of(provider) as manager, app_request(manager):
        provider.answers(error(429))
        for key in (APP_KEY, OWN_KEY):
            with pytest.raises(openai.RateLimitError):
                ask(phase1.OpenAI(api_key=key, base_url=provider.url, max_retries=0))
        assert not manager.tally.fallbacks
    assert len(provider.requests) == 2


async def test_cookies_of_one_key_are_not_sent_with_another(provider: Provider) -> None:
    """What an upstream sets for one user never comes back with another's key, over whichever connection."""
    provider.answers(json_reply(chat(), headers={"set-cookie": "session=of-the-first-user; Path=/"}))
    async with manager_of(provider) as manager, app_request(manager):
        for key in (OWN_KEY, "sk-of-another", APP_KEY, OWN_KEY):
            ask(phase1.OpenAI(api_key=key, base_url=provider.url))
        assert sum(manager.tally.calls.values()) == 4
    assert [request.header("cookie") for request in provider.requests] == [None] * 4


async def test_too_many_addresses_are_left_alone(provider: Provider) -> None:
    """The client of a thirty-third address is not pooled, and works."""
    provider.answers(spoken("x"))
    async with manager_of(provider) as manager, app_request(manager):
        for number in range(MAX_HOMES + 1):
            assert ask(phase1.OpenAI(api_key=OWN_KEY, base_url=f"{provider.url}/{number}")) == "x"
        assert len(manager.homes.all()) == MAX_HOMES
        assert sum(manager.tally.calls.values()) == MAX_HOMES
    assert len(provider.requests) == MAX_HOMES + 1


async def test_a_client_with_its_own_http_client_is_left_alone_and_reported_once(
    provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    """It is asked by its own HTTP client, and one warning says so and what to do."""
    own_client = type("OwnClient", (openai.DefaultHttpxClient,), {})
    async with manager_of(provider) as manager, app_request(manager):
        with own_client() as http_client:
            client = phase1.OpenAI(api_key=APP_KEY, base_url=provider.url, http_client=http_client)
            ask(client)
            ask(client.with_options(max_retries=0))
        assert not manager.tally.calls
    assert len(provider.requests) == 2
    (said,) = [record.message for record in caplog.records if "OwnClient" in record.message]
    assert "is left alone" in said
    assert "phase1.http_client()" in said


async def test_a_client_over_our_http_client_is_not_reported(
    provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    """Beside it: with `phase1.http_client()` it is pooled, once, and nobody complains."""
    async with manager_of(provider) as manager, app_request(manager):
        with phase1.http_client() as http_client:
            ask(phase1.OpenAI(api_key=APP_KEY, base_url=provider.url, http_client=http_client))
        assert sum(manager.tally.calls.values()) == 1
    assert caplog.records == []


async def test_an_azure_client_speaks_with_its_api_key(providers: Providers) -> None:
    """An adopted `AzureOpenAI` at an address that is not configured: its path, its `api-key`, its version."""
    provider = providers.new("/openai")
    async with manager_of(provider, openai_base_url="http://elsewhere.test/v1") as manager, app_request(manager):
        azure = openai.AzureOpenAI(
            azure_endpoint=provider.url.removesuffix("/openai"), api_key=OWN_KEY, api_version="2024-10-21"
        )
        door = phase1.adopt(azure)
        assert ask(door) == "Hello"
        assert isinstance(door, openai.AzureOpenAI)
        assert sum(manager.tally.calls.values()) == 1
    assert provider.paths == ["POST /deployments/m/chat/completions?api-version=2024-10-21"]
    assert provider.requests[0].header("api-key") == OWN_KEY


async def test_an_azure_client_answers_as_the_stock_one(providers: Providers) -> None:
    """Path, query, header fields and body are the same, for the asynchronous client too."""
    provider = providers.new("/openai")
    options = {
        "azure_endpoint": provider.url.removesuffix("/openai"),
        "api_key": OWN_KEY,
        "api_version": "2024-10-21",
    }
    async with manager_of(provider, openai_base_url="http://elsewhere.test/v1") as manager, app_request(manager):
        async with openai.AsyncAzureOpenAI(**options) as azure:  # type: ignore[call-overload]
            stock = await azure.chat.completions.create(model="m", messages=HELLO)
            ours = await phase1.adopt(azure).chat.completions.create(model="m", messages=HELLO)
        assert sum(manager.tally.calls.values()) == 1
    assert ours == stock
    first, second = provider.requests
    assert (first.path, first.body) == (second.path, second.body)
    assert first.header("api-key") == second.header("api-key") == OWN_KEY


@pytest.mark.parametrize("configured", [AZURE, f"{AZURE}?api-version=2023-01-01"])
async def test_an_adopted_azure_client_means_the_azure_node(configured: str) -> None:
    """A node at the client's address: the node's key in `api-key`, the client's version in the query."""
    upstream = Upstream()
    manager = LLMManager(settings(openai_base_url=configured, openai_api_key="node-key"), transport=upstream.transport)
    async with manager, app_request(manager):
        azure = openai.AsyncAzureOpenAI(
            azure_endpoint="https://res.openai.azure.com", api_key="old-key", api_version="2024-10-21"
        )
        await phase1.adopt(azure).chat.completions.create(model="m", messages=HELLO)  # type: ignore[arg-type]
        await azure.close()
    (request,) = upstream.requests
    assert request.url == f"{AZURE}/deployments/m/chat/completions?api-version=2024-10-21"
    assert dict(request.headers)["api-key"] == "node-key"
    assert "authorization" not in dict(request.headers)


async def test_the_managers_client_reaches_an_azure_node() -> None:
    """A plain client bound to an Azure node: the node's address has the deployment and brings the version."""
    upstream = Upstream()
    node = f"{AZURE}/deployments/gpt?api-version=2024-10-21"
    manager = LLMManager(settings(openai_base_url=node, openai_api_key="node-key"), transport=upstream.transport)
    async with manager:
        await manager.client.chat.completions.create(model="m", messages=HELLO)  # type: ignore[arg-type]
    (request,) = upstream.requests
    assert request.url == f"{AZURE}/deployments/gpt/chat/completions?api-version=2024-10-21"
    assert dict(request.headers)["api-key"] == "node-key"
    assert "authorization" not in dict(request.headers)


async def test_no_key_is_told_to_observers(provider: Provider) -> None:
    """What happened is told without saying with which key."""
    async with manager_of(provider) as manager, app_request(manager):
        ear = heard_by(manager)
        ask(phase1.OpenAI(api_key=OWN_KEY, base_url=provider.url))
        assert OWN_KEY not in repr(ear.heard)
        assert OWN_KEY not in repr(manager.status())
