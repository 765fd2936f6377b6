"""Is every call of an app request counted in its arm, once, and as what it was?"""

from __future__ import annotations

import asyncio

import openai
import pytest

from phase1.doors.facade import LLMClient
from phase1.doors.unit import Unit, current_unit
from phase1.engine.transport.family import httpx
from phase1.events import CallFinished, Event, FellBack, LegacyFinished, Rejected
from phase1.policy.canary import Arm
from phase1.policy.kinds import Kind
from phase1.policy.rollout_arms import Observed
from phase1.rollout.outcomes import Outcomes
from tests.doors.bench import HELLO, Answer, AsyncLegacy, Bench, completion, failure

from .worlds import finished


class Site:
    """A manager at 50 %, and what was noted."""

    def __init__(self, *answers: Answer, legacy: object | None = None, percent: float = 40, **settings: object) -> None:
        script = [lambda answer=answer: answer for answer in answers]
        self.bench = Bench(*script, legacy=legacy, llm_canary_percent=percent, llm_request_deadline=10, **settings)
        self.outcomes = Outcomes(self.bench.manager, deadline=10.0)
        self.bench.manager.events.subscribe(self.outcomes)

    def key(self, arm: Arm) -> str:
        """Somebody in the arm."""
        canary = self.bench.manager.canary
        return next(key for n in range(9999) if canary.arm(canary.bucket(key := f"user-{n}")) is arm)

    def unit(self, arm: Arm) -> Unit:
        """An app request of theirs."""
        return Unit(self.bench.manager, key_of=lambda: self.key(arm), loop=asyncio.get_running_loop())

    async def ask(self, arm: Arm) -> str:
        """One request."""
        unit = self.unit(arm)
        token = current_unit.set(unit)
        try:
            return await LLMClient(unit).generate_response_async(HELLO)
        finally:
            current_unit.reset(token)

    def tell(self, arm: Arm, event: Event) -> None:
        """An event in one."""
        unit = Unit(self.bench.manager, key_of=lambda: self.key(arm))
        _ = unit.selection
        token = current_unit.set(unit)
        self.bench.manager.events.notify(event)
        current_unit.reset(token)

    def noted(self) -> list[tuple[Arm, bool]]:
        """Whose, and whether it failed."""
        return [(one.arm, one.failed) for one in self.outcomes.fetch()]


async def test_each_arm_is_noted_once() -> None:
    """The others are not."""
    site = Site(completion(), legacy=AsyncLegacy())
    for arm in Arm:
        await site.ask(arm)
    assert site.noted() == [(Arm.CANARY, False), (Arm.CONTROL, False)]
    assert site.outcomes.fetch() == []


async def test_call_that_legacy_rescued_has_failed() -> None:
    """Or the fallback would hide every defect. What legacy then does is not counted."""
    site = Site(failure(500), legacy=AsyncLegacy("rescued"))
    assert await site.ask(Arm.CANARY) == "rescued"
    assert site.noted() == [(Arm.CANARY, True)]


async def test_call_that_is_not_rescued_has_failed_too() -> None:
    """The user gets the error."""
    site = Site(failure(500), legacy=AsyncLegacy(RuntimeError("legacy is down")))
    for arm in (Arm.CANARY, Arm.CONTROL):
        with pytest.raises(RuntimeError):
            await site.ask(arm)
    assert site.noted() == [(Arm.CANARY, True), (Arm.CONTROL, True)]


async def test_callers_mistake_is_nobodys_failure() -> None:
    """In either arm."""
    response = httpx.Response(400, request=httpx.Request("POST", "http://legacy.test"))
    mistake = openai.BadRequestError("x", response=response, body=None)
    site = Site(failure(400), legacy=AsyncLegacy(mistake))
    for arm in (Arm.CANARY, Arm.CONTROL):
        with pytest.raises(openai.BadRequestError):
            await site.ask(arm)
    assert site.noted() == []


async def test_open_breaker_says_nothing() -> None:
    """What it sends to legacy was never tried; it holds the rollout by itself."""
    site = Site(failure(500), legacy=AsyncLegacy(), llm_failure_threshold=2)
    for _ in range(5):
        await site.ask(Arm.CANARY)
    assert site.noted() == [(Arm.CANARY, True)] * 2


async def test_full_queue_is_the_canarys_failure() -> None:
    """It was refused, and rescued. That the pool was closed meanwhile (a kill switch) is not."""
    site = Site()
    site.tell(Arm.CANARY, finished(Kind.REFUSED, refusal="QueueFull", first_seconds=None))
    site.tell(Arm.CANARY, finished(Kind.REFUSED, refusal="PoolClosed", first_seconds=None))
    assert site.noted() == [(Arm.CANARY, True)]


def test_fallback_before_any_call_is_a_failure() -> None:
    """Of those after one the call itself was counted."""
    site = Site()
    site.tell(Arm.CANARY, FellBack("loop_blocked"))
    site.tell(Arm.CANARY, FellBack(Kind.SERVER_ERROR))
    assert site.outcomes.fetch() == [Observed(Arm.CANARY, site_bucket(site), failed=True, waited=1.0)]


def site_bucket(site: Site) -> int:
    """Of the canary's user."""
    return site.bench.manager.canary.bucket(site.key(Arm.CANARY))


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (finished(first_seconds=2.0), {"waited": 0.2}),
        (finished(first_seconds=99.0), {"waited": 1.0}),
        (finished(streamed=True), {"waited": None}),
        (finished(Kind.TIMEOUT, first_seconds=None), {"waited": 1.0, "failed": True}),
        (finished(Kind.RATE_LIMIT), {"throttled": True, "failed": True}),
        (finished(Kind.EMPTY), {"empty": True, "failed": True}),
        (finished(output_tokens=0, input_tokens=5), {"empty": True, "tokens": 5}),
        (finished(output_tokens=3, input_tokens=5), {"empty": False, "tokens": 8}),
        (finished(Kind.CANCELLED), None),
        (finished(Kind.CONTEXT_LENGTH), None),
        (LegacyFinished(1.0, None), None),
    ],
)
def test_canarys_call_is_what_it_was(event: CallFinished, expected: dict[str, object] | None) -> None:
    """Time as a share of the deadline, of streams none."""
    site = Site()
    site.tell(Arm.CANARY, event)
    noted = site.outcomes.fetch()
    assert [{name: getattr(one, name) for name in expected or {}} for one in noted] == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (LegacyFinished(2.0, None), {"waited": 0.2, "failed": False, "empty": False}),
        (LegacyFinished(2.0, None, streamed=True), {"waited": None}),
        (LegacyFinished(2.0, None, empty=True), {"empty": True}),
        (LegacyFinished(2.0, "openai.RateLimitError"), {"failed": True, "throttled": True, "waited": 1.0}),
        (LegacyFinished(2.0, "builtins.ValueError"), {"failed": True, "throttled": False}),
        (LegacyFinished(2.0, "asyncio.exceptions.CancelledError"), None),
        (finished(), None),
    ],
)
def test_controls_call_is_what_it_was(event: Event, expected: dict[str, object] | None) -> None:
    """The same, as far as it is known."""
    site = Site()
    site.tell(Arm.CONTROL, event)
    noted = site.outcomes.fetch()
    assert [{name: getattr(one, name) for name in expected or {}} for one in noted] == ([expected] if expected else [])


def test_calls_outside_of_app_requests_are_not_counted() -> None:
    """Nobody knows whose they are; and another app's are its own."""
    site, other = Site(), Site()
    site.bench.manager.events.notify(finished())
    site.tell(Arm.CANARY, Rejected("CircuitOpen"))
    unit = Unit(site.bench.manager, key_of=lambda: site.key(Arm.CANARY))
    token = current_unit.set(unit)
    site.bench.manager.events.notify(finished())  # no route has been chosen
    _ = unit.selection
    other.bench.manager.events.notify(finished())
    current_unit.reset(token)
    assert (site.noted(), other.noted()) == ([], [])


async def test_text_of_legacy_tells_whether_it_was_empty() -> None:
    """An empty answer of the control is one of its own kind, too."""
    site = Site(legacy=AsyncLegacy(""))
    await site.ask(Arm.CONTROL)
    assert [one.empty for one in site.outcomes.fetch()] == [True]
