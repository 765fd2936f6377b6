"""May this call still be paid for? Prices by model, and a purse that is never overdrawn by what was foreseen.

A call takes what it will probably cost before it is sent, and gives back the difference when it is over. So only an
answer that is longer than foreseen can take more than there was, and then the next call waits for the next day.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["Price", "Purse", "Taken", "price_of", "prices_of"]

_MILLION: Final = 1e6
_DAY: Final = 86_400
_ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens cost, in the operator's currency."""

    input: float
    output: float

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """What so many tokens cost."""
        return (input_tokens * self.input + output_tokens * self.output) / _MILLION


def prices_of(text: str) -> dict[str, Price]:
    """The table of `gpt-4o=2.5/10,*=5/15`. Raises `ValueError`, which names the entry."""
    table: dict[str, Price] = {}
    for number, entry in enumerate(text.split(","), start=1):
        model, _, prices = entry.strip().rpartition("=")
        price = _price(prices)
        if not model.strip() or model.strip() in table or price is None:
            raise ValueError(f"entry {number}: must be MODEL=INPUT/OUTPUT, per million tokens, each model once")
        table[model.strip()] = price
    return table


def _price(text: str) -> Price | None:
    try:
        price = Price(*(float(part) for part in text.split("/")))
    except (TypeError, ValueError):
        return None
    return price if all(math.isfinite(each) and each >= 0 for each in (price.input, price.output)) else None


def price_of(model: str, table: Mapping[str, Price]) -> Price | None:
    """The price of `model`; `None` = nobody has named one."""
    return table.get(model) or table.get(_ANY)


@dataclass(frozen=True, slots=True)
class Taken:
    """What a call has taken, and on which day."""

    amount: float
    day: int


class Purse:
    """Money for a day (UTC), and for as long as the purse lives. `now()`: Unix time; a clock set back opens nothing."""

    __slots__ = ("_day", "_now", "per_day", "spent", "spent_today", "total")

    def __init__(self, *, per_day: float, total: float | None, now: Callable[[], float]) -> None:
        self.per_day = per_day
        self.total = math.inf if total is None else total
        self._now = now
        self._day = -1
        self.spent = 0.0
        """What was spent or is taken, since the beginning."""
        self.spent_today = 0.0
        """The same since midnight, UTC."""

    def take(self, amount: float) -> Taken | None:
        """Take `amount`; `None` = it is not there."""
        self._turn()
        if self.spent_today + amount > self.per_day or self.spent + amount > self.total:
            return None
        self.spent += amount
        self.spent_today += amount
        return Taken(amount, self._day)

    def settle(self, taken: Taken, spent: float) -> None:
        """A call that had `taken` is over and has cost `spent`. It is paid for on the day on which it was sent."""
        self._turn()
        self.spent += spent - taken.amount
        if taken.day == self._day:
            self.spent_today += spent - taken.amount

    def _turn(self) -> None:
        day = int(self._now() // _DAY)
        if day > self._day:
            self._day, self.spent_today = day, 0.0

    def __repr__(self) -> str:
        return f"<Purse {self.spent_today:.4g} of {self.per_day:g} today, {self.spent:.4g} of {self.total:g} in all>"
