"""The dialect of `chat.completions` streams: every SDK, proxy and gateway reads it.

It has no word for "what you have read is void": after a reset it ends with the error `worker_lost`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phase1.offload import frames
from phase1.offload.dialects.stream import RETRY_MS, StreamFacts, sse
from phase1.offload.frames import End
from phase1.offload.journal import START, Cursor, Entry

__all__ = ["OpenAIChunks"]


class OpenAIChunks:
    """See `Renderer`."""

    def __init__(self, facts: StreamFacts) -> None:
        self._facts = facts
        self.over = False

    def opening(self) -> bytes:
        """The chunk that names the role."""
        return sse(self._chunk({"role": "assistant", "content": ""}), cursor=START, retry=RETRY_MS)

    def render(self, entry: Entry) -> bytes:
        """One chunk per frame; nothing for what only we know."""
        frame = frames.decode(entry.data)
        if "end" in frame:
            return self._ending(frame, entry.cursor)
        if "reset" in frame:
            return self._error("worker_lost", "the worker was lost; the answer began anew and cannot be continued here")
        delta = _delta(frame)
        return sse(self._chunk(delta), cursor=entry.cursor) if delta else b""

    def _ending(self, frame: Mapping[str, Any], cursor: Cursor) -> bytes:
        end = End(frame["end"])
        if end not in {End.COMPLETED, End.INCOMPLETE}:
            error = frame.get("e", {"code": str(end), "message": "the answer was cancelled"})
            return self._error(error["code"], error["message"])
        self.over = True
        finish = frame.get("finish", "stop")
        parts = [sse(self._chunk({}, finish=finish))]  # its id comes with the last event: cut before, all is said again
        if "u" in frame:
            parts.append(sse({**self._chunk({}), "choices": [], "usage": frame["u"]}))
        return b"".join((*parts, sse("[DONE]", cursor=cursor)))

    def broken(self, code: str, message: str) -> bytes:
        """As any other error."""
        return self._error(code, message)

    def _error(self, code: str, message: str) -> bytes:
        self.over = True
        return sse({"error": {"message": message, "type": "server_error", "code": code, "param": None}})

    def _chunk(self, delta: Mapping[str, Any], *, finish: str | None = None) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self._facts.task}",
            "object": "chat.completion.chunk",
            "created": self._facts.created,
            "model": self._facts.model,
            "choices": [{"index": 0, "delta": dict(delta), "finish_reason": finish}],
        }


def _delta(frame: Mapping[str, Any]) -> dict[str, Any]:
    if "t" in frame:
        return {"content": frame["t"]}
    if "r" in frame:
        return {"reasoning_content": frame["r"]}
    return {"tool_calls": frame["tc"]} if "tc" in frame else {}
