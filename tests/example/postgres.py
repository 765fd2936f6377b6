"""Where does PostgreSQL come from? From a private cluster in a temporary directory, on a unix socket only."""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

_PLACES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
)
_BOUND = 60
_OPTIONS = "-c listen_addresses='' -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=30"


def programs() -> Path | None:
    """The directory of `initdb` and `pg_ctl`, the newest version; `None` where there is no PostgreSQL."""
    found = shutil.which("initdb")
    places = sorted((place for pattern in _PLACES for place in glob.glob(f"{pattern}/initdb")), key=_version)  # noqa: PTH207 - absolute patterns
    places += [found] if found and not places else []
    return Path(places[-1]).parent if places else None


@contextlib.contextmanager
def cluster(binaries: Path) -> Iterator[str]:
    """Start a cluster and stop it at the end; gives its URL without a database name, to be filled in: `{}`."""
    # In /tmp, whatever TMPDIR is: the path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="phase1-pg-", dir="/tmp", ignore_cleanup_errors=True) as home:
        user = _unprivileged(home)
        data = f"{home}/data"
        initdb = ["-D", data, "-A", "trust", "-U", "phase1", "-E", "UTF8", "--locale=C", "--no-sync"]
        _run(user, [binaries / "initdb", *initdb])
        start = ["-D", data, "-l", f"{home}/log", "-w", "-t", str(_BOUND), "-o", f"-k {home} {_OPTIONS}", "start"]
        _run(user, [binaries / "pg_ctl", *start])
        try:
            yield f"postgresql://phase1@/{{}}?host={home}"
        finally:
            _run(user, [binaries / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"])


def _unprivileged(home: str) -> str | None:
    """PostgreSQL refuses to run as root: the user to become, who owns `home` from now on."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = "postgres" if "postgres" in names else "nobody"
    shutil.chown(home, user)
    return user


def _run(user: str | None, command: Sequence[str | Path]) -> None:
    become = ["runuser", "-u", user, "--"] if user else []
    try:
        subprocess.run(
            [*become, *map(str, command)], cwd="/", check=True, capture_output=True, text=True, timeout=_BOUND
        )
    except subprocess.CalledProcessError as exc:
        exc.add_note(exc.stderr)
        raise


def _version(path: str) -> list[int]:
    return [int(digits) for digits in "".join(c if c.isdigit() else " " for c in path).split()]
