"""What does an app hold? `LLMManager`: the engine with its doors, and the legacy client beside it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol, Self
from urllib.parse import urlsplit

from phase1.doors.legacy import Legacy
from phase1.doors.unit import Unit
from phase1.engine.answers import Store
from phase1.engine.binding import Binding
from phase1.engine.manager import Manager, TransportFactory
from phase1.engine.node import NodeSpec
from phase1.engine.nodes_watch import NodesWatch
from phase1.exceptions import ConfigurationError
from phase1.settings import NodeSettings, Settings, pool_requested, strict_start_requested
from phase1.validation import public_url

if TYPE_CHECKING:
    from types import TracebackType

    from phase1.doors.facade import LLMClient
    from phase1.doors.facade_sdk import FacadeOpenAI
    from phase1.doors.sdk import AsyncOpenAI
    from phase1.doors.shadow.shadow import Shadow

__all__ = ["LLMManager", "Rollout"]

_log = logging.getLogger("phase1")


class Rollout(Protocol):
    """What is to be seen of the rollout, which the core does not know."""

    def status(self) -> dict[str, object]:
        """For the page: no secret."""

    def numbers(self) -> Iterator[tuple[str, tuple[str, ...], float]]:
        """For the metrics: family, labels, value."""


class LLMManager(Manager):
    """The pool beside an app's legacy client: `async with` it, or `start` and `aclose` it; see also `phase1.install`.

    `settings`: default = the environment and `.env.phase1`. `legacy`: the app's own client, or a callable that returns
    it, or `None`. Settings that cannot be honoured leave the app on legacy, with one error line in the log and in
    `status()`; with `LLM_STRICT_START=true` they raise `ConfigurationError`.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        legacy: object | Callable[[], object] | None = None,
        *,
        transport: TransportFactory | None = None,
        clock: Callable[[], float] = time.monotonic,
        rng: Callable[[], float] = random.random,
    ) -> None:
        settings, nodes, problem = _configure(settings)
        super().__init__(settings, nodes, transport=transport, clock=clock, rng=rng, store=_store(settings, nodes))
        self.legacy = Legacy(legacy, self)
        self.tester_headers: Counter[str] = Counter()
        """Signed headers of testers: `accepted`, or what was wrong with them."""
        self.shadow: Shadow | None = None
        """Compares the pool's answers with legacy's, if the operator wants it."""
        if settings.llm_shadow_percent:
            from phase1.doors.shadow.shadow import shadow_of  # noqa: PLC0415 - imports the SDK

            self.shadow = shadow_of(self, rng)
        if nodes and (paths := settings.node_files()):
            self.nodes_watch = NodesWatch(paths, lambda: _specs(settings))
        if settings.describe()["LOG_LEVEL"]["source"] != "default":
            _log.setLevel(settings.log_level)
        self.rollout: Rollout | None = None
        """Who moves the percent and the kill switch by a state that several workers share; `None` = nobody does."""
        self.problem: str | None = None
        """Why there is no pool although the toggle is on; `None` when there is nothing to complain about."""
        if problem is not None:
            self.switches = replace(self.switches, enabled=settings.enable_llm_pool or pool_requested())
            self._stay_on_legacy(problem)

    def _bind(self) -> Binding:
        try:
            return super()._bind()
        except Exception as exc:  # noqa: BLE001 - proxies, certificates: what the HTTP library finds out only now
            self.give_up(ConfigurationError(f"the pool cannot start ({type(exc).__name__}: {exc})"))
        return super()._bind()  # without a pool; legacy has its threads there

    def give_up(self, problem: ConfigurationError) -> None:
        """Something that the settings name cannot be had: stay on legacy, or raise it (`LLM_STRICT_START`)."""
        if self.settings.llm_strict_start:
            raise problem
        self._stay_on_legacy(str(problem))

    def _stay_on_legacy(self, problem: str) -> None:
        self.problem = problem
        self.switches = replace(self.switches, ready=False)
        _log.error("%s; the app runs on the legacy client", problem)

    async def start(self) -> None:
        """Build the pool for the running loop; again after `aclose`. Idempotent."""
        if self.shadow is not None:
            self.shadow.reopen()
        await super().start()

    async def aclose(self, *, drain: float | None = None) -> None:
        """Admit nobody new, cancel copies, let calls in flight finish, close every connection.

        `drain`: seconds to wait for them; default = the request deadline.
        """
        if self.shadow is not None:
            await self.shadow.aclose()
        await super().aclose(drain=drain)

    @cached_property
    def facade(self) -> FacadeOpenAI:
        """What each unit's `LLMClient` gets its SDK resources from."""
        from phase1.doors.facade_sdk import facade_template  # noqa: PLC0415 - imports the SDK

        return facade_template(self)

    @cached_property
    def client(self) -> AsyncOpenAI:
        """The SDK's asynchronous client bound to this manager, for code outside app requests."""
        from phase1.doors.sdk import AsyncOpenAI  # noqa: PLC0415 - imports the SDK

        return AsyncOpenAI.bound_to(self)

    @property
    def model(self) -> str | None:
        """The model of calls that name none: `LLM_MODEL`, else what the legacy client says it uses."""
        return self.settings.llm_model or self.legacy.model

    def llm(self, key: str | None = None) -> LLMClient:
        """A client for one unit of work; `key` is whom the canary's stickiness and the queue's fairness go by."""
        from phase1.doors.facade import LLMClient  # noqa: PLC0415 - imports the SDK

        return LLMClient(Unit(self, key_of=lambda: key, loop=asyncio.get_running_loop()))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def get_metrics(self) -> dict[str, object]:
        """The numbers so far, as `/metrics/llm?format=json` shows them; `status` is `legacy_mode` without a pool."""
        from phase1.doors.status import metrics  # noqa: PLC0415

        return metrics(self)

    def status(self) -> dict[str, object]:
        """All there is to say, as `/debug/llm-system` shows it: no secret, no prompt, no answer."""
        from phase1.doors.status import status  # noqa: PLC0415

        return status(self)

    def log_status(self) -> None:
        """Write one line about the state to the log."""
        from phase1.doors.status import summary_line  # noqa: PLC0415

        _log.info("%s", summary_line(self))


def _configure(settings: Settings | None) -> tuple[Settings, tuple[NodeSpec, ...], str | None]:
    """Settings, nodes, and what is wrong with them: then there are no nodes."""
    strict = strict_start_requested() if settings is None else settings.llm_strict_start
    try:
        settings = settings or Settings.load()
        nodes = _specs(settings) if settings.enable_llm_pool else ()
        _require_redis(settings, nodes)
    except ConfigurationError as exc:
        if strict:
            raise
        return settings or Settings.model_construct(), (), str(exc)
    return settings, nodes, None


def _keeps_in_redis(settings: Settings) -> bool:
    return settings.llm_cache_seconds > 0 and settings.llm_state_url.startswith(("redis:", "rediss:"))


def _require_redis(settings: Settings, nodes: tuple[NodeSpec, ...]) -> None:
    if nodes and _keeps_in_redis(settings) and find_spec("redis") is None:
        url = public_url(settings.llm_state_url)
        raise ConfigurationError(f'LLM_STATE_URL={url}: needs redis-py: pip install "phase1[cache]"')


def _store(settings: Settings, nodes: tuple[NodeSpec, ...]) -> Store | None:
    """Where answers are kept, if that is not this process's memory."""
    if not nodes or not _keeps_in_redis(settings):
        return None
    from phase1.doors.redis_answers import RedisStore  # noqa: PLC0415 - extra `cache`

    return RedisStore(settings.llm_state_url)


def _specs(settings: Settings) -> tuple[NodeSpec, ...]:
    return tuple(_spec(node, settings) for node in settings.nodes())


def _spec(node: NodeSettings, settings: Settings) -> NodeSpec:
    if "@" in urlsplit(node.base_url).netloc:  # they would replace the key, and stand in the HTTP library's log
        raise ConfigurationError(f'node "{node.name}": base_url holds a user name or password; use api_key')
    return NodeSpec(
        name=node.name,
        base_url=node.base_url,
        api_key=node.api_key.get_secret_value(),
        pool_size=node.pool_size or settings.llm_pool_size,
        weight=node.weight,
        priority=node.priority,
        region=node.region,
        quota_domain=node.quota_domain,
        models=dict(node.models),
        rpm=node.rpm,
        tpm=node.tpm,
        rps=settings.openai_rate_limit_requests_per_second,
    )
