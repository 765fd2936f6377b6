"""What makes up a backend? A journal, the shared state and a queue, opened and closed together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from phase1.exceptions import MissingExtraError
from phase1.offload.background import Background
from phase1.offload.config import Config
from phase1.offload.jobs import JobQueue, LocalQueue
from phase1.offload.journal import Journal
from phase1.offload.memory_journal import MemoryJournal
from phase1.offload.memory_state import MemoryState
from phase1.offload.reaper import Reaper
from phase1.offload.state import State
from phase1.offload.works import Works

if TYPE_CHECKING:
    from phase1.offload.source import Source

__all__ = ["Backend", "Store", "make_backend"]


class Store(Protocol):
    """Where journal and state lie."""

    journal: Journal
    state: State

    @property
    def loops(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """What must run while it is used."""

    async def healthy(self) -> bool:
        """Whether it can be reached now."""

    async def aclose(self) -> None:
        """Give its connections back."""


class MemoryStore:
    """In this process."""

    def __init__(self, config: Config) -> None:
        self.journal: Journal = MemoryJournal(config)
        self.state: State = MemoryState()

    @property
    def loops(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """None."""
        return ()

    async def healthy(self) -> bool:
        """Always."""
        return True

    async def aclose(self) -> None:
        """Nothing is open."""


class Backend:
    """One way to run tasks. `works` is `None` where other processes run them."""

    def __init__(self, store: Store, queue: JobQueue, config: Config, works: Works | None) -> None:
        self.journal = store.journal
        self.state = store.state
        self.queue = queue
        self.works = works
        self.store = store
        self._reaper = Reaper(store.journal, queue, config.times)
        self._background = Background()

    def start(self, *, work: bool = True) -> None:
        """Run what must run beside, on the running loop; without `work` only what reading needs."""
        self._background.start(self.store.loops)
        if not work:
            return
        self._background.start((self._reaper.run,))
        if self.works is not None:
            self._background.start((*self.works.loops, self._work))

    async def _work(self) -> None:
        if self.works is not None and isinstance(self.queue, LocalQueue):
            await self.queue.run(self.works.handle)

    async def aclose(self) -> None:
        """Stop working; what others can take over is given back at once."""
        if self.works is not None:
            await self.works.held.give_back()
        await self._background.aclose()
        await self.store.aclose()


def make_backend(config: Config, source: Source, *, beside: bool = False) -> Backend:
    """What `config` asks for; `beside`: the one in memory, for while Redis is away. Raises `MissingExtraError`."""
    store: Store = MemoryStore(config) if beside or config.backend == "memory" else _redis_store(config)
    if config.backend == "celery" and not beside:
        return Backend(store, _celery_queue(config), config, None)
    queue = LocalQueue(config.concurrency)
    return Backend(store, queue, config, Works(store.journal, store.state, queue, source, config))


def _redis_store(config: Config) -> Store:
    try:
        from phase1.offload.redis_store import RedisStore  # noqa: PLC0415 - needs the extra
    except ModuleNotFoundError as missing:
        raise _missing(missing) from missing
    return RedisStore(config)


def _celery_queue(config: Config) -> JobQueue:
    try:
        from phase1.offload.celery_queue import CeleryQueue  # noqa: PLC0415 - needs the extra
    except ModuleNotFoundError as missing:
        raise _missing(missing) from missing
    return CeleryQueue(config)


def _missing(error: ModuleNotFoundError) -> BaseException:
    libraries = {"redis", "celery", "kombu"}
    return MissingExtraError("offload over Redis", "offload") if error.name in libraries else error
