"""What holds for the pool as a whole, whatever its nodes do?"""

from __future__ import annotations

import asyncio
import random
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phase1.engine.attempt import Clocks
from phase1.engine.call import AnswerStream
from phase1.engine.pool import Pool
from phase1.engine.transport import Broken, NeverSent
from phase1.events import Events

from .providers import (
    CHAT,
    STREAMED_CHAT,
    Pause,
    Providers,
    Step,
    after,
    body,
    chat_stream,
    never,
    raising,
    status,
    streamed,
    whole,
)
from .upstream import chat_events

CALLS = 1000


def pool_of(providers: Providers, *, rng: random.Random, max_attempts: int = 3) -> Pool:
    """A pool on virtual time."""
    loop = asyncio.get_running_loop()
    return Pool(
        providers.nodes(loop.time),
        clocks=Clocks(first_token=30.0, idle=20.0),
        max_attempts=max_attempts,
        events=Events(),
        rng=rng.random,
        clock=loop.time,
    )


def nothing_is_held(pool: Pool) -> bool:
    """No node, no client, no place in the budget."""
    return pool.in_flight == pool.budget.in_flight == sum(c.in_flight for node in pool.nodes for c in node.clients) == 0


# -- a total outage


@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0], ids=["together", "within a second", "within half a minute"])
@pytest.mark.parametrize("latency", [0.5, 2.0, 10.0])
async def test_total_outage_is_not_made_worse(spread: float, latency: float) -> None:
    """1,000 calls while every node answers 500: at most 1.2 attempts per call, and each caller gets his 500."""
    rng = random.Random(7)
    providers = Providers(**{name: [after(latency, status(500))] for name in "abc"})
    pool = pool_of(providers, rng=rng)

    async def call() -> int | None:
        await asyncio.sleep(rng.random() * spread)
        result = await pool.send(CHAT, expires_at=inf)
        result.release()
        return result.attempt.status

    assert await asyncio.gather(*(call() for _ in range(CALLS))) == [500] * CALLS
    assert CALLS <= len(providers.asked) <= 1.2 * CALLS
    assert nothing_is_held(pool)


async def test_long_outage_under_steady_load_is_not_made_worse() -> None:
    """A hundred users who come back again and again, answers after 0.5 to 2 s: the bound holds over time."""
    rng = random.Random(7)
    slow = [after(0.5 + 1.5 * rng.random(), status(503)) for _ in range(3000)]
    providers = Providers(a=slow[::3], b=slow[1::3], c=slow[2::3])
    pool = pool_of(providers, rng=rng)

    async def user() -> None:
        for _ in range(20):
            (await pool.send(CHAT, expires_at=inf)).release()

    await asyncio.gather(*(user() for _ in range(100)))
    assert 2000 <= len(providers.asked) <= 1.2 * 2000
    assert nothing_is_held(pool)


async def test_quiet_service_may_always_retry() -> None:
    """One call at a time: a fifth of it would be nothing. The breaker ends that after three of them."""
    providers = Providers(a=[status(500)], b=[status(500)], c=[after(0.1, whole())])
    pool = pool_of(providers, rng=random.Random(7))
    for _ in range(10):
        result = await pool.send(CHAT, expires_at=inf)
        assert result.attempt.status == 200
        result.release()
    assert nothing_is_held(pool)


async def test_outage_of_one_node_is_hidden_from_everybody() -> None:
    """What the budget allows is enough where one of five nodes fails."""
    providers = Providers(**{name: [after(0.1, whole())] for name in "bcde"}, a=[after(0.1, status(500))])
    pool = pool_of(providers, rng=random.Random(7))
    statuses = []
    for _ in range(10):
        results = await asyncio.gather(*(pool.send(CHAT, expires_at=inf) for _ in range(50)))
        statuses += [result.attempt.status for result in results]
        for result in results:
            result.release()
    assert statuses.count(200) >= 0.95 * len(statuses)
    assert nothing_is_held(pool)


async def test_nodes_that_refuse_connections_cost_no_budget() -> None:
    """All of 200 calls reach the one node that listens, whatever the budget."""
    providers = Providers(a=[raising(NeverSent("no"))], b=[raising(NeverSent("no"))], c=[after(1.0, whole())])
    pool = pool_of(providers, rng=random.Random(7))
    results = await asyncio.gather(*(pool.send(CHAT, expires_at=inf) for _ in range(200)))
    assert [result.attempt.status for result in results] == [200] * 200
    assert pool.budget.exhausted == 0
    for result in results:
        result.release()
    assert nothing_is_held(pool)


# -- leaks

STEPS: dict[str, Step] = {
    "answer": whole(),
    "late answer": after(3.0, whole()),
    "stream": chat_stream(),
    "slow stream": streamed(*[part for event in chat_events(*"abc") for part in (Pause(2.0), event)]),
    "broken stream": streamed(*chat_events("a")[:2], Broken("reset")),
    "stalled stream": streamed(*chat_events("a")[:2], Pause(inf)),
    "empty stream": streamed(),
    "silence": never,
    "half an answer": body(b"{", Pause(inf)),
    "refused": raising(NeverSent("no")),
    "reset": raising(Broken("reset")),
    "bug": raising(ZeroDivisionError()),
    "500": status(500),
    "503": status(503, headers={"retry-after": "2"}),
    "429": status(429),
    "429 with a header": status(429, headers={"retry-after": "1"}),
    "401": status(401),
    "400": status(400),
}
SCRIPTS = st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=6)
USERS = st.lists(
    st.tuples(
        st.floats(0, 5),  # when the call begins
        st.sampled_from([1.0, 10.0, 55.0]),  # its deadline
        st.booleans(),  # whether it streams
        st.none() | st.sampled_from([0.0, 0.5, 2.0, 4.0]),  # after how long its caller goes away
        st.sampled_from(["read", "close", "drop"]),  # what its caller does with a stream
    ),
    min_size=1,
    max_size=12,
)


async def use(pool: Pool, user: tuple[float, float, bool, float | None, str]) -> None:
    """One caller: asks, and does with the answer what callers do."""
    begin, within, streams, _, habit = user
    await asyncio.sleep(begin)
    loop = asyncio.get_running_loop()
    result = await pool.send(STREAMED_CHAT if streams else CHAT, expires_at=loop.time() + within)
    if result.attempt.stream is None:
        result.release()
        return
    stream = AnswerStream(result.attempt.stream, lambda _: result.release())
    if habit == "close":
        await stream.aclose()
    elif habit == "read":
        async for _ in stream:
            pass


@settings(max_examples=150)
@given(scripts=st.lists(SCRIPTS, min_size=1, max_size=3), users=USERS, seed=st.integers(0, 99))
async def test_no_mixture_of_outcomes_leaks(
    scripts: list[list[str]], users: list[tuple[float, float, bool, float | None, str]], seed: int
) -> None:
    """Every fault, streams or not, callers that go away: in the end nothing is held and every answer is closed."""
    providers = Providers(
        **{name: [STEPS[step] for step in steps] for name, steps in zip("abc", scripts, strict=False)}
    )
    pool = pool_of(providers, rng=random.Random(seed))
    tasks = [asyncio.create_task(use(pool, user)) for user in users]
    for task, (begin, _, _, leaves, _) in zip(tasks, users, strict=True):
        if leaves is not None:
            asyncio.get_running_loop().call_later(begin + leaves, task.cancel)
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(1.0)
    assert all(end is None or isinstance(end, asyncio.CancelledError) for end in ends)
    assert nothing_is_held(pool)
    assert providers.open == []
