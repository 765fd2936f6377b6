"""Does the guard roll back what is worse, promote what is not, and leave the healthy alone however often one looks?"""

from __future__ import annotations

import json
import random
from math import inf, log, log1p, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.canary import Arm, Canary
from phase1.policy.evidence import EProcess, threshold
from phase1.policy.rollout_arms import ArmSums, Block, Blocks, Observed, is_lopsided
from phase1.policy.rollout_guard import Evidence, Guard
from phase1.policy.rollout_plan import WEEKS, Metric

NOTHING = ArmSums()


class World:
    """Two arms whose calls end in random order: `canary` and `control` are their shares of failures."""

    def __init__(self, seed: int, *, canary: float, control: float, slower: float = 1.0) -> None:
        self._rng = random.Random(seed)
        self._fails = (canary, control)
        self._slower = (slower, 1.0)
        self._blocks = Blocks()
        self.guard = Guard(WEEKS)

    def end_one(self) -> None:
        """One call more."""
        rng = self._rng
        arm = rng.random() < 0.5
        failed = rng.random() < self._fails[arm]
        waited = 1.0 if failed else min(1.0, rng.lognormvariate(-3.0, 0.7) * self._slower[arm])
        one = Observed(Arm.CONTROL if arm else Arm.CANARY, rng.randrange(100), failed, waited)
        call = NOTHING.with_one(one)
        self.guard.count(*((NOTHING, call) if arm else (call, NOTHING)))
        if block := self._blocks.add(one):
            self.guard.bet(block)

    def run(self, calls: int) -> tuple[str, int]:
        """Look after each call, and stop at a verdict: what it is, and after how many blocks it came."""
        for _ in range(calls):
            self.end_one()
            found = self.guard.evidence()
            if found.against:
                return "roll back", found.blocks
            if found.promotes:
                return "promote", found.blocks
        return "nothing", found.blocks


def test_healthy_canary_is_rolled_back_in_at_most_one_of_twenty_runs() -> None:
    """Two thousand runs, looked at after each request; a z-test would roll a quarter of them back."""
    rolled_back = 0
    for seed in range(2000):
        world = World(seed, canary=0.05, control=0.05)
        bettors = world.guard.worse.values()
        for _ in range(120):
            world.end_one()
            if max(bettor.log_e for bettor in bettors) >= world.guard.threshold:
                rolled_back += 1
                break
    assert rolled_back <= 100


def test_a_z_test_would_have_done_so() -> None:
    """The simulation can tell the two apart: the same runs, with the usual test at 5 %."""
    rolled_back = 0
    for seed in range(100):
        world = World(seed, canary=0.3, control=0.3)
        for _ in range(500):
            world.end_one()
            found = world.guard
            n, m = found.canary.calls, found.control.calls
            if min(n, m) >= 20:
                p, q = found.canary.failed / n, found.control.failed / m
                pooled = (found.canary.failed + found.control.failed) / (n + m)
                deviation = (pooled * (1 - pooled) * (1 / n + 1 / m)) ** 0.5
                if deviation and (p - q) / deviation > 1.645:
                    rolled_back += 1
                    break
    assert rolled_back > 0.15 * 100


@pytest.mark.parametrize("seed", range(50))
def test_dead_canary_is_rolled_back_within_ten_blocks(seed: int) -> None:
    """Every call fails, and the control's do not."""
    verdict, blocks = World(seed, canary=1.0, control=0.0).run(1000)
    assert (verdict, blocks <= 10) == ("roll back", True)


def test_five_points_more_failures_are_found_in_some_hundred_blocks() -> None:
    """1 % against 6 %: the median of fifty runs, and every one of them."""
    found = [World(seed, canary=0.06, control=0.01).run(20_000) for seed in range(50)]
    blocks = sorted(blocks for _, blocks in found)
    assert {verdict for verdict, _ in found} == {"roll back"}
    assert 50 < blocks[25] < 500
    assert blocks[-1] < 2000


@pytest.mark.parametrize("seed", range(10))
def test_slower_canary_is_rolled_back(seed: int) -> None:
    """Three times the time, with every answer a good one."""
    verdict, _ = World(seed, canary=0.01, control=0.01, slower=3.0).run(5000)
    assert verdict == "roll back"


def test_equal_canary_is_promoted() -> None:
    """As good as the control: at most one of fifty runs ends otherwise, none without a verdict."""
    verdicts = [World(seed, canary=0.01, control=0.01).run(20_000)[0] for seed in range(50)]
    assert verdicts.count("promote") >= 49
    assert "nothing" not in verdicts


def test_canary_that_is_worse_than_the_margin_is_not_promoted() -> None:
    """Ten points worse, twice the margin: it is rolled back first."""
    assert {World(seed, canary=0.11, control=0.01).run(20_000)[0] for seed in range(50)} == {"roll back"}


@given(st.lists(st.floats(-1, 1), max_size=100), st.sampled_from([1, -1]), st.floats(0, 0.5))
def test_wealth_never_runs_out(differences: list[float], side: int, margin: float) -> None:
    """No block can take all of it, so that log e is always a number; and bets are never on the other side."""
    process = EProcess(side=side, margin=margin, cap=0.9)
    for difference in differences:
        assert 0.0 <= process.bet <= 0.9 / (1 + margin)
        before = process.log_e
        assert process.add(difference) >= before + log(0.05)
    assert process.blocks == len(differences)


@given(st.lists(st.floats(-1, 1), max_size=30), st.floats(-1, 1))
def test_bet_is_made_before_the_block_is_seen(past: list[float], block: float) -> None:
    """Or nothing would be fair."""
    one, other = EProcess.worse(), EProcess.worse()
    for difference in past:
        one.add(difference)
        other.add(difference)
    bet = one.bet
    other.add(block)
    assert one.bet == bet
    assert other.log_e - one.log_e == pytest.approx(log(1 + bet * block))


def test_threshold_is_shared_by_all_tests() -> None:
    """Twelve comparisons in the weeks' plan: three metrics at four steps with two arms."""
    assert WEEKS.tests == 12
    assert threshold(0.05, 12) == pytest.approx(log(240))
    assert Guard(WEEKS).threshold == pytest.approx(log(240))


def test_guard_is_handed_over() -> None:
    """Another leader goes on where the last one stood."""
    world = World(3, canary=0.2, control=0.1)
    for _ in range(101):
        world.end_one()
    heir = Guard(WEEKS)
    heir.restore(json.loads(json.dumps(world.guard.state())))
    assert heir.evidence() == world.guard.evidence()
    for guard in (heir, world.guard):
        guard.count(ArmSums(calls=1), NOTHING)
        guard.bet(Block(1.0, 0.0, 0.5))
    assert heir.evidence() == world.guard.evidence()


@pytest.mark.parametrize("state", [[0, 0, 0], [nan, 0, 0, 0], [0, 0, inf, 0], [0, -1, 0, 0], [0, 0, 0, -1], "abcd"])
def test_evidence_that_is_none_is_refused(state: list[float]) -> None:
    """It is read from a store that anybody may have written to."""
    process = EProcess.worse()
    with pytest.raises(ValueError, match=r"."):
        process.restore(state)
    assert process.log_e == 0


def ended(arm: Arm, *, failed: bool = False, waited: float | None = None, empty: bool = False) -> Observed:
    """One call."""
    return Observed(arm, 0, failed, waited, empty)


def test_block_needs_both_arms() -> None:
    """What one arm has waits until the other one says something, and nothing is dropped."""
    blocks = Blocks()
    for _ in range(3):
        assert blocks.add(ended(Arm.CANARY, failed=True, waited=1.0)) is None
    assert blocks.add(ended(Arm.CANARY, waited=0.2, empty=True)) is None
    assert blocks.add(ended(Arm.CONTROL, waited=0.5)) == Block(0.75, 0.25, pytest.approx(0.3))
    assert blocks.add(ended(Arm.CONTROL, failed=True)) is None
    assert blocks.add(ended(Arm.CANARY, waited=0.5)) == Block(-1.0, 0.0, None)


def test_block_is_handed_on() -> None:
    """From worker to leader."""
    for block in (Block(0.75, -0.25, 0.3), Block(-1.0, 0.0, None)):
        assert Block.restored(json.loads(json.dumps(block.state()))) == block


@pytest.mark.parametrize("state", [[], [0, 0], [2, 0, 0], [0, -1.1, 0], [0, 0, nan], [None, 0, 0], ["x", 0, 0]])
def test_block_that_is_none_is_refused(state: list[Any]) -> None:
    """It comes from another process."""
    with pytest.raises((ValueError, TypeError)):
        Block.restored(state)


def test_streams_have_no_time_to_compare() -> None:
    """The metric stays out of it, and does not keep an equal canary from being promoted."""
    guard = Guard(WEEKS)
    for _ in range(300):
        guard.bet(Block(0.0, 0.0, None))
    found = guard.evidence()
    assert found.worse is not None
    assert set(found.worse) == {Metric.FAILED, Metric.EMPTY}
    assert found.promotes


def test_nothing_is_no_evidence() -> None:
    """Neither for nor against."""
    assert (Evidence().against, Evidence().promotes) == (None, False)


def test_worst_metric_is_named() -> None:
    """When several speak against it."""
    found = Evidence(worse={Metric.FAILED: 6.0, Metric.SECONDS: 7.0, Metric.EMPTY: 1.0}, threshold=5.0)
    assert found.against is Metric.SECONDS


def test_document_says_what_the_verdict_was_made_of() -> None:
    """Numbers per arm, log e, threshold."""
    guard = Guard(WEEKS)
    guard.count(ArmSums(4, 1), ArmSums(5))
    guard.bet(Block(0.25, 0.0, None))
    assert guard.evidence().document() == {
        "n": 4,
        "failures": {"canary": 1, "control": 0},
        "control_n": 5,
        "log_e": {"failed": round(log1p(0.1 / 0.26 * 0.25), 3), "empty": 0.0},
        "log_e_promote": {"failed": round(log1p(-0.1 / 0.26 * 0.2), 3), "empty": round(log1p(0.1 / 0.26 * 0.05), 3)},
        "threshold": 5.481,
        "blocks": 1,
    }


# -- sums


def test_sums_add_up() -> None:
    """Calls, and the buckets they came from."""
    one = Observed(Arm.CANARY, 3, failed=True, waited=1.0, empty=False, throttled=True, tokens=7)
    other = Observed(Arm.CANARY, 3, failed=False, waited=None, empty=True)
    sums = ArmSums().with_one(one).with_one(other)
    assert sums == ArmSums(2, 1, 1, 1.0, 1, 1, 7, 0b1000)
    assert sums.buckets == 1
    assert (sums + sums) - sums == sums
    assert ArmSums.restored(json.loads(json.dumps(sums.state()))) == sums


@pytest.mark.parametrize(
    "state",
    [
        [],
        [1] * 8 + [2],
        [-1, 0, 0, 0, 0, 0, 0, "0"],
        [1, 0, 0, nan, 0, 0, 0, "0"],
        [1, 0, 0, 0, 0, 0, 0, "xyz"],
        [None] * 8,
    ],
)
def test_sums_that_are_none_are_refused(state: list[object]) -> None:
    """They come from other processes."""
    with pytest.raises((ValueError, TypeError)):
        ArmSums.restored(state)


def heard(number: int) -> ArmSums:
    """Calls from so many buckets."""
    return ArmSums(calls=number, seen=(1 << number) - 1)


@pytest.mark.parametrize(
    ("percent", "canary", "control", "lopsided"),
    [
        (10, 500, 520, False),
        (10, 300, 520, True),
        (10, 20, 60, False),  # too few to say so
        (75, 750, 250, False),
        (75, 500, 500, True),
        (0, 0, 500, False),  # there are no two arms
        (100, 500, 0, False),
    ],
)
def test_arms_are_heard_of_as_they_were_drawn(percent: float, canary: int, control: int, lopsided: bool) -> None:  # noqa: FBT001
    """Or something is lost on the way."""
    assert is_lopsided(Canary(percent), heard(canary), heard(control)) is lopsided


def test_fair_draws_are_not_called_lopsided() -> None:
    """A thousand runs of two thousand users, looked at in the end."""
    rng = random.Random(7)
    found = 0
    for _ in range(1000):
        canary = Canary(10)
        seen = [0, 0]
        for _ in range(400):
            seen[rng.random() < 0.5] += 1
        found += is_lopsided(canary, heard(seen[0]), heard(seen[1]))
    assert found == 0
