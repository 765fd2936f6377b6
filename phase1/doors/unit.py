"""Whose call is this, and which way does it go? One `Unit` per app request, or per call made outside of any.

A door finds its unit in the request's context, which the middleware has opened; without one it works for the process's
default manager. The route is chosen when first asked for and kept: all calls of one app request take one route.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from phase1.events import LegacyFinished

if TYPE_CHECKING:
    from phase1.doors.departing import Departing
    from phase1.doors.manager import LLMManager
    from phase1.doors.slices import Slices
    from phase1.policy.selection import Route, Selection

__all__ = ["PATIENCE", "Unit", "current_unit"]

PATIENCE = 5.0
"""Seconds that a thread waits for the loop to begin its call."""


class Unit:
    """One app request: its manager, its loop, its key, its route.

    `key_of` is asked at most once, when the first call needs the key. `loop`: where its pooled calls run; `None` = a
    loop of our own. `patience`: seconds that a thread waits for that loop to begin a call.
    """

    __slots__ = (
        "_key",
        "_key_of",
        "_selection",
        "began",
        "cache",
        "departure",
        "fell_back",
        "loop",
        "manager",
        "patience",
        "slices",
        "stages",
        "wanted",
    )

    def __init__(
        self,
        manager: LLMManager,
        *,
        key_of: Callable[[], str | None] | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self.manager = manager
        self.loop = loop
        self.patience = patience
        self._key: str | None = None
        self._key_of = key_of
        self._selection: Selection | None = None
        self.began = time.perf_counter()
        self.stages: dict[str, float] = {}
        """Seconds by stage (`doors.stages`)."""
        self.departure: Departing | None = None
        """Who watches the client of the app request, where there is one."""
        self.cache: str | None = None
        """What the cache had for the last call: `hit`, `shared`, `miss` or `bypass`; `None` = nobody has looked."""
        self.slices: Slices | None = None
        """The turns of its loop, where others wait for that loop too."""
        self.fell_back = False
        """Whether legacy answered a call instead of the pool."""
        self.wanted: Route | None = None
        """The route that a tester's signed header asks for."""

    @property
    def chosen(self) -> Selection | None:
        """The route, if somebody has asked for it."""
        return self._selection

    @property
    def key(self) -> str | None:
        """Whose request it is; `None` = nobody knows."""
        if self._key_of is not None:
            key_of, self._key_of = self._key_of, None
            self._key = key_of()
        return self._key

    def name(self, key: str | None) -> None:
        """Say whose request it is: the app's own user dependency knows better. Too late once the route is chosen."""
        if self._selection is None:
            self._key, self._key_of = key, None

    @property
    def selection(self) -> Selection:
        """The route and its reason."""
        if self._selection is None:
            self._selection = self.manager.select(self.key, wanted=self.wanted)
        return self._selection

    @property
    def unblocks(self) -> bool:
        """Whether synchronous calls made for it may suspend their task (`LLM_UNBLOCK`, with the pool on)."""
        return self.manager.switches.enabled and self.manager.settings.llm_unblock

    @contextmanager
    def legacy_call(self, *, streamed: bool = False) -> Iterator[None]:
        """Inside, one call is made the app's own way: tell how it went."""
        started = time.perf_counter()
        error: str | None = None
        try:
            yield
        except BaseException as exc:
            error = f"{type(exc).__module__}.{type(exc).__qualname__}"
            raise
        finally:
            self.manager.events.notify(LegacyFinished(time.perf_counter() - started, error, streamed))

    def __repr__(self) -> str:
        chosen = f"{self._selection.route} ({self._selection.reason})" if self._selection else "not routed yet"
        return f"<Unit {chosen}>"


current_unit: ContextVar[Unit | None] = ContextVar("phase1_unit", default=None)
"""The unit of the app request that runs in this context."""
