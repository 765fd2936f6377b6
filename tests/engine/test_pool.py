"""Who is asked when a node fails?"""

from __future__ import annotations

import asyncio
import json
from math import inf

import pytest

from phase1.engine.attempt import Clocks
from phase1.engine.call import AnswerStream, Call
from phase1.engine.node import Node, NodeSpec
from phase1.engine.pool import Pool, PoolResult
from phase1.engine.transport import Broken, NeverSent
from phase1.engine.transport.mock import MockResponse, MockTransport
from phase1.events import AttemptFinished, Event, Events, NodeChanged
from phase1.policy.balancer import balancer_of
from phase1.policy.classify import Kind, Outcome

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
from .upstream import chat_events, sse


class Bench:
    """A pool in front of `providers`, on virtual time. `luck` is what the random generator returns."""

    def __init__(
        self,
        providers: Providers,
        *,
        luck: float = 0.0,
        nodes: list[Node] | None = None,
        strategy: str = "least_busy",
        max_attempts: int = 3,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.providers = providers
        self.luck = luck
        self.told: list[Event] = []
        self.pool = Pool(
            nodes or providers.nodes(self.loop.time),
            clocks=Clocks(first_token=30.0, idle=20.0),
            max_attempts=max_attempts,
            events=Events(self),
            balancer=balancer_of(strategy, rng=lambda: self.luck),
            rng=lambda: self.luck,
            clock=self.loop.time,
        )
        self.started = self.loop.time()

    def on_event(self, event: Event, /) -> None:
        self.told.append(event)

    async def send(self, call: Call = CHAT, *, within: float = 55.0, key: str | None = None) -> PoolResult:
        """One call; whatever it came to is released, and nothing may be held any more."""
        self.started = self.loop.time()
        result = await self.pool.send(call, expires_at=self.started + within, key=key)
        if result.attempt.stream is not None:
            await AnswerStream(result.attempt.stream, lambda _: None).aclose()
        result.release()
        self.check()
        return result

    async def read(self, *, within: float = 55.0) -> Kind:
        """One streamed call, read to its end: what it came to."""
        result = await self.pool.send(STREAMED_CHAT, expires_at=self.loop.time() + within)
        outcome = result.attempt.outcome
        if result.attempt.stream is None:
            result.release()
        else:
            outcomes: list[Outcome] = []
            stream = AnswerStream(result.attempt.stream, outcomes.append)
            async for _ in stream:
                pass
            (outcome,) = outcomes
            result.release(outcome)
        self.check()
        return outcome.kind

    def moves(self, node: str) -> list[tuple[bool, str]]:
        """How a node went and came back."""
        return [(event.up, event.kind) for event in self.told if isinstance(event, NodeChanged) and event.node == node]

    def check(self) -> None:
        """Nothing is held."""
        assert [node.in_flight for node in self.pool.nodes] == [0] * len(self.pool.nodes)
        assert [client.in_flight for node in self.pool.nodes for client in node.clients] == [0] * len(self.pool.nodes)
        assert self.pool.budget.in_flight == 0
        assert self.providers.open == []

    @property
    def seconds(self) -> float:
        """Since the last `send` began."""
        return self.loop.time() - self.started

    @property
    def kinds(self) -> list[str]:
        """What each attempt came to."""
        return [event.kind for event in self.told if isinstance(event, AttemptFinished)]


def asked(result: PoolResult, bench: Bench) -> tuple[Kind, list[str]]:
    """What a call came to, and who was asked for it."""
    return result.attempt.outcome.kind, bench.providers.asked


# -- the ordinary case


async def test_healthy_node_answers_at_the_first_attempt() -> None:
    """Nobody else is asked, and one attempt is told."""
    bench = Bench(Providers(a=[whole()], b=[whole()]))
    result = await bench.send()
    assert (result.attempts, *asked(result, bench)) == (1, Kind.OK, ["a"])
    (event,) = bench.told
    assert isinstance(event, AttemptFinished)
    assert (event.node, event.retry, event.kind, event.status) == ("a", False, "ok", 200)
    assert 0.0 <= event.seconds < 10.0


async def test_calls_go_to_the_least_busy_node() -> None:
    """Relative to its weight: a node of weight 3 has three of four calls."""
    providers = Providers(a=[after(10.0, whole())], b=[after(10.0, whole())])
    specs = (providers.spec("a", weight=3.0), providers.spec("b"))
    loop = asyncio.get_running_loop()
    nodes = [Node(spec, [providers.transport()], client_concurrency=100, clock=loop.time) for spec in specs]
    bench = Bench(providers, nodes=nodes)
    results = await asyncio.gather(*(bench.pool.send(CHAT, expires_at=inf) for _ in range(40)))
    assert (providers.asked.count("a"), providers.asked.count("b")) == (30, 10)
    for result in results:
        result.release()
    bench.check()


async def test_ties_are_broken_by_luck() -> None:
    """Idle nodes share the calls; none is the favourite."""
    bench = Bench(Providers(a=[whole()], b=[whole()]))
    bench.pool._picker._balancer = balancer_of("least_busy", rng=iter([0.9, 0.1, 0.1, 0.9]).__next__)
    await bench.send()
    await bench.send()
    assert bench.providers.asked == ["b", "a"]


async def test_lower_tier_is_asked_only_when_the_better_one_cannot_be() -> None:
    """Priority 0 as long as one of its nodes is up and not cooling."""
    providers = Providers(spare=[whole()], main=[status(401), whole()])
    specs = (providers.spec("spare", priority=1), providers.spec("main", priority=0))
    loop = asyncio.get_running_loop()
    bench = Bench(
        providers, nodes=[Node(s, [providers.transport()], client_concurrency=1, clock=loop.time) for s in specs]
    )
    await bench.send()
    await bench.send()
    await asyncio.sleep(30.0)
    await bench.send()
    assert providers.asked == ["main", "spare", "spare", "main"]


# -- failover


async def test_connect_error_goes_to_a_sibling_for_free() -> None:
    """Nothing was sent: no place in the budget is needed, at once."""
    bench = Bench(Providers(a=[raising(NeverSent("no"))], b=[whole()]))
    bench.pool.budget.in_flight = 999
    result = await bench.pool.send(CHAT, expires_at=inf)
    assert (result.attempts, *asked(result, bench)) == (2, Kind.OK, ["a", "b"])
    assert bench.seconds == 0.0
    result.release()


@pytest.mark.parametrize(
    "fault",
    [status(500), raising(Broken("reset")), status(529), body(b"<", content_type="text/html")],
    ids=["500", "reset", "overloaded", "html"],
)
async def test_failure_goes_to_a_sibling_within_the_budget(fault: Step) -> None:
    """At once, and the place in the budget is given back."""
    bench = Bench(Providers(a=[fault], b=[whole()]))
    assert asked(await bench.send(), bench) == (Kind.OK, ["a", "b"])
    assert bench.seconds == 0.0
    assert [event.retry for event in bench.told if isinstance(event, AttemptFinished)] == [False, True]


async def test_failure_without_a_place_in_the_budget_is_the_answer() -> None:
    """Both places of this moment are taken by others."""
    bench = Bench(Providers(a=[status(500)], b=[whole()]))
    bench.pool.budget.in_flight = 1
    result = await bench.pool.send(CHAT, expires_at=inf)
    assert (result.attempts, *asked(result, bench)) == (1, Kind.SERVER_ERROR, ["a"])
    assert (bench.pool.budget.in_flight, bench.pool.budget.exhausted) == (1, 1)
    result.release()


async def test_last_failure_is_the_answer() -> None:
    """After three attempts, as the last node gave it."""
    bench = Bench(Providers(a=[status(500)], b=[status(503)], c=[status(502)]))
    result = await bench.send()
    assert (result.attempts, result.attempt.status, bench.providers.asked) == (3, 502, ["a", "b", "c"])


async def test_single_node_is_asked_again_after_a_pause() -> None:
    """Full jitter over half a second, then over a second."""
    bench = Bench(Providers(a=[status(500), status(500), whole()]), luck=0.5)
    assert asked(await bench.send(), bench) == (Kind.OK, ["a", "a", "a"])
    assert bench.seconds == pytest.approx(0.25 + 0.5)


async def test_pause_is_what_the_node_asks_for_when_it_does() -> None:
    """503 with a Retry-After: not before, inside the deadline."""
    bench = Bench(Providers(a=[status(503, headers={"retry-after": "7"}), whole()]))
    assert asked(await bench.send(), bench) == (Kind.OK, ["a", "a"])
    assert bench.seconds == pytest.approx(7.0)


async def test_pause_beyond_the_deadline_is_not_made() -> None:
    """The 503 comes back at once, though another node rests shorter."""
    providers = Providers(a=[status(500)], b=[status(503, headers={"retry-after": "30"})])
    bench = Bench(providers)
    result = await bench.send(within=10.0)
    assert (result.attempt.status, providers.asked, bench.seconds) == (503, ["a", "b"], 0.0)


async def test_failure_at_the_deadline_is_no_timeout() -> None:
    """Less time than a pause may take: what the node said is worth more than our own timeout."""
    bench = Bench(Providers(a=[after(9.6, status(500))]))
    result = await bench.send(within=10.0)
    assert (result.attempt.status, bench.seconds) == (500, pytest.approx(9.6))


async def test_silent_node_is_not_asked_again() -> None:
    """It is busy with the first copy, and there is no other."""
    bench = Bench(Providers(a=[never]))
    assert asked(await bench.send(STREAMED_CHAT), bench) == (Kind.FIRST_TOKEN_TIMEOUT, ["a"])
    assert bench.seconds == pytest.approx(30.0)


async def test_silent_node_is_replaced_once() -> None:
    """By a sibling, and when that one is silent too, that is the end of it."""
    bench = Bench(Providers(a=[never], b=[after(10.0, chat_stream())], c=[chat_stream()]))
    assert asked(await bench.send(STREAMED_CHAT), bench) == (Kind.OK, ["a", "b"])
    assert bench.seconds == pytest.approx(40.0)
    bench = Bench(Providers(a=[never], b=[never], c=[chat_stream()]))
    assert asked(await bench.send(STREAMED_CHAT, within=600.0), bench) == (Kind.FIRST_TOKEN_TIMEOUT, ["a", "b"])


async def test_deadline_ends_everything() -> None:
    """However many siblings there are."""
    bench = Bench(Providers(a=[never], b=[whole()]))
    assert asked(await bench.send(), bench) == (Kind.TIMEOUT, ["a"])
    assert bench.seconds == pytest.approx(55.0)


@pytest.mark.parametrize("chunks", [[], [b"data: {broken\n\n"], [chat_events()[0], Broken("reset")]], ids=str)
async def test_stream_that_fails_before_its_content_is_tried_elsewhere(chunks: list[bytes]) -> None:
    """The caller has seen nothing of it."""
    bench = Bench(Providers(a=[streamed(*chunks)], b=[chat_stream()]))
    assert asked(await bench.send(STREAMED_CHAT), bench) == (Kind.OK, ["a", "b"])


async def test_error_in_a_stream_before_its_content_is_tried_elsewhere() -> None:
    """By its code: a server error within the budget."""
    bench = Bench(Providers(a=[streamed(sse({"error": {"code": "server_error"}}))], b=[chat_stream()]))
    assert asked(await bench.send(STREAMED_CHAT), bench) == (Kind.OK, ["a", "b"])


async def test_stream_is_not_tried_elsewhere_after_its_content() -> None:
    """It is the caller's then, broken or not."""
    bench = Bench(Providers(a=[streamed(*chat_events("a")[:2], Broken("reset"))], b=[chat_stream()]))
    assert asked(await bench.send(STREAMED_CHAT), bench) == (Kind.OK, ["a"])


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (400, None),
        (404, None),
        (409, None),
        (413, None),
        (422, None),
        (400, "content_filter"),
        (400, "context_length_exceeded"),
    ],
)
async def test_callers_error_comes_back_as_it_is(code: int, error: str | None) -> None:
    """One attempt: another node would say the same."""
    bench = Bench(Providers(a=[status(code, error=error)], b=[whole()]))
    result = await bench.send()
    assert (result.attempts, result.attempt.status, bench.providers.asked) == (1, code, ["a"])
    assert b"scripted" in result.attempt.body


async def test_bug_is_not_tried_elsewhere() -> None:
    """It is ours, and would be there again."""
    bench = Bench(Providers(a=[raising(ZeroDivisionError())], b=[whole()]))
    assert asked(await bench.send(), bench) == (Kind.BUG, ["a"])


async def test_retries_can_be_switched_off() -> None:
    """`OPENAI_MAX_RETRIES=0`."""
    bench = Bench(Providers(a=[status(500)], b=[whole()]))
    bench.pool._max_attempts = 1
    assert asked(await bench.send(), bench) == (Kind.SERVER_ERROR, ["a"])


# -- refused keys


@pytest.mark.parametrize(
    "refusal",
    [
        status(401),
        status(402),
        status(403),
        status(429, error="insufficient_quota"),
    ],
    ids=["401", "402", "403", "insufficient_quota"],
)
async def test_node_that_refuses_its_key_is_off_and_its_siblings_serve(refusal: Step) -> None:
    """The call does not notice; the next ones do not try; after a while it is asked again."""
    bench = Bench(Providers(a=[refusal, whole()], b=[whole()]))
    bench.pool.budget.in_flight = 999  # free
    first = await bench.pool.send(CHAT, expires_at=inf)
    first.release()
    for _ in range(3):
        (await bench.pool.send(CHAT, expires_at=inf)).release()
    assert bench.providers.asked == ["a", "b", "b", "b", "b"]
    assert [event for event in bench.told if isinstance(event, NodeChanged)] == [
        NodeChanged("a", up=False, kind="node_refused")
    ]
    await asyncio.sleep(30.0)
    (await bench.pool.send(CHAT, expires_at=inf)).release()
    assert bench.providers.asked[-1] == "a"
    assert NodeChanged("a", up=True, kind="ok") in bench.told


async def test_node_that_lacks_the_model_stays_on_while_its_sibling_answers() -> None:
    """The name came with the call: a caller's typo must not take a node from everybody."""
    bench = Bench(Providers(a=[status(404, error="model_not_found"), whole()], b=[whole()]))
    assert asked(await bench.send(), bench) == (Kind.OK, ["a", "b"])
    assert [event for event in bench.told if isinstance(event, NodeChanged)] == []
    assert bench.pool.nodes[0].up


async def test_model_that_no_node_has_is_asked_for_once_at_each() -> None:
    """The caller gets the 404."""
    missing = status(404, error="model_not_found")
    bench = Bench(Providers(a=[missing], b=[missing]))
    assert asked(await bench.send(), bench) == (Kind.NODE_REFUSED, ["a", "b"])


async def test_only_node_that_refuses_its_key_gives_its_own_answer() -> None:
    """There is nobody else: the caller gets the 401, also while the node is off."""
    bench = Bench(Providers(a=[status(401)]))
    for _ in range(3):
        result = await bench.send()
        assert (result.attempts, result.attempt.status) == (1, 401)
    assert len([event for event in bench.told if isinstance(event, NodeChanged)]) == 1


async def test_all_nodes_off_asks_the_one_that_is_back_first() -> None:
    """Rather than nobody."""
    bench = Bench(Providers(a=[status(401)], b=[after(5.0, status(401)), whole()]))
    await bench.send()
    await bench.send()
    assert bench.providers.asked == ["a", "b", "a"]


async def test_burst_of_refusals_is_one_alarm() -> None:
    """Twenty calls that were under way when the key was refused."""
    bench = Bench(Providers(a=[after(1.0, status(401))]))
    results = await asyncio.gather(*(bench.pool.send(CHAT, expires_at=inf) for _ in range(20)))
    for result in results:
        result.release()
    assert len([event for event in bench.told if isinstance(event, NodeChanged)]) == 1
    assert bench.pool.nodes[0].off_for() == pytest.approx(30.0)


async def test_key_that_came_with_the_call_is_the_callers_own_error() -> None:
    """The node stays on for everybody else, and nobody else is asked with that key."""
    providers = Providers(a=[status(401)])
    loop = asyncio.get_running_loop()
    node = Node(providers.spec("a", api_key=""), [providers.transport()], client_concurrency=1, clock=loop.time)
    bench = Bench(providers, nodes=[node])
    result = await bench.send(Call("POST", "/x", credentials=[("authorization", "Bearer theirs")]))
    assert asked(result, bench) == (Kind.CALLER_ERROR, ["a"])
    assert (result.attempt.status, node.up) == (401, True)


# -- rate limits


async def test_rate_limit_goes_to_another_quota_domain_only() -> None:
    """At once and for free; the nodes that share the quota are left alone, now and while it rests."""
    providers = Providers(a=[status(429, headers={"retry-after": "20"})], b=[whole()], c=[whole()])
    loop = asyncio.get_running_loop()
    specs = (providers.spec("a", quota_domain="org"), providers.spec("b", quota_domain="org"), providers.spec("c"))
    bench = Bench(
        providers, nodes=[Node(s, [providers.transport()], client_concurrency=1, clock=loop.time) for s in specs]
    )
    bench.pool.budget.in_flight = 999
    for _ in range(3):
        (await bench.pool.send(CHAT, expires_at=inf)).release()
    assert providers.asked == ["a", "c", "c", "c"]
    await asyncio.sleep(20.0)
    providers.script(a=[whole()])
    (await bench.pool.send(CHAT, expires_at=inf)).release()
    assert providers.asked[-1] in {"a", "b"}


async def test_rate_limit_waits_for_the_reset_inside_the_deadline() -> None:
    """A single node: the caller waits, and is served."""
    bench = Bench(Providers(a=[status(429, headers={"retry-after": "7"}), whole()]))
    assert asked(await bench.send(), bench) == (Kind.OK, ["a", "a"])
    assert bench.seconds == pytest.approx(7.0)


async def test_rate_limit_waits_for_the_first_of_several_resets() -> None:
    """And asks that node, though it was asked before."""
    bench = Bench(
        Providers(a=[status(429, headers={"retry-after": "9"})], b=[status(429, headers={"retry-after": "4"}), whole()])
    )
    assert asked(await bench.send(), bench) == (Kind.OK, ["a", "b", "b"])
    assert bench.seconds == pytest.approx(4.0)


async def test_rate_limit_whose_reset_comes_too_late_is_the_answer() -> None:
    """At once, as the upstream gave it, with its Retry-After."""
    bench = Bench(Providers(a=[status(429, headers={"retry-after": "60"})]))
    result = await bench.send()
    assert (result.attempt.status, bench.seconds) == (429, 0.0)
    assert ("retry-after", "60") in result.attempt.headers
    assert result.attempt.outcome.retry_after == 60.0


async def test_rate_limit_is_waited_for_twice() -> None:
    """The third 429 is the answer."""
    bench = Bench(Providers(a=[status(429, headers={"retry-after": "2"})]))
    result = await bench.send()
    assert (result.attempts, result.attempt.status, bench.seconds) == (3, 429, pytest.approx(4.0))


async def test_rate_limit_is_waited_for_twice_however_many_retries_there_may_be() -> None:
    """`OPENAI_MAX_RETRIES=8` does not mean eight waits."""
    bench = Bench(Providers(a=[status(429, headers={"retry-after": "2"})]))
    bench.pool._max_attempts = 9
    result = await bench.send()
    assert (result.attempts, bench.seconds) == (3, pytest.approx(4.0))


async def test_node_that_is_off_is_not_asked_after_the_wait() -> None:
    """Though it was not asked for this call yet, and the one that rested was."""
    providers = Providers(a=[status(401)], b=[whole(), status(429, headers={"retry-after": "7"}), whole()])
    bench = Bench(providers)
    await bench.send()
    assert asked(await bench.send(), bench) == (Kind.OK, ["a", "b", "b", "b"])


async def test_rest_that_ends_with_the_deadline_comes_too_late() -> None:
    """There would be no time left for an answer."""
    bench = Bench(Providers(a=[status(429, headers={"retry-after": "60"})]))
    await bench.send()
    result = await bench.send(within=60.0)
    assert (result.attempts, result.attempt.outcome.status, bench.seconds) == (0, 429, 0.0)


async def test_call_during_the_rest_waits_for_it() -> None:
    """Nobody is asked before; then it is one ordinary attempt."""
    bench = Bench(Providers(a=[status(429, headers={"retry-after": "60"}), whole()]))
    await bench.send()
    result = await bench.send(within=61.0)
    assert (result.attempts, *asked(result, bench)) == (1, Kind.OK, ["a", "a"])
    assert bench.seconds == pytest.approx(60.0)


async def test_call_whose_deadline_is_before_the_end_of_the_rest_gets_a_429() -> None:
    """At once, without asking anybody, with the true Retry-After; nothing is held."""
    bench = Bench(Providers(a=[status(429, headers={"retry-after": "60"})]))
    await bench.send()
    await asyncio.sleep(0.5)
    result = await bench.send()
    assert (result.attempts, result.attempt.status, bench.providers.asked) == (0, 429, ["a"])
    assert ("retry-after", "60") in result.attempt.headers
    assert result.attempt.outcome.retry_after == pytest.approx(59.5)
    assert json.loads(result.attempt.body)["error"]["code"] == "rate_limit_exceeded"


async def test_node_that_rests_is_passed_over() -> None:
    """As long as another one does not rest, nobody waits."""
    bench = Bench(Providers(a=[status(429, headers={"retry-after": "60"})], b=[whole()]))
    for _ in range(3):
        await bench.send()
    assert bench.providers.asked == ["a", "b", "b", "b"]


async def test_unknown_reset_is_guessed_and_doubles_until_an_answer() -> None:
    """5 s, 10 s; after an answer 5 s again."""
    bench = Bench(Providers(a=[status(429), status(429), whole(), status(429), whole()]))
    await bench.send()
    assert bench.seconds == pytest.approx(15.0)
    await bench.send()
    assert bench.seconds == pytest.approx(5.0)


async def test_error_in_a_stream_about_the_rate_rests_its_quota_domain() -> None:
    """By its code, as if it had been a 429."""
    bench = Bench(Providers(a=[streamed(sse({"error": {"code": "rate_limit_exceeded"}}))], b=[chat_stream()]))
    assert asked(await bench.send(STREAMED_CHAT), bench) == (Kind.OK, ["a", "b"])
    assert bench.pool.cooling_for(bench.pool.nodes[0]) == pytest.approx(5.0)


# -- cancellation


@pytest.mark.parametrize(
    ("providers", "moment"),
    [
        ({"a": [never]}, 1.0),
        ({"a": [body(b"{", Pause(inf))]}, 1.0),
        ({"a": [status(500)]}, 0.2),
        ({"a": [status(429, headers={"retry-after": "7"})]}, 1.0),
        ({"a": [status(500)], "b": [never]}, 1.0),
    ],
    ids=["before the headers", "in the body", "in the pause", "in the rest", "in the second attempt"],
)
async def test_cancelled_call_gives_everything_back(providers: dict[str, list[Step]], moment: float) -> None:
    """Node, client, place in the budget; and the cancellation passes."""
    bench = Bench(Providers(**providers), luck=0.9)
    task = asyncio.create_task(bench.pool.send(CHAT, expires_at=inf))
    await asyncio.sleep(moment)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    bench.check()


async def test_cancelled_while_it_waits_for_the_rest_to_end() -> None:
    """Before any attempt: nothing was taken."""
    bench = Bench(Providers(a=[status(429, headers={"retry-after": "60"})]))
    await bench.send()
    task = asyncio.create_task(bench.pool.send(CHAT, expires_at=inf))
    await asyncio.sleep(1.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    bench.check()


# -- the end


async def test_closing_closes_every_node() -> None:
    """Also when one of them fails."""

    class Stuck(MockTransport):
        __slots__ = ()

        async def aclose(self) -> None:
            raise OSError("stuck")

    providers = Providers(a=[whole()], b=[whole()])
    loop = asyncio.get_running_loop()
    stuck = Node(NodeSpec("s", "http://s.test", "k"), [Stuck(lambda _: MockResponse())], client_concurrency=1)
    nodes = providers.nodes(loop.time)
    bench = Bench(providers, nodes=[nodes[0], stuck, nodes[1]])
    with pytest.raises(OSError, match="stuck"):
        await bench.pool.aclose()
    assert [transport.closed for transport in providers.transports] == [True, True]


async def test_repr_tells_live_state() -> None:
    """Nodes that are up, calls in flight; and the pool's capacity is theirs."""
    bench = Bench(Providers(a=[status(401)], b=[after(5.0, whole())]))
    task = asyncio.create_task(bench.send())
    await asyncio.sleep(1.0)
    assert repr(bench.pool) == "<Pool nodes=1/2 up in_flight=1>"
    assert (bench.pool.in_flight, bench.pool.capacity) == (1, 1000)
    await task
    assert repr(bench.pool) == "<Pool nodes=1/2 up in_flight=0>"


# -- what is told of each attempt


async def test_trail_tells_of_each_attempt_and_who_was_out_of_the_question() -> None:
    """A node that rests, one that has been asked: the flight recorder says why they were left out."""
    bench = Bench(Providers(a=[status(429, headers={"retry-after": "60"})], b=[status(500), whole()], c=[whole()]))
    first = await bench.send()
    assert [(each.node, each.kind, each.skipped) for each in first.trail] == [
        ("a", "rate_limit", ""),
        ("b", "server_error", "a=cooling"),
        ("c", "ok", "a=cooling b=asked"),
    ]
    second = await bench.send()
    assert [(each.node, each.skipped) for each in second.trail] == [("b", "a=cooling")]
    assert all(each in bench.told for each in (*first.trail, *second.trail))


async def test_node_that_is_off_or_drained_is_named_so() -> None:
    """Off by itself, or by an operator."""
    bench = Bench(Providers(a=[whole()], b=[whole()], c=[whole()]))
    bench.pool.nodes[0].switch_off()
    bench.pool.nodes[1].drain()
    bench.pool.changed()
    (attempt,) = (await bench.send()).trail
    assert (attempt.node, attempt.skipped) == ("c", "a=off b=drained")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-request-id": "req_1"}, "req_1"),
        ({"apim-request-id": "0-1.2"}, "0-1.2"),
        ({"x-request-id": "two words"}, None),
        ({"x-request-id": "x" * 81}, None),
        ({}, None),
    ],
)
async def test_failed_attempt_knows_the_upstreams_request_id(headers: dict[str, str], expected: str | None) -> None:
    """If it is a name and no text; of a success it is not looked for."""
    bench = Bench(Providers(a=[status(400, headers=headers)]))
    (attempt,) = (await bench.send()).trail
    assert attempt.request_id == expected
    assert attempt.server == "a.test"


async def test_node_that_rests_or_is_ejected_is_named_so() -> None:
    """By its own wish, or because it fails."""
    bench = Bench(Providers(a=[whole()], b=[whole()], c=[whole()]))
    bench.pool.nodes[0].rest(60.0)
    bench.pool.nodes[1].ejection.until = bench.loop.time() + 60.0
    bench.pool.changed()
    (attempt,) = (await bench.send()).trail
    assert (attempt.node, attempt.skipped) == ("c", "a=resting b=ejected")
