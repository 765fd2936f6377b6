"""Does the canary hold over HTTP: the key where `LLM_CANARY_KEY` says, the same way each time?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Header
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.routing import Route

import phase1
from phase1.asgi.context import RequestContext
from phase1.policy.canary import Canary
from tests.asgi.web import ask, bench_app, browser, mount
from tests.doors.bench import HELLO, Bench, SyncLegacy

USERS = [f"user-{number}" for number in range(60)]


async def current_user(x_user: Annotated[str, Header()]) -> str:
    """The app's own idea of its user."""
    return x_user


UserLLM = Annotated[phase1.LLMClient, Depends(phase1.llm_for(current_user))]


def digest(value: str) -> str:
    """How a credential becomes a key."""
    return hashlib.sha256(value.encode()).hexdigest()[:32]


WAYS = {
    "header": ("header:X-User", lambda user: {"x-user": user}, str),
    "cookie": ("cookie:session", lambda user: {"cookie": f"a=1; session={user}"}, str),
    "authorization": (
        "authorization",
        lambda user: {"authorization": f"Bearer {user}"},
        lambda u: digest(f"Bearer {u}"),
    ),
    "function": ("tests.asgi.app_keys:tenant_header", lambda user: {"x-tenant": user}, str),
    "auto": ("auto", lambda user: {"authorization": f"Bearer {user}"}, lambda u: digest(f"Bearer {u}")),
}


@pytest.mark.parametrize(("setting", "headers", "key"), WAYS.values(), ids=WAYS)
async def test_each_user_goes_where_his_bucket_says(
    setting: str, headers: Callable[[str], dict[str, str]], key: Callable[[str], str]
) -> None:
    """Half of them to the pool, each the same way twice; the answer comes from there."""
    app, bench = bench_app(legacy=SyncLegacy(), llm_canary_key=setting, llm_canary_percent=50)
    canary = Canary(50)
    found = {}
    async with bench.manager, browser(app) as http:
        for _ in range(2):
            for user in USERS:
                answer = (await http.get("/ask", headers=headers(user))).json()
                assert answer["text"] == {"pool": "from the pool", "legacy": "from legacy"}[answer["route"]]
                assert found.setdefault(user, answer["route"]) == answer["route"]
    assert found == {u: "pool" if canary.covers(canary.bucket(key(u))) else "legacy" for u in USERS}
    assert set(found.values()) == {"pool", "legacy"}


@pytest.mark.parametrize("setting", [way[0] for way in WAYS.values()], ids=WAYS)
@pytest.mark.parametrize(("percent", "route"), [(0, "legacy"), (99.99, "legacy"), (100, "pool")])
async def test_request_without_a_key_is_on_legacy_below_hundred(setting: str, percent: float, route: str) -> None:
    """Nobody can be sticky to nothing."""
    app, bench = bench_app(legacy=SyncLegacy(), llm_canary_key=setting, llm_canary_percent=percent)
    async with bench.manager, browser(app) as http:
        answer = (await http.get("/ask", headers={"x-other": "1"})).json()
    assert (answer["route"], answer["reason"], answer["key"]) == (route, "default", None)


async def test_auto_goes_by_the_user_of_the_apps_authentication() -> None:
    """Not by the credentials: a new token is the same user."""

    class Tokens(AuthenticationBackend):
        async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser]:
            return AuthCredentials(), SimpleUser(conn.headers["authorization"].partition("/")[0])

    bench = Bench(legacy=SyncLegacy(), llm_canary_percent=50)
    app = mount(Starlette(routes=[Route("/ask", ask)]), bench.manager)
    app.add_middleware(AuthenticationMiddleware, backend=Tokens())
    async with bench.manager, browser(app) as http:
        keys = [
            (await http.get("/ask", headers={"authorization": f"alice/{token}"})).json()["key"] for token in range(3)
        ]
    assert keys == ["alice"] * 3


async def test_llm_for_goes_by_the_apps_own_user() -> None:
    """Whatever the header says that the setting would look at."""
    bench = Bench(legacy=SyncLegacy(), llm_canary_percent=50)
    app = FastAPI()

    @app.get("/chat")
    async def chat(llm: UserLLM) -> list[str]:
        return [await llm.generate_response_async(HELLO), llm.route]

    canary = Canary(50)
    async with bench.manager, browser(mount(app, bench.manager)) as http:
        for number, user in enumerate(USERS):
            headers = {"x-user": user, "authorization": f"Bearer {number}"}
            answer, route = (await http.get("/chat", headers=headers)).json()
            assert route == ("pool" if canary.covers(canary.bucket(user)) else "legacy")
            assert answer == {"pool": "from the pool", "legacy": "from legacy"}[route]


async def test_the_user_is_named_too_late_once_the_route_is_chosen() -> None:
    """One request has one route, also when it asks first by the setting's key and then by its user's."""
    bench = Bench(legacy=SyncLegacy(), llm_canary_percent=0)
    scope = {"type": "http", "headers": [(b"authorization", b"Bearer x")]}
    context = RequestContext(bench.manager, scope, lambda _: "by the setting")
    first = context.client
    assert first.route == "legacy"
    bench.manager.canary = Canary(100)
    second = context.client_for("by the user")
    assert second is first
    assert (second.route, second.key) == ("legacy", "by the setting")
