"""A worker as `phase1.offload.worker`, whose leases are short: tests wait for them."""

from __future__ import annotations

import dataclasses

from phase1.offload.config import Config, Times
from phase1.offload.tasks import create_worker
from phase1.settings import Settings

SHORT = Times(lease=3, renewal=0.5, reap=0.2, queue_grace=20, poll=0.5)

settings = Settings.load()
app = create_worker(settings, dataclasses.replace(Config.of(settings, backend="celery"), times=SHORT))
