"""Which nodes have a model, and in which order are they asked?"""

from __future__ import annotations

import asyncio
import json
from math import inf

import pytest

from phase1.engine.call import Call
from phase1.engine.node import Node
from phase1.engine.transport import NeverSent
from phase1.exceptions import NoNode
from phase1.policy.classify import Kind

from .providers import CHAT, Providers, Step, after, never, raising, status, whole
from .test_pool import Bench


def bench_of(providers: Providers, *changes: dict[str, object], strategy: str = "least_busy", room: int = 9) -> Bench:
    """A bench whose nodes, in alphabetical order, have these fields."""
    loop = asyncio.get_running_loop()
    specs = [providers.spec(name, **change) for name, change in zip("abc", changes, strict=False)]
    nodes = [Node(s, [providers.transport()], client_concurrency=room, clock=loop.time) for s in specs]
    return Bench(providers, nodes=nodes, strategy=strategy)


def naming(model: str) -> Call:
    """A call for a model."""
    return Call("POST", "/x", body=json.dumps({"messages": [], "model": model}).encode())


async def names(bench: Bench, model: str, count: int = 6) -> set[str]:
    """Who is asked for a model, when calls do not end."""
    results = [await bench.pool.send(naming(model), expires_at=inf) for _ in range(count)]
    for result in results:
        result.release()
    asked = set(bench.providers.asked)
    bench.providers.asked.clear()
    return asked


async def test_prefix_goes_to_the_nodes_that_declare_it() -> None:
    """`gemini/flash` is asked where `gemini/*` stands; everything else elsewhere."""
    providers = Providers(a=[whole()], b=[whole()], c=[whole()])
    bench = bench_of(providers, {}, {"models": {"gemini/*": "*"}}, {"models": {"gpt-4o": "mine"}})
    assert await names(bench, "gemini/flash") == {"b"}
    assert await names(bench, "gpt-4o") == {"a", "c"}
    assert await names(bench, "gpt-4o-mini") == {"a"}
    assert await names(bench, "openrouter/x") == {"a"}
    assert json.loads(providers.transports[1].requests[0].body)["model"] == "flash"
    assert json.loads(providers.transports[2].requests[0].body)["model"] == "mine"


async def test_model_that_nobody_declares_is_asked_everywhere() -> None:
    """A map is a translation, and no node is open: let the upstream say."""
    providers = Providers(a=[whole()], b=[whole()])
    bench = bench_of(providers, {"models": {"x": "y"}}, {"models": {"z": "y"}})
    assert await names(bench, "other") == {"a", "b"}


async def test_names_that_come_with_requests_are_forgotten() -> None:
    """Ten thousand typos leave no ten thousand routes."""
    bench = Bench(Providers(a=[whole()]))
    for number in range(2500):
        bench.pool._picker.route(f"typo-{number}")
    assert len(bench.pool._picker._routes) <= 1000


async def test_tier_that_is_full_leaves_calls_to_the_next_one() -> None:
    """And one with room in neither goes to the node with the most room."""
    bench = bench_of(Providers(a=[after(9.0, whole())], b=[after(9.0, whole())]), {}, {"priority": 1}, room=2)
    results = await asyncio.gather(*(bench.pool.send(CHAT, expires_at=inf) for _ in range(5)))
    assert bench.providers.asked == ["a", "a", "b", "b", "a"]
    for result in results:
        result.release()


async def test_node_is_asked_again_before_a_lower_tier() -> None:
    """After a pause; the third attempt goes down."""
    bench = bench_of(Providers(a=[status(500)], b=[whole()]), {}, {"priority": 1})
    assert (await bench.send()).attempt.outcome.kind is Kind.OK
    assert bench.providers.asked == ["a", "a", "b"]


async def test_short_rest_of_the_better_tier_is_waited_for() -> None:
    """Five seconds are better than another model; six are not."""
    bench = bench_of(
        Providers(a=[status(429, headers={"retry-after": "4"}), whole()], b=[whole()]), {}, {"priority": 1}
    )
    await bench.send()
    assert (bench.providers.asked, bench.seconds) == (["a", "a"], pytest.approx(4.0))
    bench = bench_of(Providers(a=[status(429, headers={"retry-after": "6"})], b=[whole()]), {}, {"priority": 1})
    await bench.send()
    assert (bench.providers.asked, bench.seconds) == (["a", "b"], 0.0)


async def test_drained_node_is_not_asked() -> None:
    """Not even as the last one: that is a local refusal."""
    bench = Bench(Providers(a=[whole()], b=[whole()]))
    bench.pool.nodes[0].drain()
    assert bench.pool.nodes[0].state == "drained"
    for _ in range(4):
        await bench.send()
    assert set(bench.providers.asked) == {"b"}
    bench.pool.nodes[1].drain()
    with pytest.raises(NoNode):
        await bench.send()
    bench.pool.nodes[0].revive()
    await bench.send()
    assert bench.providers.asked[-1] == "a"


async def test_node_that_is_drained_in_the_pause_is_not_asked_again() -> None:
    """Another one is, or nobody."""
    bench = Bench(Providers(a=[status(500)]), luck=0.9)
    task = asyncio.create_task(bench.pool.send(CHAT, expires_at=inf))
    await asyncio.sleep(0.2)
    bench.pool.nodes[0].drain()
    with pytest.raises(NoNode):
        await task
    bench.check()


async def test_revived_node_is_asked_at_once() -> None:
    """Whether it was off, ejected or resting."""
    bench = Bench(
        Providers(a=[status(401), status(503, headers={"retry-after": "99"}), *[status(500)] * 2, whole()], b=[whole()])
    )
    node = bench.pool.nodes[0]
    for state in ("off for 30 s", "up", "up", "ejected for 30 s"):
        await bench.send()
        assert node.state == state
        if state != "up" or node.rests():
            node.revive()
            bench.pool.changed()
    await bench.send()
    assert bench.providers.asked[-1] == "a"


async def test_sticky_goes_by_the_key() -> None:
    """Else by the beginning of the request."""
    bench = Bench(Providers(a=[whole()], b=[whole()], c=[whole()]), strategy="sticky")
    for _ in range(5):
        await bench.send(key="user-1")
    assert len(set(bench.providers.asked)) == 1
    for number in range(20):
        await bench.send(Call("POST", "/x", body=b'{"messages":[{"content":"%d"}]}' % number))
    assert set(bench.providers.asked) == {"a", "b", "c"}


async def test_many_nodes_are_chosen_among_two() -> None:
    """With twenty nodes of which ten are away, and with all but one away."""
    providers = Providers(**{f"n{number}": [whole()] for number in range(20)})
    bench = Bench(providers, nodes=providers.nodes(asyncio.get_running_loop().time))
    bench.luck = 0.4
    for node in bench.pool.nodes[:10]:
        node.drain()
    for _ in range(10):
        await bench.send()
    for node in bench.pool.nodes[:19]:
        node.drain()
    await bench.send()
    assert bench.providers.asked[-1] == "n19"


# -- a node that goes quiet

SLOW: list[Step] = [after(1.0, whole())]


async def busy(bench: Bench, *, seconds: float) -> None:
    """Calls that keep the others answering meanwhile."""
    while bench.loop.time() - bench.started < seconds:
        result = await bench.pool.send(CHAT, expires_at=bench.loop.time() + 55.0)
        result.release()


async def test_call_at_a_node_that_has_gone_quiet_is_tried_elsewhere() -> None:
    """After the first token's time, since others answer and this one nobody."""
    bench = Bench(Providers(a=[never, *SLOW], b=SLOW, c=SLOW))
    task = asyncio.create_task(bench.pool.send(CHAT, expires_at=bench.loop.time() + 55.0))
    await asyncio.sleep(0.0)
    await busy(bench, seconds=40.0)
    assert task.done()
    result = await task
    assert (result.attempt.outcome.kind, result.attempts) == (Kind.OK, 2)
    result.release()
    bench.check()
    finished = [event for event in bench.told if getattr(event, "kind", None) == "first_token_timeout"]
    assert len(finished) == 1
    assert bench.pool.watch._calls == {}


async def test_long_answer_is_waited_for_while_its_node_answers_others() -> None:
    """It is no silence."""
    bench = Bench(Providers(a=[after(50.0, whole()), *SLOW], b=SLOW, c=SLOW))
    task = asyncio.create_task(bench.pool.send(CHAT, expires_at=bench.loop.time() + 55.0))
    await asyncio.sleep(0.0)
    for node in bench.pool.nodes[1:]:
        node.in_flight += 5
    await busy(bench, seconds=45.0)
    for node in bench.pool.nodes[1:]:
        node.in_flight -= 5
    result = await task
    assert (result.attempt.outcome.kind, result.attempts) == (Kind.OK, 1)
    result.release()


async def test_closing_stops_the_watch() -> None:
    """No timer is left."""
    bench = Bench(Providers(a=[never], b=[whole()]))
    task = asyncio.create_task(bench.send())
    await asyncio.sleep(1.0)
    timer = bench.pool.watch._timer
    await bench.pool.aclose()
    assert timer is not None
    assert timer.cancelled()
    task.cancel()
    await asyncio.wait([task])


# -- retries that wait for their turn


async def test_many_calls_of_one_bad_node_are_all_served() -> None:
    """Sixteen fail together; the budget allows six at once, and the others wait for their turn."""
    good = after(1.0, whole())
    bench = Bench(Providers(a=[*[whole()] * 9, after(2.0, status(500))], b=[good], c=[good]))
    for _ in range(9):
        await bench.send()
    results = await asyncio.gather(*(bench.pool.send(CHAT, expires_at=bench.loop.time() + 55.0) for _ in range(48)))
    assert {result.attempt.outcome.kind for result in results} == {Kind.OK}
    assert bench.pool.budget.exhausted == 0
    for result in results:
        result.release()
    bench.check()


async def test_call_that_waits_for_its_turn_may_be_cancelled() -> None:
    """And the others have theirs."""
    good = after(1.0, whole())
    bench = Bench(Providers(a=[*[whole()] * 9, after(2.0, status(500))], b=[good], c=[good]))
    for _ in range(9):
        await bench.send()
    tasks = [asyncio.create_task(bench.pool.send(CHAT, expires_at=bench.loop.time() + 55.0)) for _ in range(48)]
    await asyncio.sleep(2.5)
    assert len(bench.pool.retries._waiters) > 1
    waiting = [task for task in tasks if not task.done()]
    for task in waiting[::2]:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if not isinstance(end, asyncio.CancelledError):
            assert not isinstance(end, BaseException)
            end.release()
    bench.check()


async def test_nobody_waits_for_a_turn_in_a_total_outage() -> None:
    """There is nobody who answers."""
    bench = Bench(Providers(**{name: [after(1.0, status(500))] for name in "abc"}))

    async def call() -> int | None:
        result = await bench.pool.send(CHAT, expires_at=bench.loop.time() + 55.0)
        result.release()
        return result.attempt.status

    assert set(await asyncio.gather(*(call() for _ in range(48)))) == {500}
    assert len(bench.providers.asked) <= 1.2 * 48
    bench.check()


async def test_turn_that_does_not_come_in_time() -> None:
    """Half of what is left of the deadline; then the failure is the answer."""
    bench = Bench(Providers(a=[status(500)], b=[whole()]))
    bench.pool.budget.in_flight = 9
    result = await bench.pool.send(CHAT, expires_at=bench.loop.time() + 10.0)
    assert (result.attempt.status, bench.loop.time() - bench.started) == (500, pytest.approx(5.0))
    result.release()


async def test_refused_connection_needs_no_turn() -> None:
    """It is free."""
    bench = Bench(Providers(a=[raising(NeverSent("no"))], b=[whole()]))
    bench.pool.budget.in_flight = 99
    result = await bench.pool.send(CHAT, expires_at=inf)
    assert result.attempt.outcome.kind is Kind.OK
    result.release()


async def test_turn_that_comes_when_the_sibling_has_no_quota_left() -> None:
    """The failure at hand is the answer, and the turn goes to the next one."""
    bench = bench_of(Providers(a=[status(500)], b=[whole()]), {}, {"rpm": 1})
    bench.pool.budget.in_flight = 9
    task = asyncio.create_task(bench.pool.send(CHAT, expires_at=bench.loop.time() + 20.0))
    await asyncio.sleep(1.0)
    bench.pool._picker.book(bench.pool.nodes[1], bench.pool._progress(CHAT, inf, None))
    bench.pool.budget.in_flight = 1
    bench.pool.retries.release()
    result = await task
    assert (result.attempt.status, result.attempts) == (500, 1)
    result.release()
    bench.check()


async def test_cancelled_in_the_moment_of_its_turn() -> None:
    """The next one has it."""
    bench = Bench(Providers(a=[status(500)], b=[whole()]))
    retries = bench.pool.retries
    retries.budget.in_flight = 1
    first, second = (asyncio.create_task(retries.place(50.0, lambda: True)) for _ in range(2))
    await asyncio.sleep(1.0)
    retries.release()
    first.cancel()
    assert await second
    assert first.cancelled()
    retries.release()
    bench.check()
