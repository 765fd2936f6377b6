"""Which calls get a copy, who sends it, and when does that end?

A copy is dropped rather than queued: when so many are under way, when the pool has people waiting or its breaker is not
active, or when the money is spent. Shutdown cancels what is under way.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import Context
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from phase1.doors.background import background_loop, close_with_loop
from phase1.doors.shadow.answers import of_failure, of_json
from phase1.doors.shadow.copies import Copy, Unfit, copy_of
from phase1.doors.shadow.report import Report
from phase1.engine.call import Call
from phase1.events import Events
from phase1.exceptions import PoolError, Refused
from phase1.policy.purse import Purse, Taken, prices_of
from phase1.policy.selection import Reason

if TYPE_CHECKING:
    from phase1.doors.manager import LLMManager
    from phase1.doors.unit import Unit
    from phase1.engine.manager import Manager
    from phase1.policy.comparison import Answered

__all__ = ["CHAT", "Shadow", "shadow_of"]

_log = logging.getLogger("phase1")

CHAT: Final = "/chat/completions"
_OUTSIDE: Final = frozenset({Reason.SPLIT, Reason.STALE, Reason.DEFAULT})
"""Legacy's because of the percent. Who is denied, killed or refused has nothing sent to the pool, no copy either."""
_ALONE: Final = {
    "llm_queue_size": 0,
    "auto_scaling": False,
    "enable_load_balancer": False,
    "llm_cache_seconds": 0.0,
    "llm_single_flight": False,
    "llm_hedge": False,
}
"""Settings of the copies' own pool: nobody waits, no answer is kept, nothing is paid for twice."""
_HEADERS: Final = (("content-type", "application/json"), ("accept", "application/json"))


class Shadow:
    """The copies of one app. `rng` gives 0 … 1, `now` is Unix time."""

    def __init__(self, manager: LLMManager, *, rng: Callable[[], float], now: Callable[[], float] = time.time) -> None:
        settings = manager.settings
        self.report = Report()
        self.percent = settings.llm_shadow_percent
        self.concurrency = settings.llm_shadow_concurrency
        self.purse = Purse(per_day=settings.llm_shadow_budget or 0.0, total=settings.llm_shadow_budget_total, now=now)
        self.cost = 0.0
        """Money that the copies that are over have cost; unlike the purse's, it never falls."""
        self._prices = prices_of(settings.llm_shadow_prices or "")
        self._manager = manager
        self._rng = rng
        self._lock = threading.Lock()
        """Around the numbers: legacy's threads and several loops count in them. Held for additions only."""
        self._tasks: set[asyncio.Task[Answered | None]] = set()
        self._twin: Manager | None = None
        self._closed = False
        self._complained = False

    @property
    def in_flight(self) -> int:
        """Copies under way."""
        return len(self._tasks)

    def wants(self, unit: Unit) -> bool:
        """Whether this legacy call is to be looked at."""
        return not self._closed and unit.selection.reason in _OUTSIDE and self._rng() * 100 < self.percent

    def offer(self, unit: Unit, question: Mapping[str, Any] | bytes, read: Callable[[], Answered | None]) -> None:
        """Legacy has answered `question`, or failed; `read` says how, `None` if nobody can tell. Never raises."""
        try:
            self._offer(unit, question, read)
        except Unfit as exc:
            self._drop(str(exc))
        except Exception:  # noqa: BLE001 - whatever it is, the user has his answer already
            self._complain()

    def _offer(self, unit: Unit, question: Mapping[str, Any] | bytes, read: Callable[[], Answered | None]) -> None:
        with self._lock:
            self.report.sampled += 1
        if len(self._tasks) >= self.concurrency:
            raise Unfit("busy")
        legacy = read()
        if legacy is None:
            raise Unfit("unreadable")
        copy, loop = copy_of(question, legacy, self._prices), _loop_of(unit)
        if loop.is_closed():
            raise Unfit("closed")
        loop.call_soon_threadsafe(partial(self._begin, copy), context=Context())

    def _begin(self, copy: Copy) -> None:
        """On the loop that the copy is sent from, after the user's call."""
        refusal = self._refusal()
        taken = None
        if refusal is None:
            with self._lock:
                taken = self.purse.take(copy.cost)
        if taken is None:
            self._drop(refusal or "budget")
            return
        task = asyncio.get_running_loop().create_task(self._ask(copy))
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, copy, taken))

    def _refusal(self) -> str | None:
        manager = self._manager
        if self._closed or not manager.pool_wanted or manager.switches.force_legacy:
            return "closed"
        if not manager.breaker.admits(1.0):  # it lets everybody in, or it is in trouble
            return "breaker"
        binding = manager.bindings.peek()
        waiting = binding is not None and binding.admission.waiting > 0
        return "busy" if waiting or len(self._tasks) >= self.concurrency else None

    async def _ask(self, copy: Copy) -> Answered | None:
        """`None` = nobody can read the answer. Raises `Refused`."""
        pool = self._own_pool()
        await pool.start()
        close_with_loop(pool)
        started = time.perf_counter()
        try:
            answer = await pool.send(Call("POST", CHAT, headers=_HEADERS, body=copy.body))
        except Refused:
            raise
        except PoolError as exc:
            return of_failure(exc, time.perf_counter() - started)
        if answer.stream is not None:
            await answer.stream.aclose()
            return None
        return of_json(answer.status, answer.body, time.perf_counter() - started)

    def _ended(self, copy: Copy, taken: Taken, task: asyncio.Task[Answered | None]) -> None:
        self._tasks.discard(task)
        pool, spent, dropped = self._came_to(copy, taken, task)
        with self._lock:
            self.purse.settle(taken, spent)
            self.cost += spent
            if pool is not None:
                self.report.add(copy.legacy, pool)
            else:
                self.report.dropped[dropped] += 1

    def _came_to(
        self, copy: Copy, taken: Taken, task: asyncio.Task[Answered | None]
    ) -> tuple[Answered | None, float, str]:
        """The pool's answer, what it has cost (as foreseen, when nobody knows), and why there is none."""
        if task.cancelled():
            return None, taken.amount, "closed"
        error = task.exception()
        if error is None:
            return task.result(), copy.paid(task.result()), "unreadable"
        if isinstance(error, Refused):
            return None, 0.0, "refused"
        self._complain(error)
        return None, taken.amount, "unreadable"

    def _own_pool(self) -> Manager:
        """A manager for copies alone, with the app's nodes as they are now."""
        manager = self._manager
        specs = tuple(replace(spec, pool_size=1) for spec in manager.nodes)
        if self._twin is None:
            alone = manager.settings.model_copy(update=_ALONE)
            self._twin = manager.sibling(*specs, settings=alone, events=Events())
        twin = self._twin
        twin.switches = manager.switches
        if twin.nodes != specs or twin.drained != manager.drained:
            twin.drained = manager.drained
            twin.renew(specs)
        return twin

    def _drop(self, reason: str) -> None:
        with self._lock:
            self.report.dropped[reason] += 1

    def _complain(self, error: BaseException | None = None) -> None:
        if not self._complained:
            self._complained = True
            _log.error("shadow: a copy could not be made; this is said once", exc_info=error or True)

    def reopen(self) -> None:
        """Begin again after `aclose`."""
        self._closed = False

    async def aclose(self) -> None:
        """Cancel what is under way on the running loop, and close the connections. No copy begins any more."""
        self._closed = True
        loop = asyncio.get_running_loop()
        own = [task for task in self._tasks if task.get_loop() is loop]
        for task in own:
            task.cancel()
        await asyncio.gather(*own, return_exceptions=True)
        if self._twin is not None:
            await self._twin.aclose(drain=0.0)

    def document(self) -> dict[str, object]:
        """As a page shows it: numbers only."""
        purse = self.purse
        return {
            "percent": self.percent,
            "concurrency": self.concurrency,
            "in_flight": self.in_flight,
            "money": {
                "per_day": purse.per_day,
                "total": self._manager.settings.llm_shadow_budget_total,
                "spent_today": purse.spent_today,
                "spent": purse.spent,
            },
            **self.report.document(),
        }

    def __repr__(self) -> str:
        return f"<Shadow {self.percent:g} % in_flight={self.in_flight} {self.report!r} {self.purse!r}>"


def _loop_of(unit: Unit) -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return unit.loop or background_loop()


def shadow_of(manager: LLMManager, rng: Callable[[], float]) -> Shadow | None:
    """`None` unless the operator wants it: then a call pays one test of an attribute."""
    return Shadow(manager, rng=rng) if manager.settings.llm_shadow_percent and manager.nodes else None
