"""The native dialect: typed events, named as in OpenAI's Responses, with a `response.reset` of our own.

Every event has the running number `sequence_number` and, as the SSE `id`, the place to resume from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from phase1.offload import frames
from phase1.offload.dialects.stream import RETRY_MS, StreamFacts, sse
from phase1.offload.frames import End
from phase1.offload.journal import START, Entry

__all__ = ["Events"]

_OPENING: Final = 2
"""Events before the first frame's: created and queued."""
_TYPES: Final = {
    "m": "response.in_progress",
    "t": "response.output_text.delta",
    "r": "response.reasoning_text.delta",
    "tc": "response.function_call_arguments.delta",
    "reset": "response.reset",
}
_ENDS: Final = {
    End.COMPLETED: "response.completed",
    End.INCOMPLETE: "response.incomplete",
    End.CANCELLED: "response.cancelled",
}


class Events:
    """See `Renderer`."""

    def __init__(self, facts: StreamFacts) -> None:
        self._facts = facts
        self._number = facts.position + _OPENING
        self.over = False

    def opening(self) -> bytes:
        """Where the stream can be taken up again, before anything else."""
        facts = self._facts
        about = {"id": facts.task, "url": facts.url, "model": facts.model, "created_at": facts.created}
        created = {"type": "response.created", "sequence_number": 0, "response": {**about, "status": "queued"}}
        queued = {"type": "response.queued", "sequence_number": 1}
        first = sse(created, event="response.created", cursor=START, retry=RETRY_MS)
        return first + sse(queued, event="response.queued", cursor=START)

    def render(self, entry: Entry) -> bytes:
        """One event per frame."""
        frame = frames.decode(entry.data)
        kind, content = _event(frame)
        number, self._number = self._number, self._number + 1
        self.over = entry.terminal
        return sse({"type": kind, "sequence_number": number, **content}, event=kind, cursor=entry.cursor)

    def broken(self, code: str, message: str) -> bytes:
        """Without an id: the place to resume from is the one before."""
        self.over = True
        content = {"type": "response.failed", "sequence_number": self._number}
        return sse({**content, "error": {"code": code, "message": message}}, event="response.failed")


def _event(frame: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if "end" in frame:
        return _ending(frame)
    key = next(iter(frame))
    match key:
        case "t" | "r":
            return _TYPES[key], {"delta": frame[key]}
        case "tc":
            return _TYPES[key], {"tool_calls": frame[key]}
        case "reset":
            return _TYPES[key], {"reason": frame["reason"]}
        case _:
            return _TYPES["m"], dict(frame["m"])


def _ending(frame: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    end = End(frame["end"])
    content: dict[str, Any] = {"status": status_of(end)}
    if "finish" in frame:
        content["finish_reason"] = frame["finish"]
    if "u" in frame:
        content["usage"] = frame["u"]
    if "e" in frame:
        content["error"] = frame["e"]
    return _ENDS.get(end, "response.failed"), content


def status_of(end: str) -> str:
    """An end as one of the states that OpenAI's background mode knows."""
    return "failed" if end in {End.FAILED, End.TIMEOUT, End.LOST} else str(end)
