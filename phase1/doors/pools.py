"""How does code get a pool or a balancer of its own, without an app around it? By the names of the migration guide.

    pool = await get_llm_pool(pool_size=10)
    async with pool.get_async_client() as client:
        text = await client.generate_response_async(messages)

Each call opens a pool of its own, also while `ENABLE_LLM_POOL` is false: whoever asks for a pool wants one. Keys, model
and everything else come from the settings; kill switches hold. There is no legacy client, so what cannot be had is
raised. It is closed by `aclose`, at the end of `async with`, or together with its event loop.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Self

from phase1.doors.background import close_with_loop
from phase1.doors.manager import LLMManager
from phase1.doors.unit import Unit
from phase1.exceptions import ConfigurationError
from phase1.settings import LoadBalanceStrategy, Settings

if TYPE_CHECKING:
    from types import TracebackType

    from phase1.doors.facade import LLMClient
    from phase1.doors.legacy import Messages
    from phase1.doors.sdk import AsyncOpenAI

__all__ = ["AsyncLLMClient", "LLMPool", "LoadBalancer", "get_async_llm_client", "get_llm_pool", "get_load_balancer"]


class _Owned:
    """What has a manager of its own."""

    def __init__(self, manager: LLMManager) -> None:
        self.manager = manager

    async def aclose(self) -> None:
        """Let calls under way finish, and close every connection."""
        await self.manager.aclose()

    async def __aenter__(self) -> Self:
        await self.manager.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.manager!r}>"


class LLMPool(_Owned):
    """A pool of clients, as `get_llm_pool` opens it."""

    def get_async_client(self, key: str | None = None) -> AbstractAsyncContextManager[LLMClient]:
        """A client for one unit of work; `key` is whose it is, for the queue's fairness."""
        return _client_of(self.manager, key)

    async def get_metrics(self) -> dict[str, object]:
        """The numbers so far, as `/metrics/llm?format=json` shows them."""
        return self.manager.get_metrics()


class LoadBalancer(_Owned):
    """A pool over several nodes, as `get_load_balancer` opens it."""

    async def get_client(
        self, *, prefer_async: bool = True, key: str | None = None
    ) -> AbstractAsyncContextManager[LLMClient]:
        """A client for one unit of work. It has both ways, `generate_response_async` and `generate_response`.

        `prefer_async` is taken for the sake of old code. `key`: whose call it is; `sticky` goes by it.
        """
        del prefer_async
        return _client_of(self.manager, key)

    async def get_status(self) -> dict[str, object]:
        """Strategy, nodes and numbers: no secret, no prompt, no answer."""
        status = self.manager.status()
        return {
            "status": status["mode"],
            "strategy": self.manager.settings.load_balance_strategy.value,
            "nodes": status["nodes"],
            "breaker": status["breaker"],
            "metrics": status["metrics"],
        }


class AsyncLLMClient(_Owned):
    """A client that may be kept for the life of the app, as `get_async_llm_client` makes it."""

    @property
    def client(self) -> AsyncOpenAI:
        """The SDK's asynchronous client on this pool."""
        return self.manager.client

    async def generate_response_async(self, messages: Messages, **params: object) -> str:
        """The text of the answer to `messages`; `params` go to `chat.completions.create`.

        Raises what the SDK raises.
        """
        close_with_loop(self.manager)
        return await self.manager.llm().generate_response_async(messages, **params)

    def generate_response(self, messages: Messages, **params: object) -> str:
        """The same for synchronous code."""
        from phase1.doors.facade import LLMClient  # noqa: PLC0415 - imports the SDK

        return LLMClient(Unit(self.manager)).generate_response(messages, **params)


@asynccontextmanager
async def _client_of(manager: LLMManager, key: str | None) -> AsyncIterator[LLMClient]:
    yield manager.llm(key)


async def get_llm_pool(*, pool_size: int | None = None, connection_timeout: float | None = None) -> LLMPool:
    """Open a pool of `pool_size` clients for each node (default: `LLM_POOL_SIZE`).

    `connection_timeout`: seconds until a connection stands (default: `LLM_CONNECT_TIMEOUT`). Raises
    `ConfigurationError`.
    """
    return LLMPool(await _started(_settings(llm_pool_size=pool_size, llm_connect_timeout=connection_timeout)))


async def get_load_balancer(
    *,
    strategy: LoadBalanceStrategy | str | None = None,
    pool_configs: Sequence[Mapping[str, object]] | None = None,
    health_check_interval: float | None = None,
) -> LoadBalancer:
    """Open a balancer over the configured nodes, or over `pool_configs`.

    `strategy`: default `LOAD_BALANCE_STRATEGY`. `pool_configs`: fields as of `LLM_NODES`, at least a `name`; base URL
    and key are those of `OPENAI_BASE_URL` and `OPENAI_API_KEY` where they are left out. `health_check_interval`:
    seconds (default: `LLM_HEALTH_CHECK_INTERVAL`). Raises `ConfigurationError`.
    """
    options: dict[str, object] = {
        "enable_load_balancer": True,
        "load_balance_strategy": strategy,
        "llm_health_check_interval": health_check_interval,
    }
    if pool_configs is not None:
        options |= {"llm_nodes": _nodes_json(pool_configs), "llm_nodes_file": ""}
    return LoadBalancer(await _started(_settings(**options)))


def get_async_llm_client(*, pool_size: int | None = None) -> AsyncLLMClient:
    """A client with a pool of `pool_size` clients (default: `LLM_POOL_SIZE`) that opens with its first call.

    Raises `ConfigurationError`.
    """
    return AsyncLLMClient(LLMManager(_settings(llm_pool_size=pool_size)))


def _settings(**options: object) -> Settings:
    given = {name: value for name, value in options.items() if value is not None}
    return Settings.load(enable_llm_pool=True, llm_canary_percent=100.0, llm_strict_start=True, **given)


async def _started(settings: Settings) -> LLMManager:
    manager = LLMManager(settings)
    await manager.start()
    close_with_loop(manager)
    return manager


def _nodes_json(configs: Sequence[Mapping[str, object]]) -> str:
    settings = Settings.load()
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else None
    entries = []
    for config in configs:
        own_key = {"api_key", "api_key_env"} & config.keys()
        if not own_key and key is None:
            raise ConfigurationError("OPENAI_API_KEY is not set, and pool_configs brings no api_key")
        entries.append({**_place(settings), **({} if own_key else {"api_key": key}), **config})
    try:
        return json.dumps(entries)
    except TypeError as exc:
        raise ConfigurationError(f"pool_configs: {exc}") from None


def _place(settings: Settings) -> dict[str, object]:
    return {"base_url": settings.openai_base_url or "https://api.openai.com/v1"}
