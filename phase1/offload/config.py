"""With which numbers does offload work? From `Settings`, and constants that belong together."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Self

from phase1.exceptions import ConfigurationError

if TYPE_CHECKING:
    from phase1.settings import NodeSettings, Settings

__all__ = ["HARD_LIMIT", "SOFT_LIMIT", "Backend", "Config", "Times"]

Backend = Literal["memory", "redis", "celery"]

SOFT_LIMIT: Final = 120
"""Seconds until Celery asks a task to stop (seed 004: two minutes)."""
HARD_LIMIT: Final = 180
"""Seconds until Celery ends the process of a task (seed 004: three minutes)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long what may take, in seconds. Each is the fence of the one before it.

    deadline 118 < Celery soft 120 < hard 180 < visibility 240: a clean end is always written first.
    """

    deadline: float = SOFT_LIMIT - 2
    lease: float = 10
    renewal: float = 3
    queue_grace: float = 30
    """Until a message that nobody took is sent again."""
    reap: float = 1
    poll: float = 2
    """Of a reader that hears nothing: a notification may be lost."""
    coalesce: float = 0.025
    append_patience: float = 20
    """Until a writer gives up a journal that is away."""
    read_patience: float = 30
    """Until a reader gives up a journal that is away."""
    connection: float = 300
    """Of one SSE connection; the client then resumes (seed 004: five minutes)."""
    ping: float = 15
    send: float = 30
    """Until a client that takes nothing is let go; it resumes when it is back."""
    unread: float = 10
    """Until a chat that nobody reads is cancelled, if that is wanted."""
    kept_running: float = 900
    kept_done: float = 600
    session: float = 86_400
    usage: float = 40 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that offload is told, checked."""

    backend: Backend = "memory"
    secret: bytes
    redis_url: str = ""
    redis_connections: int = 50
    concurrency: int = 32
    queue_size: int = 1000
    models: tuple[str, ...] = ()
    default_model: str | None = None
    requests_per_minute: int = 60
    tasks_per_user: int = 4
    streams_per_user: int = 10
    cancel_unread: bool = False
    cache_seconds: int = 0
    spare: bool = False
    """Whether chats run in the web process while Redis is away."""
    history: int = 20
    max_bytes: int = 1 << 20
    """Of one task's frames."""
    max_body: int = 256 << 10
    max_dispatches: int = 3
    max_attempts: int = 2
    prefix: str = "p1:"
    """Of every key and channel of ours; the broker has its own, `p1c:`."""
    times: Times = Times()

    @classmethod
    def of(cls, settings: Settings, *, backend: Backend | None = None) -> Self:
        """What `settings` ask for. Raises `ConfigurationError` for what does not go together."""
        backend = backend or settings.llm_offload_backend
        return cls(
            backend=backend,
            secret=_secret(settings, backend),
            redis_url=_redis_url(settings, backend),
            redis_connections=settings.redis_pool_max_connections,
            concurrency=settings.llm_offload_concurrency,
            queue_size=settings.llm_offload_queue_size,
            models=_models(settings),
            default_model=settings.llm_model,
            requests_per_minute=settings.llm_offload_requests_per_minute,
            tasks_per_user=settings.llm_offload_tasks_per_user,
            cancel_unread=settings.llm_offload_on_disconnect == "cancel",
            cache_seconds=settings.llm_offload_cache_seconds,
            spare=settings.llm_offload_fallback == "memory" and backend != "memory",
            history=settings.chat_history_limit_default,
        )

    @property
    def burst(self) -> int:
        """How many tasks of a user may start at once: a third of a minute's."""
        return max(1, self.requests_per_minute // 3)


def _secret(settings: Settings, backend: Backend) -> bytes:
    if settings.llm_offload_secret is not None:
        return settings.llm_offload_secret.get_secret_value().encode()
    if backend == "memory":
        return secrets.token_bytes(32)
    raise ConfigurationError(
        f"LLM_OFFLOAD_SECRET is not set, and LLM_OFFLOAD_BACKEND={backend} needs it, the same in every process:"
        " openssl rand -hex 32"
    )


def _redis_url(settings: Settings, backend: Backend) -> str:
    if settings.redis_url is not None:
        return settings.redis_url.get_secret_value()
    if backend == "memory":
        return ""
    raise ConfigurationError(f"REDIS_URL is not set, and LLM_OFFLOAD_BACKEND={backend} needs it")


def _models(settings: Settings) -> tuple[str, ...]:
    if settings.llm_offload_models is not None:
        return tuple(name.strip() for name in settings.llm_offload_models.split(",") if name.strip())
    mapped = (model for node in _nodes(settings) for model in node.models)
    own = (settings.llm_model,) if settings.llm_model else ()
    return tuple(dict.fromkeys((*own, *mapped)))


def _nodes(settings: Settings) -> tuple[NodeSettings, ...]:
    try:
        return settings.nodes()
    except ConfigurationError:  # the manager says so
        return ()
