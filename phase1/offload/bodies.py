"""What may be asked for? The bodies of the routes, and the request as a worker reads it: validated on both sides."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

__all__ = [
    "BatchBody",
    "ChatBody",
    "Dialect",
    "FeedbackBody",
    "Message",
    "TaskRequest",
    "complaint",
]

Dialect = Literal["events", "openai"]

_MAX_MESSAGES = 100
_MAX_CHARACTERS = 200_000

_Session: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:\-]{1,128}$")]
_Model: TypeAlias = Annotated[str, Field(min_length=1, max_length=200)]
_Text: TypeAlias = Annotated[str, Field(min_length=1, max_length=_MAX_CHARACTERS)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class Message(_Strict):
    """One message of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str = Field(max_length=_MAX_CHARACTERS)


class ChatBody(_Strict):
    """`POST …/chat/stream`."""

    message: _Text
    model: _Model | None = None
    session_id: _Session | None = None
    dialect: Dialect | None = None


class FeedbackBody(_Strict):
    """`POST …/chat/feedback`."""

    session_id: _Session
    model: _Model | None = None


class BatchItem(_Strict):
    """One question of a batch."""

    message: _Text
    session_id: _Session | None = None


class BatchBody(_Strict):
    """`POST …/chat/batch`."""

    items: list[BatchItem] = Field(min_length=1, max_length=20)
    model: _Model | None = None


class TaskRequest(_Strict):
    """What lies in the journal for whoever runs the task."""

    model: _Model
    messages: list[Message] = Field(min_length=1, max_length=_MAX_MESSAGES)
    session: _Session | None = None

    @model_validator(mode="after")
    def _is_bounded(self) -> TaskRequest:
        if sum(len(message.content) for message in self.messages) > _MAX_CHARACTERS:
            raise ValueError(f"messages must have at most {_MAX_CHARACTERS} characters together")
        return self


def complaint(error: ValidationError) -> tuple[str, str]:
    """The first thing that is wrong: where, and what is allowed. Never the value: it may be the prompt."""
    found = error.errors(include_url=False, include_input=False)[0]
    return ".".join(map(str, found["loc"])) or "body", found["msg"]
