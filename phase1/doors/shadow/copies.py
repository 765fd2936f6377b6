"""What does a copy of a call look like, and what will it probably cost?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from phase1.policy.comparison import Answered
from phase1.policy.purse import Price, price_of

__all__ = ["LARGEST", "Copy", "Unfit", "copy_of"]

LARGEST: Final = 262_144
"""Bytes of a question: copying a larger one would be felt by the others on the loop."""

_BYTES_PER_TOKEN: Final = 3
"""When legacy has not counted: English has four, so that this is rather too much."""
_ANSWER: Final = 1024
"""Tokens that an answer has when nobody knows better."""
_LIMITS: Final = ("max_completion_tokens", "max_tokens")


class Unfit(Exception):
    """A call of which no copy is sent; the text is one of `report.DROPS`."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A question, and what legacy has said to it. `cost`: of the answer, as foreseen."""

    body: bytes = field(repr=False)
    price: Price
    cost: float
    legacy: Answered

    def paid(self, pool: Answered | None) -> float:
        """What the pool's answer has cost: as it says, nothing for an error, as foreseen when nobody knows."""
        if pool is None or pool.status in {"timeout", "connection"}:
            return self.cost
        if pool.input_tokens is None or pool.output_tokens is None:
            return self.cost if pool.status == "200" else 0.0
        return self.price.cost(pool.input_tokens, pool.output_tokens)


def copy_of(question: Mapping[str, Any] | bytes, legacy: Answered, prices: Mapping[str, Price]) -> Copy:
    """The copy of a chat completion's body, as arguments or as bytes. Raises `Unfit`."""
    body, asked = _encoded(question)
    model = asked.get("model")
    if not isinstance(model, str):
        raise Unfit("no_model")
    price = price_of(model, prices)
    if price is None:
        raise Unfit("no_price")
    return Copy(body, price, price.cost(_input(body, legacy), _output(asked, legacy)), legacy)


def _encoded(question: Mapping[str, Any] | bytes) -> tuple[bytes, Mapping[str, Any]]:
    try:
        body = question if isinstance(question, bytes) else json.dumps(question).encode()
        _require_small(body)
        asked = json.loads(body) if isinstance(question, bytes) else question
    except (TypeError, ValueError):  # what a client of the app's own takes need not be JSON
        raise Unfit("unfit") from None
    if not isinstance(asked, Mapping) or asked.get("stream") or asked.get("store"):
        raise Unfit("unfit")
    return body, asked


def _require_small(body: bytes) -> None:
    if len(body) > LARGEST:
        raise Unfit("too_large")


def _input(body: bytes, legacy: Answered) -> int:
    return len(body) // _BYTES_PER_TOKEN if legacy.input_tokens is None else legacy.input_tokens


def _output(asked: Mapping[str, Any], legacy: Answered) -> int:
    """Twice what legacy has said, within the limit that the caller has set, for each answer that is asked for."""
    limits = [limit for name in _LIMITS if isinstance(limit := asked.get(name), int) and limit > 0]
    likely = max(_ANSWER, 2 * (legacy.output_tokens or 0))
    answers = asked.get("n")
    return min([likely, *limits]) * (max(1, answers) if isinstance(answers, int) else 1)
