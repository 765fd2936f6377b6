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
    """With ENABLE_LLM_POOL=true users read the same answers, errors included."""
    assert of_on.answers[case.name] == of_plain.answers[case.name]


def test_both_databases_give_the_same_answers(plain: Path, new_sqlite: NewDatabase, new_postgres: NewDatabase) -> None:
    """What the app answers does not depend on where it keeps its data, but for the name of the database."""
    runs = [asyncio.run(_run(plain, new(), "false")).answers for new in (new_sqlite, new_postgres)]
    health = [run.pop("health").body for run in runs]
    assert health == [{"status": "ok", "database": name, "llm_client": True} for name in ("sqlite", "postgresql")]
    assert runs[0] == runs[1]
