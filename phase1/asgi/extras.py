"""What may a response tell its reader? Route (and cache) and timing, each only if the operator wants it.

`X-LLM-Route`, with `X-LLM-Cache` where there is a cache, and `Server-Timing`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.datastructures import MutableHeaders

from phase1.doors.stages import LLM_RESPONSE

if TYPE_CHECKING:
    from starlette.types import Message, Send

    from phase1.doors.unit import Unit
    from phase1.settings import Settings

__all__ = ["Extras", "extras_of"]

_SHOWN_AS: Final = {"db_fetch": "db_fetch", LLM_RESPONSE: "llm", "db_save": "db_save"}
"""The stages, in the order and with the names that a browser shows."""


@dataclass(frozen=True, slots=True)
class Extras:
    """Which of them are wanted."""

    route: bool
    timing: bool

    def around(self, send: Send, unit: Unit) -> Send:
        """`send`, with what is wanted in the response's headers. A request that asked no LLM gets nothing."""

        async def send_with_extras(message: Message) -> None:
            if message["type"] == "http.response.start" and unit.chosen is not None:
                headers = MutableHeaders(scope=message)
                if self.route:
                    headers["x-llm-route"] = "fallback" if unit.fell_back else str(unit.chosen.route)
                    if unit.cache is not None:
                        headers["x-llm-cache"] = unit.cache
                if self.timing:
                    headers.append("server-timing", ", ".join(_timings(unit)))
            await send(message)

        return send_with_extras


def extras_of(settings: Settings) -> Extras | None:
    """`None` when nothing is wanted: then nothing stands between the app and its server."""
    wanted = Extras(route=settings.llm_route_header, timing=settings.llm_server_timing)
    return wanted if wanted.route or wanted.timing else None


def _timings(unit: Unit) -> Iterator[str]:
    for stage, name in _SHOWN_AS.items():
        if (seconds := unit.stages.get(stage)) is not None:
            yield f"{name};dur={seconds * 1000:.1f}"
    yield f"total;dur={(time.perf_counter() - unit.began) * 1000:.1f}"
