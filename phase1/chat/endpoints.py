"""How do the optimised endpoints answer? Reads at the same time, an awaited model, a save that loses nothing.

The parameters have the names of seed 002. `supabase` is a `ChatStore`, or a Supabase client with the tables of
`phase1.chat.supabase`; `llm_client` is best the request's `phase1.LLMClient` (see `ask_model`).

Both raise `HTTPException` (400: the message is too long; 422: a senseless history limit; 503: no database), what a
required read raises, and what the model raises. A failed save raises nothing: `warning` says so.
"""

# ruff: noqa: N803 - the seed's names

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from phase1.chat.answers import OptimizedAgentResponse, OptimizedChatResponse
from phase1.chat.flow import Flow, Limits
from phase1.chat.history import HistoryLimits
from phase1.chat.prompt import estimate_tokens, plain_prompt
from phase1.chat.reply import PLAIN_ANSWER, Prompt, get_reply
from phase1.chat.turn import UserId, timestamp

__all__ = ["optimized_chat_with_ai", "optimized_chat_with_conversation_agent"]

_LONGEST_MESSAGE = 4000


async def optimized_chat_with_ai(
    *,
    chat_data: object,
    current_user: UserId,
    supabase: object,
    llm_client: object,
    conversation_orchestrator: object = None,
    ENABLE_CONVERSATION_AGENT: bool = True,
    MAX_CHAT_MESSAGE_LENGTH: int = _LONGEST_MESSAGE,
    prompt: Prompt = plain_prompt,
    limits: HistoryLimits | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> OptimizedChatResponse:
    """Answer a message with the project and the history as context, and save the turn.

    `chat_data`: the request's body, an object with `message` and perhaps `project_id`, `conversation_id` and
    `history_limit`. `conversation_orchestrator`: has `decide(message, state)`, or `process_turn(...)`; when it fails,
    the model answers without it. `prompt` makes the messages. `limits`: default = `CHAT_HISTORY_LIMIT_DEFAULT`, `_MAX`.
    """
    allowed = Limits(MAX_CHAT_MESSAGE_LENGTH, limits)
    flow = Flow("chat", chat_data, user_id=current_user, database=supabase, limits=allowed, clock=clock)
    await flow.read()
    orchestrator = conversation_orchestrator if ENABLE_CONVERSATION_AGENT else None
    reply = await get_reply(flow, llm_client=llm_client, prompt=prompt, orchestrator=orchestrator, state={})
    answer = OptimizedChatResponse(
        **reply.facts(),
        timestamp=timestamp(),
        token_usage=estimate_tokens(reply.messages, reply.response),
        context_metadata={"project_id": flow.question.project_id, "history_count": len(flow.history)},
        warning=PLAIN_ANSWER if reply.failed else None,
    )
    return await flow.finish(answer, {"support_type": reply.support_type})


async def optimized_chat_with_conversation_agent(
    *,
    request: object,
    current_user: UserId,
    supabase: object,
    llm_client: object,
    conversation_orchestrator: object = None,
    CONVERSATION_AGENT_AVAILABLE: bool = True,
    ENABLE_CONVERSATION_AGENT: bool = True,
    MAX_CHAT_MESSAGE_LENGTH: int = _LONGEST_MESSAGE,
    prompt: Prompt = plain_prompt,
    limits: HistoryLimits | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> OptimizedAgentResponse:
    """Let the orchestrator choose how to help, and save the turn. Without one it is a plain answer that says so.

    As `optimized_chat_with_ai`; `request` may also have `state`, which the orchestrator gets, and `history`: the
    conversation as the caller keeps it, of which the last entries are used and none is read.
    """
    allowed = Limits(MAX_CHAT_MESSAGE_LENGTH, limits)
    flow = Flow("agent", request, user_id=current_user, database=supabase, limits=allowed, clock=clock)
    flow.begin_conversation()
    kept: Sequence[object] | None = getattr(request, "history", None)
    await flow.read(kept)
    usable = CONVERSATION_AGENT_AVAILABLE and ENABLE_CONVERSATION_AGENT
    orchestrator = conversation_orchestrator if usable else None
    state: dict[str, Any] = getattr(request, "state", None) or {}
    reply = await get_reply(flow, llm_client=llm_client, prompt=prompt, orchestrator=orchestrator, state=state)
    answer = OptimizedAgentResponse(
        **reply.facts(),
        timestamp=timestamp(),
        conversation_id=flow.question.conversation_id,
        history_count=len(flow.history),
        debug_info={"prompt_messages": len(reply.messages), "history_dropped": flow.dropped(kept)},
        warning=PLAIN_ANSWER if reply.failed or orchestrator is None else None,
    )
    return await flow.finish(answer, {"support_type": reply.support_type, "state": reply.state_snapshot})
