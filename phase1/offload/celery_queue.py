"""How does a web process send a message? By Celery, in a thread of ours, for sending blocks."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from celery import Celery
from kombu.exceptions import KombuError, OperationalError

from phase1.offload.celery_app import TASKS, create_app
from phase1.offload.config import Config
from phase1.offload.ids import Signer
from phase1.offload.jobs import QUEUES, Job, QueueUnavailable

__all__ = ["CeleryQueue", "signature"]

_THREADS: Final = 4
_PATIENCE: Final = 5.0
"""Seconds for one message."""


def signature(signer: Signer, task: str, dispatch: int) -> str:
    """Who can write to Redis cannot start a task by it."""
    return signer.tag("job", f"{task}|{dispatch}")


class CeleryQueue:
    """See `JobQueue`."""

    def __init__(self, config: Config, *, app: Celery | None = None) -> None:
        self._app = app or create_app(config)
        self._signer = Signer(config.secret)
        self._grace = config.times.queue_grace
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="phase1-offload")

    async def submit(self, job: Job) -> None:
        """See `JobQueue`."""
        try:
            async with asyncio.timeout(_PATIENCE):
                await asyncio.get_running_loop().run_in_executor(self._threads, self._send, job)
        except (KombuError, OperationalError, OSError, TimeoutError) as error:
            raise QueueUnavailable(f"the broker cannot be used now ({type(error).__name__})") from error

    def _send(self, job: Job) -> None:
        self._app.send_task(
            TASKS[job.kind],
            args=[job.task, job.dispatch, signature(self._signer, job.task, job.dispatch)],
            task_id=f"{job.task}.{job.dispatch}.{job.kind}",
            queue=QUEUES[job.kind],
            priority=job.priority,
            expires=self._grace if job.kind in {"chat", "feedback"} else None,
            argsrepr="<redacted>",
            kwargsrepr="<redacted>",
            ignore_result=True,
        )
