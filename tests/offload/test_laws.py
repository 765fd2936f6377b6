"""Do the rules in memory and the scripts in Redis agree, whatever happens in whichever order?

Random histories of two tasks: messages twice, late and from before, zombies, lost replies, reapers, cancels. After each
step both say the same; at the end the law holds: one last frame, rising places, and what a reader folds is one attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phase1.offload import frames
from phase1.offload.frames import End
from phase1.offload.journal import START, Append, Cursor

from .stores import Bench, memory_bench, new_task, redis_bench

TASKS = st.sampled_from(["a", "b"])
SMALL = st.integers(0, 4)
STEPS = st.one_of(
    st.tuples(st.just("create"), TASKS, st.booleans()),
    st.tuples(st.just("claim"), TASKS, st.integers(1, 3), st.sampled_from(["me", "you"])),
    st.tuples(st.just("append"), TASKS, st.integers(0, 3), SMALL, st.booleans()),
    st.tuples(st.just("next"), TASKS, st.booleans()),
    st.tuples(st.just("renew"), TASKS, st.integers(0, 3)),
    st.tuples(st.just("cancel"), TASKS, st.sampled_from(["u", "eve"])),
    st.tuples(st.just("lapse"), TASKS),
    st.tuples(st.just("reap"), TASKS),
    st.tuples(st.just("late"), TASKS),
    st.tuples(st.just("attach"), TASKS),
)
LONG = st.lists(STEPS, max_size=25).map(lambda steps: [("create", "a", True), ("claim", "a", 1, "me"), *steps])


async def step(bench: Bench, what: tuple[Any, ...]) -> object:  # noqa: PLR0911 - a table
    """Do it, and say what it came to."""
    verb, task, *rest = what
    journal = bench.journal
    if verb == "create":
        return await journal.create(new_task(task, restarts=rest[0]))
    if verb == "claim":
        claim = await journal.claim(task, rest[0], rest[1])
        return claim.code, claim.epoch
    if verb == "next":
        return await _append_next(bench, task, last=rest[0])
    if verb == "append":
        return await journal.append([_frame(task, rest[0], rest[1], last=rest[2])])
    if verb == "renew":
        return await journal.renew([(task, rest[0])])
    if verb in {"lapse", "late"}:
        known = await journal.meta(task)
        done: Callable[[str], Awaitable[None]] = bench.lapsed if verb == "lapse" else bench.overdue
        return await done(task) if known is not None and known.state != "done" else None
    calls: dict[str, Callable[..., Awaitable[object]]] = {
        "cancel": journal.cancel,
        "reap": journal.reap,
        "attach": journal.attach,
    }
    return await calls[verb](task, *rest)


def _frame(task: str, epoch: int, seq: int, *, last: bool) -> Append:
    data = frames.ending(End.COMPLETED) if last else frames.encode({"t": f"{epoch}-{seq} "})
    return Append(task, epoch, seq, data, "completed" if last else "")


async def _append_next(bench: Bench, task: str, *, last: bool) -> object:
    meta = await bench.journal.meta(task)
    if meta is None:
        return None
    return await bench.journal.append([_frame(task, meta.epoch, meta.seq + 1, last=last)])


async def state(bench: Bench, task: str) -> object:
    """All that there is to see."""
    meta = await bench.journal.meta(task)
    facts = meta and (meta.state, meta.end, meta.epoch, meta.seq, meta.dispatch, meta.claimed, meta.restarts)
    return facts, await bench.journal.read(task, START, 1000), await bench.journal.backlog()


async def holds(bench: Bench, task: str) -> None:
    """The law."""
    entries = await bench.journal.read(task, START, 1000)
    places = [entry.cursor for entry in entries]
    assert places == sorted(set(places))
    assert [entry.terminal for entry in entries[:-1]] == [False] * (len(entries) - 1 if entries else 0)
    text: list[str] = []
    for entry in entries:
        frame = frames.decode(entry.data)
        text = [] if "reset" in frame else [*text, *([frame["t"]] if "t" in frame else [])]
    epochs = {piece.partition("-")[0] for piece in text}
    assert len(epochs) <= 1
    assert [int(piece.partition("-")[2]) for piece in text] == list(range(1, len(text) + 1))
    for cut in (Cursor(0, 0), *places):
        rest = await bench.journal.read(task, cut, 1000)
        assert [*[entry for entry in entries if entry.cursor <= cut], *rest] == entries


def test_memory_and_redis_agree(shared_redis: str, prefix: str) -> None:
    """A few hundred histories."""

    async def play(history: list[tuple[Any, ...]]) -> None:
        memory = memory_bench()
        async with redis_bench(shared_redis, prefix) as stored:
            for what in history:
                assert await step(memory, what) == await step(stored, what), what
                assert await state(memory, what[1]) == await state(stored, what[1]), what
            for task in ("a", "b"):
                await holds(stored, task)

    @settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(LONG)
    def histories(history: list[tuple[Any, ...]]) -> None:
        asyncio.run(play(history))

    histories()
