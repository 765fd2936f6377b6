"""Which processes does a comparison need, and what do they find in their environment?

The legacy app and the pooled app are one file, `examples/legacy_main.py`: with the toggle off it is the plain app, as
`patches/` and their test show. The upstream is llmock, or the real one if `OPENAI_API_KEY` or `OPENAI_BASE_URL` says
which. What else of ours is set where the lab runs stays outside: everybody measures the same defaults.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import httpx

from phase1.exceptions import MissingExtraError
from phase1.lab.load import Target
from phase1.lab.processes import LabError, Listener, Server
from phase1.lab.target import Ask
from phase1.settings import Settings

__all__ = [
    "QUESTION",
    "Faults",
    "Upstream",
    "chat_target",
    "example_app",
    "mock_server",
    "require_libraries",
    "start_app",
    "upstream_target",
]

QUESTION: Final = "What is a fraction?"

_KEY: Final = "phase1-demo"
_MODEL: Final = "gpt-4o-mini"
_POOL_DEPLOYMENT: Final = f"{_MODEL}-pool"
"""The name under which the pool's node has the model: faults can be aimed at it, and legacy goes unharmed."""

_NOT_INHERITED: Final = frozenset(
    {
        *Settings.model_fields,
        "openai_api_pool_size",
        "openai_timeout",
        "database_url",
        "auth_secret",
        "rate_limit",
        "max_chat_message_length",
        "enable_conversation_agent",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """Who answers in the end."""

    base_url: str
    api_key: str
    model: str = _MODEL
    mock: bool

    @classmethod
    def real(cls, environment: Mapping[str, str]) -> Upstream | None:
        """The one that the environment names."""
        key, url = environment.get("OPENAI_API_KEY", "").strip(), environment.get("OPENAI_BASE_URL", "").strip()
        if not (key or url):
            return None
        model = environment.get("LLM_MODEL", "").strip() or _MODEL
        base_url = url.rstrip("/") or "https://api.openai.com/v1"
        return cls(base_url=base_url, api_key=key or _KEY, model=model, mock=False)

    @classmethod
    def mocked(cls, server: Listener) -> Upstream:
        """A mock."""
        return cls(base_url=f"{server.url}/v1", api_key=_KEY, mock=True)

    @property
    def variables(self) -> dict[str, str]:
        """What an app needs to ask it."""
        single = {"OPENAI_API_KEY": self.api_key, "OPENAI_BASE_URL": self.base_url, "LLM_MODEL": self.model}
        return {**single, "LLM_NODES": json.dumps([self._node])} if self.mock else single

    @property
    def _node(self) -> dict[str, object]:
        models = {self.model: _POOL_DEPLOYMENT}
        return {"name": "primary", "base_url": self.base_url, "api_key": self.api_key, "models": models}


class Faults:
    """Breaks what a mock answers to the pool, and only that."""

    def __init__(self, mock: Server) -> None:
        self._url = f"{mock.url}/_llmock/scenario"

    async def begin(self) -> None:
        """From now on 503."""
        fault = {"type": "fail", "status": 503, "times": None, "match": {"model": _POOL_DEPLOYMENT}}
        await self._send("POST", {"behaviors": [fault]})

    async def end(self) -> None:
        """From now on as before."""
        await self._send("DELETE", None)

    async def _send(self, method: str, body: object) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            (await client.request(method, self._url, json=body)).raise_for_status()


def require_libraries(*, mock: bool) -> None:
    """Raise `MissingExtraError` unless the extra `demo` is installed."""
    wanted = ("fastapi", "uvicorn", "aiohttp", *(["llmock"] if mock else []))
    if not all(find_spec(name) for name in wanted):
        raise MissingExtraError("phase1 demo", "demo")


def example_app() -> Path:
    """`legacy_main.py`: in the wheel it lies beside this file, in the repository in `examples/`."""
    places = Path(__file__).with_name("legacy_main.py"), Path(__file__).parents[2] / "examples" / "legacy_main.py"
    for place in places:
        if place.is_file():
            return place
    raise LabError(f"the example app is missing: neither {places[0]} nor {places[1]} is there")


def mock_server(folder: Path, environment: Mapping[str, str], *, latency: float) -> Server:
    """llmock, answering after `latency` seconds."""
    variables = {"LLMOCK_LATENCY_MS": str(round(latency * 1000)), "LLMOCK_RESPONSE_STYLE": "hello"}
    return Server("mock upstream", "llmock.main:app", folder=folder, environment=_inherited(environment) | variables)


def start_app(
    folder: Path, environment: Mapping[str, str], upstream: Upstream, *, pooled: bool, port: int = 0
) -> Server:
    """The example app with its own database, without or with the pool."""
    name = "pooled app" if pooled else "legacy app"
    variables = {
        "ENABLE_LLM_POOL": str(pooled).lower(),
        "DATABASE_URL": f"sqlite:///{folder / name.replace(' ', '-')}.sqlite3",
        "RATE_LIMIT": "0",
    }
    return Server(
        name,
        "legacy_main:app",
        folder=folder,
        source=example_app().parent,
        environment=_inherited(environment) | upstream.variables | variables,
        port=port,
    )


def chat_target(app: Server) -> Target:
    """The example's `/chat`; every user has a token."""
    ask = Ask(headers=(("authorization", "Bearer demo-{user}"),), body=json.dumps({"message": QUESTION}))
    return Target(url=app.url + ask.route, ask=ask)


def upstream_target(upstream: Upstream) -> Target:
    """The upstream itself, without any app before it."""
    question = {"model": upstream.model, "messages": [{"role": "user", "content": QUESTION}]}
    ask = Ask(headers=(("authorization", f"Bearer {upstream.api_key}"),), body=json.dumps(question))
    return Target(url=f"{upstream.base_url}/chat/completions", ask=ask, local=upstream.mock)


def _inherited(environment: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value
        for name, value in environment.items()
        if name.lower() not in _NOT_INHERITED and not name.upper().startswith("LLMOCK_")
    }
    proxied = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    direct = ",".join(filter(None, (proxied, "127.0.0.1")))
    return {**kept, "NO_PROXY": direct, "no_proxy": direct}
