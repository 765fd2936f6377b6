"""What lives in a worker process? A thread with an event loop, and on it the engine of the app: pool, breaker, nodes.

Celery's threads only wait for it. A loop per task would close the pool's connections with every task.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from phase1.doors.manager import LLMManager
from phase1.offload.background import Background
from phase1.offload.celery_queue import CeleryQueue
from phase1.offload.config import HARD_LIMIT, Config
from phase1.offload.ids import Signer
from phase1.offload.jobs import Job
from phase1.offload.redis_store import RedisStore
from phase1.offload.source import ManagerSource
from phase1.offload.works import Works

if TYPE_CHECKING:
    from celery import Celery

    from phase1.settings import Settings

__all__ = ["HEARTBEAT", "WorkerProcess"]

T = TypeVar("T")

_log = logging.getLogger("phase1")

HEARTBEAT: Final = "PHASE1_WORKER_HEARTBEAT"
"""Names a file that is touched while the process can renew its leases: what a health check looks at."""
_START: Final = 30.0
_CLOSE: Final = 5.0


class WorkerProcess:
    """Made in the parent, started in the process that runs tasks; lazily if need be."""

    def __init__(self, settings: Settings, config: Config, celery: Celery) -> None:
        self._settings = settings
        self._config = config
        self._celery = celery
        self._signer = Signer(config.secret)
        self._lock = threading.Lock()
        self._thread: _LoopThread | None = None
        self._inside: _Inside | None = None

    def start(self) -> None:
        """Make the loop, the pool and the connections. Idempotent; after a fork it is a new process's own."""
        with self._lock:
            if self._thread is None:
                self._thread = _LoopThread()
                self._inside = self._thread.call(_Inside.open(self._settings, self._config, self._celery), _START)

    def run(self, job: Job, signed: str) -> str:
        """Run one message in a thread of Celery's. What comes without our signature is dropped."""
        if not self._signer.verify("job", f"{job.task}|{job.dispatch}", signed):
            _log.warning("offload: a message without a valid signature was dropped")
            return "forged"
        self.start()
        thread, inside = self._thread, self._inside
        if thread is None or inside is None:
            raise RuntimeError("the worker process is closing")
        return thread.call(inside.works.handle(job), HARD_LIMIT)

    def close(self) -> None:
        """Give the leases back, close the pool, end the thread."""
        with self._lock:
            thread, inside = self._thread, self._inside
            self._thread = self._inside = None
        if thread is not None and inside is not None:
            thread.call(inside.aclose(), _CLOSE)
            thread.stop()


class _Inside:
    """What lives on the loop."""

    def __init__(self, manager: LLMManager, store: RedisStore, works: Works) -> None:
        self._manager = manager
        self._store = store
        self.works = works
        self._background = Background()
        self._background.start((*store.loops, *works.loops))

    @classmethod
    async def open(cls, settings: Settings, config: Config, celery: Celery) -> _Inside:
        """On the running loop."""
        manager = LLMManager(settings, _plain_client(settings))
        await manager.start()
        store = RedisStore(config)
        queue, source = CeleryQueue(config, app=celery), ManagerSource(manager)
        return cls(manager, store, Works(store.journal, store.state, queue, source, config, beat=_beat()))

    async def aclose(self) -> None:
        """In the order of need."""
        await self.works.held.give_back()
        await self._background.aclose()
        await self._store.aclose()
        await self._manager.aclose(drain=0)


def _plain_client(settings: Settings) -> Callable[[], object] | None:
    """What stands behind the pool in a worker: the SDK's client, for the app's own object is in another process."""
    if settings.openai_api_key is None:
        return None
    made: list[object] = []

    def client() -> object:
        if not made:
            import openai  # noqa: PLC0415 - heavy

            key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else None
            made.append(openai.AsyncOpenAI(api_key=key, base_url=settings.openai_base_url))
        return made[0]

    return client


def _beat() -> Callable[[], None]:
    path = os.environ.get(HEARTBEAT)
    return Path(path).touch if path else lambda: None


class _LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="phase1-offload-loop", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def call(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Wait for `work`, at most so long; then it is cancelled. A soft limit of Celery's cancels it too."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(seconds)
        except BaseException as error:
            future.cancel()
            if isinstance(error, concurrent.futures.TimeoutError):
                raise TimeoutError from error
            raise

    def stop(self) -> None:
        """No more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE)
