"""A few calls through real processes: upstream, clients, and their end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.load import Load
from benchmarks.processes import Broken, Process, Refused, start_client, start_upstream
from benchmarks.rows import Row, python_of, row

_BOUND = 30.0


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    """The base URL of one that runs."""
    process, url = start_upstream("instant", {"events": 4, "per-write": 2})
    with process:
        yield url


def _client(each: Row) -> Process:
    return start_client(each.name, python_of(each), each.client, each.variant)


def _order(kind: str, url: str) -> dict[str, object]:
    load = Load(kind, "instant", 2, seconds=0.0, warm_up=0.0)
    return {"do": "load", "load": asdict(load), "upstreams": {"instant": url}}


@pytest.mark.parametrize("name", ["raw-httpx", "phase1-httpx"])
def test_client_is_measured(upstream: str, name: str) -> None:
    """Calls and chunks arrive and are counted."""
    with _client(row(name)) as process:
        assert "httpx" in process.hear(timeout=_BOUND)["versions"]
        calls = process.ask(_order("chat", upstream), timeout=_BOUND)
        chunks = process.ask(_order("stream", upstream), timeout=_BOUND)
    assert (calls["calls"], calls["units"]) == (2, 2)
    assert (chunks["calls"], chunks["units"]) == (2, 8)
    assert calls["cpu_us"] > 0


def test_client_is_profiled(upstream: str) -> None:
    """What it calls is named."""
    with _client(row("raw-httpx")) as process:
        process.hear(timeout=_BOUND)
        found = process.ask(_order("chat", upstream) | {"do": "profile"}, timeout=_BOUND)
    assert any("httpx" in each["file"] for each in found["functions"])


def test_memory_is_measured(upstream: str) -> None:
    """In bytes, for so many calls."""
    with _client(row("raw-httpx")) as process:
        process.hear(timeout=_BOUND)
        found = process.ask(_order("chat", upstream) | {"do": "memory"}, timeout=_BOUND)
    assert found["calls"] == 2
    assert found["bytes"] >= 0


def test_failure_of_a_client_is_told_and_survived(upstream: str) -> None:
    """The next order is obeyed."""
    with _client(row("raw-httpx")) as process:
        process.hear(timeout=_BOUND)
        with pytest.raises(Broken, match="raw-httpx: KeyError"):
            process.ask(_order("chat", upstream) | {"upstreams": {}}, timeout=_BOUND)
        with pytest.raises(Refused, match="embeddings"):
            process.ask(_order("embeddings", upstream), timeout=_BOUND)
        assert process.ask(_order("chat", upstream), timeout=_BOUND)["calls"] == 2


def test_client_that_cannot_be_imported_says_so() -> None:
    """Then its row is left out."""
    nobody = start_client("nobody", Path(sys.executable), "benchmarks.clients.nobody", "")
    with nobody, pytest.raises(Refused, match="nobody"):
        nobody.hear(timeout=_BOUND)


def test_missing_environment_tells_how_to_make_it() -> None:
    """In the words that one types."""
    with pytest.raises(Refused, match="run scripts/make-it"):
        python_of(Row("nobody", "", "", "", ".venv-of-nobody", "scripts/make-it"))


def test_processes_end_with_their_block() -> None:
    """Nobody is left behind."""
    process, _ = start_upstream("instant", {})
    with process:
        assert "running" in repr(process)
    assert "ended" in repr(process)
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
