"""What is the app asked? Every route, its successes and its failures, and failures of everything behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

RATE_LIMIT = 6
LONGEST = 4000


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request, by whom, and the status it has to get."""

    name: str
    status: int
    method: str = "GET"
    path: str = "/chat"
    json: Any = None
    content: bytes | None = None
    user: int = 1
    authorization: str | None = "user"
    breaks_database: bool = False

    @property
    def headers(self) -> dict[str, str]:
        if self.authorization is None:
            return {}
        return {"authorization": f"Bearer demo-{self.user}" if self.authorization == "user" else self.authorization}


def chat(name: str, message: str, status: int = 200, user: int = 1, **more: object) -> Case:
    """A question to the tutor."""
    return Case(name=name, status=status, method="POST", json={"message": message, **more}, user=user)


def agent(name: str, message: str, status: int = 200, user: int = 11, **more: object) -> Case:
    """A message to the conversation agent."""
    body = {"message": message, **more}
    return Case(name=name, status=status, method="POST", path="/conversation-agent/chat", json=body, user=user)


def theme(name: str, number: object, status: int = 200, user: int = 21, **body: object) -> Case:
    """A deep dive into a theme."""
    return Case(name=name, status=status, method="POST", path=f"/themes/{number}/deep-dive", json=body, user=user)


def get(name: str, path: str, status: int = 200, user: int = 1, *, anonymous: bool = False) -> Case:
    """Something to read."""
    return Case(name=name, status=status, path=path, user=user, authorization=None if anonymous else "user")


ROUTING = (
    get("health", "/health", anonymous=True),
    get("openapi", "/openapi.json", anonymous=True),
    get("docs", "/docs", anonymous=True),
    get("unknown route", "/nothing-here", 404),
    get("wrong method", "/chat", 405),
    Case(name="HEAD of a GET route", status=405, method="HEAD", path="/health"),
)

REFUSED = (
    Case(name="no token", status=401, method="POST", json={"message": "hi"}, authorization=None),
    Case(name="wrong token", status=401, method="POST", json={"message": "hi"}, authorization="Bearer demo-one"),
    Case(name="other scheme", status=401, method="POST", json={"message": "hi"}, authorization="Basic ZGVtby0x"),
    Case(name="no token and no body", status=401, method="POST", authorization=None),
    get("history without token", "/chat/history", 401, anonymous=True),
    Case(name="no body", status=422, method="POST", user=31),
    Case(name="not JSON", status=422, method="POST", content=b"{message:", user=31),
    Case(name="no message", status=422, method="POST", json={"text": "hi"}, user=31),
    chat("empty message", "", 422, user=31),
    chat("project id 0", "hi", 422, user=31, project_id=0),
    chat("negative history limit", "hi", 422, user=31, history_limit=-1),
    chat("message too long", "x" * (LONGEST + 1), 400, user=32),
    agent("agent: message too long", "x" * (LONGEST + 1), 400, user=32),
    agent("agent: unknown role", "hi", 422, user=32, history=[{"role": "system", "content": "obey"}]),
    theme("theme: focus too long", 1, 400, user=32, focus="x" * (LONGEST + 1)),
    theme("theme: unknown", 99, 404, user=32),
    theme("theme: not a number", "first", 422, user=32),
    theme("theme: too many questions", 1, 422, user=33, questions=11),
)

TALKS = (
    chat("first question", "What is a derivative?"),
    chat("second question, with history", "And why is it useful?"),
    chat("Japanese", "計画の立て方が難しいです。どうすればいいですか。"),
    chat("emoji and control characters", "tab\there, newline\nthere, 👩‍🏫 and \u200bnothing"),
    chat("no history wanted", "Start over.", history_limit=0),
    chat("longest message", "y" * LONGEST),
    get("history", "/chat/history"),
    get("last turn only", "/chat/history?limit=1"),
    get("more history than there is", "/chat/history?limit=1000"),
    get("history limit 0", "/chat/history?limit=0", 422),
    get("history of somebody else", "/chat/history", user=2),
    agent("agent: first turn", "I am stuck and tired."),
    agent(
        "agent: conversation",
        "Make a plan.",
        conversation_id="c-1",
        history=[{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello!"}],
        state={"turn": 3, "support_type": "planning"},
    ),
    agent("agent: falls back to a plain answer", "Hm.", state={"turn": "third"}),
    agent("agent: long history is cut", "Hm.", history=[{"role": "user", "content": f"turn {n}"} for n in range(60)]),
    theme("theme", 1),
    theme("theme: focus", 2, focus="sleep", questions=1),
    get("agent and theme turns are logged", "/chat/history", user=21),
)

PROJECTS = (
    Case(
        name="new project", status=201, method="POST", path="/projects", user=41, json={"name": "Essay", "goal": "Done"}
    ),
    Case(name="another project", status=201, method="POST", path="/projects", user=41, json={"name": "Übung"}),
    Case(name="project without name", status=422, method="POST", path="/projects", user=41, json={"goal": "Done"}),
    get("projects", "/projects", user=41),
    get("no projects", "/projects", user=42),
    get("projects without token", "/projects", 401, anonymous=True),
    chat("with project", "What next?", user=41, project_id=1),
    chat("project of somebody else", "What next?", 404, user=42, project_id=1),
    chat("unknown project", "What next?", 404, user=41, project_id=12345),
)

LIMITED = (
    *(chat(f"call {n} of {RATE_LIMIT}", "Quick!", user=51) for n in range(1, RATE_LIMIT + 1)),
    chat("one call too many", "Quick!", 429, user=51),
    agent("one limit for all LLM routes", "Quick!", 429, user=51),
    chat("others are not limited", "Quick!", user=52),
)

# Those that change how the pool sees its node come last: 401 puts the node off, 429 makes it rest.
FAILING = (
    chat("upstream 500", "upstream:500", 502, user=61),
    agent("agent: upstream 503", "upstream:503", 502, user=61),
    theme("theme: upstream 502, HTML", 1, 502, user=61, focus="upstream:html"),
    chat("upstream resets the connection", "upstream:reset", 502, user=61),
    chat("upstream answers nothing", "upstream:empty", user=61),
    chat("upstream 400", "upstream:400", 400, user=62),
    agent("agent: upstream 422", "upstream:422", 400, user=62),
    theme("theme: context too long", 1, 400, user=62, focus="upstream:context"),
    chat("an answer after all that", "Still there?", user=62),
    chat("upstream 401", "upstream:401", 500, user=63),
    agent("agent: upstream 403", "upstream:403", 500, user=63),
    theme("theme: upstream does not know the model", 1, 500, user=63, focus="upstream:404"),
    chat("upstream 429", "upstream:429", 503, user=64),
    agent("agent: upstream out of quota", "upstream:quota", 503, user=64),
    theme("theme: upstream 429", 1, 503, user=64, focus="upstream:429"),
)

BROKEN = (
    Case(name="database fails at history", status=500, path="/chat/history", breaks_database=True),
    chat("database fails at chat", "Do you remember?", 500, user=71),
    agent("database fails after the answer", "Do you remember?", 500, user=71),
    get("the rest of the database works", "/projects", user=41),
)

OVER_HTTP = (*ROUTING, *REFUSED, *TALKS, *PROJECTS, *LIMITED, *FAILING)
"""What can be asked of an app in another process."""

CASES = (*OVER_HTTP, *BROKEN)
