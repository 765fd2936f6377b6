"""Who answers, and why like this?

The app's orchestrator chooses the kind of support, or takes the whole turn. When it cannot, the model answers alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.exceptions import HTTPException

from phase1.chat.ask import ask_model, choose_support, take_turn
from phase1.chat.flow import Flow
from phase1.chat.prompt import Decision, Message, PromptParts

__all__ = ["PLAIN_ANSWER", "Prompt", "Reply", "get_reply"]

_log = logging.getLogger("phase1")

Prompt = Callable[[PromptParts], Sequence[Message]]

PLAIN_ANSWER = "The conversation agent is not available; this is a plain answer"


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer's text, and what is known about it. `messages` is empty when the orchestrator asked the model."""

    response: str
    messages: Sequence[Message] = ()
    support_type: str | None = None
    selected_acts: list[str] = field(default_factory=list)
    state_snapshot: dict[str, Any] = field(default_factory=dict)
    project_plan: dict[str, Any] | None = None
    decision_metadata: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    failed: bool = False
    """The orchestrator was to be asked, and could not say anything."""

    def facts(self) -> dict[str, Any]:
        """The fields that both responses have."""
        return {
            "response": self.response,
            "support_type": self.support_type,
            "selected_acts": self.selected_acts,
            "state_snapshot": self.state_snapshot,
            "project_plan": self.project_plan,
            "decision_metadata": self.decision_metadata,
            "metrics": self.metrics,
        }


async def get_reply(
    flow: Flow, *, llm_client: object, prompt: Prompt, orchestrator: object | None, state: dict[str, Any]
) -> Reply:
    """The reply to `flow`'s question. `orchestrator=None`: it is not to be asked.

    Raises what the model raises, and an `HTTPException` of the orchestrator.
    """
    decision, failed = None, False
    try:
        if callable(getattr(orchestrator, "process_turn", None)):
            return _reply_of(await _whole_turn(flow, orchestrator))
        if orchestrator is not None:
            decision = await choose_support(orchestrator, flow.question.message, state)
    except HTTPException:
        raise
    except Exception as exc:  # noqa: BLE001 - the app's own; a plain answer is better than none
        _log.warning("the conversation agent failed (%s); the model answers by itself", type(exc).__qualname__)
        failed = True
    return await _from_model(flow, llm_client, prompt, decision, failed=failed)


async def _whole_turn(flow: Flow, orchestrator: object) -> Mapping[str, Any]:
    with flow.asking():
        return await take_turn(
            orchestrator,
            user_message=flow.question.message,
            conversation_history=flow.history,
            project_context=flow.context or None,
            user_id=flow.question.user_id,
            conversation_id=flow.question.conversation_id,
        )


def _reply_of(turn: Mapping[str, Any]) -> Reply:
    known = {name: turn[name] for name in Reply.__dataclass_fields__ if turn.get(name) is not None}
    return Reply(**{**known, "messages": (), "failed": False})


async def _from_model(
    flow: Flow, llm_client: object, prompt: Prompt, decision: Decision | None, *, failed: bool
) -> Reply:
    messages = prompt(flow.parts(decision))
    with flow.asking():
        response = await ask_model(llm_client, messages)
    if decision is None:
        return Reply(response, messages, failed=failed)
    return Reply(response, messages, decision.support_type, decision.selected_acts, decision.state)
