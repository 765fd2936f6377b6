"""Who watches one app in one process? Recorder, heartbeat, history, traces, and what the other workers say, in one."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from phase1.doors.stages import StageClock
from phase1.observe.document import document_of, merged_document, recent_of
from phase1.observe.flags import FlagEvents
from phase1.observe.heartbeat import Heartbeat
from phase1.observe.history import History
from phase1.observe.numbers import Numbers, merged, numbers_of
from phase1.observe.otel import Tracer
from phase1.observe.recorder import FlightRecorder
from phase1.observe.workers import Workers, directory_of

if TYPE_CHECKING:
    from phase1.doors.manager import LLMManager

__all__ = ["Monitor"]

_log = logging.getLogger("phase1")

_SHARED_REQUESTS = 100
"""Calls of each worker that the others can show."""
_AUDITED = 100


class Monitor:
    """Watches `manager` from the first `watch` to `close`. All else may be asked from any thread, at any time."""

    def __init__(self, manager: LLMManager) -> None:
        self.manager = manager
        self.recorder = FlightRecorder(manager.tally)
        self.history = History(manager)
        self.audit: deque[dict[str, object]] = deque(maxlen=_AUDITED)
        """Every change that an operator has made here, newest last."""
        self._heartbeat = Heartbeat(manager.events, was_late=self._was_late, each_second=self._each_second)
        self._peak = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._workers: Workers | None = None
        manager.events.subscribe(self.recorder)
        manager.events.subscribe(StageClock())
        self._traces = False

    def watch(self) -> None:
        """Watch the running loop, if that is not being done. Cheap: it is called with each request."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            self._trace()
            self._workers = self._workers or self._meet()
            self._heartbeat.talkative = self.manager.switches.enabled
            self._heartbeat.start(loop)

    def _trace(self) -> None:
        """Make spans from the moment on when the app has OpenTelemetry: until then not even a question is paid."""
        if not self._traces and Tracer.is_wanted():
            self._traces = True
            self.manager.events.subscribe(Tracer())
            self.manager.events.subscribe(FlagEvents())

    def close(self) -> None:
        """Watch no more; `watch` begins again."""
        self._heartbeat.stop()
        self._loop = None

    def _meet(self) -> Workers | None:
        settings = self.manager.settings
        try:
            directory = directory_of(settings.llm_runtime_dir)
        except OSError as exc:
            _log.warning("workers cannot see each other's numbers: %s: %s", exc.filename, exc.strerror)
            return None
        name = hashlib.sha256(repr((settings, [node.name for node in self.manager.nodes])).encode()).hexdigest()[:8]
        return Workers(directory, name=name) if directory is not None else None

    def _was_late(self, seconds: float) -> None:
        self.manager.tally.loop_was_late(seconds)
        self._peak = max(self._peak, seconds)

    def _each_second(self) -> None:
        self._trace()
        lag, self._peak = max(self._peak, self._heartbeat.standing_for), 0.0
        self.history.add(int(time.time()), lag=lag)
        if self._workers is not None:
            self._workers.write(numbers_of(self.manager), self._says())

    def _says(self) -> dict[str, object]:
        """To the other workers."""
        return {
            "document": self._own(),
            "recent": recent_of(self.manager),
            "requests": self.recorder.last(_SHARED_REQUESTS),
        }

    def _own(self) -> dict[str, Any]:
        heartbeat = self._heartbeat
        lag = max(self.manager.tally.lag, heartbeat.standing_for)
        loop = {"lag": lag, "standing_at": heartbeat.standing_at}
        document = document_of(self.manager, history=self.history.points, loop=loop)
        document["audit"] = list(reversed(self.audit))
        return document

    def _others(self) -> tuple[list[dict[str, Any]], list[Numbers], list[Numbers]]:
        """What the others say, their numbers, and those of the dead."""
        if self._workers is None:
            return [], [], []
        alive, gone = self._workers.others()
        return [dict(worker.says) for worker in alive], [worker.numbers for worker in alive], gone

    def numbers(self) -> Numbers:
        """All workers' metrics."""
        _, alive, gone = self._others()
        return merged([numbers_of(self.manager), *alive], gone)

    def document(self) -> dict[str, Any]:
        """All workers' state."""
        says, _, _ = self._others()
        return merged_document(self._own(), recent_of(self.manager), says)

    def requests(self, limit: int) -> list[dict[str, Any]]:
        """The last calls of all workers, newest first."""
        says, _, _ = self._others()
        fellows = [request for each in says for request in each.get("requests", ())]
        return sorted([*self.recorder.last(limit), *fellows], key=lambda call: -call["time"])[:limit]

    def request(self, name: str) -> dict[str, Any] | None:
        """The call of that id, of whichever worker."""
        own = self.recorder.find(name)
        if own is not None:
            return own
        return next((request for request in self.requests(_AUDITED * _SHARED_REQUESTS) if request["id"] == name), None)

    def __repr__(self) -> str:
        return f"<Monitor {self.recorder!r} {'watching' if self._loop else 'idle'}>"
