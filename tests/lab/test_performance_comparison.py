"""Do the names of seed 000 do what the seed does with them?"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator

import pytest

from phase1.lab.performance_comparison import DEFAULT_TARGET, main, stress_test
from tests.lab.test_load import Habits


@pytest.fixture
async def habits() -> AsyncIterator[Habits]:
    """A server that answers."""
    found = Habits()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        server.close()


async def test_stress_test_prints_and_returns_the_figures(habits: Habits, capsys: pytest.CaptureFixture[str]) -> None:
    """Three users for a moment: each has its own token, and nobody waits in vain."""
    found = await stress_test(
        concurrent_users=3, duration_seconds=0.3, target=habits.url + "/ok", headers={"Authorization": "Bearer {user}"}
    )
    assert found["kept"]
    assert found["all"]["outcomes"] == {"200": found["all"]["requests"]}
    assert set(habits.tokens) == {"1", "2", "3"}
    assert "requests/s" in capsys.readouterr().out


def test_seed_s_call_is_valid() -> None:
    """`stress_test(concurrent_users=20, duration_seconds=60)`: no more is needed for an app where uvicorn serves it."""
    bound = inspect.signature(stress_test).bind(concurrent_users=20, duration_seconds=60)
    bound.apply_defaults()
    assert bound.arguments["target"] == DEFAULT_TARGET == "http://127.0.0.1:8000/chat"


def test_comparison_without_an_app_says_what_it_wants(capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage is exit code 2, an app that is none 1."""
    assert main([]) == 2
    assert main(["nothing"]) == 1
    assert "error: nothing: must have the form module:app" in capsys.readouterr().err
