"""What is told about a task to somebody who does not read its stream?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from phase1.offload import frames
from phase1.offload.dialects.events import status_of
from phase1.offload.journal import START, Cursor, Entry, Journal, Meta

__all__ = ["batch", "place", "task"]

_PAGE = 256


async def _entries(journal: Journal, name: str) -> list[Entry]:
    entries: list[Entry] = []
    after = START
    while page := await journal.read(name, after, _PAGE):
        entries += page
        after = page[-1].cursor
    return entries


async def place(journal: Journal, name: str, after: Cursor) -> tuple[int, str]:
    """How many frames there are up to a place, and the model that is asked."""
    entries = await _entries(journal, name) if after.epoch > 1 else await journal.read(name, START, 1)
    position = sum(entry.cursor <= after for entry in entries) if after.epoch > 1 else after.seq
    return position, _model(entries)


def _model(entries: Sequence[Entry]) -> str:
    first = frames.decode(entries[0].data) if entries else {}
    return str(first.get("m", {}).get("model", ""))


def _status(meta: Meta) -> str:
    if meta.state == "done":
        return status_of(meta.end)
    return "in_progress" if meta.state == "run" else "queued"


async def task(journal: Journal, name: str, meta: Meta) -> dict[str, Any]:
    """State, and when it is over what it came to."""
    told: dict[str, Any] = {
        "task_id": name,
        "kind": meta.kind,
        "status": _status(meta),
        "attempt": meta.epoch,
        "created_at": meta.created // 1000,
    }
    return {**told, **await _outcome(journal, name)} if meta.state == "done" else told


async def _outcome(journal: Journal, name: str) -> dict[str, Any]:
    text: list[str] = []
    last: dict[str, Any] = {}
    for entry in await _entries(journal, name):
        frame = last = frames.decode(entry.data)
        if "reset" in frame:
            text.clear()
        text.append(frame.get("t", ""))
    told = {"content": "".join(text), "finish_reason": last.get("finish"), "usage": last.get("u")}
    return {**told, "error": last.get("e")}


async def batch(journal: Journal, name: str, tasks: Sequence[str]) -> dict[str, Any]:
    """Made from its tasks' own journals when asked: there is no count that could get lost."""
    metas = [(one, await journal.meta(one)) for one in tasks]
    states = [{"task_id": one, "status": _status(meta) if meta else "expired"} for one, meta in metas]
    over = sum(state["status"] not in {"queued", "in_progress"} for state in states)
    status = "completed" if over == len(states) else "in_progress"
    return {"task_id": name, "kind": "batch", "status": status, "done": over, "total": len(states), "tasks": states}
