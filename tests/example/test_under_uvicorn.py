"""Does the comparison hold for real processes, over real sockets?"""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from . import apps, cases, compare
from .compare import Answer
from .conftest import NewDatabase
from .upstream import Upstream


async def _answers(example: Path, database: str, upstream: Upstream) -> dict[str, Answer]:
    values = apps.environment(upstream.url, database, RATE_LIMIT=str(cases.RATE_LIMIT))
    with apps.process(example, values) as url:
        async with httpx.AsyncClient(base_url=url, timeout=apps.BOUND, trust_env=False) as client:
            answers = await compare.ask_all(client, cases.OVER_HTTP)
    return {name: _without_the_second(answer) for name, answer in answers.items()}


def _without_the_second(answer: Answer) -> Answer:
    """Our limiter's Retry-After depends on when a real clock is read."""
    if answer.status != httpx.codes.TOO_MANY_REQUESTS:
        return answer
    assert 1 <= int(dict(answer.headers)["retry-after"]) <= 60
    headers = tuple(
        ("retry-after", "1 to 60") if name == "retry-after" else (name, value) for name, value in answer.headers
    )
    return Answer(answer.status, headers, answer.body)


@pytest.mark.timeout(120)
async def test_off_answers_as_plain_under_uvicorn(
    plain: Path, integrated: Path, new_database: NewDatabase, upstream: Upstream
) -> None:
    """`uvicorn examples.legacy_main:app`, ENABLE_LLM_POOL unset: every answer of the two processes is the same."""
    of_plain = await _answers(plain, new_database(), upstream)
    of_integrated = await _answers(integrated, new_database(), upstream)
    assert {case.name: of_plain[case.name].status for case in cases.OVER_HTTP} == {
        case.name: case.status for case in cases.OVER_HTTP
    }
    assert of_integrated == of_plain
