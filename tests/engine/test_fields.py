"""What are the header fields of an answer to those who look at them?"""

from __future__ import annotations

import asyncio

from phase1.engine.transport import Fields, WireRequest
from phase1.engine.transport.aio import AiohttpTransport, exchange

from .wire import BOUND, Wire


def test_they_are_a_sequence_of_pairs() -> None:
    """Equal to others that hold the same."""
    fields = Fields.of([("x-a", "1"), ("x-b", "2"), ("x-a", "3")])
    assert fields == [("x-a", "1"), ("x-b", "2"), ("x-a", "3")]
    assert fields == Fields.of(list(fields))
    assert hash(fields) == hash(Fields.of(tuple(fields)))
    assert (fields[0], fields[1:], len(fields)) == (("x-a", "1"), [("x-b", "2"), ("x-a", "3")], 3)
    assert fields != {"x-a": "1"}


def test_one_is_found_by_its_name() -> None:
    """The first of that name."""
    fields = Fields.of([("x-a", "1"), ("x-a", "3")])
    assert (fields.get("x-a"), fields.get("x-b")) == ("1", None)


def test_their_values_are_not_shown() -> None:
    """There may be a cookie among them."""
    assert repr(Fields.of([("set-cookie", "secret"), ("x-a", "1")])) == "<Fields set-cookie, x-a>"


async def test_addresses_with_ids_do_not_pile_up() -> None:
    """A file's address is asked for once."""
    async with Wire() as wire:
        transport = AiohttpTransport(connect_timeout=5.0)
        for number in range(exchange._MOST_TARGETS + 5):
            response = await asyncio.wait_for(
                transport.send(WireRequest("GET", f"{wire.url}/{number}", (), b"")), BOUND
            )
            assert await response.read() == b"hello"
        assert len(transport._exchanges._targets) == 5
        assert wire.connections == 1
        await transport.aclose()
