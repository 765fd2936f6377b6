"""Does phase1 work where each request may run on another event loop, as the test clients of apps do?"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

import phase1
from tests.asgi.model import TEXT, Model
from tests.asgi.web import TestClient, ask, mount
from tests.doors.bench import Bench, settings


@pytest.fixture
def model() -> Iterator[Model]:
    """An upstream on a real socket."""
    with Model() as model:
        yield model


def app_on(bench: Bench) -> Starlette:
    """One endpoint."""
    return mount(Starlette(routes=[Route("/ask", ask)]), bench.manager)


def test_client_without_with_has_another_loop_for_each_request() -> None:
    """Each gets its own connections, and all count on one manager."""
    bench = Bench()
    client = TestClient(app_on(bench))
    assert [client.get("/ask").json()["text"] for _ in range(3)] == ["from the pool"] * 3
    assert bench.manager.tally.calls == {"ok": 3}
    assert len(bench.upstream.transports) == 3 * bench.manager.settings.llm_pool_size


def test_client_with_with_has_one_loop() -> None:
    """One pool for all requests, closed at the end."""
    bench = Bench()
    with TestClient(app_on(bench)) as client:
        assert [client.get("/ask").json()["text"] for _ in range(3)] == ["from the pool"] * 3
    assert len(bench.upstream.transports) == bench.manager.settings.llm_pool_size
    assert all(transport.closed for transport in bench.upstream.transports)


def test_client_used_twice_starts_twice() -> None:
    """The second start has a new pool, the numbers go on."""
    bench = Bench()
    app = app_on(bench)
    for _ in range(2):
        with TestClient(app) as client:
            assert client.get("/ask").json()["text"] == "from the pool"
    assert bench.manager.tally.calls == {"ok": 2}
    assert len(bench.upstream.transports) == 2 * bench.manager.settings.llm_pool_size
    assert all(transport.closed for transport in bench.upstream.transports)


def test_loops_that_are_gone_are_forgotten() -> None:
    """A test suite with a thousand requests keeps one binding, not a thousand."""
    bench = Bench()
    client = TestClient(app_on(bench))
    for _ in range(10):
        client.get("/ask")
    assert len(bench.manager.bindings._by_loop) == 1


def test_real_connections_are_kept_over_one_loop(model: Model) -> None:
    """`with TestClient(app)`: over a socket, closed at the end."""
    app = Starlette(routes=[Route("/ask", ask)])
    phase1.install(app, settings=settings(openai_base_url=model.url))
    with TestClient(app) as client:
        assert [client.get("/ask").json()["text"] for _ in range(3)] == [TEXT] * 3


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_real_connections_of_a_loop_that_is_gone_are_not_used(model: Model) -> None:
    """Without `with` nobody says that a loop ends: its connections are left to the garbage collector."""
    app = Starlette(routes=[Route("/ask", ask)])
    phase1.install(app, settings=settings(openai_base_url=model.url))
    client = TestClient(app)
    assert [client.get("/ask").json()["text"] for _ in range(3)] == [TEXT] * 3
    del app, client
    gc.collect()
