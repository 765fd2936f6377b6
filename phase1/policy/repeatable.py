"""May a request be sent twice, and does it get the same answer each time?

Repeatable is what only asks: a second copy costs tokens and changes nothing. Everything that the provider keeps or acts
on (stored answers, conversations, background work, files, tools that it calls itself) is not, and neither is anything
that is not known. Deterministic is what the caller has asked to be: temperature 0, one choice; embeddings and
moderations always.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic_core import from_json

__all__ = ["is_deterministic", "is_repeatable", "question_of"]

_RESPONSES: Final = "/responses"
_ASKING: Final = ("/completions", "/embeddings", "/moderations", _RESPONSES)
_ALWAYS_THE_SAME: Final = ("/embeddings", "/moderations")
_KEPT: Final = ("store", "background", "conversation")
_TOOLS_THAT_ONLY_READ: Final = frozenset({"function", "custom", "web_search", "web_search_preview", "file_search"})


def question_of(method: str, path: str, body: bytes) -> dict[str, object] | None:
    """The parsed body of a request that may be sent twice; `None` for every other one."""
    if method != "POST" or not _place(path).endswith(_ASKING):
        return None
    try:
        payload = from_json(body)
    except ValueError:
        return None
    return payload if isinstance(payload, dict) and is_repeatable(path, payload) else None


def is_repeatable(path: str, question: Mapping[str, object]) -> bool:
    """Whether the provider keeps nothing of it and acts on nothing."""
    if any(question.get(name) for name in _KEPT):
        return False
    if _place(path).endswith(_RESPONSES) and question.get("store") is not False:
        return False  # kept unless somebody says no
    tools = question.get("tools") or []
    return isinstance(tools, list) and all(_only_reads(tool) for tool in tools)


def is_deterministic(path: str, question: Mapping[str, object]) -> bool:
    """Whether the caller has asked for the same answer each time."""
    if _place(path).endswith(_ALWAYS_THE_SAME):
        return True
    temperature, choices = question.get("temperature"), question.get("n")
    return type(temperature) in {int, float} and temperature == 0 and choices in {None, 1}


def _place(path: str) -> str:
    return path.partition("?")[0]


def _only_reads(tool: object) -> bool:
    return isinstance(tool, dict) and tool.get("type") in _TOOLS_THAT_ONLY_READ
