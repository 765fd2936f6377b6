"""What stands in the state record, and what does a worker do with one that it should not follow?

A record that cannot be read changes nothing: the last good state stays. One that is older than what has been seen (a
store that was restored, or emptied) may only lower: a kill switch, a smaller percent. Whoever leads then writes the
newest state back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Final

from phase1.exceptions import Phase1Error
from phase1.policy.breaker import BreakerMode
from phase1.policy.rollout import Desired, RolloutPhase

__all__ = ["SCHEMA", "BadRecord", "Followed", "NewerRecord", "decode", "encode", "follow", "short"]

SCHEMA: Final = 1
_ALL: Final = 100.0


class BadRecord(Phase1Error):
    """A state record that cannot be followed. The text says why; `status` is for HTTP."""

    status = 409


class NewerRecord(BadRecord):
    """It was written by a newer version: it is not to be overwritten."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What a worker does from now on. `problem`: what is wrong with the record; `lost`: it may be written back."""

    desired: Desired
    problem: str | None = None
    lost: bool = False


def encode(desired: Desired) -> str:
    """As it is kept."""
    return json.dumps({"schema": SCHEMA, **short(desired)}, separators=(",", ":"))


def short(desired: Desired) -> dict[str, Any]:
    """Its fields."""
    return {
        "generation": desired.generation,
        "percent": desired.percent,
        "kill": desired.kill,
        "breaker": desired.breaker,
        "epoch": desired.epoch,
        "phase": str(desired.phase),
        "run": desired.run,
    }


def decode(text: str) -> Desired:
    """Read it. Raises `BadRecord`."""
    try:
        document = json.loads(text)
    except ValueError:
        raise BadRecord("the state record is damaged: it is no JSON") from None
    if not isinstance(document, dict) or not isinstance(document.get("schema"), int):
        raise BadRecord("the state record is damaged: it names no schema")
    if document["schema"] > SCHEMA:
        raise NewerRecord(
            f"the state record was written by a newer version (schema {document['schema']}, not {SCHEMA})"
        )
    return Desired(
        generation=_count(document, "generation"),
        percent=_percent(document),
        kill=_flag(document, "kill"),
        breaker=_word(document, "breaker", BreakerMode),
        epoch=_count(document, "epoch"),
        phase=RolloutPhase(_word(document, "phase", RolloutPhase)),
        run=_count(document, "run"),
    )


def _count(document: dict[str, Any], name: str) -> int:
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _bad(name, value, "a whole number, 0 or more")
    return value


def _percent(document: dict[str, Any]) -> float | None:
    value = document.get("percent")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _ALL:
        raise _bad("percent", value, "a number between 0 and 100")
    if round(value, 2) != value:
        raise _bad("percent", value, "a multiple of 0.01")
    return float(value)


def _flag(document: dict[str, Any], name: str) -> bool:
    value = document.get(name)
    if not isinstance(value, bool):
        raise _bad(name, value, "true or false")
    return value


def _word(document: dict[str, Any], name: str, words: type[BreakerMode | RolloutPhase]) -> str:
    value = document.get(name)
    if value not in list(words):  # a list may be compared with anything
        raise _bad(name, value, f"one of {', '.join(words)}")
    return str(value)


def _bad(name: str, value: object, allowed: str) -> BadRecord:
    return BadRecord(f"the state record says {name}={value!r:.40}: must be {allowed}")


def follow(known: Desired, text: str | None, *, default: float) -> Followed:
    """What a worker that follows `known` does when it reads `text`. `default`: the percent where a record has none."""
    if text is None:
        gone = "the state record has disappeared; the last known state stays"
        return Followed(known, gone, lost=True) if known.generation else Followed(known)
    try:
        read = decode(text)
    except BadRecord as exc:
        return Followed(known, f"{exc}; the last known state stays", lost=not isinstance(exc, NewerRecord))
    if read.generation > known.generation or read == known:
        return Followed(read)
    older = f"the state record is of generation {read.generation}, {known.generation} is known; it may only lower"
    return Followed(_lowered(known, read, default), older, lost=True)


def _lowered(known: Desired, read: Desired, default: float) -> Desired:
    now = default if known.percent is None else known.percent
    then = default if read.percent is None else read.percent
    percent = read.percent if then < now else known.percent
    return replace(known, kill=known.kill or read.kill, percent=percent)
