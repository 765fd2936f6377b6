"""Does every request get the right route, for the right reason?"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.breaker import BreakerState
from phase1.policy.canary import Arm, Canary
from phase1.policy.selection import Reason, Route, Selection, Switches, select
from phase1.policy.targets import Targets, digests_of

ON = Switches(enabled=True)


@dataclass
class FakeGate:
    """A breaker that admits positions below `ramp`, and remembers what it was asked."""

    state: BreakerState = BreakerState.ACTIVE
    ramp: float = 2.0
    asked: list[float] = field(default_factory=list)

    def admits(self, share: float = 0.0) -> bool:
        self.asked.append(share)
        return share < self.ramp


def closed(state: BreakerState = BreakerState.DISABLED) -> FakeGate:
    """A breaker that admits nobody."""
    return FakeGate(state, ramp=0.0)


def choose(
    key: str | None = "user-1",
    *,
    switches: Switches = ON,
    percent: float = 100,
    gate: FakeGate | None = None,
    targets: Targets | None = None,
    wanted: Route | None = None,
) -> Selection:
    """One selection; a request without a key takes position 0.5."""
    return select(
        switches=switches,
        canary=Canary(percent),
        breaker=gate or FakeGate(),
        key=key,
        rng=lambda: 0.5,
        targets=targets,
        wanted=wanted,
    )


def listed(*, allow: str | None = None, deny: str | None = None) -> Targets:
    """An operator's lists."""
    return Targets(digests_of(allow) if allow else frozenset(), digests_of(deny) if deny else frozenset())


# Each entry alone decides, and the ones before it win over it: how to bring it about, and what comes out.
PRECEDENCE = [
    ({"enabled": False}, Reason.DISABLED),
    ({"force_legacy": True}, Reason.KILL_SWITCH),
    ({"ready": False}, Reason.ERROR),
    ({"gate": closed()}, Reason.CIRCUIT_OPEN),
    ({"targets": listed(deny="user-1")}, Reason.TARGETING_MATCH),
    ({"percent": 0}, Reason.SPLIT),
]


OTHERS = {"gate", "targets", "percent"}


def arrange(*circumstances: dict[str, object]) -> Selection:
    """A selection under all these circumstances at once."""
    merged = {name: value for one in circumstances for name, value in one.items()}
    switches = {name: value for name, value in merged.items() if name not in OTHERS}
    others = {name: value for name, value in merged.items() if name in OTHERS}
    return choose(switches=Switches(**{"enabled": True, **switches}), **others)


@pytest.mark.parametrize(("circumstance", "reason"), PRECEDENCE)
def test_each_circumstance_alone_sends_to_legacy(circumstance: dict[str, object], reason: Reason) -> None:
    """With its own reason."""
    selection = arrange(circumstance)
    assert (selection.route, selection.reason) == (Route.LEGACY, reason)


@pytest.mark.parametrize(("first", "second"), list(combinations(PRECEDENCE, 2)))
def test_earlier_circumstance_names_the_reason(
    first: tuple[dict[str, object], Reason], second: tuple[dict[str, object], Reason]
) -> None:
    """Not enabled > kill switch > not ready > breaker > list > percent."""
    assert arrange(first[0], second[0]).reason is first[1]


@pytest.mark.parametrize("switch", ["force_legacy", "disable_pool", "emergency"])
def test_every_kill_switch_kills(switch: str) -> None:
    """Three switches, one reason."""
    assert choose(switches=Switches(enabled=True, **{switch: True})).reason is Reason.KILL_SWITCH


@pytest.mark.parametrize("switches", [Switches(enabled=False), Switches(enabled=True, emergency=True)])
def test_switched_off_asks_neither_breaker_nor_hash(switches: Switches) -> None:
    """Off costs nothing and shows no bucket."""
    gate = FakeGate()
    assert choose(switches=switches, gate=gate).bucket is None
    assert gate.asked == []


def test_all_clear_goes_to_the_pool() -> None:
    """At 100 % every key does, with its bucket and its position."""
    selection = choose("user-1")
    assert (selection.route, selection.reason) == (Route.POOL, Reason.SPLIT)
    assert selection.bucket == Canary(100).bucket("user-1")
    assert selection.share == Canary(100).share(selection.bucket)


@pytest.mark.parametrize(("percent", "expected"), [(0, 0), (10, 1000), (50, 5000), (100, 10_000)])
def test_routes_of_ten_thousand_keys_follow_the_percent(percent: float, expected: int) -> None:
    """The expected share within three standard deviations, and the same keys each time."""
    keys = [f"user-{number}" for number in range(10_000)]
    routes = [choose(key, percent=percent).route for key in keys]
    deviation = (expected * (1 - percent / 100)) ** 0.5
    assert Counter(routes)[Route.POOL] == pytest.approx(expected, abs=3 * deviation)
    assert routes == [choose(key, percent=percent).route for key in keys]


@given(st.text(), st.integers(0, 10_000), st.integers(0, 10_000))
def test_rising_percent_takes_nobody_out_of_the_pool(key: str, one: int, other: int) -> None:
    """Neither with a key nor without."""
    low, high = sorted((one / 100, other / 100))
    if choose(key, percent=low).route is Route.POOL:
        assert choose(key, percent=high).route is Route.POOL


@pytest.mark.parametrize("key", [None, ""])
@pytest.mark.parametrize(("percent", "route"), [(0, Route.LEGACY), (99.99, Route.LEGACY), (100, Route.POOL)])
def test_no_key_means_legacy_below_hundred_percent(key: str | None, percent: float, route: Route) -> None:
    """There is nothing to be sticky by."""
    selection = choose(key, percent=percent)
    assert (selection.route, selection.reason, selection.bucket) == (route, Reason.DEFAULT, None)


def test_no_key_takes_a_random_position_in_the_ramp() -> None:
    """Or all of them would come back at the same moment."""
    gate = FakeGate(BreakerState.RAMPING, ramp=0.4)
    selection = choose(None, gate=gate)
    assert (selection.route, selection.reason) == (Route.LEGACY, Reason.RAMPING)
    assert gate.asked == [0.5]
    gate.ramp = 0.6
    assert choose(None, gate=gate) == Selection(Route.POOL, Reason.DEFAULT, share=0.5)


@pytest.mark.parametrize("state", [BreakerState.DISABLED, BreakerState.HALF_OPEN])
@pytest.mark.parametrize("key", [None, "user-1"])
@pytest.mark.parametrize("percent", [0, 100])
def test_open_breaker_is_the_reason_for_everybody(state: BreakerState, key: str | None, percent: float) -> None:
    """Also for those that would not have been in the canary."""
    selection = choose(key, percent=percent, gate=closed(state))
    assert (selection.route, selection.reason) == (Route.LEGACY, Reason.CIRCUIT_OPEN)


def test_ramp_holds_back_covered_keys_by_position() -> None:
    """The breaker hears where the key lies inside the canary, and a refusal is called ramping."""
    canary = Canary(10)
    gate = FakeGate(BreakerState.RAMPING, ramp=0.3)
    for number in range(2000):
        key = f"user-{number}"
        bucket = canary.bucket(key)
        selection = choose(key, percent=10, gate=gate)
        if not canary.covers(bucket):
            assert selection == Selection(Route.LEGACY, Reason.SPLIT, bucket, arm=canary.arm(bucket))
        elif canary.share(bucket) < 0.3:
            assert selection == Selection(Route.POOL, Reason.SPLIT, bucket, canary.share(bucket), Arm.CANARY)
        else:
            assert selection == Selection(Route.LEGACY, Reason.RAMPING, bucket, canary.share(bucket), Arm.CANARY)


@pytest.mark.parametrize("percent", [0, 10, 60, 100])
def test_arm_is_the_buckets_also_when_the_breaker_is_open(percent: float) -> None:
    """Arms are compared by assignment."""
    canary = Canary(percent)
    for number in range(500):
        key = f"user-{number}"
        for gate in (FakeGate(), closed()):
            assert choose(key, percent=percent, gate=gate).arm is canary.arm(canary.bucket(key))


def test_what_no_bucket_decided_is_outside() -> None:
    """A switch, or no key: it says nothing about the canary."""
    assert choose(switches=Switches(enabled=True, force_legacy=True)).arm is Arm.OUTSIDE
    assert choose(None, percent=100).arm is Arm.OUTSIDE


def test_stale_percent_is_named() -> None:
    """The last known one decides, on both sides."""
    canary = Canary(50, stale=True)
    chosen = [
        select(switches=ON, canary=canary, breaker=FakeGate(), key=f"user-{number}", rng=lambda: 0.5)
        for number in range(100)
    ]
    assert {selection.reason for selection in chosen} == {Reason.STALE}
    assert {selection.route for selection in chosen} == {Route.POOL, Route.LEGACY}


def test_allowed_key_goes_to_the_pool_at_no_percent() -> None:
    """And nobody else does."""
    targets = listed(allow="user-1")
    assert choose("user-1", percent=0, targets=targets).reason is Reason.TARGETING_MATCH
    assert choose("user-1", percent=0, targets=targets).route is Route.POOL
    assert choose("user-2", percent=0, targets=targets).route is Route.LEGACY
    assert choose(None, percent=0, targets=targets).reason is Reason.DEFAULT


def test_denied_key_stays_on_legacy_at_every_percent() -> None:
    """Also when it is on the allow list too."""
    targets = listed(allow="user-1", deny="user-1")
    assert choose("user-1", percent=100, targets=targets).route is Route.LEGACY
    assert choose("user-2", percent=100, targets=targets).reason is Reason.SPLIT


@pytest.mark.parametrize("route", list(Route))
@pytest.mark.parametrize("key", [None, "user-1"])
def test_signed_header_wins_over_lists_and_percent(route: Route, key: str | None) -> None:
    """A tester asks on purpose."""
    targets = listed(**{"deny" if route is Route.POOL else "allow": "user-1"})
    percent = 0 if route is Route.POOL else 100
    selection = choose(key, percent=percent, targets=targets, wanted=route)
    assert (selection.route, selection.reason) == (route, Reason.TARGETING_MATCH)


@pytest.mark.parametrize(("circumstance", "reason"), PRECEDENCE[:4])
def test_nobody_is_targeted_past_a_kill_switch_or_the_breaker(circumstance: dict[str, object], reason: Reason) -> None:
    """Neither by a list nor by a header."""
    targeted = arrange({"targets": listed(allow="user-1")}, circumstance)
    assert (targeted.route, targeted.reason) == (Route.LEGACY, reason)


def test_targeted_request_has_a_place_in_the_ramp() -> None:
    """A key where it would stand at 100 %, a request without one anywhere."""
    gate = FakeGate(BreakerState.RAMPING, ramp=1.0)
    selection = choose("user-1", percent=0, gate=gate, targets=listed(allow="user-1"))
    assert selection.bucket is not None
    assert selection.share == selection.bucket / 10_000
    assert choose(None, percent=0, gate=gate, wanted=Route.POOL).share == 0.5
    assert choose("user-1", gate=gate, wanted=Route.LEGACY).share == 0.0


def test_reasons_are_openfeatures_words_in_lower_case() -> None:
    """They go into headers, logs and metrics as they are."""
    assert {str(reason) for reason in Reason} == {
        "split", "disabled", "targeting_match", "stale", "error", "default", "kill_switch", "circuit_open", "ramping"
    }  # fmt: skip
    assert [str(route) for route in Route] == ["pool", "legacy"]
