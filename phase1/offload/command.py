"""How does `phase1 worker` become a Celery worker? It looks whether one can work, and replaces itself by it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from phase1.exceptions import ConfigurationError, MissingExtraError
from phase1.offload.config import Config
from phase1.settings import Settings

__all__ = ["check_worker", "start_worker", "worker_command"]

_APP: Final = "phase1.offload.worker"
_QUEUES: Final = ("llm", "default", "feedback", "analytics")
_PREFORK: Final = 2
"""Processes of a worker without the queue llm; such tasks are few and short."""
_OLDEST: Final = (6, 2)


def worker_command(
    queues: str, concurrency: int | None, settings: Settings, options: Sequence[str], *, events: bool = False
) -> tuple[list[str], dict[str, str]]:
    """Command line and added environment of Celery. With the queue `llm` tasks run in threads, else in processes.

    `concurrency`: default LLM_OFFLOAD_CONCURRENCY in threads, 2 processes otherwise. Raises `ConfigurationError`.
    """
    names = _checked(queues)
    threads = "llm" in names
    number = concurrency or (settings.llm_offload_concurrency if threads else _PREFORK)
    command = [sys.executable, "-m", "celery", "-A", _APP, "worker", "-Q", ",".join(names)]
    command += ["-P", "threads" if threads else "prefork", "-c", str(number), "-n", f"{names[0]}@%h"]
    command += ["--loglevel", settings.log_level, "--without-gossip", "--without-mingle", *options]
    added = {"REMAP_SIGTERM": "SIGQUIT"}  # SIGTERM ends within worker_soft_shutdown_timeout, not at some time
    return command, {**added, "PHASE1_WORKER_EVENTS": "true"} if events else added


def _checked(queues: str) -> list[str]:
    names = [name.strip() for name in queues.split(",") if name.strip()]
    if not names or not set(names) <= set(_QUEUES):
        raise ConfigurationError(f"--queues {queues}: must be one or more of {', '.join(_QUEUES)}, separated by commas")
    return names


def check_worker(settings: Settings) -> list[str]:
    """What is there to work with, one line each. Raises `ConfigurationError` for what is not."""
    try:
        import redis  # noqa: PLC0415 - needs the extra
    except ModuleNotFoundError as missing:
        raise MissingExtraError("phase1 worker", "offload") from missing
    config = Config.of(settings, backend="celery")
    with redis.Redis.from_url(config.redis_url, socket_timeout=3, socket_connect_timeout=3) as client:
        try:
            facts = client.info()
        except (redis.RedisError, OSError) as error:
            url = settings.describe()["REDIS_URL"]["value"]
            raise ConfigurationError(f"REDIS_URL={url}: cannot be used ({type(error).__name__})") from error
    return [_server(facts), *_policy(facts), _nodes(settings)]


def _server(facts: Mapping[str, object]) -> str:
    version = str(facts["redis_version"])
    if tuple(map(int, version.split(".")[:2])) < _OLDEST:
        raise ConfigurationError(f"Redis {version} is too old: 6.2 or newer is needed")
    return f"redis {version}: reachable"


def _policy(facts: Mapping[str, object]) -> list[str]:
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return []
    return [f"warning: maxmemory-policy is {policy}: Redis may throw journals away; set it to noeviction"]


def _nodes(settings: Settings) -> str:
    names = ", ".join(node.name for node in settings.nodes())
    if settings.enable_llm_pool:
        return f"pool: {names}"
    if settings.openai_api_key is None:
        raise ConfigurationError("ENABLE_LLM_POOL is false and OPENAI_API_KEY is not set: there is no LLM to ask")
    return "pool: off (ENABLE_LLM_POOL); the SDK's plain client is asked"


def start_worker(queues: str, concurrency: int | None, options: Sequence[str], *, events: bool, check: bool) -> int:
    """Say what is found; then become the worker, or with `check` return. Raises `Phase1Error`."""
    settings = Settings.load()
    command, added = worker_command(queues, concurrency, settings, options, events=events)
    for line in check_worker(settings):
        print(f"phase1 worker: {line}", file=sys.stderr, flush=True)  # noqa: T201
    if not check:
        os.execve(command[0], command, {**os.environ, **added})  # noqa: S606 - our own interpreter
    return 0
