"""Is `LLMManager` easy to hold: made from the environment, entered, asked, left without a trace?"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections.abc import Callable

import openai
import pytest

import phase1
from phase1.engine.transport import Transport
from phase1.engine.transport.mock import MockTransport
from phase1.exceptions import ConfigurationError
from tests.doors.bench import HELLO, Bench, SyncLegacy, Upstream, failure, settings

Env = Callable[..., None]


def broken_transport(connections: int, connect_timeout: float) -> Transport:
    """An HTTP library that does not like its surroundings."""
    raise ImportError("a SOCKS proxy needs another library")


def test_settings_come_from_the_environment_by_default(env: Env) -> None:
    """And one node from `OPENAI_*`."""
    env(ENABLE_LLM_POOL="true", OPENAI_API_KEY="sk-from-env", LLM_POOL_SIZE="7")
    manager = phase1.LLMManager()
    assert manager.settings.llm_pool_size == 7
    assert [(node.name, node.pool_size) for node in manager.nodes] == [("default", 7)]
    assert manager.problem is None


def test_password_in_a_base_url_leaves_it_on_legacy(env: Env) -> None:
    """It would take the place of the key, and the HTTP library would log it; the complaint does not repeat it."""
    env(ENABLE_LLM_POOL="true", OPENAI_API_KEY="sk-from-env", OPENAI_BASE_URL="http://me:hunter22@127.0.0.1/v1")
    problem = phase1.LLMManager().problem or ""
    assert "base_url holds a user name or password" in problem
    assert "hunter22" not in problem


def test_off_by_default() -> None:
    """Without a word in the environment there is no pool and nothing to complain about."""
    manager = phase1.LLMManager()
    assert (manager.nodes, manager.problem) == ((), None)
    assert manager.select("user").reason == "disabled"


def test_bad_settings_leave_it_on_legacy(env: Env, caplog: pytest.LogCaptureFixture) -> None:
    """With one error line; what was asked for decides between `error` and `disabled`."""
    env(ENABLE_LLM_POOL="true", LLM_POOL_SIZE="0")
    manager = phase1.LLMManager()
    assert manager.problem == "LLM_POOL_SIZE=0: must be at least 1"
    assert manager.select("user").reason == "error"
    assert [record.getMessage() for record in caplog.records] == [
        "LLM_POOL_SIZE=0: must be at least 1; the app runs on the legacy client"
    ]


@pytest.mark.parametrize("problem", [{"LLM_POOL_SIZE": "0"}, {"OPENAI_API_KEY": ""}])
def test_strict_start_raises(problem: dict[str, str], env: Env) -> None:
    """`LLM_STRICT_START=true`, also when it is the other settings that cannot be read."""
    env(**{"ENABLE_LLM_POOL": "true", "OPENAI_API_KEY": "sk-x", "LLM_STRICT_START": "true"} | problem)
    with pytest.raises(ConfigurationError):
        phase1.LLMManager()


def test_strictness_of_given_settings_is_their_own(env: Env) -> None:
    """The environment has no say in it."""
    env(LLM_STRICT_START="true")
    given = settings(openai_api_key=None, llm_strict_start=False)
    assert phase1.LLMManager(given).problem is not None
    env(LLM_STRICT_START="false")
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        phase1.LLMManager(settings(openai_api_key=None, llm_strict_start=True))


async def test_pool_that_cannot_be_built_leaves_it_on_legacy(caplog: pytest.LogCaptureFixture) -> None:
    """Found out at the start, told once, and legacy answers in its threads."""
    manager = phase1.LLMManager(settings(), SyncLegacy(), transport=broken_transport)
    async with manager:
        assert await manager.llm().generate_response_async(HELLO) == "from legacy"
        assert manager.llm().reason == "error"
    assert manager.problem == "the pool cannot start (ImportError: a SOCKS proxy needs another library)"
    assert len(caplog.records) == 1


async def test_pool_that_cannot_be_built_without_legacy_is_a_503() -> None:
    """The SDK's own exception, for there is nobody else."""
    async with phase1.LLMManager(settings(), transport=broken_transport) as manager:
        with pytest.raises(openai.InternalServerError) as caught:
            await manager.llm().generate_response_async(HELLO)
    assert caught.value.code == "phase1_pool_closed"


async def test_strict_pool_that_cannot_be_built_raises_at_the_start() -> None:
    """Before anybody asks."""
    manager = phase1.LLMManager(settings(llm_strict_start=True), transport=broken_transport)
    with pytest.raises(ConfigurationError, match="the pool cannot start"):
        await manager.start()


async def test_async_with_opens_and_closes() -> None:
    """Twice, if need be."""
    bench = Bench()
    for times in (1, 2):
        async with bench.manager as manager:
            assert manager is bench.manager
            assert manager.initialized
            assert await bench.ask() == "from the pool"
        assert not manager.initialized
        assert len(bench.upstream.transports) == 5 * times
        assert all(transport.closed for transport in bench.upstream.transports)


async def test_closing_is_harmless_before_the_start_and_twice() -> None:
    """There is nothing to close."""
    bench = Bench()
    await bench.manager.aclose()
    await bench.manager.start()
    await bench.manager.start()
    await bench.manager.aclose()
    await bench.manager.aclose()
    assert len(bench.upstream.transports) == 5


async def test_closing_lets_calls_in_flight_finish() -> None:
    """Nothing is lost when the pool drains; whoever comes later is refused."""
    bench = Bench()
    bench.upstream.gate.clear()
    await bench.manager.start()
    inside = asyncio.ensure_future(bench.ask())
    await bench.upstream.seen(1)
    closing = asyncio.ensure_future(bench.manager.aclose())
    await asyncio.sleep(0)
    with pytest.raises(openai.InternalServerError) as caught:
        await bench.ask()
    assert caught.value.code == "phase1_pool_closed"
    assert not closing.done()
    bench.upstream.gate.set()
    assert await inside == "from the pool"
    await closing
    assert all(transport.closed for transport in bench.upstream.transports)


async def test_hundred_managers_leave_nothing_behind() -> None:
    """No module keeps a list of them."""

    def transports() -> int:
        gc.collect()
        return sum(type(thing) is MockTransport for thing in gc.get_objects())

    before, closed = transports(), 0
    for _ in range(100):
        upstream = Upstream()
        async with phase1.LLMManager(settings(llm_pool_size=1), transport=upstream.transport) as manager:
            await manager.llm().generate_response_async(HELLO)
        closed += sum(transport.closed for transport in upstream.transports)
    assert closed == 100
    del manager, upstream
    assert transports() <= before


def test_repr_shows_the_live_state() -> None:
    """Nodes up, breaker, load; no key and no URL."""

    async def scenario() -> list[str]:
        bench = Bench(lambda: failure(401), legacy=SyncLegacy())
        seen = [repr(bench.manager)]
        async with bench.manager:
            seen.append(repr(bench.manager))
            await bench.ask()
            seen.append(repr(bench.manager))
        return seen

    assert asyncio.run(scenario()) == [
        "<LLMManager breaker=active no pool>",
        "<LLMManager nodes=1/1 up breaker=active in_flight=0 waiting=0>",
        "<LLMManager nodes=0/1 up breaker=active in_flight=0 waiting=0>",
    ]


@pytest.mark.parametrize(("level", "expected"), [("DEBUG", logging.DEBUG), ("error", logging.ERROR)])
def test_log_level_is_set_when_it_is_named(level: str, expected: int, env: Env) -> None:
    """On our own logger only."""
    root = logging.getLogger().level
    env(LOG_LEVEL=level)
    phase1.LLMManager()
    assert logging.getLogger("phase1").level == expected
    assert logging.getLogger().level == root


def test_log_level_is_left_alone_when_it_is_not_named() -> None:
    """The app's own logging configuration stays as it is."""
    logging.getLogger("phase1").setLevel(logging.CRITICAL)
    phase1.LLMManager()
    assert logging.getLogger("phase1").level == logging.CRITICAL


@pytest.mark.parametrize("debug", [True, False])
async def test_decisions_are_logged_on_request(debug: bool, caplog: pytest.LogCaptureFixture) -> None:  # noqa: FBT001
    """`LLM_POOL_DEBUG=true`, one line per fact; else silence."""
    bench = Bench(llm_pool_debug=debug)
    with caplog.at_level(logging.INFO, "phase1"):
        async with bench.manager:
            await bench.ask()
    lines = [record.getMessage().partition("(")[0] for record in caplog.records if record.name == "phase1"]
    assert lines == (["Routed", "AttemptFinished", "CallFinished"] if debug else [])


async def test_client_of_a_manager_is_the_sdks() -> None:
    """For code outside of app requests."""
    bench = Bench()
    async with bench.manager as manager:
        assert isinstance(manager.client, openai.AsyncOpenAI)
        assert manager.client is manager.client
        completion = await manager.client.chat.completions.create(model="m", messages=HELLO)
    assert completion.choices[0].message.content == "from the pool"


async def test_nodes_carry_what_was_configured() -> None:
    """The node's own pool size, else the setting's."""
    listed = [
        {"name": "one", "base_url": "http://one.test/v1", "api_key": "sk-1", "pool_size": 2},
        {"name": "two", "base_url": "http://two.test/v1", "api_key": "sk-2"},
    ]
    bench = Bench(llm_nodes=json.dumps(listed))
    async with bench.manager:
        pass
    assert [(node.name, node.api_key, node.pool_size) for node in bench.manager.nodes] == [
        ("one", "sk-1", 2),
        ("two", "sk-2", 5),
    ]
    assert len(bench.upstream.transports) == 7
