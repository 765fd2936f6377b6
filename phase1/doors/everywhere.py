"""How do clients get doors that nobody has adopted? For a trial without edits the SDK's own classes get them.

The classes' `request` is replaced by the door's: clients that exist already and subclasses (Azure's) have it too.
This is for `phase1 run`; an app that wants doors for good says `phase1.adopt` or uses `phase1.OpenAI`.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Iterator
from typing import Any

import openai

from phase1.doors.sdk import AsyncDoor, SyncDoor, cached_resources

__all__ = ["doors_open", "open_doors", "out_of_reach"]

_OTHER_SDKS = ("anthropic", "cohere", "google.genai", "groq", "litellm", "mistralai", "ollama", "together")
_REPLACED = ("chat", "embeddings", "request", "responses")
_DOORS: dict[type, type[AsyncDoor | SyncDoor]] = {openai.AsyncOpenAI: AsyncDoor, openai.OpenAI: SyncDoor}


def open_doors() -> None:
    """Give `openai.OpenAI`, `openai.AsyncOpenAI` and their subclasses doors. Twice is once."""
    for cls, door in _DOORS.items():
        if not _is_open(cls):
            _open(cls, door)


@contextlib.contextmanager
def doors_open() -> Iterator[None]:
    """The same for a while. Doors that were open before stay open."""
    shut = [cls for cls in _DOORS if not _is_open(cls)]
    open_doors()
    try:
        yield
    finally:
        for cls in shut:
            _shut(cls)


def out_of_reach() -> list[str]:
    """LLM libraries that the app has imported and that have no door: their calls stay as they are."""
    return [name for name in _OTHER_SDKS if name in sys.modules]


def _is_open(cls: type) -> bool:
    return "_phase1_request" in vars(cls)


def _open(cls: Any, door: type[AsyncDoor | SyncDoor]) -> None:  # noqa: ANN401 - a class of the SDK
    doors = {
        "_phase1_request": cls.request,
        "_phase1_view_class": None,
        "_phase1_resources": cached_resources(cls),
        "_phase1_trusted": None,
        "_phase1_manager": None,
        "_phase1_lean": True,
        "_phase1_learnt": None,
        "_phase1_way": door._phase1_way,  # noqa: SLF001
        "_phase1_before": {name: vars(cls)[name] for name in _REPLACED if name in vars(cls)},
        **{name: inspect.getattr_static(door, name) for name in _REPLACED},
    }
    for name, value in doors.items():
        setattr(cls, name, value)


def _shut(cls: Any) -> None:  # noqa: ANN401 - a class of the SDK
    before = cls._phase1_before
    for name in [name for name in vars(cls) if name in _REPLACED or name.startswith("_phase1_")]:
        delattr(cls, name)
    for name, value in before.items():
        setattr(cls, name, value)
