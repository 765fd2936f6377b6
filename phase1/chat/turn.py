"""What is one turn of a conversation: before the model is asked, and when it has answered?"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Self
from uuid import uuid4

__all__ = ["Question", "Turn", "timestamp"]

UserId = int | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a user asks, and how much the prompt may remember. `history_limit`: entries, 0 = none."""

    user_id: UserId
    message: str
    history_limit: int
    project_id: int | str | None = None
    conversation_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A question and its answer, to be saved. `id` is its own from the beginning, so that a retry can be recognised.

    `kind`: `chat` or `agent`. `details`: what else is known of the answer; JSON.
    """

    user_id: UserId
    kind: str
    message: str
    response: str
    asked_at: str
    answered_at: str
    project_id: int | str | None = None
    conversation_id: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid4().hex)

    def to_json(self) -> str:
        """One line. What JSON does not know becomes text."""
        return json.dumps(asdict(self), ensure_ascii=False, default=str)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """The turn of a line. Raises `ValueError` when it holds none."""
        try:
            values = json.loads(line)
            known = {one.name for one in fields(cls)}
            return cls(**{name: value for name, value in values.items() if name in known})
        except (AttributeError, TypeError, ValueError) as exc:
            raise ValueError("no turn of a conversation") from exc


def timestamp() -> str:
    """Now, UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
