"""Which values are kept?"""

from __future__ import annotations

from collections import OrderedDict

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from phase1.policy.lru import Lru

OVERHEAD = 256


class Clock:
    """Moves when told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_value_is_good_for_its_time() -> None:
    """And gone afterwards, with its bytes."""
    clock = Clock()
    lru = Lru(max_bytes=1000, max_entries=10, clock=clock)
    lru.put("a", b"1", seconds=5.0)
    clock.now += 4.9
    assert lru.get("a") == b"1"
    clock.now += 0.1
    assert lru.get("a") is None
    assert (len(lru), lru.bytes) == (0, 0)


def test_least_recently_used_goes_first() -> None:
    """By entries, and by bytes."""
    lru = Lru(max_bytes=10_000, max_entries=2, clock=Clock())
    for key in "ab":
        lru.put(key, b"", seconds=9.0)
    lru.get("a")
    lru.put("c", b"", seconds=9.0)
    assert [key for key in "abc" if lru.get(key) is not None] == ["a", "c"]
    lru.put("d", b"x" * (10_000 - 2 * OVERHEAD), seconds=9.0)
    assert [key for key in "acd" if lru.get(key) is not None] == ["c", "d"]


def test_value_larger_than_the_room_is_not_kept() -> None:
    """And costs nobody's place, but an older one of the same name is gone."""
    lru = Lru(max_bytes=1000, max_entries=10, clock=Clock())
    lru.put("a", b"1", seconds=9.0)
    lru.put("b", b"2", seconds=9.0)
    lru.put("a", b"x" * 1000, seconds=9.0)
    assert (lru.get("a"), lru.get("b")) == (None, b"2")


class Machine(RuleBasedStateMachine):
    """Against a dictionary that forgets by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.lru = Lru(max_bytes=3 * OVERHEAD + 30, max_entries=4, clock=self.clock)
        self.model: OrderedDict[str, tuple[float, bytes]] = OrderedDict()

    @rule(key=st.sampled_from("abcdef"), size=st.integers(0, 1200), seconds=st.floats(0.1, 20))
    def put(self, key: str, size: int, seconds: float) -> None:
        self.model.pop(key, None)
        self.lru.put(key, b"x" * size, seconds=seconds)
        if size + OVERHEAD <= 3 * OVERHEAD + 30:
            self.model[key] = (self.clock.now + seconds, b"x" * size)
        while len(self.model) > 4 or self.size > 3 * OVERHEAD + 30:
            self.model.popitem(last=False)

    @property
    def size(self) -> int:
        return sum(len(value) + OVERHEAD for _, value in self.model.values())

    @rule(key=st.sampled_from("abcdef"))
    def get(self, key: str) -> None:
        found = self.model.get(key)
        if found is not None and found[0] <= self.clock.now:
            del self.model[key]
            found = None
        if found is not None:
            self.model.move_to_end(key)
        assert self.lru.get(key) == (None if found is None else found[1])

    @rule(seconds=st.floats(0, 10))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def bounds_hold(self) -> None:
        assert self.lru.bytes == self.size <= 3 * OVERHEAD + 30
        assert len(self.lru) == len(self.model) <= 4


TestLru = Machine.TestCase
