"""Which of a node's clients takes the call, and how many are there?"""

from __future__ import annotations

import asyncio
import random

from hypothesis import given
from hypothesis import strategies as st

from phase1.engine.clients import Clients
from phase1.engine.transport.mock import MockResponse, MockTransport


class Stuck(MockTransport):
    """Cannot be closed."""

    __slots__ = ()

    async def aclose(self) -> None:
        raise OSError("stuck")


class Maker:
    """Makes transports and remembers them."""

    def __init__(self) -> None:
        self.made: list[MockTransport] = []

    def __call__(self) -> MockTransport:
        self.made.append(MockTransport(lambda _: MockResponse()))
        return self.made[-1]

    @property
    def closed(self) -> list[bool]:
        return [transport.closed for transport in self.made]


def clients_of(maker: Maker, count: int) -> Clients:
    """Clients whose number can change."""
    return Clients([maker() for _ in range(count)], make=maker, rng=random.Random(7).random)


async def settled() -> None:
    """Let everything be closed that has to be."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_calls_go_to_the_client_with_the_fewest() -> None:
    """Every client in turn, as long as no call ends."""
    clients = clients_of(Maker(), 3)
    taken = [clients.take() for _ in range(6)]
    assert [client.in_flight for client in clients] == [2, 2, 2]
    clients.give_back(taken[4], 1.0)
    assert clients.take() is taken[4]


def test_of_many_clients_two_are_looked_at() -> None:
    """A thousand calls on a hundred clients: none has far more than its share."""
    clients = clients_of(Maker(), 100)
    for _ in range(1000):
        clients.take()
    assert max(client.in_flight for client in clients) <= 14


async def test_client_that_leaves_is_closed_after_its_last_call() -> None:
    """Not before; an idle one at once."""
    maker = Maker()
    clients = clients_of(maker, 3)
    taken = [clients.take(), clients.take()]
    clients.resize(1)
    await settled()
    assert (len(clients), maker.closed.count(True)) == (1, 1)
    leaving = next(client for client in taken if client.leaving)
    clients.give_back(leaving, 1.0)
    await settled()
    assert maker.closed.count(True) == 2
    assert clients[0].transport is not leaving.transport


async def test_more_clients_are_made() -> None:
    """As many as are wanted; without a maker there are those that there are."""
    maker = Maker()
    clients = clients_of(maker, 1)
    clients.resize(4)
    assert (len(clients), len(maker.made)) == (4, 4)
    fixed = Clients([maker()], make=None, rng=random.random)
    fixed.resize(4)
    assert len(fixed) == 1
    assert fixed.close_idle(before=9.0) == 0


async def test_idle_client_gives_its_connections_back() -> None:
    """One that has a call, or had one of late, keeps them; one that was never used has none."""
    maker = Maker()
    clients = clients_of(maker, 4)
    idle, late, busy = (clients.take() for _ in range(3))
    clients.give_back(idle, 1.0)
    clients.give_back(late, 8.0)
    assert clients.close_idle(before=5.0) == 1
    assert clients.close_idle(before=5.0) == 0
    await settled()
    assert maker.closed == [True, False, False, False, False]
    assert idle.transport is maker.made[-1]
    assert busy.in_flight == 1


async def test_client_that_cannot_be_closed_hurts_nobody() -> None:
    """It is gone all the same."""
    clients = Clients(
        [Stuck(lambda _: MockResponse()), MockTransport(lambda _: MockResponse())], make=Maker(), rng=random.random
    )
    clients.resize(1)
    await settled()
    assert len(clients) == 1


async def test_closing_waits_for_those_that_leave() -> None:
    """Nothing is left behind."""
    maker = Maker()
    clients = clients_of(maker, 3)
    clients.resize(1)
    await clients.aclose()
    assert maker.closed == [True, True, True]


@given(st.lists(st.one_of(st.integers(1, 6), st.just("take"), st.just("give")), max_size=40))
async def test_nothing_is_closed_under_a_running_call(steps: list[int | str]) -> None:
    """Whatever the order of calls and sizes; in the end all that left are closed."""
    maker = Maker()
    clients = clients_of(maker, 2)
    out = []
    for step in steps:
        if step == "take":
            out.append(clients.take())
        elif step == "give" and out:
            clients.give_back(out.pop(0), 0.0)
        elif isinstance(step, int):
            clients.resize(step)
        await settled()
        assert not any(client.transport.closed for client in out)
    for client in out:
        clients.give_back(client, 0.0)
    await settled()
    assert maker.closed.count(False) == len(clients)
    await clients.aclose()
    assert all(maker.closed)
