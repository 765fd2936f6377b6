"""Is this node so bad that it gets no traffic for a while?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.classify import Verdict
from phase1.policy.ejection import Ejection, may_eject

from .vectors import VECTORS

ENVOY = VECTORS["outlier_envoy"]
FAILURE, SUCCESS, THROTTLED, NEUTRAL = Verdict.FAILURE, Verdict.SUCCESS, Verdict.THROTTLED, Verdict.NEUTRAL


class Record:
    """A node's record on a clock that moves when told to; what it asks for is done, if `allowed`."""

    def __init__(self, **options: float) -> None:
        self.now = 1000.0
        self.allowed = True
        self.ejection = Ejection(**options)
        self.lasted: list[float] = []

    def see(self, *verdicts: Verdict, probe: int = 0) -> str | None:
        """Attempts that have ended, one after the other; what the last one led to."""
        reason = None
        for verdict in verdicts:
            reason = self.ejection.end(verdict, self.now, probe=probe)
            if reason and reason != "returned" and self.allowed:
                self.lasted.append(self.ejection.eject(self.now, jitter=0.0))
        return reason

    def probe(self, verdict: Verdict) -> str | None:
        """Wait until it may be probed, and do it."""
        self.now = max(self.now, self.ejection.until)
        return self.see(verdict, probe=self.ejection.begin(self.now))

    @property
    def takes(self) -> bool:
        """Whether it may be asked."""
        return self.ejection.takes(self.now)


def test_three_failures_in_a_row_eject() -> None:
    """For thirty seconds; then it may be asked again."""
    record = Record()
    assert record.see(FAILURE, FAILURE) is None
    assert record.see(FAILURE) == "consecutive_failures"
    assert (record.takes, record.lasted) == (False, [30.0])
    record.now += 29.9
    assert not record.takes
    record.now += 0.1
    assert record.takes


def test_success_begins_the_count_anew() -> None:
    """And what says nothing changes nothing."""
    record = Record()
    record.see(FAILURE, FAILURE, SUCCESS, FAILURE, FAILURE, NEUTRAL, THROTTLED)
    assert (record.takes, record.ejection.streak) == (True, 2)
    record.see(FAILURE)
    assert not record.takes


def test_poor_rate_ejects() -> None:
    """Under half of at least twenty in a minute, never three in a row."""
    record = Record()
    for _ in range(7):
        record.see(SUCCESS, FAILURE, FAILURE)
    assert record.lasted == [30.0]


def test_rate_is_told() -> None:
    """Of the last minute only."""
    record = Record()
    assert record.ejection.success_rate(record.now) == 1.0
    record.see(SUCCESS, FAILURE)
    assert record.ejection.success_rate(record.now) == 0.5
    assert record.ejection.success_rate(record.now + 61.0) == 1.0


def test_published_flow() -> None:
    """Envoy's basic flow: five in a row, out for thirty seconds."""
    assert ENVOY["basic_flow"].startswith("500,200,500x4 -> not ejected; one more 500 -> ejected")
    record = Record(failures=5)
    record.see(FAILURE, SUCCESS, *[FAILURE] * 4)
    assert record.takes
    record.see(FAILURE)
    record.now += 9.999
    assert not record.takes
    record.now += 20.002
    assert record.takes


def test_published_sequence() -> None:
    """Each ejection is longer, and health pays it off, one per interval."""
    sequence = ENVOY["sequence_base10_interval10"]
    record = Record(base=10.0)
    for _ in sequence["after_n_consecutive_ejections"]:
        record.see(FAILURE, FAILURE, FAILURE)
        record.probe(SUCCESS)
    assert record.lasted == sequence["eject_seconds"]
    record.now += 2 * 10.0
    record.see(FAILURE, FAILURE, FAILURE)
    assert record.lasted[-1] == 20.0
    record.probe(SUCCESS)
    record.now += 50 * 10.0
    record.see(FAILURE, FAILURE, FAILURE)
    assert record.lasted[-1] == 10.0


def test_published_maximum() -> None:
    """10 · i, up to 300 s."""
    assert ENVOY["max"]["ejection_i_lasts"] == "10*i up to 30, then 300"
    record = Record(base=10.0)
    record.see(FAILURE, FAILURE, FAILURE)
    for _ in range(39):
        record.probe(FAILURE)
    assert record.lasted == [10.0 * min(number, 30) for number in range(1, 41)]


def test_jitter_adds_at_most_a_tenth() -> None:
    """Workers do not probe in step."""
    assert Ejection().eject(0.0, jitter=1.0) == pytest.approx(33.0)


def test_one_probe_at_a_time() -> None:
    """While it is under way nobody else may pass; a lease that runs out frees the place."""
    record = Record()
    record.see(FAILURE, FAILURE, FAILURE)
    assert record.ejection.begin(record.now) == 0
    record.now += 30.0
    first = record.ejection.begin(record.now)
    assert first
    assert not record.takes
    assert record.ejection.begin(record.now) == 0
    record.now += 60.0
    assert record.takes
    second = record.ejection.begin(record.now)
    assert record.see(SUCCESS, probe=first) is None, "the one whose lease ran out does not count"
    assert record.see(SUCCESS, probe=second) == "returned"
    assert record.takes


@pytest.mark.parametrize("verdict", [FAILURE, THROTTLED])
def test_probe_that_fails_ejects_again_for_longer(verdict: Verdict) -> None:
    """A probe that is throttled has proved nothing."""
    record = Record()
    record.see(FAILURE, FAILURE, FAILURE)
    assert record.probe(verdict) == "probe_failed"
    assert (record.takes, record.lasted) == (False, [30.0, 60.0])


def test_cancelled_probe_leaves_the_place_to_the_next_one() -> None:
    """No verdict."""
    record = Record()
    record.see(FAILURE, FAILURE, FAILURE)
    assert record.probe(NEUTRAL) is None
    assert record.takes
    assert record.probe(SUCCESS) == "returned"


def test_what_was_under_way_does_not_count() -> None:
    """Neither a success nor a failure that began before."""
    record = Record()
    record.see(FAILURE, FAILURE, FAILURE)
    assert record.see(SUCCESS, FAILURE, FAILURE, FAILURE, FAILURE) is None
    assert (record.takes, record.lasted) == (False, [30.0])


def test_node_that_may_not_go_stays() -> None:
    """It is asked as before, and the next failure asks again."""
    record = Record()
    record.allowed = False
    assert record.see(FAILURE, FAILURE, FAILURE) == "consecutive_failures"
    assert record.takes
    record.allowed = True
    record.see(FAILURE)
    assert not record.takes


def test_node_that_is_brought_back_by_hand_is_back() -> None:
    """With clean evidence."""
    record = Record()
    record.see(FAILURE, FAILURE, FAILURE)
    record.ejection.clear(record.now)
    record.see(FAILURE, FAILURE)
    assert record.takes


def test_published_slow_start() -> None:
    """A tenth at first, then in proportion to the time."""
    facts = VECTORS["slow_start_envoy"]["derived_window60"]
    record = Record()
    assert record.ejection.warmth(record.now) == 1.0
    record.see(FAILURE, FAILURE, FAILURE)
    record.probe(SUCCESS)
    found = [record.ejection.warmth(record.now + passed) for passed in facts["t"]]
    assert found == pytest.approx(facts["aggr1"])


@pytest.mark.parametrize(
    ("ejected", "nodes", "available", "allowed"),
    [
        (0, 1, 1, False),
        (0, 2, 2, True),
        (1, 2, 1, False),
        (0, 3, 3, True),
        (1, 3, 2, False),
        (1, 4, 3, True),
        (2, 4, 2, False),
        (0, 4, 1, False),
        (4, 10, 6, True),
        (5, 10, 5, False),
    ],
)
def test_how_many_may_go(*, ejected: int, nodes: int, available: int, allowed: bool) -> None:
    """At most half, one at least, never the last one that is available."""
    assert may_eject(ejected=ejected, nodes=nodes, available=available) is allowed


@given(st.lists(st.tuples(st.sampled_from(Verdict), st.floats(0, 60), st.booleans()), max_size=60))
def test_laws_of_the_record(steps: list[tuple[Verdict, float, bool]]) -> None:
    """At most one live probe, an ejection between 30 and 330 s, and only a probe that succeeds ends it."""
    record, probe = Record(), 0
    for verdict, pause, begins in steps:
        record.now += pause
        was_out = bool(record.ejection.until)
        if begins and (number := record.ejection.begin(record.now)):
            assert was_out
            assert number > probe
            probe = number
            assert not record.takes
        reason = record.see(verdict, probe=probe)
        assert all(30.0 <= seconds <= 330.0 for seconds in record.lasted)
        if was_out and not record.ejection.until:
            assert (reason, verdict) == ("returned", SUCCESS)
        if verdict is NEUTRAL:
            assert reason is None
