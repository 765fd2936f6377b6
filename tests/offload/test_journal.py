"""Does a journal keep its word, in memory and in Redis alike?"""

from __future__ import annotations

import asyncio

import pytest

from phase1.offload import frames
from phase1.offload.frames import End
from phase1.offload.journal import START, Append, Code, Cursor, Entry, JournalUnavailable
from phase1.offload.redis_store import RedisStore

from .stores import Bench, config_of, new_task

END = frames.ending(End.COMPLETED)
HELLO = frames.encode({"t": "hello"})


def first(epoch: int = 1, seq: int = 1, data: str = HELLO, end: str = "", task: str = "t1") -> Append:
    """One frame of `t1`."""
    return Append(task, epoch, seq, data, end)


async def code(bench: Bench, append: Append) -> Code:
    """What one append comes to."""
    return (await bench.journal.append([append]))[0].code


async def places(bench: Bench, task: str = "t1") -> list[str]:
    """Where there are frames."""
    return [str(entry.cursor) for entry in await bench.journal.read(task, START, 1000)]


async def running(bench: Bench, **changes: object) -> None:
    """`t1` is created and claimed."""
    assert (await bench.journal.create(new_task(**changes))).code is Code.OK
    assert (await bench.journal.claim("t1", 1, "me")).epoch == 1


async def test_create_twice_is_once(bench: Bench) -> None:
    """A create whose reply was lost may be repeated."""
    assert await bench.journal.create(new_task()) == (Code.OK, "t1")
    assert await bench.journal.create(new_task()) == (Code.ALREADY, "t1")
    assert await bench.journal.backlog() == 1


async def test_one_claim_of_a_dispatch(bench: Bench) -> None:
    """Of copies of a message one may run it; the same owner may ask again."""
    await running(bench)
    assert (await bench.journal.claim("t1", 1, "me")).code is Code.ALREADY
    assert (await bench.journal.claim("t1", 1, "other")).code is Code.TAKEN
    assert (await bench.journal.claim("t1", 2, "other")).code is Code.STALE
    assert (await bench.journal.claim("t9", 1, "other")).code is Code.GONE


async def test_claim_gives_what_is_left_of_the_deadline(bench: Bench) -> None:
    """The worker's clock starts at the creation."""
    await bench.journal.create(new_task())
    claim = await bench.journal.claim("t1", 1, "me")
    assert 0 < claim.remaining_ms <= 118_000


async def test_append_numbers(bench: Bench) -> None:
    """The next frame, once."""
    await running(bench)
    assert await code(bench, first()) is Code.OK
    assert await code(bench, first()) is Code.ALREADY
    assert (await bench.journal.append([first(seq=5)]))[0] == (Code.GAP, 1, False)
    assert await code(bench, first(epoch=2)) is Code.UNCLAIMED
    assert await code(bench, first(seq=2, data=END, end="completed")) is Code.OK
    assert await code(bench, first(seq=2, data=END, end="completed")) is Code.ALREADY
    assert await code(bench, first(seq=3)) is Code.CLOSED
    assert await code(bench, first(task="t9")) is Code.GONE
    assert await places(bench) == ["1-1", "1-2"]


async def test_several_appends_of_several_tasks(bench: Bench) -> None:
    """One round trip, answers in order."""
    await running(bench)
    await bench.journal.create(new_task("t2"))
    await bench.journal.claim("t2", 1, "me")
    wanted = [first(), first(task="t2"), first(seq=2), first(seq=9), first(task="t2", epoch=0)]
    replies = [reply.code for reply in await bench.journal.append(wanted)]
    assert replies == [Code.OK, Code.OK, Code.OK, Code.GAP, Code.FENCED]


async def test_too_large(bench: Bench) -> None:
    """A task has so many bytes, and always room for its end."""
    await running(bench)
    large = frames.encode({"t": "x" * (bench.config.max_bytes - 8)})
    assert await code(bench, first(data=large)) is Code.OK
    assert await code(bench, first(seq=2)) is Code.TOO_LARGE
    assert await code(bench, first(seq=2, data=END, end="incomplete")) is Code.OK


async def test_meta_tells_state(bench: Bench) -> None:
    """Queued, running, done."""
    assert await bench.journal.meta("t1") is None
    await bench.journal.create(new_task())
    states = [await bench.journal.meta("t1")]
    await bench.journal.claim("t1", 1, "me")
    states.append(await bench.journal.meta("t1"))
    await code(bench, first(data=END, end="completed"))
    states.append(await bench.journal.meta("t1"))
    assert [(meta.state, meta.end, meta.epoch, meta.seq) for meta in states if meta] == [
        ("queued", "", 0, 0),
        ("run", "", 1, 0),
        ("done", "completed", 1, 1),
    ]


async def test_request_goes_with_the_end(bench: Bench) -> None:
    """What was asked is kept no longer than needed."""
    await running(bench, request='{"a":1}')
    assert await bench.journal.request("t1") == '{"a":1}'
    await code(bench, first(data=END, end="completed"))
    assert await bench.journal.request("t1") is None


async def test_renew(bench: Bench) -> None:
    """The owner stays the owner; nobody else becomes it."""
    await running(bench)
    await bench.lapsed("t1")
    assert [reply.code for reply in await bench.journal.renew([("t1", 1), ("t9", 1)])] == [Code.OK, Code.GONE]
    assert (await bench.journal.reap("t1")).code is Code.ALREADY
    assert [reply.code for reply in await bench.journal.renew([("t1", 2)])] == [Code.FENCED]
    assert await bench.journal.renew([]) == []


async def test_lease_given_back(bench: Bench) -> None:
    """A process that ends leaves its tasks to the reaper at once."""
    await running(bench)
    assert await bench.journal.overdue(10) == []
    await bench.journal.renew([("t1", 1)], lease_ms=0)
    assert await bench.journal.overdue(10) == ["t1"]


async def test_reap_dispatches_again(bench: Bench) -> None:
    """Nobody held it: a new dispatch, for which the old message is stale."""
    await bench.journal.create(new_task())
    assert (await bench.journal.reap("t1")).code is Code.ALREADY
    await bench.lapsed("t1")
    assert await bench.journal.overdue(10) == ["t1"]
    assert await bench.journal.reap("t1") == (Code.REDISPATCH, 2, False)
    assert (await bench.journal.reap("t1")).code is Code.ALREADY
    assert (await bench.journal.claim("t1", 1, "late")).code is Code.STALE
    assert (await bench.journal.claim("t1", 2, "new")).epoch == 1


async def test_reset_says_that_text_is_void(bench: Bench) -> None:
    """Frames of a dead attempt are out: the new one begins with a reset, and the dead one is fenced."""
    await running(bench)
    await code(bench, first())
    await bench.lapsed("t1")
    await bench.journal.reap("t1")
    assert (await bench.journal.claim("t1", 2, "new")).epoch == 2
    assert await code(bench, first(seq=2)) is Code.FENCED
    assert await code(bench, first(epoch=2)) is Code.OK
    assert await places(bench) == ["1-1", "2-0", "2-1"]


async def test_no_reset_without_restarts(bench: Bench) -> None:
    """Readers who cannot be told get an end instead."""
    await running(bench, restarts=False)
    await code(bench, first())
    await bench.lapsed("t1")
    assert (await bench.journal.reap("t1")).code is Code.CLOSED_HERE
    last = (await bench.journal.read("t1", START, 10))[-1]
    assert (str(last.cursor), frames.decode(last.data)["e"]["code"]) == ("2-0", "worker_lost")
    assert await code(bench, first(seq=2)) is Code.FENCED


async def test_attempts_are_bounded(bench: Bench) -> None:
    """Two workers lost, and it is over."""
    await running(bench)
    await bench.lapsed("t1")
    await bench.journal.reap("t1")
    await bench.journal.claim("t1", 2, "new")
    await bench.lapsed("t1")
    assert (await bench.journal.reap("t1")).code is Code.CLOSED_HERE
    meta = await bench.journal.meta("t1")
    assert meta
    assert meta.end == "lost"
    assert await bench.journal.backlog() == 0


async def test_nobody_takes_it(bench: Bench) -> None:
    """Three messages and no worker: the queue was too long."""
    await bench.journal.create(new_task())
    codes = []
    for _ in range(3):
        await bench.lapsed("t1")
        codes.append((await bench.journal.reap("t1")).code)
    assert codes == [Code.REDISPATCH, Code.REDISPATCH, Code.CLOSED_HERE]
    last = (await bench.journal.read("t1", START, 10))[-1]
    assert frames.decode(last.data)["e"]["code"] == "queue_timeout"


async def test_deadline(bench: Bench) -> None:
    """After it nobody may claim it, and the reaper ends it."""
    await bench.journal.create(new_task())
    await bench.overdue("t1")
    assert (await bench.journal.claim("t1", 1, "me")).code is Code.LATE
    await bench.lapsed("t1")
    assert (await bench.journal.reap("t1")).code is Code.CLOSED_HERE
    meta = await bench.journal.meta("t1")
    assert meta
    assert meta.end == "timeout"


async def test_cancel_in_the_queue(bench: Bench) -> None:
    """Nobody has it: it is over at once, and the message finds nothing to do."""
    await bench.journal.create(new_task())
    assert (await bench.journal.cancel("t1", "somebody")).code is Code.GONE
    assert (await bench.journal.cancel("t1", "u")).code is Code.CLOSED_HERE
    assert (await bench.journal.cancel("t1", "u")).code is Code.ALREADY
    assert (await bench.journal.claim("t1", 1, "me")).code is Code.CLOSED
    assert await places(bench) == ["1-0"]


async def test_cancel_while_it_runs(bench: Bench) -> None:
    """The owner is told on the control channel, and in the reply to whatever it does next."""
    await running(bench)
    heard = bench.journal.cancellations()
    waiting = asyncio.ensure_future(anext(heard))
    await asyncio.sleep(0)
    async with bench.journal.watch("t1"):  # by now the connection listens
        assert (await bench.journal.cancel("t1", "u")).code is Code.OK
    assert await asyncio.wait_for(waiting, 5) == "t1"
    await heard.aclose()
    assert (await bench.journal.renew([("t1", 1)]))[0] == (Code.OK, 0, True)
    assert (await bench.journal.append([first()]))[0] == (Code.OK, 0, True)


async def test_cancelled_and_lost(bench: Bench) -> None:
    """Whose worker dies after a cancel is cancelled, not started again."""
    await running(bench)
    await bench.journal.cancel("t1", "u")
    await bench.lapsed("t1")
    assert (await bench.journal.reap("t1")).code is Code.CLOSED_HERE
    meta = await bench.journal.meta("t1")
    assert meta
    assert meta.end == "cancelled"


async def test_cancel_by_one_of_two_readers(bench: Bench) -> None:
    """The other one still wants it."""
    await running(bench)
    assert await bench.journal.attach("t1")
    assert not await bench.journal.attach("t9")
    assert (await bench.journal.cancel("t1", "u")).code is Code.DETACHED
    assert (await bench.journal.cancel("t1", "u")).code is Code.OK


async def test_idempotency_key(bench: Bench) -> None:
    """The same body attaches, another body is refused, and nothing is entered."""
    key = ("u:k", "digest")
    assert (await bench.journal.create(new_task(idempotency=key))).code is Code.OK
    assert await bench.journal.create(new_task("t2", idempotency=key)) == (Code.ATTACH, "t1")
    assert (await bench.journal.create(new_task("t3", idempotency=("u:k", "other")))).code is Code.REUSED
    assert await bench.journal.meta("t2") is None
    assert await bench.journal.meta("t3") is None


async def test_shared_answer(bench: Bench) -> None:
    """Equal questions have one leader; who knows that it is of no use may take its place, once."""
    flight = {"flight": "u:q", "flight_ms": 60_000}
    assert (await bench.journal.create(new_task(**flight))).code is Code.OK
    assert await bench.journal.create(new_task("t2", **flight)) == (Code.LEADER, "t1")
    assert (await bench.journal.create(new_task("t3", leader="t1", **flight))).code is Code.OK
    assert await bench.journal.create(new_task("t4", leader="t1", **flight)) == (Code.LEADER, "t3")


async def test_read_from_a_place(bench: Bench) -> None:
    """Pages, from any cursor on."""
    await running(bench)
    await bench.journal.append([first(seq=n) for n in range(1, 8)])
    page = await bench.journal.read("t1", Cursor(1, 2), 3)
    assert [entry.cursor.seq for entry in page] == [3, 4, 5]
    assert await bench.journal.read("t1", Cursor(1, 7), 3) == []
    assert await bench.journal.read("t1", Cursor(9, 0), 3) == []
    assert page[0] == Entry(Cursor(1, 3), HELLO)


async def test_watch_hears_appends(bench: Bench) -> None:
    """A reader that has entered hears of everything that comes."""
    await running(bench)
    assert await bench.journal.watchers("t1") == 0
    async with bench.journal.watch("t1") as watch:
        await code(bench, first())
        heard = await watch.next(5)
        assert heard is not None
        assert await watch.next(0.01) is None or heard == ()
        assert await bench.journal.watchers("t1") == 1


@pytest.mark.parametrize("text", ["", "1", "1-", "-1", "1-2-3", "a-b", "1-2 ", "12345678901-1", "\u0661-\u0662"])
def test_bad_cursors(text: str) -> None:
    """Nothing else gets near the journal."""
    assert Cursor.parse(text) is None


async def test_unreachable_redis() -> None:
    """One kind of error, without the password."""
    store = RedisStore(config_of(backend="redis", redis_url="redis://:hush@127.0.0.1:1/0"))
    with pytest.raises(JournalUnavailable) as caught:
        await store.journal.meta("t1")
    assert "hush" not in str(caught.value)
    assert not await store.healthy()
    await store.aclose()
