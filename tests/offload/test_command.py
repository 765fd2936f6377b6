"""Does `phase1 worker` start what it should, and say what it lacks?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from phase1.commands import app
from phase1.exceptions import ConfigurationError
from phase1.offload.celery_app import create_app
from phase1.offload.command import check_worker, worker_command
from phase1.offload.config import HARD_LIMIT, SOFT_LIMIT, Times
from phase1.settings import Settings

from .stores import config_of

READY = {"LLM_OFFLOAD_SECRET": "0123456789abcdef", "OPENAI_API_KEY": "sk-x", "ENABLE_LLM_POOL": "true"}


def settings_of(env: Callable[..., None], **variables: str) -> Settings:
    """As a worker reads them."""
    env(**(READY | variables))
    return Settings.load()


def test_threads_for_llm_processes_for_the_rest(env: Callable[..., None]) -> None:
    """32 threads share a loop; what is not an LLM call gets processes, which limits can end."""
    settings = settings_of(env)
    command, added = worker_command("llm", None, settings, ["--pidfile=x"])
    assert command[:6] == [sys.executable, "-m", "celery", "-A", "phase1.offload.worker", "worker"]
    text = " ".join(command)
    assert "-Q llm -P threads -c 32 -n llm@%h" in text
    assert text.endswith("--without-gossip --without-mingle --pidfile=x")
    assert added == {"REMAP_SIGTERM": "SIGQUIT"}
    rest, events = worker_command("default,feedback", None, settings, [], events=True)
    assert "-Q default,feedback -P prefork -c 2" in " ".join(rest)
    assert events["PHASE1_WORKER_EVENTS"] == "true"


@pytest.mark.parametrize("queues", ["", "nope", "llm,nope"])
def test_unknown_queue(env: Callable[..., None], queues: str) -> None:
    """A worker for a queue that nobody writes to would wait for ever."""
    with pytest.raises(ConfigurationError, match="must be one or more of llm, default, feedback, analytics"):
        worker_command(queues, None, settings_of(env), [])


def test_check_says_what_is_there(env: Callable[..., None], shared_redis: str) -> None:
    """Redis and the nodes."""
    lines = check_worker(settings_of(env, REDIS_URL=shared_redis))
    assert lines[0].startswith("redis ")
    assert lines[-1] == "pool: default"


def test_check_without_a_pool(env: Callable[..., None], shared_redis: str) -> None:
    """Then the SDK's plain client is asked, if it has a key."""
    settings = settings_of(env, REDIS_URL=shared_redis, ENABLE_LLM_POOL="false")
    assert check_worker(settings)[-1].startswith("pool: off")


def test_command_says_what_is_wrong(env: Callable[..., None]) -> None:
    """One line, exit code 2, no password."""
    env(**READY, REDIS_URL="redis://:hush@127.0.0.1:1")
    done = CliRunner().invoke(app, ["worker", "--check"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "error: REDIS_URL=redis://127.0.0.1:1: cannot be used (ConnectionError)\n"


def test_command_without_the_extra() -> None:
    """It names what to install."""
    script = (
        "import sys; sys.modules['redis'] = None; from phase1.cli import main; sys.argv = ['phase1', 'worker']; main()"
    )
    environment = READY | {"REDIS_URL": "redis://h"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False, timeout=50
    )
    assert done.returncode == 2
    assert 'pip install "phase1[offload]"' in done.stderr


def test_every_clock_is_inside_the_next() -> None:
    """Own deadline < soft < hard < visibility; renewal < lease; a connection is shorter than a journal's life."""
    times, conf = Times(), create_app(config_of(redis_url="redis://h")).conf
    assert times.deadline < conf.task_soft_time_limit == SOFT_LIMIT < conf.task_time_limit == HARD_LIMIT
    assert conf.task_time_limit < conf.broker_transport_options["visibility_timeout"]
    assert times.renewal * 3 < times.lease < times.queue_grace
    assert times.connection < times.kept_done < times.kept_running


def test_celery_is_told_what_matters() -> None:
    """JSON only, late confirmation, one message at a time, no results, no loss of work when Redis blinks."""
    conf = create_app(config_of(redis_url="redis://h")).conf
    assert list(conf.accept_content) == ["json"]
    assert (conf.task_acks_late, conf.worker_prefetch_multiplier) == (True, 1)
    assert conf.result_backend is None
    assert conf.worker_cancel_long_running_tasks_on_connection_loss is False
    assert conf.task_reject_on_worker_lost is False
    assert sorted(queue.name for queue in conf.task_queues) == ["analytics", "default", "feedback", "llm"]
    assert conf.worker_enable_remote_control is False
    assert create_app(config_of(redis_url="redis://h"), events=True).conf.worker_enable_remote_control is True
