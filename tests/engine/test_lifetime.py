"""Is a pool built once, drained when it ends, and gone without a trace afterwards?"""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from operator import le
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from phase1.engine import binding
from phase1.engine.manager import Manager
from phase1.engine.node import NodeSpec
from phase1.engine.transport.mock import MockTransport
from phase1.exceptions import PoolClosed
from phase1.settings import Settings

from .providers import CHAT, STREAMED_CHAT, Pause, Providers, after, never, streamed, whole
from .upstream import Fault, Reply, Upstream, chat_events, sse_reply
from .virtual import VirtualLoop

if TYPE_CHECKING:
    from .conftest import MakeManager, Observed


def run(manager: Observed) -> int:
    """One call on a loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(manager.send(CHAT)).status


# -- building


async def test_hundred_first_calls_build_one_pool(make_manager: MakeManager) -> None:
    """With `LLM_POOL_SIZE` clients for each node, and each client with its share of the calls."""
    providers = Providers(a=[after(1.0, whole())], b=[after(1.0, whole())])
    manager = make_manager(providers, specs=providers.specs(pool_size=5))
    answers = await asyncio.gather(*(manager.send(CHAT) for _ in range(100)))
    assert [answer.status for answer in answers] == [200] * 100
    assert [len(transport.requests) for transport in providers.transports] == [10] * 10


async def test_pool_size_of_a_node_is_its_number_of_clients(make_manager: MakeManager) -> None:
    """Each is made with the concurrency and the connect timeout of the settings."""
    made: list[tuple[int, float]] = []
    providers = Providers(a=[whole()], b=[whole()])

    def transport(connections: int, connect_timeout: float) -> MockTransport:
        made.append((connections, connect_timeout))
        return providers.transport()

    settings = Settings(enable_llm_pool=True, openai_api_key="k", llm_client_concurrency=7, llm_connect_timeout=3.0)
    specs = (providers.spec("a", pool_size=2), providers.spec("b", pool_size=3))
    manager = Manager(settings, specs, transport=transport)
    await manager.start()
    assert made == [(7, 3.0)] * 5
    assert manager.bindings.current().admission.capacity == 35
    await manager.aclose()


async def test_nothing_is_built_before_it_is_needed(make_manager: MakeManager) -> None:
    """Making a manager connects nothing and needs no loop."""
    providers = Providers(a=[whole()])
    manager = make_manager(providers)
    assert (providers.transports, manager.initialized) == ([], False)
    await manager.start()
    await manager.start()
    assert (len(providers.transports), manager.initialized) == (1, True)


# -- ending


async def test_closing_lets_calls_in_flight_finish(make_manager: MakeManager) -> None:
    """Those at a node, those in the queue, and streams; nobody new; then every client is closed."""
    providers = Providers(
        a=[streamed(*[part for event in chat_events(*"abc") for part in (Pause(5.0), event)]), after(10.0, whole())]
    )
    manager = make_manager(providers, llm_client_concurrency=2)
    stream = asyncio.create_task(_read_stream(manager))
    await asyncio.sleep(1.0)
    calls = [asyncio.create_task(manager.send(CHAT)) for _ in range(3)]
    await asyncio.sleep(1.0)
    closing = asyncio.create_task(manager.aclose())
    await asyncio.sleep(0.1)
    with pytest.raises(PoolClosed):
        await manager.send(CHAT)
    await closing
    assert all(task.done() for task in [stream, *calls])
    assert [(await call).status for call in calls] == [200] * 3
    assert stream.result() == b"".join(chat_events(*"abc"))
    assert [transport.closed for transport in providers.transports] == [True]
    assert providers.open == []


async def _read_stream(manager: Observed) -> bytes:
    answer = await manager.send(STREAMED_CHAT)
    assert answer.stream is not None
    return b"".join([chunk async for chunk in answer.stream])


async def test_closing_waits_no_longer_than_the_deadline(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Then it says how many it cuts off, at the nodes and at the legacy client, and closes."""
    providers = Providers(a=[streamed(*chat_events("a")[:2], *[Pause(15.0), b": keep-alive\n\n"] * 99)])
    manager = make_manager(providers, llm_request_deadline=40.0)
    reading = asyncio.create_task(_read_stream(manager))
    await asyncio.sleep(1.0)
    for _ in range(2):
        await manager.bindings.current().legacy.enter(None, timeout=1.0)
    started = asyncio.get_running_loop().time()
    with caplog.at_level(logging.WARNING, logger="phase1"):
        await manager.aclose()
    assert asyncio.get_running_loop().time() - started == pytest.approx(40.0)
    assert "closing with 3 calls still in flight after 40 s" in caplog.text
    assert [transport.closed for transport in providers.transports] == [True]
    reading.cancel()
    await asyncio.wait([reading])


async def test_closing_can_be_told_how_long_to_wait(make_manager: MakeManager) -> None:
    """Not at all, too."""
    providers = Providers(a=[never])
    manager = make_manager(providers)
    call = asyncio.create_task(manager.send(CHAT))
    await asyncio.sleep(1.0)
    started = asyncio.get_running_loop().time()
    await manager.aclose(drain=0.0)
    assert asyncio.get_running_loop().time() == started
    assert [transport.closed for transport in providers.transports] == [True]
    call.cancel()
    await asyncio.wait([call])


async def test_cancelled_closing_closes_at_once(make_manager: MakeManager) -> None:
    """A server that is told to stop a second time: no connection is left open."""
    providers = Providers(a=[never])
    manager = make_manager(providers)
    call = asyncio.create_task(manager.send(CHAT))
    await asyncio.sleep(1.0)
    closing = asyncio.create_task(manager.aclose())
    await asyncio.sleep(1.0)
    closing.cancel()
    await asyncio.wait([closing])
    assert closing.cancelled()
    assert [transport.closed for transport in providers.transports] == [True]
    call.cancel()
    await asyncio.wait([call])


async def test_closed_manager_refuses_until_it_is_started_again(make_manager: MakeManager) -> None:
    """With new clients then."""
    providers = Providers(a=[whole()])
    manager = make_manager(providers)
    await manager.send(CHAT)
    await manager.aclose()
    await manager.aclose()
    assert manager.initialized is False
    with pytest.raises(PoolClosed, match="start"):
        await manager.send(CHAT)
    await manager.start()
    assert (await manager.send(CHAT)).status == 200
    assert [transport.closed for transport in providers.transports] == [True, False]


async def test_closing_what_was_never_started_does_nothing(make_manager: MakeManager) -> None:
    """And does not keep it from being used."""
    manager = make_manager(Providers(a=[whole()]))
    await manager.aclose()
    assert (await manager.send(CHAT)).status == 200


# -- loops and processes


def test_each_loop_has_its_own_connections(make_manager: MakeManager) -> None:
    """The breaker and the numbers are shared."""
    providers = Providers(a=[whole()])
    manager = make_manager(providers)
    assert [run(manager), run(manager)] == [200, 200]
    assert [len(transport.requests) for transport in providers.transports] == [1, 1]
    assert manager.tally.calls == {"ok": 2}


def test_loops_that_are_gone_are_forgotten(make_manager: MakeManager) -> None:
    """A thousand short loops leave no thousand pools."""
    manager = make_manager(Providers(a=[whole()]))
    for _ in range(20):
        run(manager)
    assert len(manager.bindings._by_loop) == 1


async def test_closing_forgets_loops_that_are_gone(make_manager: MakeManager) -> None:
    """Also those that never closed anything themselves."""
    manager = make_manager(Providers(a=[whole()]))
    await asyncio.get_running_loop().run_in_executor(None, run, manager)
    assert len(manager.bindings._by_loop) == 1
    await manager.aclose()
    assert len(manager.bindings._by_loop) == 0


def test_loops_of_several_threads_work_side_by_side(make_manager: MakeManager) -> None:
    """All at once, each on its own connections."""
    providers = Providers(a=[whole()])
    manager = make_manager(providers)
    together = threading.Barrier(8)

    def work(_: int) -> list[int]:
        together.wait()
        return [run(manager) for _ in range(20)]

    with ThreadPoolExecutor(8) as threads:
        statuses = [status for part in threads.map(work, range(8)) for status in part]
    assert statuses == [200] * 160
    assert len(providers.transports) == 160


async def test_closing_on_one_loop_leaves_the_other_alone(make_manager: MakeManager) -> None:
    """Each loop opens and closes its own."""
    providers = Providers(a=[whole()])
    manager = make_manager(providers)
    await manager.start()

    def elsewhere() -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(manager.send(CHAT))
            runner.run(manager.aclose())

    await asyncio.get_running_loop().run_in_executor(None, elsewhere)
    assert [transport.closed for transport in providers.transports] == [False, True]
    assert (await manager.send(CHAT)).status == 200


async def test_numbers_can_be_read_from_another_thread(make_manager: MakeManager) -> None:
    """There is no loop there: any open pool will do."""
    manager = make_manager(Providers(a=[whole()]))
    assert manager.bindings.peek() is None
    await manager.start()
    own = manager.bindings.current()
    assert manager.bindings.peek() is own
    assert await asyncio.get_running_loop().run_in_executor(None, manager.bindings.peek) is own
    await manager.aclose()
    assert manager.bindings.peek() is None


async def test_a_loop_knows_whether_its_own_pool_ends_with_it(make_manager: MakeManager) -> None:
    """Another loop's pool is that loop's affair."""
    manager = make_manager(Providers(a=[whole()]))
    assert not manager.bindings.ends_with_loop
    manager.bindings.current().ends_with_loop = True
    assert manager.bindings.ends_with_loop

    async def elsewhere() -> bool:
        return manager.bindings.ends_with_loop

    assert not await asyncio.to_thread(asyncio.run, elsewhere())
    await manager.aclose()


async def test_forked_worker_leaves_its_parents_connections_alone(make_manager: MakeManager) -> None:
    """It makes new clients, and the old ones are not closed, for the parent uses them, on all its loops."""
    providers = Providers(a=[whole()])
    manager = make_manager(providers)
    with closing(VirtualLoop()) as parents_other_loop:
        await asyncio.to_thread(parents_other_loop.run_until_complete, manager.send(CHAT))
        await manager.send(CHAT)
        binding.in_forked_child()
        await manager.send(CHAT)
        await manager.send(CHAT)
        assert list(manager.bindings._by_loop) == [asyncio.get_running_loop()]
    assert [len(transport.requests) for transport in providers.transports] == [1, 1, 2]
    assert [transport.closed for transport in providers.transports] == [False, False, False]


# -- nothing stays behind


real_transports = pytest.mark.parametrize("transport", ["httpx", "aiohttp"])


def real_manager(upstream: Upstream, transport: str, *, pool_size: int) -> Manager:
    """A manager as an app has it, with one node."""
    settings = Settings(enable_llm_pool=True, openai_api_key="k", llm_transport=transport)
    return Manager(settings, (NodeSpec("n", upstream.url, "k", pool_size=pool_size),))


def descriptors() -> int:
    """Open files and sockets of this process."""
    folder = Path("/proc/self/fd")
    return len(list((folder if folder.exists() else Path("/dev/fd")).iterdir()))


async def held(upstream: Upstream) -> tuple[int, int, int]:
    """Tasks, threads and descriptors, once the upstream has seen every connection end."""
    await asyncio.gather(*(seen.gone.wait() for seen in upstream.requests))
    await asyncio.sleep(0)
    gc.collect()
    return len(asyncio.all_tasks()), threading.active_count(), descriptors()


@real_transports
@pytest.mark.timeout(300)  # a loaded machine, under coverage
async def test_thousand_managers_leave_nothing_behind(upstream: Upstream, transport: str) -> None:
    """Each is built, answers over a real connection, and is closed: no task, thread, socket or object is left."""
    alive: list[weakref.ref[Manager]] = []

    async def live() -> None:
        manager = real_manager(upstream, transport, pool_size=2)
        assert (await manager.send(CHAT)).status == 200
        await manager.aclose()
        alive.append(weakref.ref(manager))

    for _ in range(10):  # what is built once for all is built
        await live()
    before = await held(upstream)
    for _ in range(1000):
        await live()
    after = await held(upstream)
    assert all(map(le, after, before)), (after, before)  # what other tests have left behind may go meanwhile
    assert [manager() for manager in alive if manager() is not None] == []
    assert upstream.open_connections == 0


@real_transports
@pytest.mark.parametrize("hangs", ["before the headers", "in the stream"])
async def test_cancelled_calls_of_a_real_pool_close_their_connections(
    upstream: Upstream, transport: str, hangs: str
) -> None:
    """The upstream sees that nobody waits any more, and every place is free."""
    begun = asyncio.Queue[bytes]()
    silent = Reply(before=Fault.HANG)
    upstream.script(silent if hangs == "before the headers" else sse_reply(*chat_events("a")[:2], Fault.HANG))
    manager = real_manager(upstream, transport, pool_size=1)

    async def call() -> None:
        answer = await manager.send(STREAMED_CHAT)
        assert answer.stream is not None
        async for chunk in answer.stream:
            begun.put_nowait(chunk)

    calls = [asyncio.create_task(call()) for _ in range(10)]
    async with asyncio.timeout(10.0):
        await upstream.request(9)
        for _ in calls if hangs == "in the stream" else ():
            await begun.get()
        for task in calls:
            task.cancel()
        await asyncio.wait(calls)
        await asyncio.gather(*(seen.gone.wait() for seen in upstream.requests))
    assert manager.bindings.current().admission.in_flight == 0
    await manager.aclose()


@real_transports
async def test_streams_of_a_real_pool_come_through_whole(upstream: Upstream, transport: str) -> None:
    """Fifty at once, cut into pieces, on five clients."""
    events = chat_events("hel", "lo")
    upstream.script(sse_reply(*events, cut=7))
    manager = real_manager(upstream, transport, pool_size=5)

    async def call() -> bytes:
        answer = await manager.send(STREAMED_CHAT)
        assert answer.stream is not None
        return b"".join([chunk async for chunk in answer.stream])

    assert await asyncio.gather(*(call() for _ in range(50))) == [b"".join(events)] * 50
    assert manager.tally.calls == {"ok": 50}
    await manager.aclose()
