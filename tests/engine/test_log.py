"""What stands in the log, and what never does?"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from phase1.engine.call import Call
from phase1.engine.log import OperatorLog
from phase1.events import AttemptFinished, BreakerChanged, CallFinished, FellBack, NodeChanged, Routed

from .providers import CHAT, Providers, status, streamed
from .upstream import chat_events

if TYPE_CHECKING:
    from .conftest import MakeManager

TRIP = BreakerChanged("active", "disabled", 1, "consecutive_failures", enforced=True)


async def test_debug_log_tells_every_decision_and_no_content(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Routes, attempts, alarms, transitions, calls; no prompt, no answer, no key."""
    providers = Providers(a=[streamed(*chat_events("my answer")), status(401)])
    manager = make_manager(providers, specs=providers.specs(api_key="sk-secret"), llm_pool_debug=True)
    secret = Call("POST", "/chat", headers=[("x", "y")], body=b'{"stream":true,"messages":["my prompt"]}', streams=True)
    with caplog.at_level(logging.INFO, logger="phase1"):
        manager.select("user-key")
        answer = await manager.send(secret, key="user-key")
        assert answer.stream is not None
        assert b"my answer" in b"".join([chunk async for chunk in answer.stream])
        for _ in range(3):
            await manager.send(secret, key="user-key")
    for told in ("Routed(", "AttemptFinished(node='a'", "CallFinished(", "NodeChanged(", "BreakerChanged("):
        assert told in caplog.text
    for hidden in ("my answer", "my prompt", "sk-secret", "user-key"):
        assert hidden not in caplog.text


async def test_healthy_call_is_nobodys_news(make_manager: MakeManager, caplog: pytest.LogCaptureFixture) -> None:
    """Without debug not a line of it is written."""
    manager = make_manager(Providers(a=[streamed(*chat_events("a"))]))
    with caplog.at_level(logging.DEBUG, logger="phase1"):
        manager.select("user")
        answer = await manager.send(Call("POST", "/chat", streams=True))
        assert answer.stream is not None
        assert [_ async for _ in answer.stream]
    assert caplog.records == []


async def test_breaker_that_opens_is_a_warning(make_manager: MakeManager, caplog: pytest.LogCaptureFixture) -> None:
    """One line: what it is, what it was, why."""
    manager = make_manager(Providers(a=[status(500)]))
    for _ in range(3):
        await manager.send(CHAT)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == "the pool's breaker is disabled, was active: consecutive_failures"


def test_breaker_that_only_observes_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody was refused."""
    OperatorLog().on_event(BreakerChanged("active", "disabled", 1, "success_rate", enforced=False))
    assert caplog.messages == ["the pool's breaker is disabled, was active: success_rate (observed only)"]


def test_fallback_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """With its reason."""
    with caplog.at_level(logging.INFO, logger="phase1"):
        OperatorLog().on_event(FellBack("connect"))
    assert caplog.messages == ["fallback: the legacy client answers instead of the pool (connect)"]


def test_operators_log_leaves_everything_else_out(caplog: pytest.LogCaptureFixture) -> None:
    """A line for each request would fill the disk."""
    with caplog.at_level(logging.DEBUG, logger="phase1"):
        for event in (
            Routed("pool", "split"),
            AttemptFinished("a", retry=False, kind="ok", status=200, seconds=0.1),
            CallFinished("ok", 200, 1, 0.0, 0.1, 0.1, streamed=False),
            NodeChanged("a", up=True, kind="ok"),
        ):
            OperatorLog().on_event(event)
    assert caplog.records == []


async def test_debug_log_tells_a_transition_once(make_manager: MakeManager, caplog: pytest.LogCaptureFixture) -> None:
    """It takes the operator's log's place."""
    manager = make_manager(Providers(a=[status(500)]), llm_pool_debug=True)
    with caplog.at_level(logging.INFO, logger="phase1"):
        manager.events.notify(TRIP)
    assert caplog.messages == [repr(TRIP)]
