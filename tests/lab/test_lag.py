"""Does the probe see a loop that stands still, and count all the time that it stood?"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from phase1.lab.lag import TICK, expected, read_lag, write_lag
from phase1.lab.usage import Look, Watch, lag_of, watch


async def test_probe_writes_how_late_it_was(tmp_path: Path) -> None:
    """A loop that is held up for a tenth of a second is seen to be that late; the file is readable all the while."""
    file, begun = tmp_path / "app.lag", time.monotonic()
    probe = asyncio.create_task(write_lag(file))
    await asyncio.sleep(2 * TICK)
    time.sleep(0.1)  # noqa: ASYNC251 - that is what is to be seen
    await asyncio.sleep(2 * TICK)
    probe.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await probe
    seen = read_lag(file, begun, time.monotonic())
    assert len(seen) >= 2
    assert max(late for _, late in seen) >= 0.1 - TICK
    assert all(late >= 0 for _, late in seen)


def test_stall_counts_for_everybody_who_would_have_come() -> None:
    """Of a second that nobody could look at, fifty looks are missing, each less late than the one before."""
    found = expected([0.0, 1.0])
    assert len(found) == 52
    assert found[:3] == [0.0, 1.0, pytest.approx(0.98)]
    assert min(found) >= 0.0


def test_only_what_was_watched_counts(tmp_path: Path) -> None:
    """What came before and after stays outside, a stall that reaches in does not; half a line is no line."""
    file = tmp_path / "app.lag"
    file.write_text("10.0 0.5\n11.0 0.25\n12.0 0.0\n13.5 1.0\n15.0 0.0\n15.0")
    assert read_lag(file, 10.5, 13.0) == [(11.0, 0.25), (12.0, 0.0), (13.5, 1.0)]
    lag, looks = lag_of(file, Watch(10.5, 13.0))
    assert (lag.longest, lag.blocked) == (1.0, pytest.approx(1.25 / 2.5))
    assert looks[0] == (0.5, 0.25)
    assert read_lag(tmp_path / "none.lag", 0, 1) == []


def test_loop_that_still_stands_at_the_end_is_late_until_then(tmp_path: Path) -> None:
    """It writes nothing, and that is what is seen of it."""
    file = tmp_path / "app.lag"
    file.write_text("10.0 0.0\n11.0 0.0\n")
    assert read_lag(file, 10.5, 14.0) == [(11.0, 0.0), (14.0, pytest.approx(3.0 - TICK))]
    assert read_lag(file, 10.5, 11.03) == [(11.0, 0.0)]


async def test_process_and_its_children_are_watched_to_their_end() -> None:
    """CPU and memory of the family; a process that dies meanwhile is no error."""
    waits = "import sys; sys.stdin.read()"
    code = f"import subprocess, sys; sum(range(3_000_000)); subprocess.run([sys.executable, '-c', {waits!r}])"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)  # noqa: ASYNC220
    try:
        async with watch(process.pid) as watched:
            deadline = time.monotonic() + 30
            while len(watched.looks) < 3 and time.monotonic() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            process.kill()
            process.wait()
    finally:
        assert process.stdin is not None
        process.stdin.close()
    assert watched.usage.cpu_seconds > 0
    assert watched.usage.memory > 1_000_000


def test_usage_is_the_difference_of_looks() -> None:
    """Cores are CPU seconds per second; memory is the most there was."""
    watched = Watch(0.0, 2.0, [Look(0.0, 5.0, 100), Look(1.0, 5.5, 300), Look(2.0, 6.0, 200)])
    assert (watched.usage.cpu_seconds, watched.usage.cores, watched.usage.memory) == (1.0, 0.5, 300)
