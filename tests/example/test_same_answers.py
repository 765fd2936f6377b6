"""Is every answer of the integrated app the plain app's, with the toggle off and with the toggle on?"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

from . import apps, cases, compare
from .cases import Case
from .compare import Answer
from .conftest import NewDatabase
from .upstream import Seen, Upstream

TIMES = {"db_fetch_time", "llm_response_time", "db_save_time", "total_time"}
ANSWERED_ALL_THE_SAME = "database fails after the answer"
"""The plain app loses the answer; the optimised endpoint keeps the turn in a file and gives it."""

CASES = [pytest.param(case, id=case.name) for case in cases.CASES]


@dataclass(frozen=True)
class Run:
    """What an app answered, and what it said upstream."""

    answers: dict[str, Answer]
    seen: list[Seen]


async def _run(example: Path, database: str, toggle: str) -> Run:
    with Upstream() as upstream:
        values = apps.environment(
            upstream.url, database, RATE_LIMIT=str(cases.RATE_LIMIT), ENABLE_LLM_POOL=toggle, OPENAI_TIMEOUT="30"
        )
        with apps.loaded(example, values) as module:
            module.rate_limiter.clock = lambda: 0.0

            async def prepare(case: Case) -> None:
                if case.breaks_database:
                    module.database.query("DROP TABLE chat_logs")

            async with apps.serving(module) as client:
                answers = await compare.ask_all(client, cases.CASES, prepare)
        return Run(answers, _from(upstream))


def _from(upstream: Upstream) -> list[Seen]:
    return [Seen(seen.path, {**seen.headers, "host": "upstream"}, seen.body) for seen in upstream.seen]


@pytest.fixture(scope="module")
def of_plain(plain: Path, new_database: NewDatabase) -> Run:
    """The app as it was."""
    return asyncio.run(_run(plain, new_database(), "false"))


@pytest.fixture(scope="module")
def of_off(integrated: Path, new_database: NewDatabase) -> Run:
    """The example, toggle off."""
    return asyncio.run(_run(integrated, new_database(), "false"))


@pytest.fixture(scope="module")
def of_on(integrated: Path, new_database: NewDatabase) -> Run:
    """The example, toggle on."""
    return asyncio.run(_run(integrated, new_database(), "true"))


@pytest.mark.parametrize("case", CASES)
def test_plain_app_answers_as_expected(of_plain: Run, case: Case) -> None:
    """The plain app is a real app: each success and each kind of failure has its status."""
    assert of_plain.answers[case.name].status == case.status


@pytest.mark.parametrize("case", CASES)
def test_off_answers_as_plain(of_plain: Run, of_off: Run, case: Case) -> None:
    """With ENABLE_LLM_POOL=false nobody can tell the integrated app from the plain one."""
    assert of_off.answers[case.name] == of_plain.answers[case.name]


def test_off_speaks_upstream_as_plain(of_plain: Run, of_off: Run) -> None:
    """With ENABLE_LLM_POOL=false not even the upstream can: the same requests, headers included, in the same order."""
    assert of_off.seen == of_plain.seen


@pytest.mark.parametrize("case", CASES)
def test_on_answers_as_plain(of_plain: Run, of_on: Run, case: Case) -> None:
    """With ENABLE_LLM_POOL=true users read the same answers, errors included; chat answers say where time went too."""
    answer = of_on.answers[case.name]
    if case.name == ANSWERED_ALL_THE_SAME:
        assert (of_plain.answers[case.name].status, answer.status) == (500, 200)
    else:
        assert _without_times(answer) == _without_times(of_plain.answers[case.name])


def _without_times(answer: Answer) -> Answer:
    """The same without `performance_metrics`, after a look at them; they change the length."""
    if not isinstance(answer.body, dict) or "response" not in answer.body:
        return answer
    body = dict(answer.body)
    times = body.pop("performance_metrics", None)
    assert times is None or set(times) == TIMES
    return Answer(answer.status, tuple(header for header in answer.headers if header[0] != "content-length"), body)


@pytest.mark.parametrize("optimized", ["true", "false"])
def test_performance_metrics_come_with_the_switch(optimized: str, integrated: Path, new_sqlite: NewDatabase) -> None:
    """USE_OPTIMIZED_CHAT and USE_OPTIMIZED_AGENT decide whether the pool's answers have them."""
    cases_asked = (cases.chat("chat", "Hi."), cases.agent("agent", "Hi."))

    async def ask() -> dict[str, Answer]:
        with Upstream() as upstream:
            switches = {"USE_OPTIMIZED_CHAT": optimized, "USE_OPTIMIZED_AGENT": optimized}
            values = apps.environment(upstream.url, new_sqlite(), ENABLE_LLM_POOL="true", **switches)
            with apps.loaded(integrated, values) as module:
                async with apps.serving(module) as client:
                    return await compare.ask_all(client, cases_asked)

    bodies = [answer.body for answer in asyncio.run(ask()).values()]
    assert ["performance_metrics" in body for body in bodies if isinstance(body, dict)] == [optimized == "true"] * 2


def test_both_databases_give_the_same_answers(plain: Path, new_sqlite: NewDatabase, new_postgres: NewDatabase) -> None:
    """What the app answers does not depend on where it keeps its data, but for the name of the database."""
    runs = [asyncio.run(_run(plain, new(), "false")).answers for new in (new_sqlite, new_postgres)]
    health = [run.pop("health").body for run in runs]
    assert health == [{"status": "ok", "database": name, "llm_client": True} for name in ("sqlite", "postgresql")]
    assert runs[0] == runs[1]
