"""How do the measured processes start, hear and end? By their own ids, in groups of their own, never outliving us.

Both kinds end by themselves when their stdin does: also if this process is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from phase1.lab.machine import two_cores

__all__ = ["Broken", "Process", "Refused", "start_client", "start_upstream"]

ROOT = Path(__file__).resolve().parent.parent
_GRACE = 2.0
_STARTING = 90.0
_OURS = ("LLM_", "OPENAI_", "ENABLE_", "FORCE_", "DISABLE_", "EMERGENCY_", "AUTO_", "LOAD_BALANCE", "POOL_")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


class Refused(Exception):
    """The client says that it cannot be measured here, and why."""


class Broken(Exception):
    """The process failed, hung or ended; the text holds its last words."""


class Process:
    """One Python module as a process that talks in lines of JSON. `environment`: what it has besides ours."""

    def __init__(
        self,
        name: str,
        python: Path,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed by `stop`
        self._popen = subprocess.Popen(  # noqa: S603 - our own modules
            [str(python), "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=ROOT,
            env=_environment() | dict(environment or {}),
            text=True,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Its id, which is also its group's."""
        return self._popen.pid

    def ask(self, order: Mapping[str, object], *, timeout: float) -> Any:  # noqa: ANN401 - JSON
        """Send `order` and return what came of it. Raises `Refused` or `Broken`."""
        assert self._popen.stdin is not None  # noqa: S101 - PIPE above
        try:
            self._popen.stdin.write(json.dumps(order) + "\n")
            self._popen.stdin.flush()
        except OSError:
            raise Broken(f"{self.name} has ended{self._last_words()}") from None
        return self.hear(timeout=timeout)

    def hear(self, *, timeout: float = _STARTING) -> Any:  # noqa: ANN401
        """The next line, read. Raises `Refused` or `Broken`."""
        answer = self._line(timeout)
        if "unavailable" in answer:
            raise Refused(answer["unavailable"])
        if "failed" in answer:
            raise Broken(f"{self.name}: {answer['failed']}")
        return answer.get("ok", answer)

    def _line(self, timeout: float) -> dict[str, Any]:
        out = self._popen.stdout
        assert out is not None  # noqa: S101 - PIPE above
        ready, _, _ = select.select([out], [], [], timeout)
        if not ready:
            self.stop()
            raise Broken(f"{self.name} did not answer within {timeout:g} s")
        line = out.readline()
        if not line:
            raise Broken(f"{self.name} has ended{self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        if self._log.closed:
            return ""
        self._log.seek(0)
        lines = [line.strip() for line in self._log if line.strip()]
        return f": {lines[-1]}" if lines else ""

    def stop(self) -> None:
        """End it: by the end of its stdin, then politely, then firmly. Does nothing the second time."""
        for end in (self._hang_up, self._popen.terminate, self._popen.kill):
            end()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(_GRACE)
                break
        if self._popen.stdout is not None:
            self._popen.stdout.close()
        self._log.close()

    def _hang_up(self) -> None:
        if self._popen.stdin is not None:
            with contextlib.suppress(OSError):
                self._popen.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        status = self._popen.poll()
        return f"<Process {self.name} {'running' if status is None else f'ended with {status}'}>"


def _environment() -> dict[str, str]:
    """Ours without what would change a client: settings, keys, proxies."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(_OURS) and name.lower() not in _PROXIES
    }
    return kept | {"PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def start_upstream(name: str, options: Mapping[str, float]) -> tuple[Process, str]:
    """An upstream and its base URL."""
    arguments = [word for option, value in options.items() for word in (f"--{option}", str(value))]
    cores = two_cores()
    if cores is not None:
        arguments += ["--core", str(cores[1])]
    process = Process(f"upstream {name}", Path(sys.executable), "phase1.lab.mock.fast", arguments)
    try:
        return process, f"http://127.0.0.1:{process.hear()['port']}/v1"
    except BaseException:
        process.stop()
        raise


def start_client(name: str, python: Path, client: str, variant: str) -> Process:
    """A client's process; `hear` tells when it is ready."""
    cores = two_cores()
    arguments = ["--client", client, "--variant", variant, *(["--core", str(cores[0])] if cores else [])]
    return Process(name, python, "benchmarks.worker", arguments)
