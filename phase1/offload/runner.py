"""What is the life of a task in the hands of its worker? Claim, ask, write, end; and stop when told so.

Whatever happens between the claim and the end, one last frame is written, unless the task is not ours any more or the
worker dies: then the lease runs out and the reaper decides.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from phase1.offload import frames
from phase1.offload.bodies import TaskRequest
from phase1.offload.config import Config
from phase1.offload.failures import failure
from phase1.offload.frames import End
from phase1.offload.held import Held
from phase1.offload.journal import Claim, Code, Journal
from phase1.offload.source import Source
from phase1.offload.writer import TOO_LARGE, Flusher, Writer

__all__ = ["Finished", "Runner"]

_log = logging.getLogger("phase1")

_OURS_NO_MORE: Final = frozenset({"fenced", "closed", "gone", "gap", "unclaimed", "journal_unavailable"})
"""Reasons to stop after which nothing may be written."""
_CUT_SHORT: Final = frozenset({"length", "content_filter"})


@dataclass(slots=True)
class _Answer:
    """What has been gathered besides the text that is written."""

    parts: list[str] = field(default_factory=list)
    usage: dict[str, int] | None = None
    finish: str = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A task that this process has ended."""

    task: str
    user: str
    kind: str
    request: TaskRequest
    end: End
    text: str
    usage: dict[str, int] | None


class Runner:
    """Runs tasks, each on the loop that asks. `after` is told about each that it has ended."""

    def __init__(
        self,
        journal: Journal,
        source: Source,
        flusher: Flusher,
        held: Held,
        config: Config,
        *,
        after: Callable[[Finished], Awaitable[None]],
    ) -> None:
        self._journal = journal
        self._source = source
        self._flusher = flusher
        self._held = held
        self._config = config
        self._after = after

    async def run(self, task: str, dispatch: int) -> str:
        """Run one message's task, if it is ours to run. Returns what it came to, for the log."""
        claim = await self._journal.claim(task, dispatch, secrets.token_hex(8))
        if claim.code not in {Code.OK, Code.ALREADY}:
            return claim.code.name.lower()
        attempt = _Attempt(self, task, claim)
        with self._held.holding(task, claim.epoch, attempt.stop):
            return await attempt.run()


class _Attempt:
    """One epoch of one task."""

    def __init__(self, runner: Runner, task: str, claim: Claim) -> None:
        self._runner = runner
        self._task = task
        self._claim = claim
        self._writer = self._writer_of({"attempt": claim.epoch})
        self._answer = _Answer()
        self._work: asyncio.Task[None] | None = None
        self._reason = ""

    def _writer_of(self, about: dict[str, Any]) -> Writer:
        flusher = self._runner._flusher  # noqa: SLF001 - one class in two
        return Writer(flusher, self._task, self._claim.epoch, stop=self.stop, head={"m": about})

    def stop(self, reason: str) -> None:
        """Why this attempt is over; only the first reason counts. Said again, the work is cancelled again."""
        self._reason = self._reason or reason
        if self._work is not None and not self._work.done():
            self._work.cancel()

    async def run(self) -> str:
        """Ask, write, end."""
        journal = self._runner._journal  # noqa: SLF001
        meta, text = await journal.meta(self._task), await journal.request(self._task)
        if meta is None or text is None:
            return "gone"
        try:
            request = TaskRequest.model_validate_json(text)
        except ValidationError:
            await self._writer.end(frames.ending(End.FAILED, "bad_request", "the task cannot be read"))
            return "bad_request"
        return await self._run(request, meta.user, meta.kind)

    async def _run(self, request: TaskRequest, user: str, kind: str) -> str:
        self._writer = self._writer_of({"model": request.model, "attempt": self._claim.epoch})
        last = await self._work_to_the_end(request, user)
        if self._reason in _OURS_NO_MORE:
            return self._reason
        code = await self._writer.end(last)
        end = self._writer.ended
        if code is not Code.OK or end is None:
            return code.name.lower()
        text = "".join(self._answer.parts)
        await self._tell(
            Finished(
                task=self._task, user=user, kind=kind, request=request, end=end, text=text, usage=self._answer.usage
            )
        )
        return str(end)

    async def _tell(self, finished: Finished) -> None:
        try:
            await self._runner._after(finished)  # noqa: SLF001
        except Exception:  # noqa: BLE001 - the answer is written: what comes after must not take it back
            _log.exception("offload: what follows a task failed")

    async def _work_to_the_end(self, request: TaskRequest, user: str) -> str:
        """The last frame, however it went."""
        self._work = asyncio.create_task(self._ask(request, user))
        if self._reason:  # told so before there was anything to cancel
            self._work.cancel()
        try:
            await self._work
        except asyncio.CancelledError:
            if not self._reason:  # the process ends; the reaper will see to it
                self._work.cancel()
                raise
            return self._stopped()
        except TimeoutError:
            return frames.ending(End.TIMEOUT, "timeout", "the answer took too long", **self._usage())
        except Exception as error:  # noqa: BLE001 - whatever it is, the reader gets an end
            code, message = failure(error)
            _log.warning("offload: a task failed: %s (%s)", code, type(error).__qualname__)
            return frames.ending(End.FAILED, code, message, **self._usage())
        return self._completed()

    async def _ask(self, request: TaskRequest, user: str) -> None:
        async with asyncio.timeout(self._claim.remaining_ms / 1000):
            async for frame in self._runner._source.frames(request, user):  # noqa: SLF001
                self._take(frame)

    def _take(self, frame: Any) -> None:  # noqa: ANN401 - a mapping of JSON
        if self._reason:  # a library on the way has swallowed the cancellation
            raise asyncio.CancelledError
        for key, value in frame.items():
            match key:
                case "t":
                    self._answer.parts.append(value)
                    self._writer.text(value)
                case "r":
                    self._writer.text(value, "r")
                case "finish":
                    self._answer.finish = value
                case "u":
                    self._answer.usage = value
                case _:
                    self._writer.frame({key: value})

    def _usage(self) -> dict[str, Any]:
        return {"u": self._answer.usage} if self._answer.usage else {}

    def _completed(self) -> str:
        end = End.INCOMPLETE if self._answer.finish in _CUT_SHORT else End.COMPLETED
        return frames.ending(end, finish=self._answer.finish, **self._usage())

    def _stopped(self) -> str:
        if self._reason == "too_large":
            return TOO_LARGE
        return frames.ending(End.CANCELLED, **self._usage())
