"""Can an observer break anything, or hear what it must not?"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import fields
from typing import get_args

import pytest

from phase1 import events
from phase1.events import AttemptFinished, CallFinished, Event, Events, Routed

FACT = Routed("pool", "split")


class Listener:
    """Remembers what it has heard; raises if it was told to."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.heard: list[Event] = []
        self.error = error

    def on_event(self, event: Event, /) -> None:
        self.heard.append(event)
        if self.error is not None:
            raise self.error


def test_everybody_hears_everything_in_order() -> None:
    """The fact itself, not a copy."""
    first, second = Listener(), Listener()
    told = Events(first, second)
    told.notify(FACT)
    told.notify(Routed("legacy", "split"))
    assert first.heard == second.heard == [FACT, Routed("legacy", "split")]
    assert first.heard[0] is FACT


def test_nobody_listens() -> None:
    """That is no error."""
    Events().notify(FACT)


def test_late_subscriber_hears_from_then_on() -> None:
    """And the earlier ones go on hearing."""
    early, late = Listener(), Listener()
    told = Events(early)
    told.notify(FACT)
    told.subscribe(late)
    told.notify(FACT)
    assert (len(early.heard), len(late.heard)) == (2, 1)


def test_raising_observer_breaks_nothing() -> None:
    """Whoever tells does not notice, and the next observer hears it all the same."""
    broken, healthy = Listener(ZeroDivisionError("oops")), Listener()
    told = Events(broken, healthy)
    told.notify(FACT)
    assert healthy.heard == [FACT]
    assert told.failures == 1


def test_failures_are_counted_and_each_observer_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """With its class and its error; a broken one must not fill the disk."""

    class Other(Listener):
        pass

    told = Events(Listener(ZeroDivisionError("oops")), Other(ValueError("no")))
    with caplog.at_level(logging.ERROR, logger="phase1"):
        for _ in range(100):
            told.notify(FACT)
    assert told.failures == 200
    assert [record.getMessage().split()[1] for record in caplog.records] == [
        "Listener",
        f"{Other.__qualname__}",
    ]
    assert "oops" in caplog.text


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_what_is_no_error_of_the_observer_passes(error: BaseException) -> None:
    """Cancellation and shutdown are never swallowed."""
    with pytest.raises(type(error)):
        Events(Listener(error)).notify(FACT)


def test_observer_may_subscribe_another_while_it_is_told() -> None:
    """The newcomer hears the next fact."""
    newcomer = Listener()

    class Host(Listener):
        def on_event(self, event: Event, /) -> None:
            if not self.heard:
                told.subscribe(newcomer)
            super().on_event(event)

    told = Events(Host())
    told.notify(FACT)
    told.notify(FACT)
    assert len(newcomer.heard) == 1


EACH_REQUEST = {Routed, AttemptFinished, CallFinished}
"""Freezing these would cost each request four microseconds."""


@pytest.mark.parametrize("kind", get_args(Event))
def test_facts_are_slotted_and_hold_no_content(kind: type[Event]) -> None:
    """Names, numbers, flags: there is no place for a prompt, an answer or a key."""
    assert "__slots__" in vars(kind)
    assert kind.__dataclass_params__.frozen or kind in EACH_REQUEST
    annotations = {field.type for field in fields(kind)}
    values = {"str", "int", "float", "bool", "int | None", "str | None", "float | None"}
    assert annotations <= values | {"tuple[AttemptFinished, ...]"}
    assert not {field.name for field in fields(kind)} & {"body", "headers", "messages", "key", "text", "url"}


def test_every_fact_is_public() -> None:
    """`__all__` names them all."""
    assert {kind.__name__ for kind in get_args(Event)} <= set(events.__all__)
