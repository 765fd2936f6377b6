"""Which nodes serve a client that has an address and a key of its own?"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from phase1.engine.call import Call
from phase1.engine.homes import DEFAULT_BASE_URL, MAX_HOMES, PLACEHOLDER_KEY
from phase1.engine.manager import Manager
from phase1.engine.node import NodeSpec
from phase1.exceptions import PoolClosed

from .providers import Providers, after, status, whole

if TYPE_CHECKING:
    from .conftest import MakeManager, Observed

OWN = "http://a.test/v1"
CALL = Call("POST", "/x", credentials=[("authorization", "Bearer theirs")])


@pytest.fixture
async def manager(make_manager: MakeManager) -> Observed:
    """One node `a`, with the key `sk-a`; another provider `b` exists."""
    providers = Providers(a=[whole()], b=[after(1.0, whole())])
    return make_manager(providers, specs=(providers.spec("a"),))


@pytest.mark.parametrize("base_url", [OWN, f"{OWN}/"])
@pytest.mark.parametrize("api_key", ["sk-a", "sk-test", PLACEHOLDER_KEY])
async def test_client_with_a_configured_address_and_key_is_at_home(
    manager: Observed, base_url: str, api_key: str
) -> None:
    """The node's key, the app's key, the placeholder of those that need none."""
    assert manager.home_of(base_url, api_key, trusted=False) is manager


async def test_adopted_client_is_at_home_whatever_its_key(manager: Observed) -> None:
    """The app has said so; but only at a configured address."""
    assert manager.home_of(OWN, "sk-other", trusted=True) is manager
    assert manager.home_of("http://b.test/v1", "sk-other", trusted=True) is not manager


async def test_client_with_another_key_keeps_its_own(manager: Observed) -> None:
    """It gets a pool at the same address without a key of the app's."""
    home = manager.home_of(OWN, "sk-other", trusted=False)
    assert home is not None
    assert home is not manager
    assert [(node.base_url, node.api_key) for node in home.nodes] == [(OWN, "")]


async def test_another_address_has_one_pool_for_all_its_clients(manager: Observed) -> None:
    """Whatever their keys; the key that came with a call is the one that is sent."""
    home = manager.home_of("http://user:pw@b.test/v1", "sk-1", trusted=False)
    assert home is manager.home_of("http://user:pw@b.test/v1/", "sk-2", trusted=False)
    assert home is not None
    assert manager.homes.all() == [home]
    assert home.nodes[0].name == "b.test"
    assert (await home.send(CALL)).status == 200
    (request,) = manager.providers.transports[0].requests
    assert request.headers == [("authorization", "Bearer theirs")]


async def test_default_address_means_the_configured_nodes_when_there_is_a_list(make_manager: MakeManager) -> None:
    """A client that names no address means whatever the operator has configured; without a list it means OpenAI."""
    providers = Providers(a=[whole()])
    listed = make_manager(providers, llm_nodes='[{"name":"a","base_url":"http://a.test/v1","api_key":"sk-a"}]')
    single = make_manager(providers)
    assert listed.home_of(DEFAULT_BASE_URL, "sk-a", trusted=False) is listed
    assert single.home_of(DEFAULT_BASE_URL, "sk-a", trusted=False) is not single


async def test_manager_without_a_key_of_its_own_knows_its_nodes_keys(make_manager: MakeManager) -> None:
    """`OPENAI_API_KEY` is not needed where the nodes have theirs."""
    manager = make_manager(Providers(a=[whole()]), openai_api_key=None)
    assert manager.home_of(OWN, "sk-a", trusted=False) is manager
    assert manager.home_of(OWN, "sk-test", trusted=False) is not manager


async def test_manager_without_nodes_is_nobodys_home(make_manager: MakeManager) -> None:
    """Every client keeps its own address and key."""
    manager = make_manager(Providers(a=[whole()]), specs=())
    assert manager.home_of(OWN, "sk-a", trusted=True) is not manager


async def test_addresses_are_bounded(manager: Observed) -> None:
    """Clients of further ones are left alone; those that are known go on."""
    homes = [manager.home_of(f"http://h{number}.test/v1", "k", trusted=False) for number in range(MAX_HOMES)]
    assert None not in homes
    assert manager.home_of("http://one-more.test/v1", "k", trusted=False) is None
    assert manager.home_of("http://h0.test/v1", "k", trusted=False) is homes[0]
    assert len(manager.homes.all()) == MAX_HOMES


async def test_threads_that_ask_at_once_get_one_pool(manager: Observed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first calls of many synchronous clients: whoever is late takes the pool of the first."""
    together = threading.Barrier(8, timeout=10.0)
    build = manager.sibling

    def build_together(spec: NodeSpec) -> Manager:
        together.wait()
        return build(spec)

    monkeypatch.setattr(manager, "sibling", build_together)
    with ThreadPoolExecutor(8) as threads:
        homes = list(threads.map(lambda key: manager.home_of("http://b.test/v1", key, trusted=False), "12345678"))
    assert len(set(map(id, homes))) == 1
    assert manager.homes.all() == homes[:1]


@pytest.mark.parametrize(
    "base_url", ["HTTP://A.TEST/v1", "http://a.test:80/v1", "http://a.test/v1/", "http://a.test/v1?api-version=1"]
)
async def test_one_address_may_be_written_in_many_ways(manager: Observed, base_url: str) -> None:
    """Capitals, the default port, a slash, Azure's version."""
    assert manager.home_of(base_url, "sk-a", trusted=False) is manager


@pytest.mark.parametrize(
    ("url", "base"),
    [
        (f"{OWN}/chat", OWN),
        (OWN, OWN),
        (f"{OWN}?x=1", OWN),
        ("http://a.test/v1beta/chat", None),
        ("http://b.test/v1/chat", None),
    ],
)
async def test_base_of_a_url_is_the_configured_one_that_it_lies_below(
    manager: Observed, url: str, base: str | None
) -> None:
    """A longer name that begins alike is another address."""
    assert manager.homes.base_of(url) == base


async def test_another_address_has_its_own_breaker_and_the_same_listeners(manager: Observed) -> None:
    """Its failures are told like all others, and switch off nobody else."""
    manager.providers.script(b=[status(500)])
    home = manager.home_of("http://b.test/v1", "k", trusted=False)
    assert home is not None
    for _ in range(3):
        await home.send(CALL)
    assert (home.breaker.state, manager.breaker.state) == ("disabled", "active")
    assert manager.tally.calls == {"server_error": 3}


async def test_it_is_drained_closed_and_opened_with_the_app(manager: Observed) -> None:
    """As one: a call in flight finishes, then it is closed, and `start` opens it again."""
    home = manager.home_of("http://b.test/v1", "k", trusted=False)
    assert home is not None
    await manager.start()
    call = asyncio.create_task(home.send(CALL))
    await asyncio.sleep(0.5)
    await manager.aclose()
    assert (await call).status == 200
    assert all(transport.closed for transport in manager.providers.transports)
    with pytest.raises(PoolClosed):
        await home.send(CALL)
    await manager.start()
    assert (await home.send(CALL)).status == 200
