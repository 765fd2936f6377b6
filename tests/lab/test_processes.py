"""Does a server start, say why when it does not, and never outlive its parent?"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from phase1.lab.processes import LabError, Server

_APP = """\
import asyncio, os, signal, sys, time
{at_import}
async def app(scope, receive, send):
    if scope["type"] == "http":
        {first}
        await send({{"type": "http.response.start", "status": 200, "headers": []}})
        await send({{"type": "http.response.body", "body": os.environ.get("SAYS", "tiny").encode()}})
"""

_PARENT = """\
import asyncio, os, pathlib, sys
from phase1.lab.processes import Server
server = Server("tiny app", "tiny:app", folder=pathlib.Path(sys.argv[1]), environment=os.environ)
asyncio.run(server.healthy())
print(server.url, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Server]:
    """Starts a tiny app that does `at_import` when it is loaded and `first` with each request."""

    def start(*, at_import: str = "", first: str = "pass", says: str = "tiny", port: int = 0) -> Server:
        (tmp_path / "tiny.py").write_text(_APP.format(at_import=at_import, first=first))
        return Server("tiny app", "tiny:app", folder=tmp_path, environment={**os.environ, "SAYS": says}, port=port)

    return start


async def test_server_answers_until_its_block_ends(
    tiny: Callable[..., Server], falls_silent: Callable[[str], bool]
) -> None:
    """Inside the block the app answers, with its own environment; after it nobody listens."""
    with tiny(says="hello") as server:
        await server.healthy()
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(server.url)).text == "hello"
        assert repr(server) == f"<Server tiny app at {server.url}, running>"
    assert falls_silent(server.url)
    assert server.process.returncode is not None


async def test_stop_twice_is_stop_once(tiny: Callable[..., Server]) -> None:
    """The second time nothing is signalled: the id may be somebody else's by then."""
    with tiny() as server:
        server.stop()
        server.stop()


async def test_server_that_is_stopped_at_once_is_stopped(
    tiny: Callable[..., Server], falls_silent: Callable[[str], bool]
) -> None:
    """It need not have started."""
    with tiny() as server:
        pass
    assert falls_silent(server.url)


async def test_server_that_does_not_listen_to_reason_is_killed(tiny: Callable[..., Server]) -> None:
    """An app that ignores SIGTERM and blocks its loop ends all the same."""
    with tiny(first="time.sleep(60) if scope['path'] == '/block' else None") as server:
        await server.healthy()
        async with httpx.AsyncClient(trust_env=False) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.get(f"{server.url}/block", timeout=0.2)
    assert server.process.returncode == -9


async def test_app_that_cannot_be_imported_is_told_with_its_last_words(tiny: Callable[..., Server]) -> None:
    """One line: which process, its exit status, what it said last."""
    with tiny(at_import="raise RuntimeError('no such luck')") as server, pytest.raises(LabError) as caught:
        await server.healthy()
    assert str(caught.value) == "the tiny app ended with status 1: RuntimeError: no such luck"


async def test_app_that_never_answers_is_told(tiny: Callable[..., Server]) -> None:
    """Whoever waits for health does so for a bounded time."""
    patience = r"^the tiny app did not answer within 0\.2 s"
    with tiny(first="await asyncio.sleep(0.7)") as server, pytest.raises(LabError, match=patience):
        await server.healthy(timeout=0.2)


async def test_port_that_is_taken_is_told(tiny: Callable[..., Server]) -> None:
    """Before anything has started."""
    with tiny() as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(LabError) as caught:
            tiny(port=port)
    assert str(caught.value) == f"the tiny app cannot listen on port {port}: {os.strerror(errno.EADDRINUSE)}"


def test_server_ends_with_a_parent_that_was_killed(tmp_path: Path, falls_silent: Callable[[str], bool]) -> None:
    """SIGKILL leaves a parent no time to clean up: its servers notice by themselves."""
    (tmp_path / "tiny.py").write_text(_APP.format(at_import="", first="pass"))
    command = [sys.executable, "-c", _PARENT, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        assert httpx.get(url, trust_env=False).text == "tiny"
        parent.kill()
    assert falls_silent(url)
