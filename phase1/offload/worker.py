"""What is started by `celery -A phase1.offload.worker worker -Q llm -P threads`, or by `phase1 worker`?

`app` is the Celery app, by the environment's settings. Each worker process has one event loop in a thread of its own,
with one pool of LLM connections; the tasks that run at the same time in its threads share both. The app's own tasks may
be registered on `app`; they go to the queue `default`.
"""

from __future__ import annotations

import os

from phase1.offload.tasks import create_worker
from phase1.settings import Settings

__all__ = ["app"]

app = create_worker(Settings.load(), events=os.environ.get("PHASE1_WORKER_EVENTS") == "true")
