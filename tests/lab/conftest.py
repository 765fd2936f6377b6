"""What the tests of the lab have in common: an environment, and a look at who is still there."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment of the tests, without an upstream that costs money."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "LLM_"))}


def _listens(url: str) -> bool:
    """Whether anybody accepts connections there."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture
def falls_silent() -> Callable[[str], bool]:
    """Tells whether nobody listens at a URL any more, or will soon: a process that was told to end needs a moment."""

    def look(url: str) -> bool:
        end = time.monotonic() + 10
        while _listens(url) and time.monotonic() < end:
            time.sleep(0.02)
        return not _listens(url)

    return look


@pytest.fixture
def free_port() -> int:
    """One on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
