"""Does `phase1 demo --offload` show what it says, with a Redis and without one?"""

from __future__ import annotations

import os
import shutil

import httpx
import pytest

from phase1.lab.offload import offload_demo

pytestmark = pytest.mark.timeout(180)


async def test_embedded_where_there_is_no_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process shows the stream, the lost connection and the stop button, and serves the chat page."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    said: list[str] = []
    async with offload_demo(os.environ, said.append) as shown:
        assert (shown.backend, shown.broken) == ("memory", ())
        async with httpx.AsyncClient(trust_env=False) as client:
            assert "<title>phase1 chat</title>" in (await client.get(shown.url)).text
    assert [line[:8] for line in said[1:]] == ["  kept  "] * 3


@pytest.mark.chaos
async def test_with_redis_a_worker_is_killed() -> None:
    """Two web and two worker processes; the fourth promise is the killed worker's."""
    if shutil.which("redis-server") is None and os.environ.get("CI") != "true":
        pytest.skip("no redis-server: scripts/services.sh says how to get one")
    said: list[str] = []
    async with offload_demo(os.environ, said.append) as shown:
        assert (shown.backend, shown.broken) == ("celery", ())
    assert sum("kept" in line for line in said) == 4
