"""What does a judge say who sees every attempt? `llmock`'s verdict, warnings included, for all its scenarios.

The app around the pool does what apps do: when a stream breaks in the middle it says so, and asks again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import openai
import pytest
import pytest_asyncio

import phase1

if TYPE_CHECKING:
    from llmock.pytest_plugin import LLMock

MESSAGES = [{"role": "user", "content": "hello"}]
KEY = "sk-test-0123456789"
ASKS = 3

Prepare = Callable[["LLMock"], object]


def settings(**more: object) -> phase1.Settings:
    """Short clocks."""
    values: dict[str, object] = {
        "enable_llm_pool": True,
        "llm_strict_start": True,
        "llm_request_deadline": 20.0,
        "llm_first_token_timeout": 2.5,
        "llm_idle_timeout": 0.6,
        "openai_api_key": KEY,
    }
    return phase1.Settings.load(**{**values, **more})


@pytest_asyncio.fixture
async def manager(llmock: LLMock) -> AsyncIterator[phase1.LLMManager]:
    """A pool in front of the judge. The jitter is nine tenths of what it may be: pauses grow."""
    del llmock
    async with phase1.LLMManager(settings(), rng=lambda: 0.9) as manager:
        yield manager


async def whole(manager: phase1.LLMManager, content: str = "hello") -> str:
    """One answer."""
    messages = [{"role": "user", "content": content}]
    completion = await manager.llm().chat.completions.create(model="gpt-4o-mini", messages=messages)
    return completion.choices[0].message.content or ""


async def stream(manager: phase1.LLMManager) -> tuple[str, str | None]:
    """One stream: its words, and how it ended."""
    words, finish = "", None
    answer = await manager.llm().chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, stream=True)
    async for chunk in answer:
        for choice in chunk.choices:
            words += choice.delta.content or ""
            finish = choice.finish_reason or finish
    return words, finish


async def stream_until_whole(manager: phase1.LLMManager) -> tuple[str, int]:
    """As an app does: a stream that broke is asked for again. The words, and how often it was asked for."""
    for asked in range(1, ASKS + 1):
        try:
            words, finish = await stream(manager)
        except openai.APIError:
            await asyncio.sleep(0.2 * asked * asked)
            continue
        assert finish == "stop"
        return words, asked
    raise AssertionError("never whole")


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "prepare",
    [
        lambda judge: judge.fail(500),
        lambda judge: judge.fail(503, times=2),
        lambda judge: judge.fail(408),
        lambda judge: judge.fail(529),
        lambda judge: judge.fail(503, retry_after=0.7),
        lambda judge: judge.rate_limit(retry_after=0.7),
        lambda judge: judge.rate_limit(times=2, retry_after=0.6),
        lambda judge: judge.delay(0.3),
    ],
    ids=["500", "503 twice", "408", "529", "503 that says when", "429", "429 twice", "delay"],
)
async def test_fault_that_passes(
    manager: phase1.LLMManager, llmock: LLMock, prepare: Prepare, *, streams: bool
) -> None:
    """The caller is served, after the right pause."""
    prepare(llmock)
    assert (await stream(manager))[1] == "stop" if streams else await whole(manager)
    llmock.assert_resilient(strict=True)
    assert manager.status()["pool"]["in_flight"] == 0  # type: ignore[index]


@pytest.mark.parametrize(
    ("prepare", "error"),
    [
        (lambda judge: judge.fail(401, times=None), openai.AuthenticationError),
        (lambda judge: judge.fail(403, times=None), openai.PermissionDeniedError),
        (lambda judge: judge.fail(400, times=None), openai.BadRequestError),
        (lambda judge: judge.fail(404, times=None), openai.NotFoundError),
        (lambda judge: judge.fail(422, times=None), openai.UnprocessableEntityError),
        (lambda judge: judge.context_overflow(times=None), openai.BadRequestError),
    ],
    ids=["401", "403", "400", "404", "422", "context"],
)
async def test_fault_that_no_retry_mends(
    manager: phase1.LLMManager, llmock: LLMock, prepare: Prepare, error: type[Exception]
) -> None:
    """One attempt, and the caller has the error."""
    prepare(llmock)
    with pytest.raises(error):
        await whole(manager)
    llmock.assert_resilient(strict=True)
    assert len(llmock.requests) == 1


async def test_outage_is_not_made_worse(manager: phase1.LLMManager, llmock: LLMock) -> None:
    """Three attempts with growing pauses, and then the truth."""
    llmock.outage()
    with pytest.raises(openai.InternalServerError):
        await whole(manager)
    llmock.assert_resilient(strict=True)
    assert len(llmock.requests) == 3


@pytest.mark.parametrize("chunks", [0, 1, 3])
@pytest.mark.parametrize("fault", ["disconnect", "truncate", "corrupt", "stall"])
async def test_stream_that_breaks(manager: phase1.LLMManager, llmock: LLMock, fault: str, chunks: int) -> None:
    """Before its first word nobody notices; afterwards the caller is told, and nobody gets half an answer for a whole.

    On silence the only node is not asked again: there the caller is told too.
    """
    llmock.reply("a whole answer of several words", times=None)
    llmock.pace(50)  # else the server is through before anybody could leave
    getattr(llmock, fault)(after_chunks=chunks)
    words, asked = await stream_until_whole(manager)
    assert words == "a whole answer of several words"
    assert asked == (2 if chunks > 1 or fault == "stall" else 1)
    llmock.assert_resilient(strict=True)


async def test_slow_first_token_is_waited_for(manager: phase1.LLMManager, llmock: LLMock) -> None:
    """Longer than the pause between two words may be."""
    llmock.slow_first_token(1.0)
    assert (await stream(manager))[1] == "stop"
    llmock.assert_resilient(strict=True)
    assert len(llmock.requests) == 1


async def test_quota_is_kept(manager: phase1.LLMManager, llmock: LLMock) -> None:
    """Five questions more than are allowed at once: they wait for their turn."""
    llmock.limits(rpm=300)
    answers = await asyncio.gather(*(whole(manager, f"question {number}") for number in range(305)))
    assert all(answers)
    llmock.assert_resilient(strict=True)


async def test_nodes_of_one_account_wait_together(llmock: LLMock) -> None:
    """Three nodes, one quota domain: a 429 of one is not tried at the next."""
    url = llmock.base_url()
    nodes = [{"name": name, "base_url": url, "api_key": f"sk-{name}", "quota_domain": "org"} for name in "abc"]
    llmock.rate_limit(retry_after=0.7)
    async with phase1.LLMManager(
        settings(llm_nodes=json.dumps(nodes), enable_load_balancer=True), rng=lambda: 0.9
    ) as manager:
        assert await whole(manager)
    llmock.assert_resilient(strict=True)
