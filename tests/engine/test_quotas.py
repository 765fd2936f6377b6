"""Are the providers' limits kept before they say so?"""

from __future__ import annotations

import asyncio
import json
from math import inf

import pytest

from phase1.engine.call import Call
from phase1.engine.node import Node
from phase1.engine.transport import NeverSent
from phase1.engine.transport.mock import MockResponse
from phase1.policy.classify import Kind

from .providers import CHAT, STREAMED_CHAT, Providers, Step, body, raising, status, streamed, whole
from .test_pool import Bench
from .upstream import chat_events, completion, sse


def limited(providers: Providers, **limits: object) -> Bench:
    """A bench whose nodes have these limits."""
    return Bench(providers, nodes=providers.nodes(asyncio.get_running_loop().time, **limits))


def using(tokens: int) -> Step:
    """An answer that says what it used."""
    return body(json.dumps({**completion("hi"), "usage": {"total_tokens": tokens}}).encode())


def naming(model: str, *, tokens: int = 10) -> Call:
    """A call for a model, of at most so many tokens."""
    return Call("POST", "/x", body=json.dumps({"model": model, "messages": [], "max_tokens": tokens}).encode())


async def test_requests_per_minute_are_spread_over_the_minute() -> None:
    """Six at once, then one in ten seconds each: callers wait in turn instead of getting a 429."""
    bench = limited(Providers(a=[whole()]), rpm=6)
    done: list[float] = []

    async def call() -> None:
        (await bench.pool.send(CHAT, expires_at=inf)).release()
        done.append(bench.loop.time() - bench.started)

    await asyncio.gather(*(call() for _ in range(9)))
    assert done == pytest.approx([0.0] * 6 + [10.0, 20.0, 30.0])
    bench.check()


async def test_requests_per_second() -> None:
    """`OPENAI_RATE_LIMIT_REQUESTS_PER_SECOND`: the same, shorter."""
    bench = limited(Providers(a=[whole()]), rps=2.0)
    for _ in range(4):
        (await bench.pool.send(CHAT, expires_at=inf)).release()
    assert bench.seconds == pytest.approx(1.0)


async def test_quota_that_is_used_up_sends_calls_elsewhere() -> None:
    """At once, without a 429 and without waiting."""
    providers = Providers(a=[whole()], b=[whole()])
    loop = asyncio.get_running_loop()
    specs = (providers.spec("a", rpm=1), providers.spec("b"))
    bench = Bench(
        providers, nodes=[Node(s, [providers.transport()], client_concurrency=9, clock=loop.time) for s in specs]
    )
    for _ in range(3):
        await bench.send()
    assert providers.asked == ["a", "b", "b"]


async def test_nodes_of_one_domain_share_their_limit() -> None:
    """Two keys of one organisation; the third node has its own."""
    providers = Providers(a=[whole()], b=[whole()], c=[whole()])
    loop = asyncio.get_running_loop()
    specs = (
        providers.spec("a", quota_domain="org", rpm=2),
        providers.spec("b", quota_domain="org", rpm=2),
        providers.spec("c", priority=1),
    )
    bench = Bench(
        providers, nodes=[Node(s, [providers.transport()], client_concurrency=9, clock=loop.time) for s in specs]
    )
    for _ in range(4):
        await bench.send()
    assert min(providers.asked[:2]) in {"a", "b"}
    assert providers.asked[2:] == ["c", "c"]


async def test_limit_that_cannot_be_met_in_time_is_a_429_with_the_true_wait() -> None:
    """At once; nothing is booked for it."""
    bench = limited(Providers(a=[whole()]), rpm=1)
    await bench.send()
    result = await bench.send(within=59.0)
    assert (result.attempt.status, result.attempts, bench.seconds) == (429, 0, 0.0)
    assert ("retry-after", "60") in result.attempt.headers
    result = await bench.send(within=61.0)
    assert (result.attempt.status, bench.seconds) == (200, pytest.approx(60.0))


async def test_caller_who_goes_away_gives_his_booking_back() -> None:
    """The next one has his moment."""
    bench = limited(Providers(a=[whole()]), rpm=1)
    await bench.send()
    waiting = asyncio.create_task(bench.pool.send(CHAT, expires_at=inf))
    await asyncio.sleep(1.0)
    waiting.cancel()
    await asyncio.wait([waiting])
    await bench.send(within=inf)
    assert bench.seconds == pytest.approx(59.0)


async def test_429_while_somebody_waits_makes_him_wait_longer() -> None:
    """What he had booked does not hold any more."""
    bench = limited(Providers(a=[whole()]), rpm=6)
    for _ in range(6):
        await bench.send()
    waiting = asyncio.create_task(bench.pool.send(CHAT, expires_at=inf))
    await asyncio.sleep(5.0)
    node = bench.pool.nodes[0]
    quota = bench.pool._picker.quota(node, bench.pool._progress(CHAT, inf, None))
    quota.cooldown.throttled(bench.loop.time(), retry_after=20.0, jitter=0.0)
    (await waiting).release()
    assert bench.loop.time() - bench.started == pytest.approx(25.0)


async def test_tokens_per_minute_are_estimated_and_settled() -> None:
    """A call that used less than was booked leaves the rest to the next one."""
    bench = limited(Providers(a=[using(100)]), tpm=1000)
    call = naming("m", tokens=800)
    await bench.send(call)
    await bench.send(call)
    assert bench.seconds == 0.0
    await bench.send(call)
    assert bench.seconds > 0.0


async def test_answer_that_says_nothing_of_tokens_stays_booked() -> None:
    """As it was estimated."""
    bench = limited(Providers(a=[body(b'{"object":"x"}')]), tpm=1000)
    await bench.send(naming("m", tokens=900))
    await bench.send(naming("m", tokens=500))
    assert bench.seconds > 20.0


async def test_tokens_of_a_stream_are_settled_by_its_usage() -> None:
    """The last event says it, if the app asked for it."""
    usage = sse({"choices": [], "usage": {"total_tokens": 10}})
    *events, done = chat_events("a")
    bench = limited(Providers(a=[streamed(*events, usage, done, usage)]), tpm=1000)
    for _ in range(10):
        assert await bench.read() is Kind.OK
    assert bench.seconds == 0.0


async def test_call_that_was_never_sent_is_given_back() -> None:
    """The provider has not counted it."""
    bench = limited(Providers(a=[raising(NeverSent("no")), whole()]), rpm=1)
    assert (await bench.send(within=inf)).attempt.status == 200
    assert bench.seconds < 1.0


async def test_models_have_limits_of_their_own() -> None:
    """A 429 for one leaves the other alone."""
    bench = Bench(Providers(a=[status(429, headers={"retry-after": "20"}), whole()]))
    waiting = asyncio.create_task(bench.pool.send(naming("big"), expires_at=inf))
    await asyncio.sleep(1.0)
    result = await bench.pool.send(naming("small"), expires_at=inf)
    assert result.attempt.status == 200
    result.release()
    assert not waiting.done()
    (await waiting).release()
    assert bench.seconds == pytest.approx(20.0)


async def test_limits_are_learnt_from_answers() -> None:
    """The upstream says that nothing is left: nobody needs a 429 to believe it."""
    said = (
        ("content-type", "application/json"),
        ("x-ratelimit-limit-requests", "60"),
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "60s"),
    )
    bench = Bench(Providers(a=[lambda: MockResponse(200, said, [json.dumps(completion("hi")).encode()])]))
    await bench.send()
    await bench.send()
    assert bench.seconds == pytest.approx(1.0)


async def test_no_request_reaches_a_domain_that_cools() -> None:
    """Fifty users, two nodes of one organisation, one 429 with Retry-After: whoever comes later waits."""
    asked_at: list[float] = []
    providers = Providers(a=[status(429, headers={"retry-after": "10"}), whole()], b=[whole()])
    bench = limited(providers, quota_domain="org")

    async def user(number: int) -> None:
        await asyncio.sleep(number * 0.1)
        (await bench.pool.send(CHAT, expires_at=inf)).release()
        asked_at.append(bench.loop.time() - bench.started)

    await asyncio.gather(*(user(number) for number in range(50)))
    assert len(providers.asked) == 51
    assert min(asked_at) == pytest.approx(10.0)


async def test_off_node_of_a_cooling_domain_is_not_asked_either() -> None:
    """It is waited for, though there is nobody else."""
    providers = Providers(a=[status(401), whole()], b=[status(429, headers={"retry-after": "7"}), whole()])
    bench = limited(providers, quota_domain="org")
    assert (await bench.send()).attempt.outcome.kind is Kind.OK
    assert bench.seconds == pytest.approx(7.0)


async def test_streams_without_a_limit_are_passed_on_as_they_are() -> None:
    """No wrapper, no counting."""
    bench = Bench(Providers(a=[streamed(*chat_events("a"))]))
    result = await bench.pool.send(STREAMED_CHAT, expires_at=inf)
    assert type(result.attempt.stream).__name__ == "_LiveStream"
    assert result.attempt.stream is not None
    await result.attempt.stream.aclose()
    result.release()
