"""Is it the same client? One case is asked of the stock client and of ours, at the same provider."""

# ruff: noqa: ANN401 - the SDK's clients, whatever they are

from __future__ import annotations

import asyncio
import re
from typing import Any

import openai

import phase1
from phase1.doors.manager import LLMManager

from .cases import CASES, Case, shown
from .provider import Provider, Request
from .world import APP_KEY, app_request, bounded, drive

__all__ = ["DOORS", "both", "by_ours", "by_stock", "outcome", "wire"]

DOORS = ("async", "portal", "thread")

# About the connection, or how a body of the same content is framed.
_OF_THE_CONNECTION = {"accept-encoding", "connection", "content-length", "host", "keep-alive", "transfer-encoding"}


async def by_stock(door: str, provider: Provider, case: Case, **options: Any) -> object:
    """What the SDK's own client does."""
    if door == "async":
        async with openai.AsyncOpenAI(api_key=APP_KEY, base_url=provider.url, **options) as client:
            return await outcome(case, client)
    with openai.OpenAI(api_key=APP_KEY, base_url=provider.url, **options) as blocking:
        return await asyncio.to_thread(drive, outcome(case, blocking))


async def by_ours(door: str, provider: Provider, case: Case, *, known: bool, **options: Any) -> Any:
    """What ours does, in an app's request."""
    if door == "async":
        async with phase1.AsyncOpenAI(api_key=APP_KEY, base_url=provider.url, **options) as client:
            return await _asked_of(case, client, provider, known=known)
    with phase1.OpenAI(api_key=APP_KEY, base_url=provider.url, **options) as blocking:
        asking = _asked_of(case, blocking, provider, known=known)
        return drive(asking) if door == "portal" else await asyncio.to_thread(drive, asking)


async def _asked_of(case: Case, client: Any, provider: Provider, *, known: bool) -> object:
    if known:
        with provider.aside():
            for name in ("chat", "chat_stream", "responses", "responses_stream", "embeddings"):
                await CASES[name](client)
    return await outcome(case, client)


async def outcome(case: Case, client: Any) -> object:
    """What a user would see: the result, or the exception."""
    try:
        return shown(await case(client))
    except openai.APIStatusError as exc:
        return (
            type(exc),
            exc.status_code,
            exc.code,
            exc.type,
            exc.param,
            exc.body,
            exc.request_id,
            exc.message,
            str(exc),
        )
    except openai.APIError as exc:
        return type(exc), exc.message, exc.body, exc.code
    except (TypeError, ValueError, RuntimeError) as exc:
        return type(exc), str(exc)


def wire(requests: list[Request]) -> list[object]:
    """The requests without what is only the connection's, and multipart boundaries all alike."""
    return [_wire(request) for request in requests]


def _wire(request: Request) -> object:
    content_type = request.header("content-type") or ""
    boundary = re.search("boundary=(.+)", content_type)
    headers = sorted(pair for pair in request.headers if pair[0] not in _OF_THE_CONNECTION)
    body = request.body
    if boundary:
        headers = [(name, value.replace(boundary[1], "B")) for name, value in headers]
        body = body.replace(boundary[1].encode(), b"B")
    return request.method, request.path, headers, body


async def both(
    door: str, provider: Provider, manager: LLMManager, case: Case, *, known: bool = False, **options: Any
) -> tuple[object, object]:
    """What stock and ours did, on both sides. `known`: ours has made calls of that kind before."""
    stock = await bounded(by_stock(door, provider, case, **options))
    seen_of_stock = wire(provider.requests)
    provider.requests.clear()
    async with app_request(manager):
        ours = await bounded(by_ours(door, provider, case, known=known, **options))
    return (stock, seen_of_stock), (ours, wire(provider.requests))
