"""What is the model asked? The parts that a prompt is made of, and a plain way to put them together.

Apps have prompts of their own: `optimized_chat_with_ai(..., prompt=my_prompt)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Decision", "Message", "PromptParts", "estimate_tokens", "plain_prompt"]

Message = dict[str, str]
_CHARACTERS_PER_TOKEN = 4


class Decision(Protocol):
    """How to help in this turn, as the app's orchestrator has chosen. Read-only."""

    @property
    def support_type(self) -> str:
        """The kind of support."""

    @property
    def selected_acts(self) -> list[str]:
        """What to do in the answer."""

    @property
    def state(self) -> dict[str, Any]:
        """What the next turn is to know."""


@dataclass(frozen=True, slots=True)
class PromptParts:
    """`history`: the app's rows, oldest first; `context`: what is known of the project, or nothing."""

    message: str
    history: Sequence[Any] = ()
    context: str = ""
    decision: Decision | None = None


def plain_prompt(parts: PromptParts) -> list[Message]:
    """Context and kind of support as the system's message, then the history, then the question.

    A row of the history is one message (`sender` or `role`, and `message` or `content`) or a turn (`message` and
    `response`); mappings and objects are read alike.
    """
    support = f"Kind of support: {parts.decision.support_type}" if parts.decision else ""
    system = "\n".join(part for part in (parts.context, support) if part)
    first = [{"role": "system", "content": system}] if system else []
    past = [message for row in parts.history for message in _messages(row)]
    return [*first, *past, {"role": "user", "content": parts.message}]


def _messages(row: object) -> Iterator[Message]:
    sender = str(_of(row, "sender") or _of(row, "role") or "user")
    yield {
        "role": "assistant" if sender in {"assistant", "ai"} else "user",
        "content": str(_of(row, "message") or _of(row, "content") or ""),
    }
    if (response := _of(row, "response")) is not None:
        yield {"role": "assistant", "content": str(response)}


def _of(row: object, name: str) -> object:
    return row.get(name) if isinstance(row, Mapping) else getattr(row, name, None)


def estimate_tokens(messages: Sequence[Mapping[str, str]], response: str) -> dict[str, int]:
    """Roughly what the turn cost: four characters are about one token."""
    prompt = sum(len(message["content"]) for message in messages) // _CHARACTERS_PER_TOKEN
    completion = len(response) // _CHARACTERS_PER_TOKEN
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
