"""How does a door let the shadow see a legacy call? Around the call; what it comes to is offered when it is over.

    with Watch(shadow, unit, question) as heard:
        return heard(await <the call>)

What the app gets and raises is legacy's own, untouched. A call that is cancelled is offered to nobody.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from phase1.doors.shadow.answers import of_error, of_object
from phase1.doors.shadow.shadow import CHAT

if TYPE_CHECKING:
    from types import TracebackType

    from phase1.doors.shadow.shadow import Shadow
    from phase1.doors.unit import Unit

__all__ = ["Watch", "beside", "beside_blocking", "question_in", "watched", "watched_blocking"]

T = TypeVar("T")

Question = Mapping[str, Any] | bytes


class Watch:
    """One legacy call. Whether it is looked at is decided when it begins."""

    __slots__ = ("_answer", "_began", "_question", "_shadow", "_unit", "_wanted")

    def __init__(self, shadow: Shadow, unit: Unit, question: Question) -> None:
        self._shadow = shadow
        self._unit = unit
        self._question = question
        self._wanted = shadow.wants(unit)
        self._answer: object = None
        self._began = time.perf_counter()

    def heard(self, answer: T) -> T:
        """Legacy's answer; given back as it is."""
        self._answer = answer
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if not self._wanted:
            return
        seconds = time.perf_counter() - self._began
        if isinstance(exc, Exception):
            self._shadow.offer(self._unit, self._question, partial(of_error, exc, seconds))
        elif exc is None:
            self._shadow.offer(self._unit, self._question, partial(of_object, self._answer, seconds))


async def beside(unit: Unit, question: Question | None, asking: Awaitable[T]) -> T:
    """Await a legacy call in the shadow's sight; `question` `None` = one that is not compared."""
    shadow = unit.manager.shadow
    if shadow is None or question is None:
        return await asking
    with Watch(shadow, unit, question) as watch:
        return watch.heard(await asking)


def beside_blocking(unit: Unit, question: Question | None, ask: Callable[[], T]) -> T:
    """The same for a call that blocks."""
    shadow = unit.manager.shadow
    if shadow is None or question is None:
        return ask()
    with Watch(shadow, unit, question) as watch:
        return watch.heard(ask())


def question_in(options: Any) -> Question | None:  # noqa: ANN401 - the SDK's `FinalRequestOptions`
    """The arguments of a chat completion; `None` = it is another call."""
    if options.url != CHAT or not isinstance(options.json_data, Mapping):
        return None
    return {**options.json_data, **(options.extra_json or {})}


def watched(call: T) -> T:
    """An asynchronous SDK call in the shadow's sight, if it is one that is compared."""
    return _seen(call, _ask)


def watched_blocking(call: T) -> T:
    """The same for a synchronous one, in whatever thread it runs."""
    return _seen(call, _ask_blocking)


def _seen(call: T, ask: Any) -> T:  # noqa: ANN401 - either kind
    sdk = cast("Any", call)
    question = question_in(sdk.options) if sdk.home is sdk.unit.manager else None
    if question is None:
        return call
    return cast("T", replace(sdk, request=partial(ask, sdk, question)))


async def _ask(call: Any, question: Question, client: Any, *, options: Any) -> Any:  # noqa: ANN401 - the SDK's
    return await beside(call.unit, question, call.request(client, options=options))


def _ask_blocking(call: Any, question: Question, client: Any, *, options: Any) -> Any:  # noqa: ANN401
    return beside_blocking(call.unit, question, partial(call.request, client, options=options))
