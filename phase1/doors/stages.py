"""Where does the time of an app request go? Into the database, and into the LLM; the app says when it is in the first.

    with phase1.stage("db_fetch"):
        history = fetch_history(session)

The seconds stand in `Server-Timing` (`LLM_SERVER_TIMING=true`) and in `phase1_request_stage_duration_seconds`. The
time of LLM calls is measured without a word of the app's; calls at the same time are added up, like everywhere else.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from phase1.doors.unit import current_unit
from phase1.events import CacheAsked, CallFinished, Event, FellBack, LegacyFinished, StageFinished

if TYPE_CHECKING:
    from phase1.doors.unit import Unit

__all__ = ["LLM_RESPONSE", "StageClock", "stage", "tell_stages"]

LLM_RESPONSE: Final = "llm_response"
_WITHOUT_A_CALL: Final = frozenset({"hit", "shared"})
_OF_THE_APP: Final = ("db_fetch", "db_save")


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Count the seconds inside as the stage `db_fetch` or `db_save` of the app request that runs here.

    Outside of one nothing is counted. Raises `ValueError` for another name.
    """
    if name not in _OF_THE_APP:
        raise ValueError(f"stage {name!r}: must be one of {', '.join(_OF_THE_APP)}")
    unit, began = current_unit.get(), time.perf_counter()
    try:
        yield
    finally:
        if unit is not None:
            _add(unit, name, time.perf_counter() - began)


class StageClock:
    """An observer: the seconds of each LLM call go to the app request in whose context it ends."""

    hears: Final = frozenset({CallFinished, LegacyFinished, FellBack, CacheAsked})

    def on_event(self, event: Event, /) -> None:
        """Add them."""
        kind = type(event)
        if kind is CallFinished or kind is LegacyFinished:
            if (unit := current_unit.get()) is not None:
                _add(unit, LLM_RESPONSE, event.seconds)  # type: ignore[union-attr]
        elif kind is CacheAsked and (unit := current_unit.get()) is not None:
            _looked_up(unit, event)  # type: ignore[arg-type]
        elif kind is FellBack and (unit := current_unit.get()) is not None:
            unit.fell_back = True


def _looked_up(unit: Unit, event: CacheAsked) -> None:
    unit.cache = event.result if event.result != "error" else unit.cache
    if event.result in _WITHOUT_A_CALL:
        _add(unit, LLM_RESPONSE, event.seconds)


def _add(unit: Unit, name: str, seconds: float) -> None:
    unit.stages[name] = unit.stages.get(name, 0.0) + seconds


def tell_stages(unit: Unit) -> None:
    """The app request is over: tell what it has spent, if it has asked an LLM."""
    stages = unit.stages
    if LLM_RESPONSE not in stages:
        return
    notify = unit.manager.events.notify
    for name, seconds in stages.items():
        notify(StageFinished(name, seconds))
    notify(StageFinished("total", time.perf_counter() - unit.began))
