"""The small parts: ids, rates, processes, failures."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.exceptions import CircuitOpen, ConfigurationError, DeadlineExceeded
from phase1.offload import gcra
from phase1.offload.failures import failure
from phase1.offload.ids import Signer
from phase1.offload.service import several_processes

from .stores import SECRET, Bench


@given(st.text(max_size=40))
def test_no_other_text_is_an_id(text: str) -> None:
    """Only what was made by us."""
    assert not Signer(SECRET).is_ours(text)


def test_ids() -> None:
    """Ours, of this secret, unchanged, and long enough not to be guessed."""
    signer = Signer(SECRET)
    task = signer.new_id()
    assert signer.is_ours(task)
    assert len(task) == 34
    assert not Signer(b"another-secret-x").is_ours(task)
    assert not signer.is_ours(task[:-1] + ("a" if task[-1] != "a" else "b"))
    assert signer.new_id() != task
    assert not signer.verify("job", "t|1", signer.tag("cookie", "t|1"))


def test_gcra_by_example() -> None:
    """Five at once, then one each 100 ms."""
    tat = None
    for _ in range(5):
        tat, taken = gcra.take(tat, now_us=1000, interval_us=100_000, burst=5, cost=1)
        assert taken.allowed
    refused = gcra.take(tat, now_us=1000, interval_us=100_000, burst=5, cost=1)[1]
    assert (refused.allowed, refused.remaining, refused.retry_after) == (False, 0, 0.1)
    assert gcra.take(tat, now_us=101_000, interval_us=100_000, burst=5, cost=1)[1].allowed
    back, _ = gcra.take(tat, now_us=1000, interval_us=100_000, burst=5, cost=-1)
    assert gcra.take(back, now_us=1000, interval_us=100_000, burst=5, cost=1)[1].allowed
    assert gcra.take(tat, now_us=1000, interval_us=100_000, burst=5, cost=0)[0] is None


@given(st.lists(st.tuples(st.integers(0, 300_000), st.integers(1, 3)), max_size=60))
def test_gcra_never_allows_more(asked: list[tuple[int, int]]) -> None:
    """Allowed ≤ burst + rate × time, whenever one looks."""
    tat, now, allowed = None, 0, 0
    for wait, cost in asked:
        now += wait
        new, taken = gcra.take(tat, now_us=now, interval_us=100_000, burst=5, cost=cost)
        tat = tat if new is None else new
        allowed += cost if taken.allowed else 0
        assert allowed <= 5 + now / 100_000


async def test_rates_of_a_store(bench: Bench) -> None:
    """Memory and Redis count alike."""
    took = [await bench.state.take("u", per_minute=6, burst=2, cost=1) for _ in range(3)]
    assert [taken.allowed for taken in took] == [True, True, False]
    assert [taken.remaining for taken in took] == [1, 0, 0]
    assert 9 < took[2].retry_after <= 10
    await bench.state.take("u", per_minute=6, burst=2, cost=-1)
    assert (await bench.state.take("u", per_minute=6, burst=2, cost=1)).allowed
    assert (await bench.state.take("v", per_minute=6, burst=2, cost=2)).allowed


_TAKE = """
import asyncio, dataclasses, sys
from phase1.offload.config import Config
from phase1.offload.redis_store import RedisStore

async def main():
    store = RedisStore(Config(backend="redis", secret=b"", redis_url=sys.argv[1], prefix=sys.argv[2]))
    took = [await store.state.take("u", per_minute=1, burst=50, cost=1) for _ in range(40)]
    print(sum(taken.allowed for taken in took))
    await store.aclose()

asyncio.run(main())
"""


def test_rate_over_processes(shared_redis: str, prefix: str) -> None:
    """Two processes together get one burst, and what a minute brings."""
    started = time.monotonic()
    command = [sys.executable, "-c", _TAKE, shared_redis, prefix]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    allowed = sum(int(process.communicate(timeout=50)[0]) for process in processes)
    assert 50 <= allowed <= 50 + (time.monotonic() - started) // 60 + 1


async def test_state_is_kept_apart(bench: Bench) -> None:
    """Live tasks, sessions, batches and usage of one user are nobody else's."""
    state = bench.state
    assert await state.hold("u", "t1", limit=1, seconds=60)
    assert await state.hold("u", "t1", limit=1, seconds=60)
    assert not await state.hold("u", "t2", limit=1, seconds=60)
    assert await state.hold("v", "t2", limit=1, seconds=60)
    await state.drop("u", "t1")
    assert await state.held("u") == []
    await state.remember("u", "s", [{"role": "user", "content": "ü"}] * 3, limit=2, seconds=60)
    assert await state.recall("u", "s") == [{"role": "user", "content": "ü"}] * 2
    assert await state.recall("v", "s") == []
    await state.gather("u", "b", ["t1", "t2"], seconds=60)
    assert await state.gathered("u", "b") == ["t1", "t2"]
    assert await state.gathered("v", "b") == []
    for _ in range(2):
        await state.count("u", "2030-01-01", "t1", {"tasks": 1, "total_tokens": 9}, seconds=60)
    assert await state.usage("u", "2030-01-01") == {"tasks": 1, "total_tokens": 9}
    assert await state.usage("v", "2030-01-01") == {}


@pytest.mark.parametrize(
    ("environment", "arguments", "several"),
    [
        ({}, ["uvicorn", "main:app"], False),
        ({"WEB_CONCURRENCY": "1"}, [], False),
        ({"WEB_CONCURRENCY": "4"}, [], True),
        ({}, ["uvicorn", "--workers", "2"], True),
        ({"WEB_CONCURRENCY": "4"}, ["uvicorn", "--workers=1"], False),
        ({}, ["gunicorn", "-w", "3"], True),
    ],
)
def test_several_processes(environment: dict[str, str], arguments: list[str], *, several: bool) -> None:
    """A journal in memory is for one."""
    assert several_processes(environment, arguments) is several


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("x"), "llm_not_configured"),
        (CircuitOpen("x"), "overloaded"),
        (DeadlineExceeded("x"), "upstream_timeout"),
        (RuntimeError("the prompt"), "internal_error"),
    ],
)
def test_failures(error: Exception, code: str) -> None:
    """Our words only."""
    assert failure(error)[0] == code
    assert "prompt" not in failure(error)[1]
