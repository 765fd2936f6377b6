"""Who answers when the first node is late?"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phase1.engine.attempt import Clocks
from phase1.engine.call import Call
from phase1.engine.pool import Pool, PoolResult
from phase1.engine.transport import NeverSent
from phase1.events import AttemptFinished, Event, Events, Hedged
from phase1.policy.classify import Kind, Outcome, Verdict

from .conftest import MakeManager
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
from .upstream import chat_events
from .virtual import VirtualLoop

REFERRING = Call("POST", "/responses", body=b'{"model":"m","store":false,"previous_response_id":"resp_1"}')
IMAGE = Call("POST", "/images/generations", body=b'{"model":"m"}')
SECOND = after(1.0, whole())
"""What a node does on ordinary days."""


class Bench:
    """Two nodes whose calls take a second; from then on they do what the test says."""

    def __init__(self, *, quantile: float | None = 0.95, max_attempts: int = 3, **changes: object) -> None:
        self.loop = asyncio.get_running_loop()
        self.providers = Providers(a=[SECOND], b=[SECOND])
        self.told: list[Event] = []
        self.pool = Pool(
            self.providers.nodes(self.loop.time, **changes),
            clocks=Clocks(first_token=30.0, idle=20.0),
            max_attempts=max_attempts,
            events=Events(self),
            rng=lambda: 0.0,
            clock=self.loop.time,
            hedge_quantile=quantile,
        )

    def on_event(self, event: Event, /) -> None:
        self.told.append(event)

    async def learn(self, call: Call = CHAT) -> None:
        """Twenty calls, one after the other: the least busy node is `a`."""
        for _ in range(20):
            result = await self.pool.send(call, expires_at=inf)
            await end(result)
        assert self.providers.asked == ["a"] * 20
        self.providers.asked.clear()
        self.told.clear()

    async def send(self, call: Call = CHAT, *, within: float = 55.0) -> tuple[Kind, float]:
        """What one call comes to, and in which time; nothing is held afterwards."""
        began = self.loop.time()
        result = await self.pool.send(call, expires_at=began + within)
        seconds = self.loop.time() - began
        await end(result)
        await self.settled()
        return result.attempt.outcome.kind, seconds

    async def settled(self) -> None:
        """Losers are gone, and everything is given back."""
        for _ in range(5):
            await asyncio.sleep(0)
        assert [node.in_flight for node in self.pool.nodes] == [0, 0]
        assert [client.in_flight for node in self.pool.nodes for client in node.clients] == [0, 0]
        assert self.pool.budget.in_flight == 0
        assert self.providers.open == []

    @property
    def hedges(self) -> list[str]:
        """What came of each."""
        return [event.result for event in self.told if isinstance(event, Hedged)]

    @property
    def attempts(self) -> list[tuple[str, str, bool]]:
        """Node, outcome, whether it was a hedge."""
        return [(event.node, event.kind, event.hedge) for event in self.told if isinstance(event, AttemptFinished)]


async def end(result: PoolResult) -> None:
    """Nobody reads on."""
    if result.attempt.stream is not None:
        await result.attempt.stream.aclose()
    result.release(Outcome(Kind.CANCELLED))


@asynccontextmanager
async def learnt(call: Call = CHAT, **options: object) -> AsyncIterator[Bench]:
    """A bench whose node `a` is known to take a second."""
    bench = Bench(**options)  # type: ignore[arg-type]
    await bench.learn(call)
    yield bench
    await bench.pool.aclose()


async def test_late_node_is_hedged_and_the_faster_one_answers() -> None:
    """`b` is asked after a second, and answers one later; `a` is cancelled, its connection closed, and not blamed."""
    async with learnt() as bench:
        bench.providers.script(a=[after(50.0, whole())])
        assert await bench.send() == (Kind.OK, 2.0)
        assert bench.providers.asked == ["a", "b"]
        assert bench.hedges == ["won"]
        assert bench.attempts == [("b", "ok", True), ("a", "cancelled", False)]
        assert [node.ejection.streak for node in bench.pool.nodes] == [0, 0]
        assert bench.pool.nodes[0].limit.value == bench.pool.nodes[0].limit.maximum


async def test_first_node_may_still_win() -> None:
    """Then the hedge is the loser, and was an attempt all the same."""
    async with learnt() as bench:
        bench.providers.script(a=[after(1.5, whole())], b=[after(50.0, whole())])
        assert await bench.send() == (Kind.OK, 1.5)
        assert bench.hedges == ["lost"]
        assert bench.attempts == [("a", "ok", False), ("b", "cancelled", True)]


async def test_node_in_time_is_not_hedged() -> None:
    """Nobody else is asked."""
    async with learnt() as bench:
        bench.providers.script(a=[after(0.9, whole())])
        assert (await bench.send())[0] is Kind.OK
        assert (bench.providers.asked, bench.hedges) == (["a"], [])


async def test_stream_is_hedged_before_its_first_token_and_never_after() -> None:
    """A stream that pauses after its first word stays where it is."""
    async with learnt(STREAMED_CHAT) as bench:
        bench.providers.script(a=[never], b=[chat_stream()])
        kind, _ = await bench.send(STREAMED_CHAT)
        assert (kind, bench.providers.asked, bench.hedges) == (Kind.OK, ["a", "b"], ["won"])


async def test_stream_that_has_begun_is_not_hedged() -> None:
    """However long its second word takes."""
    async with learnt(STREAMED_CHAT) as bench:
        role, word, *rest = chat_events("hel", "lo")
        bench.providers.script(a=[streamed(role, word, Pause(15.0), *rest)])
        result = await bench.pool.send(STREAMED_CHAT, expires_at=inf)
        assert result.attempt.stream is not None
        async for _ in result.attempt.stream.batches():
            pass
        await end(result)
        await bench.settled()
        assert (bench.providers.asked, bench.hedges) == (["a"], [])


@pytest.mark.parametrize(
    ("options", "call"),
    [
        ({"quantile": None}, CHAT),
        ({"max_attempts": 1}, CHAT),
        ({}, IMAGE),
        ({}, REFERRING),
        ({"quota_domain": "one for both"}, CHAT),
    ],
    ids=["off", "no second attempt", "not repeatable", "refers to an account", "same quota domain"],
)
async def test_left_alone(options: dict[str, object], call: Call) -> None:
    """The late node is waited for."""
    async with learnt(call, **options) as bench:
        bench.providers.script(a=[after(10.0, whole())])
        assert await bench.send(call) == (Kind.OK, 10.0)
        assert bench.providers.asked == ["a"]
        assert set(bench.hedges) <= {"no_node"}


async def test_unknown_kind_is_left_alone() -> None:
    """What is known of another model says nothing."""
    async with learnt() as bench:
        bench.providers.script(a=[after(10.0, whole())])
        assert await bench.send(Call("POST", "/chat/completions", body=b'{"model":"other"}')) == (Kind.OK, 10.0)


async def test_sibling_that_fails_or_is_full_is_not_asked() -> None:
    """A hedge is for a node that is well."""
    async with learnt() as bench:
        other = bench.pool.nodes[1]
        bench.providers.script(a=[after(10.0, whole())])
        for take_out in (other.drain, lambda: other.ejection.end(Verdict.FAILURE, bench.loop.time())):
            take_out()
            assert await bench.send() == (Kind.OK, 10.0)
            other.revive()
        assert bench.hedges == ["no_node", "no_node"]


async def test_budget_bounds_hedges() -> None:
    """Of twenty late calls at once four are hedged; the amplification stays at 1.2."""
    async with learnt() as bench:
        bench.providers.script(a=[after(10.0, whole())], b=[after(10.0, whole())])
        for node in bench.pool.nodes[1:]:
            node.drain()
        calls = [asyncio.ensure_future(bench.pool.send(CHAT, expires_at=inf)) for _ in range(20)]
        await asyncio.sleep(0.5)
        bench.pool.nodes[1].revive()
        for result in await asyncio.gather(*calls):
            await end(result)
        await bench.settled()
        assert Counter(bench.hedges) == {"lost": 4, "no_budget": 16}
        assert len(bench.providers.asked) == 24


async def test_failure_is_waited_out_by_the_other() -> None:
    """Either of them may fail first: the other one's answer counts, and the failure is its node's."""
    fails = after(2.0, status(500))
    async with learnt() as bench:
        bench.providers.script(a=[fails], b=[after(5.0, whole())])
        assert await bench.send() == (Kind.OK, 6.0)
        bench.providers.script(a=[after(8.0, whole())], b=[status(500)])
        assert bench.hedges == ["won"]
        assert bench.pool.nodes[0].ejection.streak == 1
    async with learnt() as bench:
        bench.providers.script(a=[after(8.0, whole())], b=[status(500)])
        assert await bench.send() == (Kind.OK, 8.0)
        assert bench.hedges == ["lost"]
        assert bench.pool.nodes[1].ejection.streak == 1


async def test_both_fail_is_the_ordinary_way_on() -> None:
    """The third attempt is a retry, with its pause and its budget."""
    async with learnt() as bench:
        bench.providers.script(a=[after(2.0, status(500)), whole()], b=[status(500), whole()])
        kind, _ = await bench.send()
        assert kind is Kind.OK
        assert len(bench.providers.asked) == 3
        assert [event.retry for event in bench.told if isinstance(event, AttemptFinished)] == [False, False, True]


async def test_failure_that_nobody_can_mend_is_final() -> None:
    """A 400 is the request's own fault: the other node would say the same."""
    async with learnt() as bench:
        bench.providers.script(a=[after(1.5, status(400))], b=[never])
        assert await bench.send() == (Kind.CALLER_ERROR, 1.5)


async def test_first_attempt_that_fails_before_the_hedge_goes_the_ordinary_way() -> None:
    """Failover, no hedge."""
    async with learnt() as bench:
        bench.providers.script(a=[raising(NeverSent("refused"))])
        assert (await bench.send())[0] is Kind.OK
        assert (bench.providers.asked, bench.hedges) == (["a", "b"], [])


async def test_answers_in_the_same_moment_leave_nothing_open() -> None:
    """The stream that nobody takes is closed."""
    async with learnt(STREAMED_CHAT) as bench:
        bench.providers.script(a=[after(3.0, chat_stream())], b=[after(2.0, chat_stream())])
        kind, _ = await bench.send(STREAMED_CHAT)
        assert kind is Kind.OK
        assert bench.providers.asked == ["a", "b"]


@pytest.mark.parametrize("at", [0.5, 1.0, 1.5, 3.0])
async def test_cancelled_caller_cancels_both(at: float) -> None:
    """Before the hedge, and beside it."""
    async with learnt() as bench:
        bench.providers.script(a=[never], b=[never])
        call = asyncio.ensure_future(bench.pool.send(CHAT, expires_at=inf))
        await asyncio.sleep(at)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await bench.settled()


async def test_closing_waits_for_the_losers() -> None:
    """Their connections are closed first."""
    async with learnt() as bench:
        bench.providers.script(a=[never])
        result = await bench.pool.send(CHAT, expires_at=inf)
        await end(result)
        await bench.pool.aclose()
        assert bench.providers.open == []


async def test_given_up_calls_count_for_the_delay() -> None:
    """A node that has become slow is hedged later and later, not more and more."""
    async with learnt() as bench:
        bench.providers.script(a=[after(50.0, whole())], b=[after(3.0, whole())])
        seconds = [(await bench.send())[1] for _ in range(20)]
        assert seconds[0] == 4.0
        assert seconds == sorted(seconds)
        assert seconds[-1] > 4.0


async def test_numbers(make_manager: MakeManager) -> None:
    """By settings, and counted: attempts of their own kind, and what came of them."""
    providers = Providers(a=[SECOND], b=[SECOND])
    manager = make_manager(providers, llm_hedge=True, llm_hedge_quantile=0.9)
    for _ in range(20):
        await manager.send(CHAT)
    providers.script(a=[never])
    answer = await manager.send(CHAT)
    assert answer.outcome.kind is Kind.OK
    assert manager.tally.hedges == {"won": 1}
    assert manager.tally.attempts["b", "hedge", "ok"] == 1
    assert manager.tally.attempts["a", "primary", "cancelled"] == 1
    (*_, last) = [event for event in manager.told if type(event).__name__ == "CallFinished"]
    assert [attempt.node for attempt in last.trail] == ["a", "b"]  # type: ignore[union-attr]
    await manager.aclose()


# -- laws

STEPS: list[Step] = [
    whole(),
    after(0.5, whole()),
    after(1.0, whole()),
    after(2.0, whole()),
    after(3.0, status(500)),
    status(500),
    status(400),
    status(429),
    never,
]


@settings(max_examples=150)
@given(
    first=st.lists(st.sampled_from(STEPS), min_size=1, max_size=4),
    second=st.lists(st.sampled_from(STEPS), min_size=1, max_size=4),
    cancel=st.lists(st.none() | st.sampled_from([0.0, 0.7, 1.0, 1.3, 2.0, 4.0]), min_size=1, max_size=8),
)
def test_nothing_is_held_whatever_happens(first: list[Step], second: list[Step], cancel: list[float | None]) -> None:
    """Places, clients, budget, answers: under any order of answers, failures and callers who leave."""

    async def play() -> None:
        async with learnt() as bench:
            bench.providers.script(a=first, b=second)
            calls = [asyncio.ensure_future(bench.pool.send(CHAT, expires_at=bench.loop.time() + 20.0)) for _ in cancel]
            for call, seconds in zip(calls, cancel, strict=True):
                if seconds is not None:
                    bench.loop.call_later(seconds, call.cancel)
            for result in await asyncio.gather(*calls, return_exceptions=True):
                if isinstance(result, PoolResult):
                    await end(result)
                else:
                    assert isinstance(result, asyncio.CancelledError)
            await bench.settled()
            assert len(bench.providers.asked) <= 3 * len(cancel)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(play())
