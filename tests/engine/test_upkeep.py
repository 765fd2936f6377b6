"""Does the manager take care of its pool: clients, health, nodes that come, go and change their keys?"""

from __future__ import annotations

import asyncio
import logging
from math import inf
from pathlib import Path

import pytest

from phase1.engine.manager import Manager
from phase1.engine.node import Node, NodeSpec
from phase1.engine.nodes_watch import NodesWatch
from phase1.engine.pool import Pool
from phase1.engine.transport import NeverSent
from phase1.events import NodeChanged
from phase1.exceptions import ConfigurationError, NoNode, PoolClosed, UnknownNode

from .conftest import MakeManager, Observed
from .providers import CHAT, Providers, after, body, never, raising, status, whole


def pool_of(manager: Manager) -> Pool:
    """The pool on this loop."""
    pool = manager.bindings.current().pool
    assert pool is not None
    return pool


def node_of(manager: Manager, name: str) -> Node:
    """One node."""
    return next(node for node in pool_of(manager).nodes if node.name == name)


# -- clients


async def test_idle_clients_give_their_connections_back(make_manager: MakeManager) -> None:
    """`POOL_CLEANUP_INTERVAL`."""
    providers = Providers(a=[whole()])
    manager = make_manager(providers, pool_cleanup_interval=100.0)
    await manager.send(CHAT)
    await asyncio.sleep(350.0)
    assert [transport.closed for transport in providers.transports] == [True, False]
    await manager.send(CHAT)
    await manager.aclose()
    assert all(transport.closed for transport in providers.transports)


async def test_number_of_clients_follows_the_load(make_manager: MakeManager) -> None:
    """Down to one in quiet times, up again under load; `AUTO_SCALING`."""
    providers = Providers(a=[after(40.0, whole())])
    manager = make_manager(
        providers,
        specs=providers.specs(pool_size=8),
        auto_scaling=True,
        llm_client_concurrency=1,
        llm_queue_timeout=600.0,
        llm_request_deadline=600.0,
    )
    await manager.start()
    binding = manager.bindings.current()
    assert len(node_of(manager, "a").clients) == 8
    await asyncio.sleep(320.0)
    assert (len(node_of(manager, "a").clients), binding.admission.capacity) == (1, 1)
    calls = [asyncio.create_task(manager.send(CHAT)) for _ in range(20)]
    await asyncio.sleep(16.0)
    assert (len(node_of(manager, "a").clients), binding.admission.in_flight) == (2, 2)
    await asyncio.sleep(30.0)
    assert (len(node_of(manager, "a").clients), binding.admission.capacity) == (8, 8)
    assert [answer.status for answer in await asyncio.gather(*calls)] == [200] * 20
    await manager.aclose()
    assert all(transport.closed for transport in providers.transports)


async def test_pool_in_trouble_is_not_scaled(make_manager: MakeManager) -> None:
    """Its load says little: the breaker is open, or a quota rests."""
    providers = Providers(a=[status(500)])
    manager = make_manager(
        providers, specs=providers.specs(pool_size=8), auto_scaling=True, llm_client_concurrency=1, openai_max_retries=0
    )
    for _ in range(3):
        await manager.send(CHAT)
    manager.breaker._rules.phase = manager.breaker._rules.phase.disabled(0.0, inf, exponent=1)
    await asyncio.sleep(400.0)
    assert len(node_of(manager, "a").clients) == 8


# -- health


async def test_health_is_checked_with_the_balancer(make_manager: MakeManager) -> None:
    """`GET /models` at every node with a key, every `LLM_HEALTH_CHECK_INTERVAL`; three that fail take it out."""
    providers = Providers(
        a=[body(b"{}")], b=[raising(NeverSent("no"))], c=[status(502)], d=[status(404)], e=[never], f=[whole()]
    )
    specs = (*providers.specs()[:5], providers.spec("f", api_key=""))
    manager = make_manager(providers, specs=specs, enable_load_balancer=True, llm_health_check_interval=10.0)
    await manager.start()
    node_of(manager, "d").drain()
    await asyncio.sleep(55.0)
    assert set(providers.asked) == {"a", "b", "c", "e"}
    out = {event.node for event in manager.of(NodeChanged) if isinstance(event, NodeChanged) and not event.up}
    assert out == {"b", "c"}, "at most half of six, and silence takes longer"
    assert {request.url for transport in providers.transports for request in transport.requests} == {
        f"http://{name}.test/v1/models" for name in "abce"
    }
    await manager.aclose()
    assert providers.open == []


async def test_without_the_balancer_nobody_is_asked(make_manager: MakeManager) -> None:
    """No traffic that the app has not caused."""
    providers = Providers(a=[whole()], b=[whole()])
    manager = make_manager(providers)
    await manager.start()
    await asyncio.sleep(1000.0)
    assert providers.asked == []


# -- drain and revive


async def test_drained_node_gets_no_call_until_it_is_revived(make_manager: MakeManager) -> None:
    """Calls under way go on; all nodes drained is a local refusal."""
    providers = Providers(a=[after(5.0, whole())], b=[whole()])
    manager = make_manager(providers)
    under_way = asyncio.create_task(manager.send(CHAT))
    await asyncio.sleep(1.0)
    manager.drain("a")
    for _ in range(3):
        await manager.send(CHAT)
    assert providers.asked == ["a", "b", "b", "b"]
    assert (await under_way).status == 200
    manager.drain("b")
    with pytest.raises(NoNode):
        await manager.send(CHAT)
    manager.revive("a")
    await manager.send(CHAT)
    assert providers.asked[-1] == "a"


async def test_unknown_node_is_told(make_manager: MakeManager) -> None:
    """With the names that there are."""
    manager = make_manager(Providers(a=[whole()], b=[whole()]))
    with pytest.raises(UnknownNode, match="there is no node 'c'; there are: a, b"):
        manager.drain("c")
    with pytest.raises(LookupError):
        manager.revive("c")


def test_drained_node_is_drained_on_every_loop(make_manager: MakeManager) -> None:
    """Also on one that is made later, and told from outside of any."""
    manager = make_manager(Providers(a=[whole()], b=[whole()]))
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()

    async def drained() -> list[str]:
        await asyncio.sleep(0)
        return [node.name for node in pool_of(manager).nodes if node.drained]

    assert first.run_until_complete(drained()) == []
    manager.drain("a")
    assert first.run_until_complete(drained()) == ["a"]
    assert second.run_until_complete(drained()) == ["a"]
    manager.revive("a")
    assert first.run_until_complete(drained()) == second.run_until_complete(drained()) == []
    for loop in (first, second):
        loop.run_until_complete(manager.aclose())
        loop.close()


def test_manager_without_a_pool_can_be_told_as_well(make_manager: MakeManager) -> None:
    """For the time when there is one."""
    manager = make_manager(Providers(a=[whole()]), disable_pool=True)

    async def tell() -> None:
        await manager.start()
        manager.drain("a")
        manager.renew(manager.nodes)
        with pytest.raises(PoolClosed):
            await manager.send(CHAT)
        await manager.aclose()

    asyncio.run(tell())


# -- other nodes


class Listed:
    """A manager whose nodes stand in a file; `now` is what the file says, or what is wrong with it."""

    def __init__(self, manager: Observed, path: Path) -> None:
        self.manager = manager
        self.path = path
        self.now: tuple[NodeSpec, ...] | ConfigurationError = manager.nodes
        self.write("first")
        manager.nodes_watch = NodesWatch([path], self._read)

    def write(self, text: str) -> None:
        self.path.write_text(text, encoding="utf-8")

    def say(self, now: tuple[NodeSpec, ...] | ConfigurationError) -> None:
        """The file has another content."""
        self.now = now
        self.write(f"{self.path.read_text(encoding='utf-8')} and more")

    def _read(self) -> tuple[NodeSpec, ...]:
        if isinstance(self.now, ConfigurationError):
            raise self.now
        return self.now


async def test_new_list_is_taken_within_seconds(make_manager: MakeManager, tmp_path: Path) -> None:
    """The node that is gone finishes its calls and is closed; the one that stays keeps its connections."""
    providers = Providers(a=[after(9.0, whole())], b=[whole()], c=[whole()])
    manager = make_manager(providers, specs=(providers.spec("a"), providers.spec("b")))
    listed = Listed(manager, tmp_path / "nodes.toml")
    under_way = asyncio.create_task(manager.send(CHAT))
    await asyncio.sleep(1.0)
    kept = node_of(manager, "b")
    listed.say((providers.spec("b", weight=2.0), providers.spec("c")))
    await asyncio.sleep(2.0)
    providers.script(b=[after(0.1, whole())], c=[after(0.1, whole())])
    await asyncio.gather(*(manager.send(CHAT) for _ in range(6)))
    assert set(providers.asked[1:]) == {"b", "c"}
    assert node_of(manager, "b") is kept
    assert kept.share == 2.0
    assert not providers.transports[0].closed
    assert (await under_way).status == 200
    await asyncio.sleep(0.1)
    assert providers.transports[0].closed
    assert [spec.name for spec in manager.nodes] == ["b", "c"]
    assert manager.home_of("http://c.test/v1", "sk-c", trusted=False) is manager
    await manager.aclose()
    assert all(transport.closed for transport in providers.transports)


async def test_broken_list_is_not_taken(
    make_manager: MakeManager, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The old nodes stay, and one line says why; the next good list is taken."""
    providers = Providers(a=[whole()], b=[whole()])
    manager = make_manager(providers, specs=(providers.spec("a"),))
    listed = Listed(manager, tmp_path / "nodes.toml")
    await manager.send(CHAT)
    watch = manager.nodes_watch
    assert watch is not None
    with caplog.at_level(logging.INFO, logger="phase1"):
        listed.say(ConfigurationError('node "a": weight=0: must be more than 0'))
        await asyncio.sleep(5.0)
        assert (await manager.send(CHAT)).status == 200
        assert watch.problem == 'node "a": weight=0: must be more than 0'
        listed.path.unlink()
        await asyncio.sleep(5.0)
        listed.write("again")
        listed.say((providers.spec("b"),))
        await asyncio.sleep(5.0)
    await manager.send(CHAT)
    assert (providers.asked[-1], watch.problem) == ("b", None)
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == ['node "a": weight=0: must be more than 0; the nodes stay as they were'] * 2
    await manager.aclose()


async def test_node_at_another_address_is_another_one(make_manager: MakeManager, tmp_path: Path) -> None:
    """By the same name; a drained one stays drained."""
    providers = Providers(a=[whole()], b=[whole()])
    manager = make_manager(providers)
    listed = Listed(manager, tmp_path / "nodes.toml")
    await manager.start()
    before = node_of(manager, "a")
    manager.drain("b")
    listed.say((NodeSpec("a", "http://b.test/v1", "k"), providers.spec("b")))
    await asyncio.sleep(2.0)
    await manager.send(CHAT)
    assert providers.asked == ["b"]
    assert node_of(manager, "a") is not before
    assert node_of(manager, "b").drained
    manager.drained = frozenset()
    manager.renew(manager.nodes)
    assert not node_of(manager, "b").drained
    await manager.aclose()


async def test_other_number_of_clients_is_taken(make_manager: MakeManager) -> None:
    """Without closing one that has a call."""
    providers = Providers(a=[after(5.0, whole())])
    manager = make_manager(providers, specs=providers.specs(pool_size=1))
    under_way = asyncio.create_task(manager.send(CHAT))
    await asyncio.sleep(1.0)
    manager.renew(providers.specs(pool_size=3))
    assert (len(node_of(manager, "a").clients), manager.bindings.current().admission.capacity) == (3, 96)
    manager.renew(providers.specs(pool_size=1))
    assert (await under_way).status == 200
    await manager.aclose()


async def test_key_is_changed_without_a_failed_request(make_manager: MakeManager, tmp_path: Path) -> None:
    """Fifty users all the while; the old key is refused from one moment on, and the new one stands in the file."""
    keys: dict[str, str] = {"good": "Bearer sk-old"}
    providers = Providers(a=[])

    def answer() -> object:
        sent = dict(providers.transports[-1].requests[-1].headers)["authorization"]
        return (after(0.3, whole()) if sent == keys["good"] else after(0.1, status(401)))()

    providers.script(a=[answer])
    manager = make_manager(providers, specs=(providers.spec("a", api_key="sk-old"),))
    listed = Listed(manager, tmp_path / "nodes.toml")
    statuses: list[int] = []

    async def user(number: int) -> None:
        await asyncio.sleep(number * 0.02)
        for _ in range(20):
            answer = await manager.send(CHAT)
            statuses.append(answer.status)

    users = [asyncio.create_task(user(number)) for number in range(50)]
    await asyncio.sleep(2.05)
    listed.say((providers.spec("a", api_key="sk-new"),))
    keys["good"] = "Bearer sk-new"
    await asyncio.gather(*users)
    assert statuses == [200] * 1000
    assert node_of(manager, "a").state == "up"
    assert len(providers.transports) == 1
    await manager.aclose()


async def test_node_that_is_off_is_on_with_its_new_key(make_manager: MakeManager) -> None:
    """At once; the same key changes nothing."""
    providers = Providers(a=[status(401), whole()], b=[whole()])
    manager = make_manager(providers)
    await manager.send(CHAT)
    manager.renew(providers.specs())
    assert node_of(manager, "a").state == "off for 30 s"
    manager.renew(providers.specs(api_key="sk-new"))
    assert node_of(manager, "a").state == "up"


async def test_call_that_waits_for_a_node_that_goes_is_sent_elsewhere(make_manager: MakeManager) -> None:
    """To the one that came instead."""
    providers = Providers(a=[whole()], b=[whole()])
    manager = make_manager(providers, specs=(providers.spec("a", rpm=1),), llm_request_deadline=99.0)
    await manager.send(CHAT)
    waiting = asyncio.create_task(manager.send(CHAT, key="k"))
    await asyncio.sleep(1.0)
    manager.renew((providers.spec("b"),))
    assert not waiting.done()
    assert (await waiting).status == 200
    assert providers.asked == ["a", "b"]
