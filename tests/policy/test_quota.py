"""May this quota domain be asked now, and if not, when?"""

from __future__ import annotations

import pytest

from phase1.policy.quota import Limits, QuotaDomain, Quotas


class Clock:
    """Moves when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Stands still."""
    return Clock()


def domain(clock: Clock, **limits: float) -> QuotaDomain:
    """One domain with its own limits."""
    return Quotas(clock=clock).domain("org", "m", Limits(**limits))


NOTHING_LEFT = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-reset-requests": "60s",
}.get


def test_domain_without_limits_is_free(clock: Clock) -> None:
    """However much is booked."""
    free = domain(clock)
    for _ in range(1000):
        free.book(clock.now, tokens=1e6)
    assert free.free(clock.now)
    assert free.wait(clock.now) == 0.0
    assert not free.counts_tokens


def test_rest_keeps_it_from_being_asked(clock: Clock) -> None:
    """Until it is over, whatever the buckets hold."""
    resting = domain(clock, rpm=60)
    resting.cooldown.throttled(clock.now, retry_after=7.0, jitter=0.0)
    assert not resting.free(clock.now)
    assert resting.wait(clock.now) == 7.0
    clock.now += 7.0
    assert resting.free(clock.now)


def test_requests_per_minute_are_kept(clock: Clock) -> None:
    """Sixty at once, then one each second."""
    limited = domain(clock, rpm=60)
    for _ in range(60):
        assert limited.free(clock.now)
        limited.book(clock.now)
    assert not limited.free(clock.now)
    assert limited.wait(clock.now) == pytest.approx(1.0)


def test_tokens_per_minute_are_booked_and_settled(clock: Clock) -> None:
    """The estimate first, then what was used: more or less."""
    limited = domain(clock, tpm=600)
    limited.book(clock.now, tokens=500.0)
    assert limited.counts_tokens
    assert limited.free(clock.now, tokens=100.0)
    assert not limited.free(clock.now, tokens=101.0)
    limited.settle(booked=500.0, used=300.0)
    assert limited.wait(clock.now, tokens=300.0) == 0.0
    limited.settle(booked=0.0, used=100.0)
    assert limited.wait(clock.now, tokens=300.0) == pytest.approx(10.0)


def test_settling_without_a_limit_of_tokens_changes_nothing(clock: Clock) -> None:
    """There is nothing to correct."""
    limited = domain(clock, rpm=60)
    limited.settle(booked=5.0, used=500.0)
    assert limited.free(clock.now)


def test_request_that_was_not_sent_is_given_back(clock: Clock) -> None:
    """In every bucket."""
    limited = domain(clock, rps=1.0, rpm=60, tpm=60)
    limited.book(clock.now, tokens=60.0)
    assert limited.wait(clock.now) > 0
    limited.give_back(tokens=60.0)
    assert limited.free(clock.now, tokens=60.0)


def test_requests_per_second_are_of_the_account(clock: Clock) -> None:
    """Whatever the model; another account has its own."""
    quotas = Quotas(clock=clock)
    limits = Limits(rps=2.0)
    one, other = quotas.domain("org", "a", limits), quotas.domain("org", "b", limits)
    one.book(clock.now)
    one.book(clock.now)
    assert not other.free(clock.now)
    assert other.wait(clock.now) == pytest.approx(0.5)
    assert quotas.domain("org-2", "a", limits).free(clock.now)


def test_less_than_one_request_per_second(clock: Clock) -> None:
    """One at once, the next one in ten seconds."""
    slow = domain(clock, rps=0.1)
    slow.book(clock.now)
    assert slow.wait(clock.now) == pytest.approx(10.0)


def test_limits_are_learnt_from_headers(clock: Clock) -> None:
    """Nothing is left: the next request waits for its share of the reset."""
    learning = domain(clock)
    learning.learn({"content-type": "text/html"}.get, clock.now)
    assert learning.free(clock.now)
    learning.learn(NOTHING_LEFT, clock.now)
    assert learning.wait(clock.now) == pytest.approx(1.0)


def test_headers_are_looked_at_now_and_then_while_there_is_plenty(clock: Clock) -> None:
    """Twenty times a second; what is scarce, at every answer."""
    learning, asked = domain(clock), []

    def answer(remaining: str) -> None:
        fields = {"x-ratelimit-limit-requests": "600", "x-ratelimit-remaining-requests": remaining}
        learning.learn(lambda name: (asked.append(name), fields.get(name))[1], clock.now)

    answer("500")
    looks = len(asked)
    answer("400")
    assert len(asked) == looks
    clock.now += 0.051
    answer("60")
    assert len(asked) == 2 * looks
    answer("0")
    assert len(asked) == 3 * looks
    assert learning.wait(clock.now) == pytest.approx(0.1)


def test_learnt_limit_may_change(clock: Clock) -> None:
    """The account was upgraded."""
    learning = domain(clock)
    learning.learn(NOTHING_LEFT, clock.now)
    learning.learn({"x-ratelimit-limit-requests": "6000"}.get, clock.now)
    assert learning.wait(clock.now) == pytest.approx(0.01)


def test_configured_limit_stays(clock: Clock) -> None:
    """Headers only say that it is used up further than we thought: other programs use the same key."""
    limited = domain(clock, rpm=600)
    limited.learn(NOTHING_LEFT, clock.now)
    assert limited.wait(clock.now) == pytest.approx(0.1)
    limited.learn({"x-ratelimit-limit-requests": "6000", "x-ratelimit-remaining-requests": "6000"}.get, clock.now)
    assert limited.wait(clock.now) == pytest.approx(0.1)


def test_learnt_limit_of_tokens_is_counted(clock: Clock) -> None:
    """From then on calls are estimated."""
    learning = domain(clock)
    learning.learn({"x-ratelimit-limit-tokens": "600", "x-ratelimit-remaining-tokens": "60"}.get, clock.now)
    assert learning.counts_tokens
    assert not learning.free(clock.now, tokens=61.0)


def test_domain_is_one_for_all_who_ask(clock: Clock) -> None:
    """By account and model."""
    quotas = Quotas(clock=clock)
    one = quotas.domain("org", "m", Limits())
    assert quotas.domain("org", "m", Limits()) is one
    assert quotas.domain("org", "n", Limits()) is not one
    assert quotas.domain("org-2", "m", Limits()) is not one


def test_who_cools_is_told(clock: Clock) -> None:
    """Of one account, the model that rests the longest; and whether anybody does."""
    quotas = Quotas(clock=clock)
    assert (quotas.cooling_for("org"), quotas.cooling()) == (0.0, False)
    for model, seconds in (("a", 3.0), ("b", 9.0)):
        quotas.domain("org", model, Limits()).cooldown.throttled(clock.now, retry_after=seconds, jitter=0.0)
    assert (quotas.cooling_for("org"), quotas.cooling_for("org-2"), quotas.cooling()) == (9.0, 0.0, True)


def test_accounts_that_come_with_requests_are_forgotten(clock: Clock) -> None:
    """Ten thousand keys leave no ten thousand domains; whoever still rests is kept."""
    quotas = Quotas(clock=clock)
    kept = quotas.domain("kept", "m", Limits(rps=1.0))
    kept.cooldown.throttled(clock.now, retry_after=300.0, jitter=0.0)
    for number in range(10_000):
        quotas.domain(f"key{number}", "m", Limits(rps=1.0))
    assert quotas.domain("kept", "m", Limits(rps=1.0)) is kept
    assert len(quotas._domains) <= 1000
    assert len(quotas._paces) <= 1001
