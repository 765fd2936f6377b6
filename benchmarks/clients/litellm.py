"""LiteLLM's router over three deployments, each under an address of its own.

There is one router per process, for all upstreams: each further one makes every call of the others dearer.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import AsyncIterator, Mapping
from functools import cache
from typing import Any

from benchmarks.clients.base import KEY, Client, Site, check_text, count_chunks
from phase1.lab.mock.bodies import MESSAGES, MODEL, OPTIONS

__all__ = ["opened"]

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # its import downloads a price list otherwise
_litellm: Any = importlib.import_module("litellm")

_DEPLOYMENTS = 3


@contextlib.asynccontextmanager
async def opened(site: Site, variant: str) -> AsyncIterator[Client]:  # noqa: ARG001 - there is one
    """The process's router, aimed at `site`."""
    router = _router(tuple(site.upstreams.items()))

    async def chat() -> None:
        completion = await router.acompletion(model=site.name, messages=_messages(), **OPTIONS)
        check_text(completion.choices[0].message.content)

    async def stream() -> int:
        answer = await router.acompletion(model=site.name, messages=_messages(), **OPTIONS, stream=True)
        return await count_chunks(answer)

    yield Client({"chat": chat}, stream)


def _messages() -> list[dict[str, str]]:
    return [*MESSAGES]  # it keeps what it is given


@cache
def _router(upstreams: tuple[tuple[str, str], ...]) -> Any:  # noqa: ANN401 - its types are not of this environment
    deployments = [_deployment(name, url, number) for name, url in upstreams for number in range(_DEPLOYMENTS)]
    return _litellm.Router(model_list=deployments)


def _deployment(name: str, url: str, number: int) -> Mapping[str, object]:
    base = url.removesuffix("/v1")
    return {
        "model_name": name,
        "litellm_params": {"model": f"openai/{MODEL}", "api_base": f"{base}/node-{number}/v1", "api_key": KEY},
    }
