"""Is a node that fails taken out, probed, and brought back?"""

from __future__ import annotations

import asyncio
from math import inf

import pytest

from phase1.engine.call import Call
from phase1.engine.node import Node
from phase1.engine.transport import Broken, NeverSent
from phase1.policy.classify import Kind

from .providers import (
    CHAT,
    STREAMED_CHAT,
    Pause,
    Providers,
    Step,
    after,
    chat_stream,
    never,
    raising,
    status,
    streamed,
    whole,
)
from .test_pool import Bench
from .upstream import chat_events

REFUSING = raising(NeverSent("refused"))


async def test_node_that_fails_three_times_is_out() -> None:
    """For half a minute; the others serve, and nobody notices."""
    bench = Bench(Providers(a=[REFUSING], b=[whole()], c=[whole()]))
    for _ in range(20):
        assert (await bench.send()).attempt.outcome.kind is Kind.OK
    assert bench.providers.asked.count("a") == 3
    assert bench.moves("a") == [(False, "consecutive_failures")]
    assert (bench.pool.nodes[0].state, bench.pool.nodes[0].up) == ("ejected for 30 s", True)


async def test_one_probe_brings_it_back() -> None:
    """The first request after its time; then it is warm again within a minute."""
    providers = Providers(a=[REFUSING] * 3 + [after(2.0, whole())], b=[whole()], c=[whole()])
    bench = Bench(providers)
    for _ in range(3):
        await bench.send()
    await asyncio.sleep(30.0)
    probe = asyncio.create_task(bench.pool.send(CHAT, expires_at=inf))
    await asyncio.sleep(1.0)
    assert bench.pool.nodes[0].state == "probed"
    other = await bench.pool.send(CHAT, expires_at=inf)
    assert providers.asked[-2:] == ["a", "b"]
    other.release()
    (await probe).release()
    node = bench.pool.nodes[0]
    assert (node.state, bench.moves("a")[-1]) == ("up", (True, "returned"))
    assert node.weight(bench.loop.time()) == pytest.approx(0.1)
    assert node.weight(bench.loop.time() + 30.0) == pytest.approx(0.5)
    assert node.weight(bench.loop.time() + 60.0) == 1.0


async def test_probe_that_fails_costs_its_caller_nothing() -> None:
    """Another node answers; the next time is longer."""
    bench = Bench(Providers(a=[REFUSING], b=[whole()]))
    for _ in range(3):
        await bench.send()
    await asyncio.sleep(30.0)
    assert (await bench.send()).attempt.outcome.kind is Kind.OK
    assert bench.moves("a") == [(False, "consecutive_failures"), (False, "probe_failed")]
    assert bench.pool.nodes[0].ejected_for() == pytest.approx(60.0)


async def test_cancelled_probe_says_nothing() -> None:
    """The next request may probe."""
    bench = Bench(Providers(a=[REFUSING] * 3 + [never, whole()], b=[whole()]))
    for _ in range(3):
        await bench.send()
    await asyncio.sleep(30.0)
    probe = asyncio.create_task(bench.pool.send(CHAT, expires_at=inf))
    await asyncio.sleep(1.0)
    probe.cancel()
    await asyncio.wait([probe])
    await bench.send()
    assert bench.moves("a")[-1] == (True, "returned")


async def test_probe_that_is_refused_is_off() -> None:
    """And no longer a probe."""
    bench = Bench(Providers(a=[REFUSING] * 3 + [status(401), whole()], b=[whole()]))
    for _ in range(3):
        await bench.send()
    await asyncio.sleep(30.0)
    await bench.send()
    assert bench.pool.nodes[0].state == "off for 30 s"
    await asyncio.sleep(30.0)
    await bench.send()
    assert bench.pool.nodes[0].state == "up"


async def test_only_node_is_never_out() -> None:
    """There would be nobody."""
    bench = Bench(Providers(a=[status(500)]))
    for _ in range(5):
        await bench.send()
    assert bench.moves("a") == []


async def test_at_most_half_are_out() -> None:
    """Of four that fail two stay, and are asked."""
    bench = Bench(Providers(**{name: [REFUSING] for name in "abcd"}))
    for _ in range(30):
        await bench.send()
    assert sum(node.ejected for node in bench.pool.nodes) == 2


async def test_stream_that_breaks_counts_at_its_end() -> None:
    """Its start looked well, each time."""
    cut = streamed(*chat_events("a")[:2], Broken("reset"))
    bench = Bench(Providers(a=[cut], b=[chat_stream()]))
    kinds = [await bench.read() for _ in range(6)]
    assert kinds.count(Kind.BROKEN_AFTER_TOKEN) == 3
    assert bench.moves("a") == [(False, "consecutive_failures")]


async def test_stream_that_its_caller_leaves_says_nothing() -> None:
    """Neither good nor bad."""
    bench = Bench(Providers(a=[streamed(*chat_events("a")[:2], Pause(inf))], b=[status(400)]))
    for _ in range(5):
        await bench.send(Call("POST", "/x", body=CHAT.body, streams=True))
    assert bench.pool.nodes[0].ejection.streak == 0


async def test_callers_short_patience_says_nothing_about_the_node() -> None:
    """Less than the first token may take; and the node is not known to be fast either."""
    bench = Bench(Providers(a=[never], b=[whole()]))
    for _ in range(5):
        await bench.send(within=1.0)
    assert bench.moves("a") == []
    assert bench.pool.nodes[0].ejection.streak == 0


@pytest.mark.parametrize("call", [CHAT, STREAMED_CHAT], ids=["whole", "streamed"])
async def test_node_that_is_silent_is_out_however_short_the_patience(call: Call) -> None:
    """Others have answered meanwhile, and this one nobody: three such calls are enough."""
    answer = after(0.1, whole())
    bench = Bench(Providers(a=[never], b=[answer], c=[answer]))
    for _ in range(3):
        task = asyncio.create_task(bench.pool.send(call, expires_at=bench.loop.time() + 2.0))
        await asyncio.sleep(0.0)
        for _ in range(6):
            (await bench.pool.send(CHAT, expires_at=inf)).release()
        result = await task
        assert result.attempt.outcome.kind is Kind.TIMEOUT
        result.release()
    assert bench.moves("a") == [(False, "consecutive_failures")]


async def test_server_that_asks_for_a_rest_gets_it_alone() -> None:
    """A 503 with Retry-After is this node's, not its quota domain's."""
    providers = Providers(a=[status(503, headers={"retry-after": "20"}), whole()], b=[whole()])
    bench = Bench(providers, nodes=providers.nodes(asyncio.get_running_loop().time, quota_domain="org"))
    for _ in range(4):
        await bench.send()
    assert providers.asked == ["a", "b", "b", "b", "b"]
    assert bench.pool.cooling_for(bench.pool.nodes[0]) == pytest.approx(20.0)
    assert bench.pool.cooling_for(bench.pool.nodes[1]) == 0.0


async def test_lost_calls_lower_the_limit_and_answers_raise_it() -> None:
    """A burst of 429s is one decrease; who is told of the capacity hears of both."""
    providers = Providers(a=[after(1.0, status(429, headers={"retry-after": "1"}))] * 20 + [after(1.0, whole())])
    loop = asyncio.get_running_loop()
    node = Node(providers.spec("a"), [providers.transport()], client_concurrency=20, clock=loop.time)
    bench = Bench(providers, nodes=[node], max_attempts=1)
    told: list[int] = []
    bench.pool.on_capacity(lambda: told.append(bench.pool.capacity))
    for result in await asyncio.gather(*(bench.pool.send(CHAT, expires_at=inf) for _ in range(20))):
        result.release()
    assert (told, node.limit.value) == ([18], 18)
    await asyncio.sleep(2.0)
    for result in await asyncio.gather(*(bench.pool.send(CHAT, expires_at=inf) for _ in range(12))):
        result.release()
    assert told == [18, 19, 20]


async def test_capacity_is_that_of_the_nodes_that_are_there() -> None:
    """An ejected node has no places; when all are away, all count, or nobody could find out."""
    bench = Bench(Providers(a=[REFUSING], b=[whole()]))
    assert bench.pool.capacity == 2000
    for _ in range(3):
        await bench.send()
    assert bench.pool.capacity == 1000
    bench.pool.nodes[1].drain()
    assert bench.pool.capacity == 2000


async def test_failed_check_counts_like_a_call() -> None:
    """Three of them take a node out; one that succeeds brings nobody back."""
    bench = Bench(Providers(a=[whole()], b=[whole()]))
    node = bench.pool.nodes[0]
    for _ in range(3):
        bench.pool.checked(node, healthy=False)
    assert bench.moves("a") == [(False, "consecutive_failures")]
    bench.pool.checked(node, healthy=True)
    assert node.ejected


FAULTS: list[tuple[str, Step]] = [("500", status(500)), ("reset", raising(Broken("reset"))), ("refused", REFUSING)]


@pytest.mark.parametrize(("name", "fault"), FAULTS, ids=[name for name, _ in FAULTS])
@pytest.mark.parametrize("strategy", ["round_robin", "weighted", "least_busy", "latency", "adaptive", "sticky"])
async def test_one_bad_node_of_three_is_nobodys_outage(strategy: str, name: str, fault: Step) -> None:
    """Fifty users at once, whatever the strategy: everybody is served, and the node has under one percent."""
    good = after(0.2, whole())
    bench = Bench(Providers(bad=[after(0.01, fault)], b=[good], c=[good]), strategy=strategy)
    kinds: list[Kind] = []

    async def user(number: int) -> None:
        for _ in range(40):
            result = await bench.pool.send(CHAT, expires_at=bench.loop.time() + 55.0, key=str(number))
            kinds.append(result.attempt.outcome.kind)
            result.release()

    await asyncio.gather(*(user(number) for number in range(50)))
    assert set(kinds) == {Kind.OK}, name
    assert len(bench.providers.asked) <= 1.05 * len(kinds)
    assert bench.providers.asked.count("bad") <= 50
    bench.check()
