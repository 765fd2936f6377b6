"""Does a call speak of something that one account has and another has not?

Files, batches, threads, stored responses: what one key has made, another does not know. Chat completions, embeddings
and images stand for themselves, as long as they name no file; a response names the one it goes on from.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["concerns", "is_kept", "made", "named", "not_here"]

_KEPT: Final = frozenset(
    {
        "assistants",
        "batches",
        "containers",
        "conversations",
        "evals",
        "files",
        "fine_tuning",
        "threads",
        "uploads",
        "vector_stores",
        "videos",
    }
)
_REMEMBERED: Final = frozenset({"responses"})
"""Made wherever there is room, and found again by their name."""
_FOR_THEMSELVES: Final = frozenset({"/chat/completions", "/completions", "/embeddings", "/moderations"})
_NAME: Final = re.compile(r"(?=.*[0-9A-Z])[a-z]{2,20}[-_][\w-]{6,100}")  # `fine_tuning` is none
_REFERENCE: Final = re.compile(
    rb'"(?:previous_response_id|conversation|(?:input_|output_)?file_id|training_file|validation_file|assistant_id'
    rb'|container|file_ids|vector_store_id|vector_store_ids)"\s*:\s*(?:\[\s*)?"([a-z]{2,20}[-_][\w-]{6,100})"'
)
_MADE: Final = re.compile(rb'"id"\s*:\s*"([a-z]{2,20}[-_][\w-]{6,100})"')
_NEAR: Final = 2048
"""Bytes of an answer in which its own name stands."""
_NOT_FOUND: Final = 404


def concerns(path: str, body: bytes) -> bool:
    """Whether it is worth a look: of nearly all calls it is not."""
    return path not in _FOR_THEMSELVES or _may_refer(body)


def _may_refer(body: bytes) -> bool:
    return (
        b'_id"' in body or b'_ids"' in body or b'"conversation"' in body or b'_file"' in body or b'"container"' in body
    )


def is_kept(path: str) -> bool:
    """Whether what is made or listed at `path` stays at the account."""
    return _first(path) in _KEPT


def named(path: str, body: bytes) -> list[str]:
    """The names of what the call refers to, in its path or its JSON."""
    found = [part for part in path.partition("?")[0].split("/") if _NAME.fullmatch(part)]
    return found + [name.decode() for name in _REFERENCE.findall(body)] if _may_refer(body) else found


def made(path: str, answer: bytes) -> str | None:
    """The name of what an answer at `path` has told of, if it is to be found at its account only."""
    if _first(path) not in _KEPT | _REMEMBERED:
        return None
    match = _MADE.search(answer, 0, _NEAR)
    return match[1].decode() if match else None


def not_here(status: int | None, code: str | None) -> bool:
    """Whether an answer says that what was named is not known there."""
    return status == _NOT_FOUND or (code is not None and code.endswith("not_found"))


def _first(path: str) -> str:
    return path.lstrip("/").partition("/")[0].partition("?")[0]
