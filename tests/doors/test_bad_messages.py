"""Messages that no model takes: are the errors the SDK's own, and is the pool not blamed for them?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from llmock.pytest_plugin import LLMock

import phase1
from phase1.policy.breaker import BreakerState
from tests.doors.bench import HELLO, SyncLegacy, settings

WAYS = ["generate_response_async", "chat"]


@pytest.fixture
async def manager(llmock: LLMock) -> AsyncIterator[phase1.LLMManager]:
    """A pool on a provider that checks what it is sent, and a legacy client that takes anything."""
    llmock.limits(context_window=50)
    options = settings(openai_base_url=llmock.base_url(), llm_model="gpt-4o")
    async with phase1.LLMManager(options, SyncLegacy()) as manager:
        yield manager


async def ask(manager: phase1.LLMManager, way: str, messages: Any) -> object:  # noqa: ANN401 - anything goes
    """One request by the facade or by the SDK's resource."""
    llm = manager.llm("user-1")
    if way == "chat":
        return await llm.chat.completions.create(model="gpt-4o", messages=messages)
    return await llm.generate_response_async(messages)


async def stock_error(llmock: LLMock, messages: Any) -> Exception:  # noqa: ANN401
    """What the SDK raises without phase1."""
    async with openai.AsyncOpenAI(base_url=llmock.base_url(), api_key="sk", max_retries=0) as client:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it is
            await client.chat.completions.create(model="gpt-4o", messages=messages)
    return caught.value


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "messages",
    [
        "hello",
        None,
        {"role": "user"},
        [],
        ["hello"],
        [{"role": "nobody", "content": 1}],
        [{"role": "user", "content": "far too long " * 500}],
        [{"role": "user", "content": object()}],
        object(),
    ],
    ids=["text", "none", "mapping", "empty", "list of text", "odd role", "too long", "unserializable", "object"],
)
async def test_error_is_the_sdks_own_and_counts_for_nothing(
    manager: phase1.LLMManager, llmock: LLMock, way: str, messages: object
) -> None:
    """The same class and text as without phase1; legacy is not asked, the breaker hears nothing."""
    if messages == []:
        llmock.fail(400, times=None, code="empty_array", message="[] is too short - 'messages'")
    expected = await stock_error(llmock, messages)
    for _ in range(4):
        with pytest.raises(type(expected)) as caught:
            await ask(manager, way, messages)
        assert str(caught.value) == str(expected)
    snapshot = manager.breaker.snapshot()
    assert snapshot.state is BreakerState.ACTIVE
    assert (snapshot.consecutive_failures, snapshot.window_requests) == (0, 0)
    assert manager.tally.fallbacks == {}
    assert manager.bindings.current().admission.in_flight == 0


@pytest.mark.parametrize("way", WAYS)
async def test_good_messages_are_answered_by_the_same_provider(manager: phase1.LLMManager, way: str) -> None:
    """Or the checks above would have refused everything."""
    assert await ask(manager, way, HELLO)
    assert manager.tally.calls == {"ok": 1}


@pytest.mark.parametrize("way", WAYS)
async def test_wrong_requests_between_failures_do_not_help_the_pool(
    manager: phase1.LLMManager, llmock: LLMock, way: str
) -> None:
    """They neither count nor reset what counts."""
    llmock.fail(500, times=2)
    await manager.llm().generate_response_async(HELLO)
    await manager.llm().generate_response_async(HELLO)
    with pytest.raises(openai.UnprocessableEntityError):
        await ask(manager, way, "hello")
    llmock.fail(500, times=1)
    await manager.llm().generate_response_async(HELLO)
    assert manager.breaker.state is BreakerState.DISABLED
