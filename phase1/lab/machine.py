"""What does this machine offer: cores to pin to, open files, and what it is called?"""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import sys
from importlib import metadata
from pathlib import Path

__all__ = ["describe", "load_average", "pin", "raise_open_files", "resident_bytes", "two_cores", "versions"]

_WANTED_FILES = 65_536
_LIBRARIES = (
    *("aiohttp", "fastapi", "httpx", "httpx2", "litellm", "openai", "orjson", "phase1", "pydantic", "starlette"),
    *("uvicorn", "uvloop"),
)


def two_cores() -> tuple[int, int] | None:
    """One for the client, one for the upstream; `None` where a process cannot be pinned, or has only one."""
    if sys.platform != "linux":
        return None
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[1]) if len(cores) > 1 else None


def pin(core: int | None) -> None:
    """Keep every thread of this process on `core`. `None` = leave them free."""
    if core is None or sys.platform != "linux":
        return
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(int(thread.name), {core})


def raise_open_files() -> int:
    """Raise the soft limit of open files as far as is useful and allowed; returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(_WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # macOS has a lower limit of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def resident_bytes() -> int:
    """Memory of this process that is in RAM now; where that cannot be known, the most there ever was."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def describe() -> dict[str, object]:
    """The machine, as a reader of a table wants to know it."""
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "pinned": two_cores() is not None,
    }


def load_average() -> float | None:
    """Of the last minute: whether others were at work too; `None` where the system does not tell."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """The libraries of this environment that matter here."""
    found = {}
    for name in _LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
