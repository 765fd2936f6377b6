"""What does an app hold of offload? `Offload`: its backend, a spare one, and the open streams."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Final

from phase1.offload.backend import Backend, make_backend
from phase1.offload.background import apart, end
from phase1.offload.config import Config
from phase1.offload.hooks import Hooks
from phase1.offload.ids import Signer
from phase1.offload.jobs import QueueUnavailable
from phase1.offload.journal import JournalUnavailable
from phase1.offload.source import ManagerSource

if TYPE_CHECKING:
    from phase1.doors.manager import LLMManager
    from phase1.offload.source import Source

__all__ = ["UNAVAILABLE", "Offload", "several_processes"]

_log = logging.getLogger("phase1")

UNAVAILABLE: Final = (JournalUnavailable, QueueUnavailable)
_PAUSE: Final = 1.0
"""Seconds for which a backend that has just failed is not asked again."""
_PRIMARY, _SPARE = "t", "m"
_Handler = Callable[[int, FrameType | None], object] | int | None


class Offload:
    """Made once per manager; opens its connections on the loop of the first request, or at the app's start."""

    def __init__(
        self,
        manager: LLMManager,
        hooks: Hooks | None = None,
        config: Config | None = None,
        source: Source | None = None,
    ) -> None:
        self.manager = manager
        self.hooks = hooks or Hooks()
        self.config = config or Config.of(manager.settings)
        self.signer = Signer(self.config.secret)
        self.closing = asyncio.Event()
        self.streams: Counter[str] = Counter()
        """Open streams by user, in this process."""
        self._source = source or ManagerSource(manager)
        self._primary: Backend | None = None
        self._spare: Backend | None = None
        self._away_until = 0.0
        self._before: _Handler = None
        self._mine: _Handler = None
        self._later: set[asyncio.Task[None]] = set()
        make_backend(self.config, self._source)  # a missing library or a bad URL is said at once, not at a request

    @property
    def configured(self) -> bool:
        """Whether tasks that run here have anybody to ask."""
        return not isinstance(self._source, ManagerSource) or self._source.configured

    @property
    def primary(self) -> Backend:
        """What the settings ask for."""
        if self._primary is None:
            self.start()
        assert self._primary is not None  # noqa: S101 - `start` has made it
        return self._primary

    def start(self) -> None:
        """Open it on the running loop. Idempotent."""
        if self._primary is not None:
            return
        self.closing.clear()
        self._primary = make_backend(self.config, self._source)
        self._primary.start(work=not self.manager.switches.emergency)
        if self.config.spare:
            self._spare = make_backend(self.config, self._source, beside=True)
            self._spare.start()
        if self.config.backend == "memory" and several_processes(os.environ, sys.argv):
            _log.warning(
                "offload: LLM_OFFLOAD_BACKEND=memory keeps chats in one process, and there are several:"
                " resuming works only by luck; use redis or celery"
            )
        self._listen_for_the_end()

    def new_id(self, backend: Backend) -> str:
        """An id that tells where the task lives."""
        return self.signer.new_id(prefix=_SPARE if backend is self._spare else _PRIMARY)

    def backends(self) -> Sequence[Backend]:
        """Where a new task may go, in order."""
        spare = () if self._spare is None else (self._spare,)
        if time.monotonic() < self._away_until:
            return spare
        return (self.primary, *spare)

    def failed(self, backend: Backend, error: Exception) -> None:
        """It is away: do not ask again at once."""
        if backend is self._primary:
            self._away_until = time.monotonic() + _PAUSE
            _log.warning("offload: %s", error)

    def backend_of(self, task: str) -> Backend | None:
        """Where the task with this id lives; `None`: nobody of ours has made the id."""
        if not self.signer.is_ours(task):
            return None
        return self._spare if task.startswith(_SPARE) else self.primary

    async def health(self) -> tuple[str, dict[str, object]]:
        """`ok`, `degraded` (in-process only) or `down`, and what is known."""
        facts: dict[str, object] = {"backend": self.config.backend, "streams": self.streams.total()}
        if self.manager.switches.emergency:
            return "down", {**facts, "reason": "emergency_mode"}
        try:
            async with asyncio.timeout(1):
                healthy = await self.primary.store.healthy()
                facts["tasks"] = await self.primary.journal.backlog() if healthy else None
        except (TimeoutError, *UNAVAILABLE):
            healthy = False
        if healthy:
            return "ok", facts
        return ("degraded" if self._spare else "down"), {**facts, "reason": "redis_unavailable"}

    def later(self, work: Coroutine[None, None, None]) -> None:
        """Do it beside; it is cancelled at the close."""
        task = apart(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    def _listen_for_the_end(self) -> None:
        """Servers close connections before they tell an app to shut down: open streams would hold them up."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._before = signal.getsignal(signal.SIGTERM)
        if not callable(self._before):
            return
        loop, before = asyncio.get_running_loop(), self._before

        def ending(number: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self.closing.set)
            before(number, frame)

        signal.signal(signal.SIGTERM, ending)
        self._mine = ending

    async def aclose(self) -> None:
        """End open streams (their readers resume elsewhere), stop working, close connections."""
        self.closing.set()
        if self._mine is not None and signal.getsignal(signal.SIGTERM) is self._mine:
            signal.signal(signal.SIGTERM, self._before)
        await end(self._later)
        for backend in (self._primary, self._spare):
            if backend is not None:
                await backend.aclose()
        self._primary = self._spare = None


def several_processes(environment: Mapping[str, str], arguments: Sequence[str]) -> bool:
    """Whether the server was told to run more than one worker."""
    return _workers(environment, arguments) not in {"", "0", "1"}


def _workers(environment: Mapping[str, str], arguments: Sequence[str]) -> str:
    for index, argument in enumerate(arguments):
        if argument.startswith("--workers="):
            return argument.partition("=")[2]
        if argument in {"--workers", "-w"} and index + 1 < len(arguments):
            return arguments[index + 1]
    return environment.get("WEB_CONCURRENCY", "").strip()
