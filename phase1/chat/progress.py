"""How far has a turn come? What may still be done by somebody else depends on it."""

from __future__ import annotations

from contextvars import ContextVar
from enum import Enum, auto

__all__ = ["Progress", "Stage", "current_progress", "reach"]


class Stage(Enum):
    """Where a turn is."""

    READING = auto()
    """The model has not been asked."""
    ASKING = auto()
    """The model is being asked: its errors are the caller's, the client has fallbacks of its own."""
    ANSWERED = auto()
    """The answer is there, nothing is saved."""
    KEPT = auto()
    """The turn is saved, or being saved."""


class Progress:
    """One turn's stage; begins with `READING`."""

    __slots__ = ("stage",)

    def __init__(self) -> None:
        self.stage = Stage.READING

    @property
    def may_start_over(self) -> bool:
        """Whether another way of answering would repeat nothing that it must not repeat."""
        return self.stage in {Stage.READING, Stage.ANSWERED}


current_progress: ContextVar[Progress | None] = ContextVar("phase1_chat_progress", default=None)
"""The progress of the turn that runs in this context."""


def reach(stage: Stage) -> None:
    """Tell whoever wants to know that the turn has come to `stage`."""
    progress = current_progress.get()
    if progress is not None:
        progress.stage = stage
