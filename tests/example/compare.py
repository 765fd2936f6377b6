"""When are two answers the same? Status, headers and body are equal once times and random ids are taken out."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

import httpx

from .cases import Case

_TIMES = {"timestamp", "created_at"}
_ABOUT_THE_SERVER = {"date", "server"}


@dataclass(frozen=True)
class Answer:
    """What came back, without what differs from run to run."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: object


async def ask(client: httpx.AsyncClient, case: Case) -> Answer:
    """Send the case's request."""
    response = await client.request(
        case.method, case.path, json=case.json, content=case.content, headers=case.headers, follow_redirects=False
    )
    return answer_of(response)


async def ask_all(
    client: httpx.AsyncClient, cases: Iterable[Case], before: Callable[[Case], Awaitable[None]] | None = None
) -> dict[str, Answer]:
    """Ask one after the other; `before` is told what comes next."""
    answers = {}
    for case in cases:
        if before is not None:
            await before(case)
        answers[case.name] = await ask(client, case)
    return answers


def answer_of(response: httpx.Response) -> Answer:
    """What is compared of a response."""
    headers = ((name, value) for name, value in response.headers.multi_items() if name not in _ABOUT_THE_SERVER)
    is_json = response.headers.get("content-type") == "application/json"
    body = steady(json.loads(response.content)) if is_json and response.content else response.text
    return Answer(response.status_code, tuple(sorted(headers)), body)


def steady(value: object, name: str = "") -> object:
    """The JSON value with times and random ids replaced, after a look at whether they are some."""
    match value:
        case dict():
            return {key: steady(item, key) for key, item in value.items()}
        case list():
            return [steady(item) for item in value]
        case str() if name in _TIMES:
            assert datetime.fromisoformat(value).tzinfo is not None
            return "<time>"
        case str() if name == "conversation_id" and _is_uuid(value):
            return "<uuid>"
        case _:
            return value


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
