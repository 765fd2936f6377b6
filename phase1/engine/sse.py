"""Where does one server-sent event end, and has the answer begun, ended, or gone wrong?

Two sans-I/O pieces. `EventSplitter` cuts bytes into whole events, wherever the network cut them, and never holds more
than `limit` bytes. `StreamReader` looks at whole events and says what they mean for the call: content has begun, the
answer has ended as it should, or the upstream reported an error in-band. It knows chat completions, completions,
responses, assistants, audio and images by their shape; for any other stream it only knows that it began.

Deliberate divergences from the SSE specification: a block with nothing to dispatch (comments, keep-alives) is passed on
but means nothing; a `data` payload that is neither JSON nor `[DONE]` is an error, because skipping it would lose
tokens without a word.
"""

from __future__ import annotations

import json
import re
from enum import Enum, auto

from pydantic_core import from_json

__all__ = ["BROKEN_EVENT", "EventSplitter", "EventTooLarge", "Progress", "StreamReader", "error_event", "fields_of"]

_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r|\r\n\n|\n\r\n")
_LINE_END = re.compile(rb"\r\n|\n|\r")

# Finished when one of these types was seen; the last two end a stream with an error of the upstream's own.
_FINAL_TYPES = frozenset(
    {
        "response.completed",
        "response.incomplete",
        "response.cancelled",
        "speech.audio.done",
        "transcript.text.done",
        "image_generation.completed",
        "image_edit.completed",
        "thread.run.completed",
        "thread.run.requires_action",
        "thread.run.incomplete",
        "thread.run.cancelled",
        "thread.run.expired",
    }
)
_FAILED_TYPES = frozenset({"response.failed", "thread.run.failed", "error"})
# Sent before anything of the answer: a failover is still invisible to the caller.
_PRELUDE_TYPES = frozenset(
    {
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "thread.created",
        "thread.run.created",
        "thread.run.queued",
        "thread.run.in_progress",
        "thread.run.step.created",
        "thread.run.step.in_progress",
        "thread.message.created",
        "thread.message.in_progress",
    }
)
_THE_ONLY_ONE = {"0"}
_SAYS_MORE = b'"choices":[{"index":0,'
_TYPED_PREFIXES = ("response.", "thread.", "speech.", "transcript.", "image_")


class EventTooLarge(ValueError):
    """One event is larger than the splitter may hold."""


class EventSplitter:
    """Cut a byte stream into whole events, each with the blank line that ends it.

    `limit` bounds one event in bytes; images come as one event of some megabytes.
    """

    __slots__ = ("_buffer", "_limit", "_scanned")

    def __init__(self, *, limit: int = 64 * 1024 * 1024) -> None:
        self._buffer = bytearray()
        self._limit = limit
        self._scanned = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Every event that `chunk` completes. Raises `EventTooLarge`."""
        self._buffer += chunk
        events: list[bytes] = []
        start = 0
        for match in _BLANK_LINE.finditer(self._buffer, max(0, self._scanned - 3)):
            events.append(bytes(self._buffer[start : match.end()]))
            start = match.end()
        del self._buffer[:start]
        self._scanned = len(self._buffer)
        if self._scanned > self._limit:
            message = f"an event is larger than {self._limit} bytes"
            raise EventTooLarge(message)
        return events

    def rest(self) -> bytes:
        """What the stream ended with after its last whole event."""
        return bytes(self._buffer)


class Progress(Enum):
    """How far a stream has come. Later members include the earlier ones."""

    WAITING = auto()
    STARTED = auto()
    FINISHED = auto()
    FAILED = auto()


class StreamReader:
    """What the events of one stream mean.

    `progress` goes back from FINISHED to STARTED only when another choice (`n > 1`) begins to speak. `skims`: whoever
    gets the events parses each of them, so that here it is enough to see that an answer goes on.
    """

    __slots__ = ("_skims", "_speaking", "checkable", "error", "progress")

    def __init__(self, *, skims: bool = False) -> None:
        self._skims = skims
        self._speaking: set[str] = set()
        self.progress = Progress.WAITING
        self.error: dict[str, object] | None = None
        """The upstream's own error object, when `progress` is FAILED."""
        self.checkable = False
        """Whether this kind of stream says when it is finished: only then is a missing end a failure."""

    def read(self, event: bytes) -> bool:
        """Take note of one whole event; False if there is nothing in it (comments, keep-alives, `retry`).

        Raises `ValueError` when its payload is not JSON.
        """
        if self._skims and self._goes_on(event):
            return True
        name, data = fields_of(event)
        if not data:
            return False
        if data.startswith(b"[DONE]"):
            self._done()
        elif self.progress is not Progress.FAILED:
            self._read_data(name, from_json(data))
        return True

    def _goes_on(self, event: bytes) -> bool:
        """Whether the only choice of a chat completion just says more.

        What is looked for stands in no string: quotes are escaped there.
        """
        return (
            self.progress is Progress.STARTED
            and self._speaking == _THE_ONLY_ONE
            and event.startswith(b"data: {")
            and event.endswith(b"}\n\n")
            and _SAYS_MORE in event
            and event.count(b'"finish_reason"') == 1
            and b'"finish_reason":null' in event
            and b'"error"' not in event
        )

    def _read_data(self, name: str, payload: object) -> None:
        if isinstance(payload, dict):
            self._read_payload(name, payload)
        else:
            self._advance(Progress.STARTED)

    def _done(self) -> None:
        # [DONE] ends any stream that has begun; alone it is an empty stream. A failed one stays failed.
        if self.progress is Progress.STARTED:
            self.progress = Progress.FINISHED
        self.checkable = True

    def _read_payload(self, name: str, payload: dict[str, object]) -> None:
        kind = name if name.startswith("thread.") or name == "error" else payload.get("type")
        kind = kind if isinstance(kind, str) else ""
        error = payload.get("error")
        if (error and not kind) or kind in _FAILED_TYPES:
            self._fail(payload, error)
        elif kind.startswith(_TYPED_PREFIXES):
            self._read_typed(kind)
        elif isinstance(choices := payload.get("choices"), list):
            self._read_choices(choices)
        else:
            self._advance(Progress.STARTED)

    def _fail(self, payload: dict[str, object], error: object) -> None:
        response = payload.get("response")
        inner = error or (response.get("error") if isinstance(response, dict) else None) or payload.get("last_error")
        message = inner or payload.get("message")
        self.error = inner if isinstance(inner, dict) else {"message": message, "code": payload.get("code")}
        self.progress = Progress.FAILED

    def _read_typed(self, kind: str) -> None:
        self.checkable = True
        if kind in _FINAL_TYPES:
            self._advance(Progress.FINISHED)
        elif kind not in _PRELUDE_TYPES:
            self._advance(Progress.STARTED)

    def _read_choices(self, choices: list[object]) -> None:
        self.checkable = True
        for choice in choices:
            if isinstance(choice, dict):
                self._read_choice(choice)

    def _read_choice(self, choice: dict[str, object]) -> None:
        index = str(choice.get("index"))
        if choice.get("finish_reason"):
            self._speaking.discard(index)
            self.progress = Progress.STARTED if self._speaking else Progress.FINISHED
        elif choice.get("text") or _says_something(choice.get("delta")):
            self._speaking.add(index)
            self.progress = Progress.STARTED

    def _advance(self, to: Progress) -> None:
        if to.value > self.progress.value:
            self.progress = to


def _says_something(delta: object) -> bool:
    return isinstance(delta, dict) and any(value for key, value in delta.items() if key != "role")


def fields_of(event: bytes) -> tuple[str, bytes]:
    """The name and the data of one whole event; both may be empty."""
    name = ""
    data: list[bytes] = []
    for line in _LINE_END.split(event):
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif line.startswith(b"event:"):
            name = line[6:].strip().decode("utf-8", "replace")
    return name, b"\n".join(data)


def error_event(*, message: str, code: str) -> bytes:
    """One event that the SDK raises as `openai.APIError`: an honest end of a stream that broke."""
    error = {"message": message, "type": "phase1_error", "param": None, "code": code}
    return b"data: " + json.dumps({"error": error}).encode() + b"\n\n"


BROKEN_EVENT = error_event(message="the upstream's stream broke before its end", code="phase1_stream_broken")
"""The event that ends a broken stream honestly: the SDK raises it."""
