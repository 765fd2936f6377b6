"""How is Celery set up, so that it neither loses a task for good nor runs one twice? Each setting with its reason.

The broker carries names of tasks, never prompts; results lie in journals, never in a result backend. Which copy of a
message may run is decided by the journal's claim, so the broker may deliver as often as it likes.
"""

from __future__ import annotations

import ssl
from typing import Any, Final
from urllib.parse import urlsplit

from celery import Celery
from kombu.entity import Queue

from phase1.offload.config import HARD_LIMIT, SOFT_LIMIT, Config
from phase1.offload.jobs import ANALYTICS, CHAT, DEFAULT_PRIORITY, FEEDBACK, QUEUES

__all__ = ["ALL_QUEUES", "BROKER_PREFIX", "TASKS", "create_app"]

ALL_QUEUES: Final = ("default", "llm", "feedback", "analytics")
TASKS: Final = {kind: f"phase1.offload.{kind}" for kind in (CHAT, FEEDBACK, ANALYTICS)}
BROKER_PREFIX: Final = "p1c:"
_VISIBILITY: Final = 240
"""Seconds until an unconfirmed message is delivered again: more than the hard limit and the time to drain."""


def create_app(config: Config, *, events: bool = False) -> Celery:
    """The Celery app of web and worker. The app's own tasks, registered on it, go to the queue `default`.

    `events`: let Flower and `celery inspect` look and steer (`phase1 worker --events`).
    """
    app = Celery("phase1.offload", broker=config.redis_url, set_as_current=False)
    app.conf.update(_settings(events=events))
    if urlsplit(config.redis_url).scheme == "rediss":
        app.conf.broker_use_ssl = {"ssl_cert_reqs": ssl.CERT_REQUIRED}  # kombu's own default is weaker
    return app


def _settings(*, events: bool) -> dict[str, Any]:
    return {
        # JSON only: pickle would let whoever can write to Redis run code
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        # four queues, and no fifth by a typing mistake
        "task_queues": [Queue(name) for name in ALL_QUEUES],  # type: ignore[no-untyped-call]
        "task_create_missing_queues": False,
        "task_default_queue": "default",
        "task_routes": {TASKS[kind]: {"queue": queue} for kind, queue in QUEUES.items()},
        "task_default_priority": DEFAULT_PRIORITY,  # Redis: 0 is the highest, and would be the default
        # a task is confirmed when it is done; one that failed has written its end, and is not wanted again
        "task_acks_late": True,
        "task_acks_on_failure": True,
        "task_acks_on_timeout": True,
        "task_reject_on_worker_lost": False,  # redelivers without bound
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "worker_cancel_long_running_tasks_on_connection_loss": False,  # the default changes in Celery 6
        # no result backend: it subscribes for every message, and leaks
        "result_backend": None,
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_track_started": False,
        "broker_transport_options": _transport(),
        "result_backend_transport_options": {"visibility_timeout": _VISIBILITY},
        "visibility_timeout": _VISIBILITY,
        # the worker waits for Redis, however long; the web process does not
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,
        "broker_pool_limit": 10,
        "broker_pool_acquire_timeout": 5,
        "broker_connection_timeout": 2,
        "task_publish_retry": True,
        "task_publish_retry_policy": {"max_retries": 2, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.3},
        # the outer fence; of threads our own deadline is the only one
        "task_soft_time_limit": SOFT_LIMIT,
        "task_time_limit": HARD_LIMIT,
        "worker_soft_shutdown_timeout": 30,
        "worker_max_tasks_per_child": 500,  # prefork only: memory that leaks is given back
        "worker_max_memory_per_child": 300_000,
        "worker_eta_task_limit": 100,
        # nothing but Flower needs these
        "worker_send_task_events": events,
        "task_send_sent_event": events,
        "worker_enable_remote_control": events,
        # the app's logging is the app's
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "enable_utc": True,
        "timezone": "UTC",
    }


def _transport() -> dict[str, Any]:
    return {
        "visibility_timeout": _VISIBILITY,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "global_keyprefix": BROKER_PREFIX,
        "socket_timeout": 30,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "retry_on_timeout": True,
        "queue_order_strategy": "priority",
        "priority_steps": [0, 3, 6, 9],
        "sep": ":",
    }
