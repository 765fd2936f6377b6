"""What does a process need to run tasks? One flusher, one set of leases, one runner; the same in web and worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from phase1.offload import frames
from phase1.offload.config import Config
from phase1.offload.frames import End
from phase1.offload.held import Held
from phase1.offload.jobs import ANALYTICS, Job, JobQueue
from phase1.offload.journal import START, Journal
from phase1.offload.runner import Finished, Runner
from phase1.offload.source import Source
from phase1.offload.state import State
from phase1.offload.writer import Flusher

__all__ = ["Works", "day_of"]


def day_of(milliseconds: int) -> str:
    """`2030-01-31`, UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d")


class Works:
    """Made on the loop it works on; its `loops` are run beside."""

    def __init__(
        self,
        journal: Journal,
        state: State,
        queue: JobQueue,
        source: Source,
        config: Config,
        *,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._journal = journal
        self._state = state
        self._queue = queue
        self._config = config
        self.held = Held(journal, config.times, beat=beat)
        self._flusher = Flusher(journal, config.times)
        self._runner = Runner(journal, source, self._flusher, self.held, config, after=self._after)

    @property
    def loops(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """What must run while tasks do."""
        return (self._flusher.run, self.held.run, self.held.listen)

    async def handle(self, job: Job) -> str:
        """One message, of whatever kind."""
        if job.kind == ANALYTICS:
            return await self._account(job.task)
        return await self._runner.run(job.task, job.dispatch)

    async def _after(self, finished: Finished) -> None:
        session = finished.request.session
        if session is not None and finished.end is End.COMPLETED and finished.kind != "feedback":
            said = (
                {"role": "user", "content": finished.request.messages[-1].content},
                {"role": "assistant", "content": finished.text},
            )
            times, limit = self._config.times, self._config.history
            await self._state.remember(finished.user, session, said, limit=limit, seconds=times.session)
        await self._queue.submit(Job(finished.task, 1, ANALYTICS, 9))

    async def _account(self, task: str) -> str:
        """Add what a task has used to its user's day. Twice is once."""
        meta = await self._journal.meta(task)
        if meta is None:
            return "gone"
        amounts = {"tasks": 1, f"tasks_{meta.end or 'running'}": 1, **await self._tokens(task)}
        day, seconds = day_of(meta.created), self._config.times.usage
        await self._state.count(meta.user, day, task, amounts, seconds=seconds)
        return "counted"

    async def _tokens(self, task: str) -> dict[str, int]:
        after = START
        while page := await self._journal.read(task, after, 256):
            after = page[-1].cursor
            if page[-1].terminal:
                used: dict[str, int] = frames.decode(page[-1].data).get("u", {})
                return used
        return {}
