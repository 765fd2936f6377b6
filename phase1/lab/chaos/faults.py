"""What do endpoints do wrong? Each a behaviour of an endpoint; `healthy` is what the others deviate from."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Final

from phase1.lab.chaos.upstream import Behaviour, Exchange, Hung

__all__ = ["FAULTS", "RETRY_AFTER", "WORDS", "healthy"]

RETRY_AFTER: Final = 2.0
"""Seconds that a 429 asks for, where it asks for a usual time."""
_LATENCY: Final = 0.1
_SLOW: Final = 0.6
WORDS: Final = ("five", " words", " make", " an", " answer")
"""What an answer consists of, and what a stream says one after the other."""
_PAUSE: Final = 0.01
_FLIP: Final = 1.0


async def healthy(exchange: Exchange, *, latency: float = _LATENCY, pause: float = _PAUSE) -> None:
    """A whole answer, or a stream of five words."""
    await asyncio.sleep(latency)
    if not exchange.streams:
        await exchange.whole(200, _completion())
        return
    await _stream(exchange, len(WORDS), pause=pause)
    await exchange.chunk(_event({}, finish="stop"))
    await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.chunk(b"")


async def slow(exchange: Exchange) -> None:
    """Well, only slower than the others."""
    await healthy(exchange, latency=_SLOW)


async def hangs(_: Exchange) -> None:
    """No answer at all, not even a header."""
    raise Hung


async def hangs_midway(exchange: Exchange) -> None:
    """Two words of a stream, or half of an answer, and then nothing more."""
    await asyncio.sleep(_LATENCY)
    if exchange.streams:
        await _stream(exchange, 2)
    else:
        await exchange.head(200, "application/json", length=1000)
        await exchange.send(b'{"id"')
    raise Hung


async def fails(exchange: Exchange) -> None:
    """500, at once."""
    await exchange.whole(500, _error("server_error"))


async def fails_in_bursts(exchange: Exchange) -> None:
    """Ten 500s, then ten answers."""
    await (fails if (exchange.number - 1) // 10 % 2 == 0 else healthy)(exchange)


async def flips(exchange: Exchange) -> None:
    """A second of 503s, a second of answers."""
    if int(time.monotonic() / _FLIP) % 2:
        await healthy(exchange)
    else:
        await exchange.whole(503, _error("service_unavailable"))


async def refuses_key(exchange: Exchange) -> None:
    """401."""
    await exchange.whole(401, _error("invalid_api_key"))


async def in_band_error(exchange: Exchange) -> None:
    """200, and the error inside the stream, or instead of the answer."""
    if not exchange.streams:
        await exchange.whole(200, _error("server_error"))
        return
    await exchange.head(200, "text/event-stream")
    await exchange.chunk(b"data: " + json.dumps(_error("server_error")).encode() + b"\n\n")
    await exchange.chunk(b"")


async def empty_stream(exchange: Exchange) -> None:
    """A stream that ends before its first word, or an answer that is cut off."""
    if exchange.streams:
        await exchange.head(200, "text/event-stream")
        await exchange.chunk(_event({"role": "assistant"}))
    else:
        await exchange.head(200, "application/json", length=1000)
        await exchange.send(b'{"id"')
    exchange.cut()


async def truncates(exchange: Exchange) -> None:
    """A stream that ends in good order after two words, without a finish reason; whole answers are well."""
    if not exchange.streams:
        await healthy(exchange)
        return
    await asyncio.sleep(_LATENCY)
    await _stream(exchange, 2)
    await exchange.chunk(b"")


async def trickles(exchange: Exchange) -> None:
    """A word in 0.8 s: slow, but never silent; an answer in one piece takes as long as its stream."""
    if exchange.streams:
        await healthy(exchange, pause=0.8)
    else:
        await healthy(exchange, latency=_LATENCY + 0.8 * len(WORDS))


async def html(exchange: Exchange) -> None:
    """200, and a page for browsers: a captive portal."""
    await exchange.whole(200, b"<html>sign in</html>", content_type="text/html")


def throttles(**fields: str | Callable[[], str]) -> Behaviour:
    """429 with these header fields."""

    async def throttle(exchange: Exchange) -> None:
        named = [f"{name.replace('_', '-')}: {value() if callable(value) else value}" for name, value in fields.items()]
        await exchange.whole(429, _error("rate_limit_exceeded"), *named)

    return throttle


FAULTS: Final[Mapping[str, Behaviour | None]] = {
    "healthy": healthy,
    "refuses connections": None,
    "hangs": hangs,
    "hangs midway": hangs_midway,
    "500": fails,
    "500 in bursts": fails_in_bursts,
    "flip-flop": flips,
    "429, Retry-After": throttles(retry_after=f"{RETRY_AFTER:g}"),
    "429, retry-after-ms": throttles(retry_after_ms=f"{RETRY_AFTER * 1000:g}"),
    "429, HTTP date": throttles(retry_after=lambda: formatdate(time.time() + 1 + RETRY_AFTER, usegmt=True)),
    "429, date in the past": throttles(retry_after=formatdate(0, usegmt=True)),
    "429, a whole day": throttles(retry_after="86400"),
    "429, no header": throttles(),
    "401": refuses_key,
    "trickles": trickles,
    "slow": slow,
    "error in band": in_band_error,
    "cut before a word": empty_stream,
    "truncates streams": truncates,
    "HTML": html,
}
"""By the name that stands in the table."""


async def _stream(exchange: Exchange, words: int, *, pause: float = _PAUSE) -> None:
    await exchange.head(200, "text/event-stream")
    for word in WORDS[:words]:
        await exchange.chunk(_event({"role": "assistant", "content": word}))
        await asyncio.sleep(pause)


def _event(delta: Mapping[str, str], *, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _completion() -> dict[str, object]:
    message = {"role": "assistant", "content": "".join(WORDS), "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def _error(code: str) -> dict[str, object]:
    return {"error": {"message": "on purpose", "type": "chaos", "param": None, "code": code}}
