"""After a failed attempt: another node, the same one, a pause, or the end?"""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.classify import Failover, Kind, judge
from phase1.policy.failover import Move, Situation, backoff, costs_budget, next_move


def after(kind: Kind, **changes: object) -> Situation:
    """After one attempt of three that ended like this: no sibling, the node is fine, an hour is left."""
    situation = Situation(
        kind=kind,
        failover=judge(kind).failover,
        attempts=1,
        max_attempts=3,
        waits=0,
        sibling=False,
        node_usable=True,
        node_rests=0.0,
        reset_in=None,
        remaining=3600.0,
    )
    return replace(situation, **changes)  # type: ignore[arg-type]


RETRIED = [kind for kind in Kind if judge(kind).failover not in {Failover.NEVER, Failover.LARGER_CONTEXT}]
FINAL = [kind for kind in Kind if kind not in RETRIED]
SILENT = [Kind.FIRST_TOKEN_TIMEOUT, Kind.STALL, Kind.TIMEOUT]
SAME_NODE = [kind for kind in RETRIED if kind not in {*SILENT, Kind.RATE_LIMIT}]


@pytest.mark.parametrize("kind", RETRIED)
def test_sibling_that_was_not_asked_is_asked_at_once(kind: Kind) -> None:
    """Whatever the fault, as long as it may be tried elsewhere."""
    assert next_move(after(kind, sibling=True)) is Move.SIBLING


@pytest.mark.parametrize("kind", FINAL)
def test_what_another_node_would_not_answer_better_stops(kind: Kind) -> None:
    """Successes, the caller's own errors, cancellations, bugs; a larger context is nobody's yet."""
    assert next_move(after(kind, sibling=True)) is Move.STOP


@pytest.mark.parametrize("kind", SILENT)
def test_node_is_never_asked_again_on_silence(kind: Kind) -> None:
    """It is busy with the first copy."""
    assert next_move(after(kind)) is Move.STOP


@pytest.mark.parametrize("kind", SAME_NODE)
def test_same_node_is_asked_when_there_is_no_other(kind: Kind) -> None:
    """5xx, resets, refused connections, empty streams."""
    assert next_move(after(kind)) is Move.SAME


@pytest.mark.parametrize("kind", RETRIED)
def test_attempts_are_bounded(kind: Kind) -> None:
    """The last one of three is the last one."""
    assert next_move(after(kind, sibling=True, attempts=3)) is Move.STOP
    assert next_move(after(kind, sibling=True, attempts=1, max_attempts=1)) is Move.STOP


@pytest.mark.parametrize("kind", [kind for kind in RETRIED if judge(kind).failover is Failover.ONCE])
def test_what_is_tried_once_is_tried_once(kind: Kind) -> None:
    """Silence costs the caller's time: one second try, whatever `max_attempts` says."""
    assert next_move(after(kind, sibling=True, attempts=1, max_attempts=9)) is Move.SIBLING
    assert next_move(after(kind, sibling=True, attempts=2, max_attempts=9)) is Move.STOP


@pytest.mark.parametrize("kind", RETRIED)
@pytest.mark.parametrize("remaining", [0.0, -1.0])
def test_nothing_is_tried_after_the_deadline(kind: Kind, remaining: float) -> None:
    """There is nobody left to answer."""
    assert next_move(after(kind, sibling=True, remaining=remaining)) is Move.STOP


@pytest.mark.parametrize("kind", SAME_NODE)
def test_node_that_is_switched_off_is_not_asked_again(kind: Kind) -> None:
    """A refused key stays refused."""
    assert next_move(after(kind, node_usable=False)) is Move.STOP


@pytest.mark.parametrize(("rests", "move"), [(9.9, Move.SAME), (10.0, Move.STOP), (60.0, Move.STOP)])
def test_node_that_rests_beyond_the_deadline_is_not_asked_again(rests: float, move: Move) -> None:
    """A 503 that says when to come back: inside the deadline or not at all."""
    assert next_move(after(Kind.SERVER_ERROR, node_rests=rests, remaining=10.0)) is move


def test_rest_of_the_others_does_not_keep_a_free_node_from_being_asked() -> None:
    """What counts for the same node is its own rest."""
    assert next_move(after(Kind.SERVER_ERROR, node_rests=0.0, reset_in=None, remaining=10.0)) is Move.SAME


@pytest.mark.parametrize(
    ("attempts", "remaining", "move"),
    [(1, 0.5, Move.STOP), (1, 0.51, Move.SAME), (2, 1.0, Move.STOP), (2, 1.01, Move.SAME)],
)
def test_pause_that_may_outlast_the_deadline_is_not_begun(attempts: int, remaining: float, move: Move) -> None:
    """The failure at hand says more than a timeout afterwards."""
    assert next_move(after(Kind.SERVER_ERROR, attempts=attempts, remaining=remaining)) is move


# -- 429


def test_rate_limit_waits_for_the_reset_inside_the_deadline() -> None:
    """When every node of every quota domain rests."""
    assert next_move(after(Kind.RATE_LIMIT, reset_in=5.0, remaining=5.1)) is Move.WAIT


def test_rate_limit_whose_reset_comes_too_late_stops() -> None:
    """The caller gets the 429 now, not a timeout then."""
    assert next_move(after(Kind.RATE_LIMIT, reset_in=5.0, remaining=5.0)) is Move.STOP


def test_rate_limit_waits_twice_at_most() -> None:
    """A quota that is gone again after each reset is somebody else's."""
    assert next_move(after(Kind.RATE_LIMIT, reset_in=1.0, waits=1)) is Move.WAIT
    assert next_move(after(Kind.RATE_LIMIT, reset_in=1.0, waits=2)) is Move.STOP


def test_rate_limit_is_not_tried_at_a_node_that_was_asked_already() -> None:
    """Some node does not rest, but all of those have been asked: no wait would help."""
    assert next_move(after(Kind.RATE_LIMIT, reset_in=None)) is Move.STOP


# -- a lower tier


@pytest.mark.parametrize("kind", SAME_NODE)
def test_tier_is_used_up_before_the_next_one(kind: Kind) -> None:
    """A sibling at once, else the same node once more, and only then a lower tier."""
    assert next_move(after(kind, sibling=True, lower=True)) is Move.SIBLING
    assert next_move(after(kind, lower=True)) is Move.SAME
    assert next_move(after(kind, lower=True, repeated=True, attempts=2, max_attempts=4)) in {Move.SIBLING, Move.STOP}
    assert next_move(after(kind, repeated=True, attempts=2, max_attempts=2)) is Move.STOP


def test_lower_tier_follows_the_second_failure() -> None:
    """Of a server that fails."""
    assert next_move(after(Kind.SERVER_ERROR, lower=True, repeated=True, attempts=2)) is Move.SIBLING


@pytest.mark.parametrize("kind", SILENT)
def test_lower_tier_is_asked_at_once_after_silence(kind: Kind) -> None:
    """The same node never."""
    assert next_move(after(kind, lower=True)) is Move.SIBLING


def test_lower_tier_is_asked_when_the_node_is_off() -> None:
    """Or rests for too long."""
    assert next_move(after(Kind.NODE_REFUSED, lower=True, node_usable=False)) is Move.SIBLING
    assert next_move(after(Kind.SERVER_ERROR, lower=True, node_rests=60.0, remaining=10.0)) is Move.SIBLING


@pytest.mark.parametrize(
    ("facts", "move"),
    [
        ({"reset_in": 5.0}, Move.WAIT),
        ({"reset_in": 5.1}, Move.SIBLING),
        ({"reset_in": None}, Move.SIBLING),
        ({"reset_in": 2.0, "waits": 2}, Move.SIBLING),
        ({"reset_in": 2.0, "remaining": 1.0}, Move.SIBLING),
    ],
)
def test_quota_of_a_better_tier_is_waited_for_shortly(facts: dict[str, object], move: Move) -> None:
    """Up to five seconds, twice; the lower tier is a degraded answer."""
    assert next_move(after(Kind.RATE_LIMIT, lower=True, **facts)) is move


# -- cost and pauses


@pytest.mark.parametrize("failover", list(Failover))
def test_only_what_the_upstream_may_have_to_pay_for_costs_budget(failover: Failover) -> None:
    """Attempts that were never sent, refused keys and other quota domains are free."""
    assert costs_budget(failover) is (failover in {Failover.BUDGETED, Failover.ONCE})


@pytest.mark.parametrize(
    ("attempts", "longest"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 8.0), (6, 8.0), (99, 8.0)]
)
def test_pause_is_full_jitter_over_a_doubling_range(attempts: int, longest: float) -> None:
    """From nothing at all to 0.5, 1, 2 … 8 s."""
    assert [backoff(attempts, jitter=jitter) for jitter in (0.0, 0.5, 1.0)] == [0.0, longest / 2, longest]


@given(
    kind=st.sampled_from(Kind),
    attempts=st.integers(1, 5),
    max_attempts=st.integers(1, 5),
    waits=st.integers(0, 3),
    sibling=st.booleans(),
    lower=st.booleans(),
    repeated=st.booleans(),
    node_usable=st.booleans(),
    node_rests=st.floats(0, 100),
    reset_in=st.none() | st.floats(0, 100),
    remaining=st.floats(-1, 100) | st.just(inf),
)
def test_laws_of_the_next_move(kind: Kind, **facts: object) -> None:
    """In every situation: bounded attempts, nothing after the deadline, nothing that must not be asked."""
    now = after(kind, **facts)
    move = next_move(now)
    if move is not Move.STOP:
        assert now.attempts < now.max_attempts
        assert now.remaining > 0
        assert kind in RETRIED
    assert (move is Move.SIBLING) <= (now.sibling or now.lower)
    assert (move is Move.WAIT) <= (
        kind is Kind.RATE_LIMIT and now.reset_in is not None and now.reset_in < now.remaining
    )
    assert (move is Move.SAME) <= (now.node_usable and kind in SAME_NODE and now.node_rests < now.remaining)
