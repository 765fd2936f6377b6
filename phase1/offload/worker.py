"""What does a Celery worker run? `celery -A phase1.offload.worker worker -Q llm -P threads`, or `phase1 worker`.

    app       the Celery app, by the environment's settings

Each worker process has one event loop in a thread of its own, with one pool of LLM connections: the tasks that run at
the same time in its threads share both. The app's own tasks may be registered on `app`; they go to `default`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown, worker_ready, worker_shutdown

from phase1.offload.celery_app import TASKS, create_app
from phase1.offload.config import Config
from phase1.offload.jobs import ANALYTICS, CHAT, FEEDBACK, Job
from phase1.offload.process import WorkerProcess
from phase1.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["app", "create_worker"]


def create_worker(settings: Settings) -> tuple[Celery, WorkerProcess]:
    """The Celery app with our tasks, and the process behind them. Raises `ConfigurationError`."""
    config = Config.of(settings, backend="celery")
    celery = create_app(config, events=os.environ.get("PHASE1_WORKER_EVENTS") == "true")
    process = WorkerProcess(settings, config, celery)
    for kind in (CHAT, FEEDBACK):
        celery.task(name=TASKS[kind], shared=False)(_run(process, kind))
    options: dict[str, Any] = {"retry_on_worker_lost": True, "max_retries": 3}
    celery.task(name=TASKS[ANALYTICS], shared=False, **options)(_run(process, ANALYTICS))
    return celery, process


def _run(process: WorkerProcess, kind: str) -> Callable[[str, int, str], str]:
    def run(task: str, dispatch: int, signed: str) -> str:
        return process.run(Job(task, dispatch, kind), signed)

    run.__name__ = kind
    return run


app, _process = create_worker(Settings.load())


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _begin(**_: object) -> None:
    _process.start()


@worker_ready.connect  # type: ignore[untyped-decorator]
def _begin_threads(sender: Any, **_: object) -> None:  # noqa: ANN401 - Celery's consumer
    if "thread" in type(sender.pool).__module__:
        _process.start()


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
@worker_shutdown.connect  # type: ignore[untyped-decorator]
def _end(**_: object) -> None:
    _process.close()
