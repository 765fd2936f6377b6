"""In which words does a reader hear of a journal's frames?"""

from __future__ import annotations

from typing import Final, Protocol

from phase1.offload.bodies import Dialect
from phase1.offload.dialects.events import Events
from phase1.offload.dialects.openai import OpenAIChunks
from phase1.offload.dialects.stream import StreamFacts
from phase1.offload.journal import Entry

__all__ = ["DEFAULT", "DIALECTS", "PING", "Renderer", "StreamFacts", "renderer"]

DEFAULT: Final[Dialect] = "events"
DIALECTS: Final = ("events", "openai")
PING: Final = b": ping\n"
"""One newline: openai-python takes a comment and a blank line behind an `id:` for an event without data."""


class Renderer(Protocol):
    """One reader's view of one journal."""

    over: bool
    """Whether nothing more can be said in this dialect."""

    def opening(self) -> bytes:
        """What is said before the first frame."""

    def render(self, entry: Entry) -> bytes:
        """One frame."""

    def broken(self, code: str, message: str) -> bytes:
        """The journal has failed: an honest end."""


def renderer(dialect: Dialect, facts: StreamFacts) -> Renderer:
    """The one that `dialect` names."""
    return OpenAIChunks(facts) if dialect == "openai" else Events(facts)
