"""Does the manager give back what a call holds, exactly once, whatever becomes of the call?"""

from __future__ import annotations

import asyncio
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from phase1.engine.manager import Manager
from phase1.events import CallFinished, Event
from phase1.exceptions import CircuitOpen, PoolError
from phase1.settings import Settings

from .providers import CHAT, STREAMED_CHAT, Providers
from .test_pool_laws import SCRIPTS, STEPS

USERS = st.lists(
    st.tuples(
        st.sampled_from("abc"),  # who
        st.floats(0, 20),  # when the call begins
        st.booleans(),  # whether it streams
        st.none() | st.sampled_from([0.0, 0.5, 2.0, 30.0]),  # after how long its caller goes away
        st.sampled_from(["read", "close", "drop", "hold"]),  # what its caller does with a stream
    ),
    min_size=1,
    max_size=15,
)


class Ledger:
    """Counts what has been told."""

    def __init__(self) -> None:
        self.finished = 0

    def on_event(self, event: Event, /) -> None:
        self.finished += isinstance(event, CallFinished)


@settings(max_examples=200)
@given(
    scripts=st.lists(SCRIPTS, min_size=1, max_size=2),
    users=USERS,
    capacity=st.integers(1, 3),
    seed=st.integers(0, 99),
)
async def test_every_call_is_settled_exactly_once(
    scripts: list[list[str]],
    users: list[tuple[str, float, bool, float | None, str]],
    capacity: int,
    seed: int,
) -> None:
    """Answers, faults, refusals, cancellations, streams that are read, closed, dropped or held for ever."""
    loop = asyncio.get_running_loop()
    providers = Providers(**{name: [STEPS[step] for step in steps] for name, steps in zip("xy", scripts, strict=False)})
    manager = Manager(
        Settings(
            enable_llm_pool=True,
            openai_api_key="k",
            llm_client_concurrency=capacity,
            llm_queue_size=5,
            llm_queue_timeout=10.0,
        ),
        providers.specs(),
        transport=providers.transport,
        clock=loop.time,
        rng=random.Random(seed).random,
    )
    ledger = Ledger()
    manager.events.subscribe(ledger)
    admitted = 0

    async def use(user: tuple[str, float, bool, float | None, str]) -> None:
        nonlocal admitted
        key, begin, streams, _, habit = user
        await asyncio.sleep(begin)
        admitted += 1
        try:
            answer = await manager.send(STREAMED_CHAT if streams else CHAT, key=key)
        except CircuitOpen:
            admitted -= 1
            return
        except PoolError:
            return
        if answer.stream is None or habit == "drop":
            return
        if habit == "close":
            await answer.stream.aclose()
            return
        async for _ in answer.stream:
            await asyncio.sleep(3600.0 if habit == "hold" else 0.0)

    tasks = [asyncio.create_task(use(user)) for user in users]
    for task, (_, begin, _, leaves, habit) in zip(tasks, users, strict=True):
        if leaves is not None or habit == "hold":
            loop.call_later(begin + (leaves or 100.0), task.cancel)
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(1.0)

    assert all(end is None or isinstance(end, asyncio.CancelledError) for end in ends)
    binding = manager.bindings.current()
    assert binding.pool is not None
    assert (binding.admission.in_flight, binding.admission.waiting) == (0, 0)
    assert (binding.pool.in_flight, binding.pool.budget.in_flight) == (0, 0)
    assert ledger.finished == admitted
    assert providers.open == []
    await manager.aclose()
    assert all(transport.closed for transport in providers.transports)
