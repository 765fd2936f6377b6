"""Where do requests come in: which apps are there, and which functions does a framework call for them?"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from phase1.patchkit.flow import Flow
from phase1.patchkit.scopes import Class, Function, Scope
from phase1.patchkit.values import External, Instance, Made, Values

__all__ = ["App", "Route", "apps_in", "routes_in"]

_METHODS: Final = frozenset(
    {"api_route", "delete", "get", "head", "options", "patch", "post", "put"}
    | {"route", "trace", "websocket", "websocket_route"}
)
_APPS: Final = {
    "fastapi.FastAPI": "fastapi",
    "fastapi.applications.FastAPI": "fastapi",
    "starlette.applications.Starlette": "starlette",
    "quart.Quart": "quart",
    "flask.Flask": "flask",
    "sanic.Sanic": "sanic",
    "litestar.Litestar": "litestar",
    "aiohttp.web.Application": "aiohttp",
}
_ROUTERS: Final = {
    "fastapi.APIRouter": "fastapi",
    "fastapi.routing.APIRouter": "fastapi",
    "starlette.routing.Router": "starlette",
    "quart.Blueprint": "quart",
    "flask.Blueprint": "flask",
    "sanic.Blueprint": "sanic",
    "aiohttp.web.RouteTableDef": "aiohttp",
    "socketio.AsyncServer": "socketio",
    "slack_bolt.async_app.AsyncApp": "slack",
}
_ADDERS: Final = {"add_api_route": 1, "add_route": 1, "add_websocket_route": 1, "add_api_websocket_route": 1}
_ROUTE_CLASSES: Final = frozenset(
    {"starlette.routing.Route", "starlette.routing.WebSocketRoute", "fastapi.routing.APIRoute"}
)
_HANDLER_BASES: Final = {
    "starlette.middleware.base.BaseHTTPMiddleware": ("dispatch",),
    "fastapi.middleware.base.BaseHTTPMiddleware": ("dispatch",),
    "starlette.endpoints.HTTPEndpoint": ("get", "post", "put", "delete", "patch", "head", "options"),
    "starlette.endpoints.WebSocketEndpoint": ("on_connect", "on_receive", "on_disconnect"),
}


@dataclass(frozen=True, slots=True)
class App:
    """An app that is constructed: `app = FastAPI(...)`."""

    framework: str
    scope: Scope
    call: ast.Call
    statement: ast.stmt | None  # the assignment, if it is one to a plain name
    name: str | None

    @property
    def can_install(self) -> bool:
        """Whether `phase1.install` takes it."""
        return self.framework in {"fastapi", "starlette"}


@dataclass(frozen=True, slots=True)
class Route:
    """A function that answers requests."""

    label: str  # POST /chat
    function: Function
    framework: str

    @property
    def place(self) -> str:
        """file:line of the function."""
        return f"{self.function.source.name}:{self.function.line}"


def apps_in(flow: Flow) -> list[App]:
    """All apps that the tree constructs."""
    found: list[App] = []
    for scope in flow.scopes:
        for node in scope.nodes:
            if isinstance(node, ast.Call):
                kinds = {
                    _APPS.get(value.path) for value in flow.values(node.func, scope) if isinstance(value, External)
                }
                found += [_app(kind, node, scope) for kind in kinds if kind is not None]
    return found


def _app(framework: str, call: ast.Call, scope: Scope) -> App:
    statement = scope.outer.get(id(call))
    around = scope.outer.get(id(statement))
    if getattr(around, "lineno", None) == call.lineno:
        statement = None  # `if x: app = FastAPI()`: no line below it that runs with it
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return App(framework, scope, call, statement, name)
        case _:
            return App(framework, scope, call, None, None)


def routes_in(flow: Flow) -> list[Route]:
    """All functions that answer requests, in the order of the files."""
    found: dict[Function, Route] = {}
    for scope in flow.scopes:
        for route in _routes_of(flow, scope):
            found.setdefault(route.function, route)
    return list(found.values())


def _routes_of(flow: Flow, scope: Scope) -> Iterator[Route]:
    if isinstance(scope, Function) and not isinstance(scope.node, ast.Lambda | ast.Module | ast.ClassDef):
        for decorator in scope.node.decorator_list:
            yield from _decorated(flow, scope, decorator)
    elif isinstance(scope, Class):
        yield from _handlers(flow, scope)
    for node in scope.nodes:
        if isinstance(node, ast.Call):
            yield from _added(flow, node, scope)


def _decorated(flow: Flow, function: Function, decorator: ast.expr) -> Iterator[Route]:
    match decorator:
        case ast.Call(func=ast.Attribute(value=owner, attr=attr), args=args):
            pass
        case ast.Attribute(value=owner, attr=attr):
            args = []
        case _:
            return
    outside = function.parent or function
    framework = _framework(flow.values(owner, outside))
    if framework is None and attr in _METHODS and args and _text(args[0]).startswith("/"):
        framework = _imported_framework(outside)  # the router comes from where we cannot look
    if framework is None:
        return
    if attr in _METHODS:
        verb = attr.upper() if attr not in {"api_route", "route"} else "ROUTE"
        yield Route(f"{verb} {_text(args[0]) if args else ''}".strip(), function, framework)
    elif attr in {"middleware", "exception_handler", "before_request", "after_request", "errorhandler"}:
        yield Route(attr.replace("_", " "), function, framework)
    elif framework in {"socketio", "slack"}:
        yield Route(f"{attr} {_text(args[0]) if args else function.name}", function, framework)


def _handlers(flow: Flow, cls: Class) -> Iterator[Route]:
    for base in flow.bases(cls):
        names = _HANDLER_BASES.get(base.path, ()) if isinstance(base, External) else ()
        for name in names:
            if name in cls.methods:
                yield Route(f"{cls.name}.{name}", cls.methods[name], "starlette")


def _added(flow: Flow, call: ast.Call, scope: Scope) -> Iterator[Route]:
    """`app.add_api_route("/x", f)`, `Route("/x", f)`."""
    if len(call.args) < 2 and not call.keywords:  # noqa: PLR2004 - a path and a function
        return
    given = [*call.args[1:2], *(keyword.value for keyword in call.keywords if keyword.arg == "endpoint")]
    for value in flow.values(call.func, scope):
        if not isinstance(value, External):
            continue
        owner, _, attr = value.path.rpartition(".")
        framework = "starlette" if value.path in _ROUTE_CLASSES else None
        if attr in _ADDERS:
            framework = _framework(frozenset({External(owner)}))
        if framework is not None:
            for endpoint in given:
                for target in flow.values(endpoint, scope):
                    if isinstance(target, Made) and isinstance(target.of, Function):
                        yield Route(f"ROUTE {_text(call.args[0]) if call.args else ''}", target.of, framework)


def _framework(owners: Values) -> str | None:
    for owner in owners:
        match owner:
            case External(path):
                made = path.removesuffix(".router").removesuffix("()")
                if (found := _APPS.get(made) or _ROUTERS.get(made)) is not None:
                    return found
            case Instance() | Made():
                pass
    return None


def _imported_framework(scope: Scope) -> str | None:
    text = scope.source.text
    return next((name for name in ("fastapi", "starlette", "quart", "flask") if f"{name} import" in text), None)


def _text(expression: ast.expr) -> str:
    return expression.value if isinstance(expression, ast.Constant) and isinstance(expression.value, str) else "…"
