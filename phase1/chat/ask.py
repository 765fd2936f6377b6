"""How are the model and the orchestrator asked, whatever the app calls them, without blocking the loop?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from phase1.chat.prompt import Decision
from phase1.chat.sources import call
from phase1.chat.threads import Threads

__all__ = ["ask_model", "choose_support", "take_turn"]

_THREADS = Threads(64, name="phase1-ask")
"""For clients that block. Not the database's threads: a slow model must not keep anybody from their history."""


async def ask_model(llm_client: object, messages: Sequence[Mapping[str, str]]) -> str:
    """The text of the answer. Raises what the client raises.

    `llm_client`: `phase1.LLMClient`, or an object with `generate_response_async` or `generate_response`, or a function
    of the messages. One that blocks runs in a bounded thread; pooled clients inside go to the pool from there.
    """
    answer = await call(_method_of(llm_client), (messages,), _THREADS)
    text = getattr(answer, "content", answer)  # LangChain's messages
    if not isinstance(text, str):
        raise TypeError(f"the LLM client must answer with a text, not {type(answer).__name__}")
    return text


def _method_of(llm_client: object) -> Callable[..., object]:
    for name in ("generate_response_async", "generate_response"):
        if callable(method := getattr(llm_client, name, None)):
            return method  # type: ignore[no-any-return]  # the app's own
    if callable(llm_client):
        return llm_client
    kind = type(llm_client).__name__
    raise TypeError(f"llm_client={kind}: must have generate_response_async or generate_response, or be a function")


async def choose_support(orchestrator: object, message: str, state: dict[str, Any]) -> Decision:
    """`orchestrator.decide(message, state)`. Raises what it raises."""
    decide: Callable[..., object] = orchestrator.decide  # type: ignore[attr-defined]  # the app's own
    return await call(decide, (message, state), _THREADS)  # type: ignore[return-value]


async def take_turn(orchestrator: object, **arguments: object) -> Mapping[str, Any]:
    """`orchestrator.process_turn(...)`, for orchestrators that ask the model themselves: a mapping with `response`."""
    answer = await call(partial(orchestrator.process_turn, **arguments), (), _THREADS)  # type: ignore[attr-defined]
    if not isinstance(answer, Mapping) or not isinstance(answer.get("response"), str):
        raise TypeError("process_turn must return a mapping with a text as `response`")
    return answer
