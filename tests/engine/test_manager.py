"""What does a call through the manager come to, and what does the breaker learn from it?"""

from __future__ import annotations

import asyncio
import gc
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

import pytest

from phase1.engine.call import Answer, Call
from phase1.engine.manager import reporting
from phase1.engine.transport import Broken, NeverSent
from phase1.events import BreakerChanged, CallFinished, Rejected, Routed
from phase1.exceptions import CircuitOpen, DeadlineExceeded, PoolClosed, QueueFull, QueueTimeout, Refused, UpstreamError
from phase1.policy.breaker import BreakerMode, BreakerState
from phase1.policy.classify import Kind, Outcome
from phase1.policy.selection import Reason, Route

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

if TYPE_CHECKING:
    from .conftest import MakeManager, Observed

FAILING = status(500)


def held(manager: Observed) -> tuple[int, int, int, int]:
    """In flight, waiting, at the nodes, in the retry budget."""
    binding = manager.bindings.current()
    assert binding.pool is not None
    admission, pool = binding.admission, binding.pool
    return admission.in_flight, admission.waiting, pool.in_flight, pool.budget.in_flight


def counted(manager: Observed) -> tuple[int, int]:
    """Verdicts that count in the breaker's window, and its streak of failures."""
    snapshot = manager.breaker.snapshot()
    return snapshot.window_requests, snapshot.consecutive_failures


def finished(manager: Observed) -> list[str]:
    """What each call has come to."""
    return [event.kind for event in manager.of(CallFinished)]


async def read(answer: Answer) -> bytes:
    """A whole streamed answer."""
    assert answer.stream is not None
    return b"".join([chunk async for chunk in answer.stream])


async def fail(manager: Observed, times: int = 3) -> None:
    """Calls that the upstream fails."""
    for _ in range(times):
        assert (await manager.send(CHAT)).status == 500


# -- answers


async def test_whole_answer_comes_back_and_is_told(make_manager: MakeManager) -> None:
    """Status, headers, body, outcome; one success; one event with the numbers; nothing is held."""
    manager = make_manager(Providers(a=[after(2.0, whole())]))
    answer = await manager.send(CHAT)
    assert (answer.status, answer.outcome.kind, answer.stream) == (200, Kind.OK, None)
    assert b"hello" in answer.body
    assert answer.headers == (("content-type", "application/json"),)
    (event,) = manager.of(CallFinished)
    assert isinstance(event, CallFinished)
    assert (event.kind, event.status, event.attempts, event.streamed) == ("ok", 200, 1, False)
    assert event.first_seconds is not None
    assert 0 <= event.queue_seconds <= event.first_seconds <= event.seconds
    assert (counted(manager), held(manager)) == ((1, 0), (0, 0, 0, 0))


async def test_stream_is_held_until_its_end(make_manager: MakeManager) -> None:
    """Its slot, its node, its verdict: given back with the last byte, told once."""
    manager = make_manager(Providers(a=[chat_stream()]))
    answer = await manager.send(STREAMED_CHAT)
    assert (held(manager), counted(manager), finished(manager)) == ((1, 0, 1, 0), (0, 0), [])
    assert await read(answer) == b"".join(chat_events("hel", "lo"))
    assert (held(manager), counted(manager), finished(manager)) == ((0, 0, 0, 0), (1, 0), ["ok"])
    (event,) = manager.of(CallFinished)
    assert isinstance(event, CallFinished)
    assert event.streamed


async def test_error_answer_comes_back_as_it_is(make_manager: MakeManager) -> None:
    """After all attempts; it counts as one failed request, not as three."""
    manager = make_manager(Providers(a=[FAILING]))
    answer = await manager.send(CHAT)
    assert (answer.status, answer.outcome.kind) == (500, Kind.SERVER_ERROR)
    assert b"scripted" in answer.body
    (event,) = manager.of(CallFinished)
    assert isinstance(event, CallFinished)
    assert (event.kind, event.attempts) == ("server_error", 3)
    assert (counted(manager), held(manager)) == ((1, 1), (0, 0, 0, 0))


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (raising(NeverSent("no route")), Kind.CONNECT),
        (raising(Broken("reset")), Kind.BROKEN),
        (streamed(), Kind.EMPTY),
        (streamed(b"data: {broken\n\n"), Kind.TRUNCATED),
        (never, Kind.FIRST_TOKEN_TIMEOUT),
        (raising(ZeroDivisionError("oops")), Kind.BUG),
    ],
    ids=["no route", "reset", "empty", "malformed", "silence", "bug"],
)
async def test_no_answer_at_all_is_an_upstream_error(make_manager: MakeManager, step: Step, kind: Kind) -> None:
    """It names what happened, has the transport's error as its cause, and counts as a failure."""
    manager = make_manager(Providers(a=[step]))
    with pytest.raises(UpstreamError, match=kind) as caught:
        await manager.send(STREAMED_CHAT)
    assert caught.value.kind == kind
    assert caught.value.__cause__ is not None
    assert (counted(manager), held(manager), finished(manager)) == ((1, 1), (0, 0, 0, 0), [kind])


async def test_deadline_is_an_error_of_ours(make_manager: MakeManager) -> None:
    """Before the proxy's 504; a TimeoutError too; it counts as a failure."""
    manager = make_manager(Providers(a=[never]), llm_request_deadline=40.0)
    started = asyncio.get_running_loop().time()
    with pytest.raises(DeadlineExceeded) as caught:
        await manager.send(CHAT)
    assert isinstance(caught.value, TimeoutError)
    assert asyncio.get_running_loop().time() - started == pytest.approx(40.0)
    assert (counted(manager), finished(manager)) == ((1, 1), ["timeout"])


@pytest.mark.parametrize(("timeout", "ends"), [(3.0, DeadlineExceeded), (inf, None), (100.0, None)])
async def test_timeout_that_the_app_asks_for_wins(
    make_manager: MakeManager, timeout: float, ends: type[Exception] | None
) -> None:
    """Shorter or longer than the deadline, or none at all."""
    manager = make_manager(Providers(a=[after(80.0, whole())]))
    call = Call("POST", "/x", timeout=timeout)
    if ends is None:
        assert (await manager.send(call)).status == 200
    else:
        with pytest.raises(ends):
            await manager.send(call)


# -- the breaker


async def test_three_failed_requests_open_the_breaker_and_the_fourth_is_refused(make_manager: MakeManager) -> None:
    """At once, with the time to come back, and without asking anybody."""
    providers = Providers(a=[FAILING])
    manager = make_manager(providers)
    await fail(manager)
    asked = len(providers.asked)
    with pytest.raises(CircuitOpen) as caught:
        await manager.send(CHAT)
    assert caught.value.retry_after == pytest.approx(2.5)
    assert len(providers.asked) == asked
    assert [(change.before, change.after, change.enforced) for change in manager.of(BreakerChanged)] == [
        ("active", "disabled", True)
    ]
    assert len(finished(manager)) == 3


async def test_failures_are_counted_after_failover(make_manager: MakeManager) -> None:
    """A dead node beside a healthy one never opens the breaker."""
    manager = make_manager(Providers(a=[FAILING], b=[whole()]))
    for _ in range(20):
        assert (await manager.send(CHAT)).status == 200
    assert (counted(manager), manager.breaker.state) == ((20, 0), BreakerState.ACTIVE)


@pytest.mark.parametrize("code", [400, 404, 409, 413, 422])
async def test_callers_errors_count_nowhere(make_manager: MakeManager, code: int) -> None:
    """However many."""
    manager = make_manager(Providers(a=[status(code)]))
    for _ in range(5):
        assert (await manager.send(CHAT)).status == code
    assert counted(manager) == (0, 0)


async def test_rate_limits_are_no_failures(make_manager: MakeManager) -> None:
    """They count in the window, not in the streak."""
    manager = make_manager(Providers(a=[status(429, headers={"retry-after": "100"})]))
    for _ in range(5):
        assert (await manager.send(CHAT)).status == 429
    assert counted(manager) == (5, 0)


async def test_break_after_the_first_token_is_a_failure(make_manager: MakeManager) -> None:
    """The caller has the error event, the breaker its failure."""
    manager = make_manager(Providers(a=[streamed(*chat_events("a")[:2], Broken("reset"))]))
    for _ in range(3):
        assert b"phase1_stream_broken" in await read(await manager.send(STREAMED_CHAT))
    assert manager.breaker.state is BreakerState.DISABLED
    assert finished(manager) == ["broken_after_token"] * 3


async def test_streams_of_one_bad_node_do_not_disable_the_pool(make_manager: MakeManager) -> None:
    """They could not be tried elsewhere; as long as other nodes are well, that says something about their node only."""
    cut = streamed(*chat_events("a")[:2], Pause(5.0), Broken("reset"))
    manager = make_manager(Providers(a=[cut], b=[after(1.0, whole())]))
    answers = await asyncio.gather(*(manager.send(STREAMED_CHAT) for _ in range(8)))
    broken = await asyncio.gather(*(read(answer) for answer in answers if answer.stream is not None))
    assert [b"phase1_stream_broken" in text for text in broken] == [True] * 4
    assert manager.breaker.snapshot().consecutive_failures == 0
    assert manager.breaker.state is BreakerState.ACTIVE


async def test_stream_that_a_probe_has_begun_is_its_proof(make_manager: MakeManager) -> None:
    """At its first content: the next probe need not wait for its last token, and its end changes nothing any more."""
    providers = Providers(a=[FAILING] * 9 + [streamed(*chat_events("a")[:2], Pause(40.0), Broken("reset"))])
    manager = make_manager(providers)
    await fail(manager)
    await asyncio.sleep(2.5)
    first = await manager.send(STREAMED_CHAT)
    assert manager.breaker.state is BreakerState.HALF_OPEN
    second = await manager.send(STREAMED_CHAT)
    assert manager.breaker.state is BreakerState.RAMPING
    assert b"phase1_stream_broken" in await read(first)
    assert b"phase1_stream_broken" in await read(second)
    assert (manager.breaker.state, counted(manager)) == (BreakerState.RAMPING, (0, 0))


async def test_whole_answer_of_a_probe_is_its_proof(make_manager: MakeManager) -> None:
    """And while it is under way nobody else is let in."""
    providers = Providers(a=[FAILING] * 9 + [after(10.0, whole())])
    manager = make_manager(providers)
    await fail(manager)
    await asyncio.sleep(2.5)
    probe = asyncio.create_task(manager.send(CHAT))
    await asyncio.sleep(1.0)
    with pytest.raises(CircuitOpen):
        await manager.send(CHAT)
    await probe
    await manager.send(CHAT)
    assert manager.breaker.state is BreakerState.RAMPING


async def test_cancelled_probe_lets_the_next_one_probe(make_manager: MakeManager) -> None:
    """It gives no verdict."""
    providers = Providers(a=[FAILING] * 9 + [never, whole()])
    manager = make_manager(providers)
    await fail(manager)
    await asyncio.sleep(2.5)
    probe = asyncio.create_task(manager.send(CHAT))
    await asyncio.sleep(1.0)
    probe.cancel()
    await asyncio.wait([probe])
    assert manager.breaker.state is BreakerState.HALF_OPEN
    assert (await manager.send(CHAT)).status == 200


async def test_ramping_breaker_admits_the_first_part_of_the_keys(make_manager: MakeManager) -> None:
    """By the share that the selection has told."""
    providers = Providers(a=[FAILING] * 9 + [whole()])
    manager = make_manager(providers)
    await fail(manager)
    await asyncio.sleep(2.5)
    await manager.send(CHAT)
    await manager.send(CHAT)
    assert (await manager.send(CHAT, share=0.05)).status == 200
    with pytest.raises(CircuitOpen):
        await manager.send(CHAT, share=0.95)


# -- refusals and cancellations count nowhere


async def test_cancelled_calls_count_nowhere(make_manager: MakeManager) -> None:
    """While they wait in the queue, at the node, in a stream: the breaker hears nothing, nothing is held."""
    providers = Providers(a=[never, never, streamed(*chat_events("a")[:2], Pause(inf))])
    manager = make_manager(providers, llm_client_concurrency=2)
    waiting = [asyncio.create_task(manager.send(CHAT)) for _ in range(4)]
    await asyncio.sleep(1.0)
    assert held(manager) == (2, 2, 2, 0)
    for task in reversed(waiting):
        task.cancel()
    await asyncio.wait(waiting)
    streaming = asyncio.create_task(read(await manager.send(STREAMED_CHAT)))
    await asyncio.sleep(1.0)
    streaming.cancel()
    await asyncio.wait([streaming])
    assert all(task.cancelled() for task in [*waiting, streaming])
    assert (counted(manager), held(manager)) == ((0, 0), (0, 0, 0, 0))
    assert finished(manager) == ["cancelled"] * 5
    assert providers.open == []


async def test_local_refusals_count_nowhere(make_manager: MakeManager) -> None:
    """A full queue and a wait that was too long: free, and nobody was asked."""
    providers = Providers(a=[never])
    manager = make_manager(providers, llm_client_concurrency=1, llm_queue_size=1, llm_queue_timeout=5.0)
    inside = asyncio.create_task(manager.send(CHAT))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(manager.send(CHAT))
    await asyncio.sleep(0)
    with pytest.raises(QueueFull):
        await manager.send(CHAT)
    with pytest.raises(QueueTimeout):
        await waiting
    assert (counted(manager), providers.asked) == ((0, 0), ["a"])
    assert finished(manager) == ["refused", "refused"]
    inside.cancel()
    await asyncio.wait([inside])
    assert held(manager) == (0, 0, 0, 0)


async def test_deadline_bounds_the_wait_in_the_queue(make_manager: MakeManager) -> None:
    """An explicit timeout shorter than the queue's."""
    manager = make_manager(Providers(a=[never]), llm_client_concurrency=1)
    inside = asyncio.create_task(manager.send(CHAT))
    await asyncio.sleep(0)
    with pytest.raises(QueueTimeout, match="within 2 s"):
        await manager.send(Call("POST", "/x", timeout=2.0))
    inside.cancel()
    await asyncio.wait([inside])


async def test_keys_take_turns(make_manager: MakeManager) -> None:
    """One user with a hundred calls delays another's single call by at most one turn."""
    providers = Providers(a=[after(1.0, whole())])
    manager = make_manager(providers, llm_client_concurrency=1)
    busy = [asyncio.create_task(manager.send(CHAT, key="busy")) for _ in range(100)]
    await asyncio.sleep(0)
    started = asyncio.get_running_loop().time()
    await manager.send(CHAT, key="patient")
    assert asyncio.get_running_loop().time() - started <= 3.0
    for task in busy:
        task.cancel()
    await asyncio.wait(busy)
    assert held(manager) == (0, 0, 0, 0)


async def test_bug_of_ours_counts_and_holds_nothing(make_manager: MakeManager) -> None:
    """An error where there should be none, in the middle of the pool: permit and place are given back."""
    manager = make_manager(Providers(a=[whole()]))
    await manager.start()
    pool = manager.bindings.current().pool
    assert pool is not None
    pool._picker._clock = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        await manager.send(CHAT)
    assert (counted(manager), held(manager), finished(manager)) == ((1, 1), (0, 0, 0, 0), ["bug"])


async def test_call_that_is_closed_with_its_loop_gives_its_permit_back(make_manager: MakeManager) -> None:
    """A coroutine that is thrown away: neutral."""
    manager = make_manager(Providers(a=[whole()]))
    await manager.start()
    call = manager.send(CHAT)
    manager.bindings.current().admission.in_flight = 10**6  # so that it has to wait
    call.send(None)
    call.close()
    assert (counted(manager), finished(manager)) == ((0, 0), ["cancelled"])


# -- streams that nobody reads


async def test_abandoned_stream_gives_its_slot_back(make_manager: MakeManager) -> None:
    """Garbage collected without being read."""
    providers = Providers(a=[streamed(*chat_events("a")[:2], Pause(inf))])
    manager = make_manager(providers)
    await manager.send(STREAMED_CHAT)
    gc.collect()
    await asyncio.sleep(0.1)
    assert (held(manager), finished(manager)) == ((0, 0, 0, 0), ["cancelled"])
    assert providers.open == []


async def test_stream_that_is_closed_twice_gives_its_slot_back_once(make_manager: MakeManager) -> None:
    """Another call's slot is not given away."""
    manager = make_manager(Providers(a=[chat_stream()]))
    first, second = await manager.send(STREAMED_CHAT), await manager.send(STREAMED_CHAT)
    await read(first)
    for _ in range(3):
        assert first.stream is not None
        await first.stream.aclose()
    assert held(manager) == (1, 0, 1, 0)
    await read(second)
    assert (held(manager), finished(manager)) == ((0, 0, 0, 0), ["ok", "ok"])


# -- what the doors hear


async def test_outcome_is_reported_to_whoever_listens(make_manager: MakeManager) -> None:
    """One per call, in the order of the calls: answers, beginnings of streams, failures, refusals."""
    providers = Providers(a=[whole(), chat_stream(), raising(ZeroDivisionError())])
    manager = make_manager(providers, llm_failure_threshold=1)
    outcomes: list[Outcome] = []
    token = reporting.set(outcomes)
    await manager.send(CHAT)
    await read(await manager.send(STREAMED_CHAT))
    with pytest.raises(UpstreamError):
        await manager.send(CHAT)
    with pytest.raises(CircuitOpen):
        await manager.send(CHAT)
    reporting.reset(token)
    assert [outcome.kind for outcome in outcomes] == [Kind.OK, Kind.OK, Kind.BUG, Kind.REFUSED]


async def test_stream_that_ends_in_anothers_context_is_not_reported_there(make_manager: MakeManager) -> None:
    """A stream dropped while somebody else listens: that one decides about his own call."""
    manager = make_manager(Providers(a=[chat_stream(), whole()]))
    dropped = [await manager.send(STREAMED_CHAT)]
    outcomes: list[Outcome] = []
    token = reporting.set(outcomes)
    await manager.send(CHAT)
    dropped.clear()
    gc.collect()
    await asyncio.sleep(0.1)
    reporting.reset(token)
    assert [outcome.kind for outcome in outcomes] == [Kind.OK]
    assert sorted(finished(manager)) == ["cancelled", "ok"]


# -- selection and switches


async def test_selection_is_told(make_manager: MakeManager) -> None:
    """Route and reason, once per question."""
    manager = make_manager(Providers(a=[whole()]))
    assert manager.select("user").route is Route.POOL
    manager.breaker.force(BreakerMode.FORCED_OFF)
    assert manager.select("user").reason is Reason.CIRCUIT_OPEN
    assert manager.of(Routed) == [Routed("pool", "split"), Routed("legacy", "circuit_open")]


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("force_legacy_llm", Reason.KILL_SWITCH),
        ("disable_pool", Reason.KILL_SWITCH),
        ("emergency_mode", Reason.KILL_SWITCH),
    ],
)
async def test_kill_switch_refuses_what_reaches_the_pool(
    make_manager: MakeManager, setting: str, reason: Reason
) -> None:
    """Nobody is asked; only the forced legacy keeps its connections warm."""
    providers = Providers(a=[whole()])
    manager = make_manager(providers, **{setting: True})
    await manager.start()
    assert manager.select("user").reason is reason
    with pytest.raises(PoolClosed, match="switched off"):
        await manager.send(CHAT)
    assert providers.asked == []
    assert bool(providers.transports) is manager.pool_wanted is (setting == "force_legacy_llm")
    assert counted(manager) == (0, 0)
    await manager.aclose()


async def test_manager_that_is_not_enabled_has_no_pool(make_manager: MakeManager) -> None:
    """Nor one without nodes."""
    for settings, specs in (({"enable_llm_pool": False}, None), ({}, ())):
        manager = make_manager(Providers(a=[whole()]), specs=specs, **settings)
        assert manager.pool_wanted is False
        assert manager.select("user").route is Route.LEGACY
        with pytest.raises(Refused):
            await manager.send(CHAT)


async def test_repr_tells_live_state(make_manager: MakeManager) -> None:
    """And no secret."""
    manager = make_manager(Providers(a=[status(401)], b=[never]))
    assert repr(manager) == "<Observed breaker=active no pool>"
    task = asyncio.create_task(manager.send(CHAT))
    await asyncio.sleep(1.0)
    assert repr(manager) == "<Observed nodes=1/2 up breaker=active in_flight=1 waiting=0>"
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize(
    ("base_url", "shown"),
    [
        ("https://user:password@host:8000/v1?key=secret", "https://host:8000/v1"),
        ("https://host/v1", "https://host/v1"),
    ],
)
async def test_public_address_has_no_credentials(make_manager: MakeManager, base_url: str, shown: str) -> None:
    """Neither before the host nor in the query; without nodes it is the provider's."""
    providers = Providers(a=[whole()])
    spec = providers.spec("a")
    changed = type(spec)(name="a", base_url=base_url, api_key="k")
    assert make_manager(providers, specs=(changed,)).public_url == shown
    assert make_manager(providers, specs=()).public_url == "https://api.openai.com/v1"


# -- what is told of a call


async def test_call_is_told_with_its_model_tokens_and_sizes(make_manager: MakeManager) -> None:
    """Read from the bytes, and not one of them is kept."""
    asked = b'{"model":"gpt","messages":[]}'
    answer = body(b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}')
    manager = make_manager(Providers(a=[answer]))
    got = await manager.send(replace(CHAT, body=asked))
    (event,) = manager.of(CallFinished)
    assert isinstance(event, CallFinished)
    assert (event.path, event.model, event.refusal) == ("/chat/completions", "gpt", None)
    assert (event.bytes_sent, event.bytes_received) == (len(asked), len(got.body))
    assert (event.input_tokens, event.output_tokens, event.chunks) == (3, 4, 0)
    assert [attempt.node for attempt in event.trail] == ["a"]


async def test_stream_is_told_with_its_chunks_and_its_usage(make_manager: MakeManager) -> None:
    """When its last byte has gone by."""
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'
    events = chat_events("hel", "lo")
    manager = make_manager(Providers(a=[streamed(*events[:-1], usage, events[-1])]))
    received = await read(await manager.send(STREAMED_CHAT))
    (event,) = manager.of(CallFinished)
    assert isinstance(event, CallFinished)
    assert (event.input_tokens, event.output_tokens) == (3, 4)
    assert (event.chunks, event.bytes_received) == (len(events) + 1, len(received))


async def test_refusal_is_told_by_its_name(make_manager: MakeManager) -> None:
    """The queue's, and the breaker's, which never gets as far."""
    manager = make_manager(
        Providers(a=[FAILING]), llm_pool_size=1, llm_client_concurrency=1, llm_queue_size=0, openai_max_retries=0
    )
    await fail(manager)
    with pytest.raises(CircuitOpen):
        await manager.send(CHAT)
    assert manager.of(Rejected) == [Rejected("CircuitOpen")]
    manager.breaker.reset()
    manager.bindings.current().admission.in_flight = 1
    with pytest.raises(QueueFull):
        await manager.send(CHAT)
    manager.bindings.current().admission.in_flight = 0
    assert [event.refusal for event in manager.of(CallFinished)] == [None, None, None, "QueueFull"]  # type: ignore[attr-defined]
