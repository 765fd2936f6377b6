"""How does an endpoint get its client: `phase1.LLM`, `llm_for`, `get_llm`?"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Header, HTTPException, Request, WebSocket
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.routing import Route

import phase1
from phase1.asgi.middleware import Phase1Middleware
from phase1.exceptions import Phase1Error
from tests.asgi.web import TestClient, ask, bench_app, browser, mount
from tests.doors.bench import HELLO, Bench, SyncLegacy


@dataclass
class Row:
    """A user as an ORM gives it."""

    id: int


class Profile(BaseModel):
    """A user as pydantic gives it."""

    username: str


def user_int() -> int:
    """An id."""
    return 42


async def user_str() -> str:
    """A name, from an asynchronous dependency."""
    return "alice"


def user_dict() -> dict[str, object]:
    """The claims of a token."""
    return {"sub": "auth0|7", "aud": "app"}


async def user_row() -> Row:
    """An object."""
    return Row(5)


def user_profile() -> Profile:
    """A pydantic model."""
    return Profile(username="bob")


async def user_of_header(x_user: Annotated[str | None, Header()] = None) -> str:
    """A dependency with parameters of its own, which may refuse."""
    if x_user is None:
        raise HTTPException(401)
    return x_user


def nobody() -> None:
    """Nobody is logged in."""


IntLLM = Annotated[phase1.LLMClient, Depends(phase1.llm_for(user_int))]
StrLLM = Annotated[phase1.LLMClient, Depends(phase1.llm_for(user_str))]
DictLLM = Annotated[phase1.LLMClient, Depends(phase1.llm_for(user_dict))]
RowLLM = Annotated[phase1.LLMClient, Depends(phase1.llm_for(user_row))]
ProfileLLM = Annotated[phase1.LLMClient, Depends(phase1.llm_for(user_profile))]
HeaderLLM = Annotated[phase1.LLMClient, Depends(phase1.llm_for(user_of_header))]
NobodyLLM = Annotated[phase1.LLMClient, Depends(phase1.llm_for(nobody))]


async def of_int(llm: IntLLM) -> str | None:
    """Each of these tells the key it was given."""
    return llm.key


async def of_str(llm: StrLLM) -> str | None:
    """From an asynchronous dependency."""
    return llm.key


def of_row(llm: RowLLM) -> str | None:
    """In a thread."""
    return llm.key


async def of_dict(llm: DictLLM) -> str | None:
    """From claims."""
    return llm.key


async def of_profile(llm: ProfileLLM) -> str | None:
    """From a model."""
    return llm.key


async def of_header(llm: HeaderLLM) -> str | None:
    """From a dependency that may refuse."""
    return llm.key


async def of_nobody(llm: NobodyLLM) -> str | None:
    """From nobody."""
    return llm.key


async def plain(llm: phase1.LLM) -> dict[str, str | None]:
    """Asks in a coroutine."""
    return {"text": await llm.generate_response_async(HELLO), "key": llm.key}


def plain_def(llm: phase1.LLM) -> dict[str, str | None]:
    """Asks in a thread."""
    return {"text": llm.generate_response(HELLO), "key": llm.key}


async def twice(one: StrLLM, other: phase1.LLM, request: Request) -> bool:
    """Asks for its client in every way there is."""
    return one is other is phase1.get_llm(request)


async def websocket_endpoint(websocket: WebSocket, llm: phase1.LLM, named: StrLLM) -> None:
    """One answer."""
    await websocket.accept()
    await websocket.send_json([await llm.generate_response_async(HELLO), named.key])
    await websocket.close()


ENDPOINTS = {
    "/int": of_int,
    "/str": of_str,
    "/row": of_row,
    "/dict": of_dict,
    "/profile": of_profile,
    "/header": of_header,
    "/nobody": of_nobody,
    "/plain": plain,
    "/plain/def": plain_def,
    "/twice": twice,
}


def make_app(manager: phase1.LLMManager) -> FastAPI:
    """An app with an endpoint for each way."""
    app = FastAPI()
    for path, endpoint in ENDPOINTS.items():
        app.get(path)(endpoint)
    app.websocket("/ws")(websocket_endpoint)
    app.add_middleware(Phase1Middleware, manager=manager)
    return app


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/int", "42"),
        ("/str", "alice"),
        ("/dict", "auth0|7"),
        ("/row", "5"),
        ("/profile", "bob"),
        ("/nobody", None),
    ],
)
async def test_llm_for_is_keyed_by_the_apps_own_user(path: str, key: str | None) -> None:
    """Whatever the app's dependency returns, and whether it and the endpoint are `def` or `async def`."""
    async with browser(make_app(Bench().manager)) as http:
        assert (await http.get(path)).json() == key


async def test_llm_for_leaves_the_users_dependency_its_say() -> None:
    """Its own parameters are filled in, and its refusal is the answer."""
    bench = Bench()
    async with browser(make_app(bench.manager)) as http:
        assert (await http.get("/header", headers={"x-user": "carol"})).json() == "carol"
        assert (await http.get("/header")).status_code == 401
    assert bench.ear.heard == []


async def test_llm_annotation_gives_a_working_client() -> None:
    """In an `async def` endpoint, and in a `def` one, which runs in a thread."""
    bench = Bench()
    async with bench.manager, browser(make_app(bench.manager)) as http:
        for path in ("/plain", "/plain/def"):
            response = await http.get(path, headers={"authorization": "Bearer x"})
            assert response.json()["text"] == "from the pool"
            assert response.json()["key"] is not None


async def test_one_request_has_one_client() -> None:
    """However often and under whatever name it is asked for: there is one route."""
    async with browser(make_app(Bench().manager)) as http:
        assert (await http.get("/twice")).json() is True


def test_dependencies_work_in_a_websocket_endpoint() -> None:
    """The connection is a request too."""
    bench = Bench()
    with TestClient(make_app(bench.manager)) as client, client.websocket_connect("/ws") as socket:
        assert socket.receive_json() == ["from the pool", "alice"]


def test_dependencies_add_nothing_to_openapi() -> None:
    """No parameter, no body, no model, no page of ours; only what the app's own dependency asks for is there."""
    schema = make_app(Bench().manager).openapi()
    operations = {path: methods["get"] for path, methods in schema["paths"].items()}
    assert operations.keys() == ENDPOINTS.keys()
    assert {path for path, operation in operations.items() if operation.keys() & {"parameters", "requestBody"}} == {
        "/header"
    }
    assert [parameter["name"] for parameter in operations["/header"]["parameters"]] == ["x-user"]
    assert schema["components"]["schemas"].keys() == {"HTTPValidationError", "ValidationError"}  # of that header


async def test_get_llm_gives_the_client_in_starlette() -> None:
    """`phase1.get_llm(request)`, keyed as the settings say."""
    app, bench = bench_app(llm_canary_key="header:X-User")
    async with bench.manager, browser(app) as http:
        answer = (await http.get("/ask", headers={"x-user": "alice"})).json()
    assert answer == {"text": "from the pool", "route": "pool", "reason": "split", "key": "alice"}


async def test_user_key_replaces_the_setting() -> None:
    """The argument of `install` is asked instead of `LLM_CANARY_KEY`, once per request, and only when needed."""
    bench = Bench(llm_canary_key="header:X-User")
    asked = []

    def user_key(request: object) -> str:
        asked.append(request)
        return "from the app"

    app = Starlette(routes=[Route("/ask", ask), Route("/other", lambda _: None)])
    app.add_middleware(Phase1Middleware, manager=bench.manager, user_key=user_key)
    async with bench.manager, browser(app) as http:
        assert (await http.get("/ask", headers={"x-user": "alice"})).json()["key"] == "from the app"
        await http.get("/missing")
    assert len(asked) == 1


async def test_missing_middleware_is_an_error_that_says_what_to_do() -> None:
    """Instead of an attribute error somewhere below."""
    app = Starlette(routes=[Route("/ask", ask)])
    async with browser(app) as http:
        with pytest.raises(Phase1Error, match=r"phase1\.install\(app\)"):
            await http.get("/ask")


async def test_sync_call_in_an_async_endpoint_goes_to_the_pool() -> None:
    """Over the portal: neither the loop nor the legacy client is used for it."""
    legacy = SyncLegacy()
    bench = Bench(legacy=legacy)
    app = FastAPI()

    @app.get("/sync-in-async")
    async def endpoint(llm: phase1.LLM) -> str:
        return llm.generate_response(HELLO)

    async with bench.manager, browser(mount(app, bench.manager)) as http:
        assert (await http.get("/sync-in-async")).json() == "from the pool"
    assert legacy.calls == []


def test_without_fastapi_its_dependencies_say_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """When they are asked for, not somewhere inside of FastAPI."""
    from phase1.asgi import dependencies

    monkeypatch.setitem(sys.modules, "fastapi", None)
    for ask_for in (lambda: dependencies.LLM, lambda: phase1.llm_for(user_int)):
        with pytest.raises(Phase1Error, match=r"use get_llm\(request\)"):
            ask_for()


def test_unknown_name_is_an_attribute_error() -> None:
    """The module makes up `LLM` and nothing else."""
    from phase1.asgi import dependencies

    with pytest.raises(AttributeError, match="has no attribute 'LMM'"):
        _ = dependencies.LMM
