"""Is it told apart what users see, and are clients as bad as they say?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

import pytest

from phase1.lab.chaos.clients import burst, half_requests, resets, walk_away
from phase1.lab.chaos.crowd import Crowd, End, ask_once, judge
from phase1.lab.chaos.faults import FAULTS, WORDS, healthy
from phase1.lab.chaos.http import http_client
from phase1.lab.chaos.scene import Plan, Scene
from phase1.lab.chaos.upstream import Endpoint
from phase1.lab.target import Ask
from phase1.lab.trial import RunningApp

WHOLE = "".join(WORDS)
ASK = Ask(body='{"model": "m"}')
STREAM = Ask(body='{"model": "m", "stream": true}')


@pytest.mark.parametrize(
    ("status", "text", "end"),
    [
        (200, f'{{"response": "{WHOLE}"}}', End.ANSWERED),
        (200, "five words", End.HALF),
        (200, 'five words {"error": "it broke off"}', End.FAILED),
        (200, "Sorry, try again later", End.FAILED),
        (502, WHOLE, End.FAILED),
        (429, "", End.FAILED),
    ],
)
def test_half_an_answer_is_no_answer_and_no_honest_error(status: int, text: str, end: End) -> None:
    """A 2xx that says nothing of an answer, or says that it broke, is honest; one that stops in the middle is not."""
    assert judge(status, text, whole=True) is end


def test_answers_that_show_nothing_of_the_endpoints_are_taken_as_they_are() -> None:
    """An app that only says "saved" is judged by its status."""
    assert judge(201, "saved", whole=False) is End.ANSWERED
    assert judge(503, "saved", whole=False) is End.FAILED


@pytest.mark.parametrize(
    ("fault", "ask", "end"),
    [
        ("healthy", ASK, End.ANSWERED),
        ("healthy", STREAM, End.ANSWERED),
        ("500", ASK, End.FAILED),
        ("hangs", ASK, End.LATE),
        ("hangs midway", ASK, End.LATE),
        ("cut before a word", ASK, End.LOST),
        ("refuses connections", ASK, End.LOST),
        ("truncates streams", STREAM, End.HALF),
    ],
)
async def test_end_of_a_request(fault: str, ask: Ask, end: End) -> None:
    """Each of the five, on a real socket."""
    async with Endpoint(FAULTS[fault]) as endpoint, http_client() as client:
        patience = 0.3 if end is End.LATE else 20.0
        sample, _ = await ask_once(client, endpoint.url, ask, 1, patience=patience)
    assert sample.end is end


async def test_endpoint_refuses_and_comes_back_on_its_port() -> None:
    """Nobody else can take the port meanwhile, and who was talking is cut off."""
    async with Endpoint(healthy) as endpoint, http_client() as client:

        async def end() -> End:
            return (await ask_once(client, endpoint.url, ASK, 1, patience=20.0))[0].end

        assert await end() is End.ANSWERED
        await endpoint.behave(FAULTS["hangs"])
        hung = asyncio.create_task(end())
        while not endpoint.in_progress:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await endpoint.behave(None)
        assert await hung is End.LOST
        assert await end() is End.LOST
        await endpoint.behave(healthy)
        assert await end() is End.ANSWERED
        assert (endpoint.in_progress, endpoint.requests) == (0, 3)


async def test_crowd_asks_until_everybody_is_served_again() -> None:
    """Nobody leaves without an answer to what was asked after the fault; then nobody is left."""
    async with Endpoint(FAULTS["500"]) as endpoint:
        async with Crowd(endpoint.url, ASK, users=4, patience=20.0, whole=True) as crowd:
            while crowd.ends[End.FAILED] < 4:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await endpoint.behave(healthy)
            seconds = await crowd.served(since=time.monotonic(), within=30.0)
        assert seconds is not None
        assert seconds > 0
        assert crowd.ends[End.ANSWERED] >= 4
        assert {sample.user for sample in crowd.samples} == {1, 2, 3, 4}


async def test_crowd_that_is_never_served_goes_home() -> None:
    """Whoever has asked still hears the end of it."""
    async with Endpoint(FAULTS["500"]) as endpoint:
        async with Crowd(endpoint.url, ASK, users=3, patience=20.0, whole=True) as crowd:
            assert await crowd.served(since=time.monotonic(), within=1.0) is None
        assert set(crowd.ends) == {End.FAILED}


@dataclass
class Listening:
    """What the clients need to know of an app: here an endpoint plays it."""

    url: str
    ask: Ask

    @property
    def target(self) -> Listening:
        return self


def scene_at(endpoint: Endpoint, seconds: float = 0.5) -> Scene:
    """A scene whose app is this endpoint."""
    app = cast("RunningApp", Listening(url=f"{endpoint.url}/chat", ask=ASK))
    return Scene(app=app, endpoints=[], plan=Plan(users=1, seconds=seconds))


@pytest.mark.parametrize("storm", [walk_away, resets])
async def test_clients_leave_before_the_answer(storm: Callable[[Scene], Awaitable[None]]) -> None:
    """Their questions arrive; their connections do not stay."""
    async with Endpoint(healthy) as endpoint:
        await storm(scene_at(endpoint))
        assert endpoint.requests > 0
        async with asyncio.timeout(10.0):
            while endpoint.open_connections:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_half_a_request_is_none() -> None:
    """Nothing has been asked, though many were connected."""
    async with Endpoint(healthy) as endpoint:
        storm = asyncio.create_task(half_requests(scene_at(endpoint, 1.0)))
        async with asyncio.timeout(10.0):
            while not endpoint.open_connections:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await storm
        assert endpoint.requests == 0


async def test_rush_is_a_hundred_at_once() -> None:
    """And they wait for their answers."""
    async with Endpoint(healthy) as endpoint:
        await burst(scene_at(endpoint))
        assert endpoint.requests == 100
