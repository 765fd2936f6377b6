"""What does every test of the engine have? Virtual time, no environment of the host, a manager in its own world."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

from phase1.engine.manager import Manager
from phase1.engine.node import NodeSpec
from phase1.engine.transport import Transport
from phase1.engine.transport.choice import transport_factory
from phase1.engine.transport.tls import ssl_context
from phase1.events import Event
from phase1.settings import Settings

from .providers import Providers
from .upstream import Upstream
from .virtual import VirtualLoop
from .wire import Wire

# The same examples in every run: a red test is red for everybody.
settings.register_profile(
    "engine", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("engine")

VARIABLES = {*(name.upper() for name in Settings.model_fields), "OPENAI_API_POOL_SIZE"}
PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Time is virtual, except for tests with an `upstream` on a real socket."""
    names: list[str] = getattr(item, "fixturenames", [])
    return {"real": asyncio.new_event_loop} if "upstream" in names else {"virtual": VirtualLoop}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of ours is set, no proxy stands in the way, and the working directory is empty."""
    for name in [name for name in os.environ if name.upper() in VARIABLES | PROXIES]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """A provider on a real socket."""
    async with Upstream() as up:
        yield up


@pytest_asyncio.fixture
async def wire(upstream: Upstream) -> AsyncIterator[Wire]:
    """A server on a real socket that sends exact bytes."""
    async with Wire() as server:
        yield server


MakeTransport = Callable[..., Transport]


@pytest_asyncio.fixture(params=["httpx", "aiohttp"])
async def make_transport(
    request: pytest.FixtureRequest, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[MakeTransport]:
    """Makes transports of each kind, on a real loop and without the host's certificates; they are closed at the end."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    ssl_context.cache_clear()
    async with AsyncExitStack() as stack:

        def make(*, connections: int = 5, connect_timeout: float = 5.0) -> Transport:
            transport = transport_factory(request.param)(connections, connect_timeout)
            stack.push_async_callback(transport.aclose)
            return transport

        yield make
    ssl_context.cache_clear()


@pytest_asyncio.fixture
async def transport(make_transport: MakeTransport) -> Transport:
    """One of each kind."""
    return make_transport()


class Observed(Manager):
    """A manager that remembers what it has told."""

    def __init__(self, providers: Providers, *args: object, **kwargs: object) -> None:
        super().__init__(*args, transport=providers.transport, **kwargs)
        self.providers = providers
        self.told: list[Event] = []
        self.events.subscribe(self)

    def on_event(self, event: Event, /) -> None:
        self.told.append(event)

    def of(self, kind: type[Event]) -> list[Event]:
        """What it has told of one kind."""
        return [event for event in self.told if isinstance(event, kind)]


MakeManager = Callable[..., Observed]


def _clock() -> Callable[[], float]:
    try:
        return asyncio.get_running_loop().time
    except RuntimeError:  # a test that runs its loops itself
        return time.monotonic


@pytest.fixture
def make_manager() -> MakeManager:
    """A manager in front of `providers`, on virtual time and without luck; the rest are settings."""

    def make(
        providers: Providers, *, specs: tuple[NodeSpec, ...] | None = None, luck: float = 0.0, **overrides: object
    ) -> Observed:
        values = {"enable_llm_pool": True, "openai_api_key": "sk-test", **overrides}
        return Observed(
            providers,
            Settings(**values),
            providers.specs() if specs is None else specs,
            clock=_clock(),
            rng=lambda: luck,
        )

    return make
