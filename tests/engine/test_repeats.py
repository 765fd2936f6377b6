"""Who gets an answer that was there already?"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phase1.engine.answers import MemoryStore, StoreAway, packed, unpacked
from phase1.engine.call import Answer, Call
from phase1.engine.flights import Flights
from phase1.engine.repeats import CACHE_HEADER
from phase1.engine.reporting import noting
from phase1.engine.transport import Fields
from phase1.events import CacheAsked
from phase1.exceptions import DeadlineExceeded, QueueFull, UpstreamError
from phase1.policy.classify import Kind, Outcome

from .conftest import MakeManager, Observed
from .providers import CHAT as PLAIN
from .providers import STREAMED_CHAT, Providers, Step, after, body, chat_stream, never, raising, status, whole
from .virtual import VirtualLoop

CACHED = {"llm_cache_seconds": 300.0}
SHARED = {"llm_single_flight": True}


def asking(path: str = "/chat/completions", *, headers: Sequence[tuple[str, str]] = (), **question: object) -> Call:
    """A call with this question."""
    return Call("POST", path, headers=headers, body=json.dumps({"model": "m", **question}).encode())


CHAT = asking(temperature=0)


async def found(manager: Observed, call: Call = CHAT, *, key: str | None = None) -> str | None:
    """Where the answer came from."""
    return (await manager.send(call, key=key)).headers.get(CACHE_HEADER)


# -- kept answers


async def test_second_question_is_answered_from_the_cache(make_manager: MakeManager) -> None:
    """The body to the byte, the outcome of a call, its age; no attempt, no place, no verdict."""
    providers = Providers(a=[whole("first"), whole("second")])
    manager = make_manager(providers, **CACHED)
    first = await manager.send(CHAT)
    await asyncio.sleep(10)
    outcomes: list[Outcome] = []
    with noting(outcomes):
        second = await manager.send(CHAT)
    assert (second.status, second.body, second.outcome.kind) == (200, first.body, Kind.OK)
    assert [outcome.kind for outcome in outcomes] == [Kind.OK]
    assert (first.headers.get(CACHE_HEADER), second.headers.get(CACHE_HEADER)) == ("miss", "hit")
    assert second.headers.get("age") == "0"
    assert second.headers.get("content-type") == "application/json"
    assert providers.asked == ["a"]
    assert manager.tally.cache == {"miss": 1, "hit": 1}
    assert manager.tally.finished == 1
    await manager.aclose()


async def test_answer_is_good_for_its_time(make_manager: MakeManager) -> None:
    """Then it is asked for again."""
    manager = make_manager(Providers(a=[whole()]), **CACHED)
    assert await found(manager) == "miss"
    await asyncio.sleep(299)
    assert await found(manager) == "hit"
    await asyncio.sleep(2)
    assert await found(manager) == "miss"
    await manager.aclose()


async def test_off_by_default(make_manager: MakeManager) -> None:
    """Nobody looks, and no answer says so."""
    providers = Providers(a=[whole()])
    manager = make_manager(providers)
    assert [await found(manager), await found(manager)] == [None, None]
    assert providers.asked == ["a", "a"]
    assert manager.tally.cache == {}
    await manager.aclose()


@pytest.mark.parametrize(
    "call",
    [PLAIN, asking(temperature=0, n=2), asking(temperature=0, store=True), Call("GET", "/models"), asking("/files")],
    ids=["not deterministic", "two choices", "stored", "GET", "files"],
)
async def test_bypass(make_manager: MakeManager, call: Call) -> None:
    """Asked each time."""
    providers = Providers(a=[whole()])
    manager = make_manager(providers, **CACHED, **SHARED)
    assert [await found(manager, call), await found(manager, call)] == [None, None]
    assert (providers.asked, manager.tally.cache) == (["a", "a"], {"bypass": 2})
    await manager.aclose()


async def test_streams_are_never_kept(make_manager: MakeManager) -> None:
    """Neither looked up nor shared, whoever says that it is one."""
    for call in (replace(STREAMED_CHAT, body=CHAT.body), asking(temperature=0, stream=True)):
        providers = Providers(a=[chat_stream()])
        manager = make_manager(providers, **CACHED, **SHARED, llm_cache_nondeterministic=True)
        for _ in range(2):
            answer = await manager.send(call)
            assert answer.stream is not None
            await answer.stream.aclose()
        assert providers.asked == ["a", "a"]
        await manager.aclose()


async def test_all_of_them_if_the_operator_says_so(make_manager: MakeManager) -> None:
    """`LLM_CACHE_NONDETERMINISTIC`; what is stored is still asked each time."""
    manager = make_manager(Providers(a=[whole()]), **CACHED, llm_cache_nondeterministic=True)
    assert [await found(manager, PLAIN), await found(manager, PLAIN)] == ["miss", "hit"]
    assert await found(manager, asking(store=True)) is None
    await manager.aclose()


@pytest.mark.parametrize(
    "step",
    [status(500), status(429), status(400), status(401), body(b"{}", code=201), body(b'{"error": {"code": "500"}}')],
    ids=["500", "429", "400", "401", "201", "error in a 200"],
)
async def test_errors_are_never_kept(make_manager: MakeManager, step: Step) -> None:
    """The next one who asks may have more luck."""
    manager = make_manager(Providers(a=[step, step, step, whole()]), openai_max_retries=0, **CACHED)
    await manager.send(CHAT)
    manager.providers.script(a=[whole()])
    manager.revive("a")
    await asyncio.sleep(400)
    answer = await manager.send(CHAT)
    assert (answer.outcome.kind, answer.headers.get(CACHE_HEADER)) == (Kind.OK, "miss")
    await manager.aclose()


async def test_users_have_their_own_answers(make_manager: MakeManager) -> None:
    """Unless the operator says that they are the app's."""
    manager = make_manager(Providers(a=[whole()]), **CACHED)
    assert [await found(manager, key=key) for key in ("u1", "u2", "u1", None, None)] == [
        "miss",
        "miss",
        "hit",
        "miss",
        "hit",
    ]
    await manager.aclose()
    manager = make_manager(Providers(a=[whole()]), **CACHED, llm_cache_scope="app")
    assert [await found(manager, key=key) for key in ("u1", "u2", None)] == ["miss", "hit", "hit"]
    await manager.aclose()


async def test_other_nodes_answer_anew(make_manager: MakeManager) -> None:
    """A key, a model's name or an endpoint that changes may mean another answer."""
    manager = make_manager(Providers(a=[whole()]), **CACHED)
    assert await found(manager) == "miss"
    manager.renew((replace(manager.nodes[0], api_key="sk-other"),))
    assert await found(manager) == "miss"
    await manager.aclose()


async def test_request_may_say_no(make_manager: MakeManager) -> None:
    """`no-store` is not looked up and not kept; `no-cache` is asked anew, and kept for the others."""
    providers = Providers(a=[whole("1"), whole("2"), whole("3")])
    manager = make_manager(providers, **CACHED, **SHARED)
    no_store = asking(temperature=0, headers=[("cache-control", "No-Store")])
    no_cache = asking(temperature=0, headers=[("cache-control", "no-cache")])
    assert [await found(manager, call) for call in (no_store, CHAT, no_cache, CHAT)] == [None, "miss", "miss", "hit"]
    assert (await manager.send(CHAT)).body == (await manager.send(CHAT)).body
    assert b'"3"' in (await manager.send(CHAT)).body
    await manager.aclose()


async def test_answer_that_is_too_large_is_not_kept(make_manager: MakeManager) -> None:
    """It would take more than its part of the room."""
    manager = make_manager(Providers(a=[whole("x" * 2000)]), **CACHED, llm_cache_max_bytes=16_000)
    assert [await found(manager), await found(manager)] == ["miss", "miss"]
    await manager.aclose()


async def test_siblings_share_the_room(make_manager: MakeManager) -> None:
    """The pools of other base URLs keep their answers in the same store, each its own."""
    manager = make_manager(Providers(a=[whole()]), **CACHED)
    assert manager.repeats is not None
    sibling = manager.sibling(manager.providers.spec("a", api_key="other"))
    assert sibling.repeats is not None
    assert sibling.repeats.store is manager.repeats.store
    await manager.send(CHAT)
    assert (await sibling.send(CHAT)).headers.get(CACHE_HEADER) == "miss"
    assert manager.repeats.store.describe()["entries"] == 2
    await sibling.aclose()
    await manager.aclose()


class Broken:
    """A store that is away, or full of somebody else's bytes."""

    def __init__(self, kept: bytes | None = None) -> None:
        self.kept = kept

    async def get(self, key: str) -> bytes | None:
        if self.kept is None:
            raise StoreAway
        return self.kept

    def put(self, key: str, value: bytes, *, seconds: float) -> None:
        """Forget it."""

    def describe(self) -> dict[str, object]:
        return {}

    async def aclose(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    "kept", [None, b"", b"{}", b"[]\nx", b'{"at": "x"}\nx', b'{"at": 1, "headers": 7}\n', b'{"at": 1, "headers": []}']
)
async def test_store_that_is_away_or_corrupt_costs_no_answer(make_manager: MakeManager, kept: bytes | None) -> None:
    """The upstream is asked, and the failure counted."""
    manager = make_manager(Providers(a=[whole()]), **CACHED)
    assert manager.repeats is not None
    manager.repeats.store = Broken(kept)
    assert await found(manager) == "miss"
    assert manager.tally.cache == {"error": 1, "miss": 1}
    await manager.aclose()


def test_packed_answer_is_the_same_answer() -> None:
    """With what holds for later readers, and without what was true of one exchange."""
    fields = [
        ("content-type", "application/json"),
        ("x-request-id", "r"),
        ("set-cookie", "c"),
        ("x-ratelimit-limit", "1"),
    ]
    answer = Answer(200, Fields.of(fields), Outcome(Kind.OK, 200), body=b"a\nbody")
    again = unpacked(packed(answer, now=1000.0), now=1007.5)
    assert (again.status, again.body, again.outcome) == (200, b"a\nbody", Outcome(Kind.OK, 200))
    assert list(again.headers) == [("content-type", "application/json"), ("x-request-id", "r"), ("age", "7")]


async def test_memory_store_forgets() -> None:
    """By its bounds."""
    store = MemoryStore(max_bytes=1000, max_entries=1, clock=asyncio.get_running_loop().time)
    store.put("a", b"1", seconds=9.0)
    store.put("b", b"2", seconds=9.0)
    assert (await store.get("a"), await store.get("b")) == (None, b"2")
    assert store.describe()["entries"] == 1
    await store.aclose()


# -- calls under way


async def gathered(manager: Observed, *calls: Call) -> list[Answer | BaseException]:
    """What each gets, asked at the same time."""
    return await asyncio.gather(*map(manager.send, calls), return_exceptions=True)


async def test_equal_questions_at_once_are_one_call(make_manager: MakeManager) -> None:
    """Everybody gets the answer, and each guard its outcome."""
    providers = Providers(a=[after(5.0, whole())])
    manager = make_manager(providers, **SHARED)
    outcomes: list[Outcome] = []
    with noting(outcomes):
        answers = await gathered(manager, *[CHAT] * 10)
    assert providers.asked == ["a"]
    assert len({answer.body for answer in answers if isinstance(answer, Answer)}) == 1
    assert [outcome.kind for outcome in outcomes] == [Kind.OK] * 10
    assert manager.tally.cache == {"miss": 1, "shared": 9}
    assert manager.tally.finished == 1
    assert await found(manager) == "miss", "nothing is kept"
    await manager.aclose()


async def test_different_questions_are_different_calls(make_manager: MakeManager) -> None:
    """Also those of different users."""
    providers = Providers(a=[after(5.0, whole())])
    manager = make_manager(providers, **SHARED)
    await asyncio.gather(
        manager.send(CHAT),
        manager.send(asking(temperature=0, seed=1)),
        manager.send(CHAT, key="u"),
        manager.send(PLAIN),
    )
    assert providers.asked == ["a"] * 4
    await manager.aclose()


@pytest.mark.parametrize("leaver", [0, 1, 2])
async def test_who_leaves_takes_nobody_with_him(make_manager: MakeManager, leaver: int) -> None:
    """Not even the one who began it."""
    providers = Providers(a=[after(5.0, whole())])
    manager = make_manager(providers, **SHARED)
    calls = [asyncio.ensure_future(manager.send(CHAT)) for _ in range(3)]
    await asyncio.sleep(1)
    calls[leaver].cancel()
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(end) for end in done] == [
        asyncio.CancelledError if number == leaver else Answer for number in range(3)
    ]
    assert providers.asked == ["a"]
    await manager.aclose()


async def test_last_one_who_leaves_cancels_the_call(make_manager: MakeManager) -> None:
    """Its connection is closed; whoever comes then begins anew."""
    providers = Providers(a=[never])
    manager = make_manager(providers, **SHARED)
    calls = [asyncio.ensure_future(manager.send(CHAT)) for _ in range(3)]
    await asyncio.sleep(1)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await asyncio.sleep(0)
    assert manager.tally.calls == {"cancelled": 1}
    assert manager.bindings.current().admission.in_flight == 0
    assert manager.repeats is not None
    assert len(manager.repeats._flights) == 0
    providers.script(a=[whole()])
    assert await found(manager) == "miss"
    await manager.aclose()


async def test_failure_of_the_pool_is_everybodys(make_manager: MakeManager) -> None:
    """After its failover: an answer that says so, or none."""
    for step, kind in ((after(1.0, status(500)), Answer), (after(1.0, raising(OSError("bug"))), UpstreamError)):
        providers = Providers(a=[step])
        manager = make_manager(providers, **SHARED, openai_max_retries=0)
        ends = await gathered(manager, *[CHAT] * 3)
        assert {type(end) for end in ends} == {kind}
        assert providers.asked == ["a"]
        await manager.aclose()


async def test_refusal_and_deadline_are_ones_own(make_manager: MakeManager) -> None:
    """The one who joined asks for himself, with the time that he has left."""
    providers = Providers(a=[never, whole()])
    manager = make_manager(providers, **SHARED)
    impatient, patient = replace(CHAT, timeout=2.0), replace(CHAT, timeout=50.0)
    first, second = await gathered(manager, impatient, patient)
    assert isinstance(first, DeadlineExceeded)
    assert isinstance(second, Answer)
    assert providers.asked == ["a", "a"]
    await manager.aclose()
    manager = make_manager(
        Providers(a=[after(1.0, whole())]), **SHARED, llm_pool_size=1, llm_client_concurrency=1, llm_queue_size=1
    )
    busy = [asyncio.ensure_future(manager.send(asking(temperature=0, seed=n))) for n in range(2)]
    await asyncio.sleep(0.1)
    assert {type(end) for end in await gathered(manager, CHAT, CHAT)} == {QueueFull}
    await asyncio.gather(*busy, return_exceptions=True)
    await manager.aclose()


async def test_answer_that_comes_as_a_stream_has_one_reader(make_manager: MakeManager) -> None:
    """Though nobody has asked for one: whoever joined asks for himself, and nothing is kept."""
    providers = Providers(a=[after(1.0, body(b"a", b"b", content_type="text/plain"))])
    manager = make_manager(providers, **SHARED, **CACHED)
    for answer in await gathered(manager, CHAT, CHAT):
        assert isinstance(answer, Answer)
        assert answer.stream is not None
        assert b"".join([chunk async for chunk in answer.stream]) == b"ab"
    assert providers.asked == ["a", "a"]
    assert await found(manager) == "miss"
    await manager.aclose()


async def test_patience_of_who_joins_is_his_own(make_manager: MakeManager) -> None:
    """He is told when his time is over; the call goes on for the other."""
    providers = Providers(a=[after(10.0, whole())])
    manager = make_manager(providers, **SHARED)
    outcomes: list[Outcome] = []
    with noting(outcomes):
        first = asyncio.ensure_future(manager.send(replace(CHAT, timeout=float("inf"))))
        await asyncio.sleep(1)
        with pytest.raises(DeadlineExceeded):
            await manager.send(replace(CHAT, timeout=2.0))
    assert isinstance(await first, Answer)
    assert Counter(outcome.kind for outcome in outcomes) == {Kind.TIMEOUT: 1, Kind.OK: 1}
    assert providers.asked == ["a"]
    await manager.aclose()


async def test_kept_and_shared_together(make_manager: MakeManager) -> None:
    """A stampede is one call, and then none."""
    providers = Providers(a=[after(5.0, whole())])
    manager = make_manager(providers, **SHARED, **CACHED)
    await gathered(manager, *[CHAT] * 5)
    await gathered(manager, *[CHAT] * 5)
    assert providers.asked == ["a"]
    assert manager.tally.cache == {"miss": 1, "shared": 4, "hit": 5}
    assert len(manager.of(CacheAsked)) == 10
    await manager.aclose()


async def test_work_that_raises_is_raised_to_all() -> None:
    """Whoever began it."""
    flights: Flights[None] = Flights()

    async def work() -> None:
        await asyncio.sleep(1)
        raise OSError

    ends = await asyncio.gather(*(flights.share("a", work) for _ in range(2)), return_exceptions=True)
    assert [type(end) for end in ends] == [OSError, OSError]
    assert len(flights) == 0


async def test_work_that_ends_while_its_last_waiter_is_cancelled_leaves_nothing() -> None:
    """In the same moment."""
    flights: Flights[int] = Flights()

    async def work() -> int:
        await asyncio.sleep(1)
        return 1

    waiter = asyncio.ensure_future(flights.share("a", work))
    asyncio.get_running_loop().call_later(1.0, waiter.cancel)
    await asyncio.gather(waiter, return_exceptions=True)
    await asyncio.sleep(0)
    assert len(flights) == 0


@settings(max_examples=150)
@given(
    callers=st.lists(
        st.tuples(st.sampled_from("ab"), st.floats(0, 3), st.none() | st.floats(0, 6)), min_size=1, max_size=8
    ),
    fails=st.booleans(),
)
def test_callers_who_stay_get_their_end(callers: list[tuple[str, float, float | None]], fails: bool) -> None:  # noqa: FBT001
    """Whoever else comes or goes; at most one piece of work per key at a time; nothing is left."""

    async def play() -> None:
        flights: Flights[str] = Flights()
        running: Counter[str] = Counter()

        async def work(key: str) -> str:
            running[key] += 1
            assert running[key] == 1
            try:
                await asyncio.sleep(2)
                if fails:
                    raise OSError
            finally:
                running[key] -= 1
            return key

        async def call(key: str, begins: float) -> str:
            await asyncio.sleep(begins)
            return (await flights.share(key, lambda: work(key)))[0]

        tasks = [asyncio.ensure_future(call(key, begins)) for key, begins, _ in callers]
        for task, (_, _, leaves) in zip(tasks, callers, strict=True):
            if leaves is not None:
                asyncio.get_running_loop().call_later(leaves, task.cancel)
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
        for end, (key, _, leaves) in zip(ends, callers, strict=True):
            if leaves is None:
                assert isinstance(end, OSError) if fails else end == key
        assert len(flights) == 0
        assert not running["a"]
        assert not running["b"]

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(play())
