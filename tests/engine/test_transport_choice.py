"""Which transport does `LLM_TRANSPORT` come to, here and now?"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest

from phase1.engine.manager import Manager
from phase1.engine.node import NodeSpec
from phase1.engine.transport import choice
from phase1.engine.transport.choice import transport_factory
from phase1.exceptions import ConfigurationError
from phase1.settings import Settings

NODE = NodeSpec("n", "http://127.0.0.1:1/v1", "k")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the host's."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def installed(monkeypatch: pytest.MonkeyPatch, *, aiohttp: str | None = "3.14.5", socksio: bool = False) -> None:
    """What is installed, as far as the choice can see."""

    def version(name: str) -> str:
        if aiohttp is None:
            raise PackageNotFoundError(name)
        return aiohttp

    monkeypatch.setattr(choice, "version", version)
    monkeypatch.setattr(choice, "find_spec", lambda name: object() if socksio else None)


async def made(wanted: str) -> str:
    """The name of the transport that is made."""
    transport = transport_factory(wanted)(1, 1.0)
    await transport.aclose()
    return type(transport).__name__


def refused(wanted: str) -> str:
    """The text of the error."""
    with pytest.raises(ConfigurationError) as caught:
        transport_factory(wanted)(1, 1.0)
    return str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "aiohttp", "transport"),
    [
        ("auto", "3.14.5", "AiohttpTransport"),
        ("auto", "3.13.0rc1", "AiohttpTransport"),
        ("auto", "3.12.15", "HttpxTransport"),
        ("auto", "4.0.0", "HttpxTransport"),
        ("auto", "unreleased", "HttpxTransport"),
        ("auto", None, "HttpxTransport"),
        ("aiohttp", "3.14.5", "AiohttpTransport"),
        ("httpx", "3.14.5", "HttpxTransport"),
        ("httpx", None, "HttpxTransport"),
    ],
)
async def test_each_value_has_its_transport(
    monkeypatch: pytest.MonkeyPatch, wanted: str, aiohttp: str | None, transport: str
) -> None:
    """`auto` is aiohttp, where it is there and of an age that we know."""
    installed(monkeypatch, aiohttp=aiohttp)
    assert await made(wanted) == transport


@pytest.mark.parametrize("aiohttp", [None, "3.8.1", "4.0.0"])
async def test_aiohttp_that_is_missing_is_an_error_at_start(
    monkeypatch: pytest.MonkeyPatch, aiohttp: str | None
) -> None:
    """The text says how to get it."""
    installed(monkeypatch, aiohttp=aiohttp)
    assert refused("aiohttp").startswith("LLM_TRANSPORT=aiohttp: ")
    assert 'pip install "phase1[fast]"' in refused("aiohttp")


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
async def test_socks_proxy_is_for_httpx_alone(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """And only with the library for it; each error names the variable and the way out."""
    monkeypatch.setenv(variable, "socks5h://me:hush@proxy:1080")
    installed(monkeypatch)
    named = f"{variable}=socks5h://proxy:1080: a SOCKS proxy needs "
    assert refused("aiohttp") == f"{named}LLM_TRANSPORT=httpx"
    assert refused("auto") == refused("httpx") == f"{named}an optional library: pip install socksio"


async def test_socks_proxy_makes_auto_httpx(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one of the two that can."""
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy:1080")
    installed(monkeypatch, socksio=True)
    assert await made("auto") == "HttpxTransport"


@pytest.mark.parametrize(
    ("value", "kind"), [("aiohttp", "AiohttpTransport"), ("httpx", "HttpxTransport"), ("auto", "AiohttpTransport")]
)
async def test_manager_takes_what_its_settings_say(value: str, kind: str) -> None:
    """Unless it is given one."""
    manager = Manager(Settings(enable_llm_pool=True, llm_transport=value, openai_api_key="k"), (NODE,))
    await manager.start()
    binding = manager.bindings.peek()
    assert binding is not None
    assert binding.pool is not None
    clients = binding.pool.nodes[0].clients
    assert {type(client.transport).__name__ for client in clients} == {kind}
    await manager.aclose()
