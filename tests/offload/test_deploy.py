"""Do the files of `deploy/` do what they say, with the real programs?"""

from __future__ import annotations

import asyncio
import configparser
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from .model import Model, answer, question
from .processes import ROOT, Process, environment, web, worker
from .redis_server import RedisServer, needed_program, required, started
from .web import Site, read

pytestmark = pytest.mark.timeout(120)

DEPLOY = ROOT / "deploy"
PASSWORD = "hush-0123456789"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The parsed file."""
    parsed: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yml").read_text(encoding="utf-8"))
    return parsed


def test_only_loopback_is_published(compose: dict[str, Any]) -> None:
    """Redis and the apps are on the compose network only."""
    ports = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert set(ports) == {"nginx", "flower", "grafana"}
    assert all(port.startswith("127.0.0.1:") for published in ports.values() for port in published)


def test_every_secret_must_be_given(compose: dict[str, Any]) -> None:
    """No default password anywhere."""
    text = (DEPLOY / "compose.yml").read_text(encoding="utf-8")
    for name in ("REDIS_PASSWORD", "LLM_OFFLOAD_SECRET", "LLM_ADMIN_TOKEN", "LLM_METRICS_TOKEN"):
        assert f"${{{name}:?" in text
        assert f"${{{name}}}" not in text
    assert "--basic-auth=" in compose["services"]["flower"]["command"]


def test_our_containers_are_confined(compose: dict[str, Any]) -> None:
    """Read-only, without new privileges, with a limit of memory and time to end."""
    for name, service in compose["services"].items():
        if "build" in service:
            assert service["read_only"] is True, name
            assert service["security_opt"] == ["no-new-privileges:true"], name
            assert "mem_limit" in service, name
    assert "USER phase1" in (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def test_mounted_files_are_there(compose: dict[str, Any]) -> None:
    """Every file of the repository that is mounted exists."""
    volumes = [volume for service in compose["services"].values() for volume in service.get("volumes", [])]
    files = [volume.partition(":")[0] for volume in volumes if volume.startswith("./") and volume.count(".") > 2]
    assert files
    assert [name for name in files if not (DEPLOY / name).exists()] == []


def test_units_parse_and_start_our_commands() -> None:
    """Systemd units, by their sections."""
    for unit, command in (("phase1-worker@", "phase1 worker --queues %i"), ("phase1-web@", "uvicorn main:app")):
        parser = configparser.ConfigParser(interpolation=None, strict=False, delimiters=("=",))
        parser.optionxform = str  # type: ignore[assignment, method-assign]
        parser.read(DEPLOY / "systemd" / f"{unit}.service")
        assert command in parser["Service"]["ExecStart"]
        assert parser["Service"]["NoNewPrivileges"] == "yes"


@pytest.fixture(scope="module")
def acl_redis(compose: dict[str, Any]) -> Iterator[RedisServer]:
    """A Redis with exactly the user of the compose file."""
    command = compose["services"]["redis"]["command"][2].replace("$$REDIS_PASSWORD", PASSWORD)
    rules = re.search(r"--user phase1 (.*)$", command)
    assert rules is not None
    with started(needed_program()) as server:
        with server.client() as client:
            words = rules[1].replace('"', "").split()
            assert client.execute_command("ACL", "SETUSER", "phase1", *words)
            client.execute_command("ACL", "SETUSER", "default", "off")
        server.url = f"redis://phase1:{PASSWORD}@127.0.0.1:{server.port}/0"
        yield server


async def test_redis_user_may_do_what_is_needed_and_no_more(acl_redis: RedisServer, model: Model) -> None:
    """A chat through web and worker; keys of others, and what is dangerous, are out of reach."""
    env = environment(model, acl_redis)
    with worker(env), web(env) as (_, url):
        site = Site(url)
        assert (await site.chat(question(n=5))).text == answer(5)
        told = await site.chat(question(n=5, at=2, gate="never"), events=4)
        assert (await site.http.delete(f"/chat/stream/{told.task}")).status_code == 202
        await site.until(told.task, "cancelled")
        await site.aclose()
    with redis.Redis.from_url(acl_redis.url) as client:
        for command in (["GET", "other"], ["FLUSHALL"], ["CONFIG", "GET", "*"], ["KEYS", "*"], ["PUBLISH", "x", "y"]):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def nginx(home: Path, targets: list[str]) -> Iterator[str]:
    """The site's file, in a private nginx; gives its address."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if binary is None:
        if required():
            pytest.fail("nginx is needed: scripts/services.sh")
        pytest.skip("no nginx: scripts/services.sh says how to get one")
    port = _free_port()
    site = (
        (DEPLOY / "nginx" / "site.conf").read_text(encoding="utf-8").replace("listen 80;", f"listen 127.0.0.1:{port};")
    )
    for name, target in zip(("web-1:8000", "web-2:8000"), targets, strict=True):
        site = site.replace(name, target)
    (home / "site.conf").write_text(site, encoding="utf-8")
    shutil.copy(DEPLOY / "nginx" / "phase1-proxy.conf", home)
    temporary = "".join(
        f"{kind}_temp_path {home}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (home / "nginx.conf").write_text(
        f"daemon off; pid {home}/pid; error_log {home}/error; events {{}}\n"
        f"http {{ access_log off; {temporary} include {home}/site.conf; }}\n",
        encoding="utf-8",
    )
    command = [binary, "-p", str(home), "-c", str(home / "nginx.conf")]
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    process = subprocess.Popen(command, start_new_session=True)
    try:
        until = time.monotonic() + 10
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < until
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


async def test_nginx_lets_each_event_through(model: Model, tmp_path: Path, shared_redis: str) -> None:
    """The first token is there while the answer waits; one web process may die, and the other goes on."""
    with started(needed_program()) as server:
        env = environment(model, server, LLM_OFFLOAD_BACKEND="redis")
        with web(env) as (first, one), web(env) as (_, two):
            targets = [url.removeprefix("http://") for url in (one, two)]
            with nginx(tmp_path, targets) as url:
                site = Site(url)
                async with site.stream({"message": question(n=6, at=3, gate="g")}) as response:
                    told = await asyncio.wait_for(read(response, events=4), 10)
                assert told.text == answer(3)
                model.open("g")
                await site.until(told.task, "completed")
                await asyncio.to_thread(first.kill9)
                for _ in range(4):
                    again = await site.resume(told.task, "0-0")
                    assert again.text == answer(6)
                await site.aclose()


@pytest.mark.chaos
def test_start_celery_starts_and_ends_all(model: Model, tmp_path: Path) -> None:
    """Three workers; one signal ends them, and nobody is left."""
    with started(needed_program()) as server:
        env = environment(model, server, PHASE1=str(Path(shutil.which("phase1") or ROOT / ".venv/bin/phase1")))
        script = Process([str(ROOT / "scripts" / "start_celery.sh")], env | {"C_FORCE_ROOT": "true"}, tmp_path / "log")
        try:
            script.says(r"(?s)(ready\..*){3}")
            script.popen.send_signal(signal.SIGTERM)
            assert script.popen.wait(50) == 128 + signal.SIGTERM
            left = subprocess.run(
                ["ps", "-o", "pid=", "-g", str(script.popen.pid)], capture_output=True, text=True, check=False
            )
            assert left.stdout.split() == []
        finally:
            script.signal(signal.SIGKILL)
