"""phase1: the SDK's class on the pool, or the facade, with one node or with everything that there is switched on."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import phase1
from benchmarks.clients.base import KEY, Client, Site, Unavailable, WrongAnswer, check_text
from benchmarks.clients.stock import calls_of
from phase1.exceptions import ConfigurationError
from phase1.lab.mock.bodies import MESSAGES, MODEL, OPTIONS

__all__ = ["opened"]

_CLIENTS = 5  # the default of LLM_POOL_SIZE
_LONG = 300.0
_FEATURES: dict[str, object] = {
    "enable_load_balancer": True,
    "load_balance_strategy": "adaptive",
    "openai_rate_limit_requests_per_second": 1_000_000.0,
}
_NODE_FEATURES: dict[str, object] = {"rpm": 60_000_000, "tpm": 60_000_000_000}


@dataclass(frozen=True, slots=True)
class Variant:
    """`aiohttp`, `httpx` or `auto`, then `full` for three nodes and all features, then `facade` for `phase1.LLM`."""

    transport: str
    full: bool
    facade: bool

    @classmethod
    def of(cls, text: str) -> Variant:
        """`auto-full-facade`."""
        transport, *rest = text.split("-")
        return cls(transport, "full" in rest, "facade" in rest)


@contextlib.asynccontextmanager
async def opened(site: Site, variant: str) -> AsyncIterator[Client]:
    """A client of a manager of its own."""
    wanted = Variant.of(variant)
    settings, refused = _settings(site, wanted)
    manager = phase1.LLMManager(settings)
    async with manager:
        notes = {"transport": _transport_of(manager)} | ({"not available": ", ".join(refused)} if refused else {})
        yield _facade(manager, notes) if wanted.facade else calls_of(manager.client, **notes)
        _check_pooled(manager)


def _settings(site: Site, wanted: Variant) -> tuple[phase1.Settings, list[str]]:
    """The settings, and which features this version refuses."""
    count = 3 if wanted.full else 1
    chosen: dict[str, object] = {
        "enable_llm_pool": True,
        "llm_strict_start": True,
        "llm_transport": wanted.transport,
        "llm_model": MODEL,
        "llm_pool_size": _CLIENTS,
        "llm_client_concurrency": -(-site.capacity // (_CLIENTS * count)),
        "llm_queue_size": 100_000,
        "llm_queue_timeout": _LONG,
        "llm_request_deadline": _LONG,
    }
    nodes = [_node(site.url, number) for number in range(count)]
    try:
        settings = _load(chosen, nodes)
    except ConfigurationError as exc:
        raise Unavailable(str(exc)) from exc
    return _with_features(chosen, nodes) if wanted.full else (settings, [])


def _load(chosen: dict[str, object], nodes: list[dict[str, object]]) -> phase1.Settings:
    settings = phase1.Settings.load(**chosen, llm_nodes=json.dumps(nodes))
    settings.nodes()  # read only now
    return settings


def _node(url: str, number: int) -> dict[str, object]:
    return {"name": f"node-{number}", "base_url": f"{url.removesuffix('/v1')}/node-{number}/v1", "api_key": KEY}


def _with_features(chosen: dict[str, object], nodes: list[dict[str, object]]) -> tuple[phase1.Settings, list[str]]:
    refused = []
    for name, value in _FEATURES.items():
        if _is_refused(trial := chosen | {name: value}, nodes):
            refused.append(name)
        else:
            chosen = trial
    for name, value in _NODE_FEATURES.items():
        if _is_refused(chosen, richer := [node | {name: value} for node in nodes]):
            refused.append(name)
        else:
            nodes = richer
    return _load(chosen, nodes), refused


def _is_refused(chosen: dict[str, object], nodes: list[dict[str, object]]) -> bool:
    try:
        _load(chosen, nodes)
    except ConfigurationError:
        return True
    return False


def _transport_of(manager: phase1.LLMManager) -> str:
    binding = manager.bindings.current()
    return type(binding.pool.nodes[0].clients[0].transport).__name__ if binding.pool else "none"


def _facade(manager: phase1.LLMManager, notes: dict[str, str]) -> Client:
    async def chat() -> None:
        check_text(await manager.llm("user-7").generate_response_async(MESSAGES, **OPTIONS))

    return Client({"chat": chat}, None, notes)


def _check_pooled(manager: phase1.LLMManager) -> None:
    """What was measured must have gone through the pool."""
    tally = manager.tally
    other = sum(tally.legacy.values()) + sum(tally.fallbacks.values())
    if other or set(tally.calls) - {"ok"}:
        raise WrongAnswer(f"not all calls were answered by the pool: {dict(tally.calls)}, {other} by legacy")
