"""What is started by `celery -A phase1.offload.worker worker -Q llm -P threads`, or by `phase1 worker`?

`app` is the Celery app, made by the environment's settings when it is first asked for. Each worker process has one
event loop in a thread of its own, with one pool of LLM connections; the tasks that run at the same time in its threads
share both. The app's own tasks may be registered on `app`; they go to the queue `default`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from phase1.settings import Settings

if TYPE_CHECKING:
    from celery import Celery

    app: Celery

__all__ = ["app"]


def __getattr__(name: str) -> object:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from phase1.offload.tasks import create_worker  # noqa: PLC0415 - needs the extra

    made = create_worker(Settings.load(), events=os.environ.get("PHASE1_WORKER_EVENTS") == "true")
    globals()["app"] = made
    return made
