"""Which tasks does a Celery worker know, and when does what is behind them begin and end?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown, worker_ready, worker_shutdown

from phase1.offload.celery_app import TASKS, create_app
from phase1.offload.config import Config
from phase1.offload.jobs import ANALYTICS, CHAT, FEEDBACK, Job
from phase1.offload.process import WorkerProcess

if TYPE_CHECKING:
    from phase1.settings import Settings

__all__ = ["create_worker"]


def create_worker(settings: Settings, config: Config | None = None, *, events: bool = False) -> Celery:
    """The Celery app of a worker, with our tasks. `events`: for Flower. Raises `ConfigurationError`."""
    config = config or Config.of(settings, backend="celery")
    celery = create_app(config, events=events)
    process = WorkerProcess(settings, config, celery)
    _register(celery, process)
    _connect(process)
    return celery


def _register(celery: Celery, process: WorkerProcess) -> None:
    for kind in (CHAT, FEEDBACK):
        celery.task(name=TASKS[kind], shared=False)(_run(process, kind))
    options: dict[str, Any] = {"retry_on_worker_lost": True, "max_retries": 3}  # counting twice is once
    celery.task(name=TASKS[ANALYTICS], shared=False, **options)(_run(process, ANALYTICS))


def _run(process: WorkerProcess, kind: str) -> Callable[[str, int, str], str]:
    def run(task: str, dispatch: int, signed: str) -> str:
        return process.run(Job(task, dispatch, kind), signed)

    run.__name__ = kind
    return run


def _connect(process: WorkerProcess) -> None:
    def begin(**_: object) -> None:
        process.start()

    def begin_with_threads(sender: Any, **_: object) -> None:  # noqa: ANN401 - Celery's consumer
        if "thread" in type(sender.pool).__module__:
            process.start()

    def end(**_: object) -> None:
        process.close()

    worker_process_init.connect(begin, weak=False)
    worker_ready.connect(begin_with_threads, weak=False)
    worker_process_shutdown.connect(end, weak=False)
    worker_shutdown.connect(end, weak=False)
