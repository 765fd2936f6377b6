"""Does a process end well that has used the pool? Scripts in interpreters of their own, with every warning an error."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from .provider import Provider

pytest_plugins = ["tests.doors.providing"]

BOUND = 30.0
COVERAGE = {name for name in os.environ if name.startswith("COV")}

EXPECTED = ("Executing <", "closing with 1 calls still in flight")
"""What asyncio's debug mode says of a slow start, and what we say of a call that is cut off."""

Script = Callable[..., str]


@pytest.fixture
def run_script(provider: Provider, tmp_path: Path) -> Script:
    """Run some lines with the pool on; what they print. Whatever is complained about fails the test."""

    def run(lines: str, **variables: str) -> str:
        environment = {name: value for name, value in os.environ.items() if name not in COVERAGE}
        environment |= {"ENABLE_LLM_POOL": "true", "OPENAI_API_KEY": "sk-app", "OPENAI_BASE_URL": provider.url}
        command = [sys.executable, "-X", "dev", "-W", "error", "-c", dedent(lines)]
        done = subprocess.run(
            command,
            env=environment | variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=BOUND,
            check=False,
        )
        complaints = [line for line in done.stderr.splitlines() if not line.startswith(EXPECTED)]
        assert (complaints, done.returncode) == ([], 0)
        return done.stdout

    return run


ASK = """
    import os, phase1
    client = phase1.OpenAI()
    def ask():
        answer = client.chat.completions.create(model="m", messages=[]).choices[0].message.content
        os.write(1, f"{answer}\\n".encode())  # at once, whoever else writes
"""


def test_a_script_without_a_loop_ends_without_a_word(run_script: Script, provider: Provider) -> None:
    """The loop of ours and its connections are closed at exit."""
    assert run_script(ASK + "\n    ask()\n    ask()") == "Hello\nHello\n"
    assert len(provider.requests) == 2


def test_a_script_that_leaves_a_stream_open_ends(run_script: Script) -> None:
    """A stream nobody has read to its end keeps nothing alive."""
    script = (
        ASK + '    stream = client.chat.completions.create(model="m", messages=[], stream=True)\n    next(stream)\n'
    )
    run_script(script)


def test_one_client_lives_through_several_loops(run_script: Script) -> None:
    """A module-global `AsyncOpenAI` works in every `asyncio.run`, and each takes its own connections with it.

    The stock client fails in the second one.
    """
    script = """
        import asyncio, phase1
        client = phase1.AsyncOpenAI()
        async def ask():
            return (await client.chat.completions.create(model="m", messages=[])).choices[0].message.content
        print(asyncio.run(ask()), asyncio.run(ask()))
    """
    assert run_script(script) == "Hello Hello\n"


def test_threads_and_a_loop_share_a_script(run_script: Script) -> None:
    """Synchronous calls from many threads while a loop runs: one loop of ours serves them all."""
    script = (
        ASK
        + """
    import asyncio, threading
    async def main():
        await asyncio.gather(*(asyncio.to_thread(ask) for _ in range(5)))
    asyncio.run(main())
    print(sum(thread.name == "phase1-loop" for thread in threading.enumerate()))
    """
    )
    assert sorted(run_script(script).split()) == ["1", *["Hello"] * 5]


def test_a_forked_child_gets_connections_of_its_own(run_script: Script, provider: Provider) -> None:
    """After `os.fork` parent and child both go on; the child uses neither the parent's loop nor its sockets."""
    script = (
        ASK
        + """
    ask()
    child = os.fork()
    ask()
    if not child:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    ask()
    """
    )
    assert run_script(script) == "Hello\n" * 4
    assert len(provider.requests) == 4


def test_a_child_forked_while_locks_are_held_does_not_hang(run_script: Script) -> None:
    """Whoever held one of our locks is not in the child: it has new ones."""
    script = (
        ASK
        + """
    from phase1.doors import background, watchdog
    ask()
    with background._process.lock, watchdog._watchdog._lock:
        child = os.fork()
        if not child:
            ask()
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    """
    )
    assert run_script(script) == "Hello\nHello\n"


def test_with_the_pool_off_a_script_starts_no_thread(run_script: Script) -> None:
    """Beside it: nothing of ours is there."""
    script = ASK + "    ask()\n    import threading\n    print(threading.active_count())\n"
    assert run_script(script, ENABLE_LLM_POOL="false") == "Hello\n1\n"
