"""`client = OpenAI()` becomes `client = phase1.adopt(OpenAI())`: its requests may go to the pool."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from phase1.patchkit.edits import Adopt, span_of
from phase1.patchkit.findings import Finding, Rule, Safety
from phase1.patchkit.hazards import hazards_of, is_under_lock
from phase1.patchkit.libraries import Family
from phase1.patchkit.model import Client, Model
from phase1.patchkit.rules.llm_dependency import is_served
from phase1.patchkit.rules.request_key import is_request_key
from phase1.patchkit.scopes import Function
from phase1.patchkit.values import External

__all__ = ["RULE", "find"]

RULE: Final = Rule("P102", "adopt-client", "p102-adopt-client", Safety.SAFE, "an OpenAI client could be pooled")


def find(model: Model) -> Iterator[Finding]:
    """E2 on each client that a route reaches."""
    if any(route.framework not in {"fastapi", "starlette"} for route in model.routes):
        return
    for client in model.clients.values():
        if model.pools(client.origin) and not _is_left_alone(model, client):
            yield _finding(model, client)


def _is_left_alone(model: Model, client: Client) -> bool:
    """Adopted already, or nothing that a pool could serve as it is used."""
    has_own_transport = any(keyword.arg == "http_client" for keyword in client.call.keywords)
    uses_assistants = any(
        client.origin in leaf.origins and leaf.ask.family is Family.ASSISTANTS for leaf in model.leaves
    )
    is_awaited_by_mistake = any(
        client.origin in leaf.origins and leaf.awaited and leaf.ask.blocks for leaf in model.leaves
    )
    return (
        has_own_transport
        or uses_assistants
        or is_awaited_by_mistake
        or _is_adopted(model, client)
        or is_request_key(model, client)
        or is_served(model, client)
    )


def _is_adopted(model: Model, client: Client) -> bool:
    around = client.scope.outer.get(id(client.call))
    if not isinstance(around, ast.Call):
        return False
    values = model.flow.values(around.func, client.scope)
    return any(isinstance(value, External) and value.path == "phase1.adopt" for value in values)


def _finding(model: Model, client: Client) -> Finding:
    reasons = tuple(dict.fromkeys(_reasons(model, client)))
    stops = [lock for site, _ in model.uses(client.origin) if (lock := is_under_lock(model, site)) is not None]
    if stops:
        reasons = (f"it is asked while {stops[0]} is held: a pooled client would deadlock", *reasons)
    safety = Safety.REPORT if stops else Safety.UNSAFE if reasons else Safety.SAFE
    made = ast.unparse(client.call.func)
    source = client.scope.source
    return Finding(
        RULE,
        safety,
        source,
        client.call,
        f"the requests of this {made} client could go to the pool",
        f"phase1.adopt({made}(…)); with the pool off the very same object comes back",
        reasons=reasons,
        edits=() if stops else ((source, Adopt(span_of(source, client.call))),),
    )


def _reasons(model: Model, client: Client) -> Iterator[str]:
    kept = _kept_by(client)
    if kept is not None:
        yield kept
    for site, reached in model.uses(client.origin):
        if not reached.leaf.awaited:
            yield from (hazard.reason for hazard in hazards_of(model, site) if "requests share" in hazard.reason)


def _kept_by(client: Client) -> str | None:
    """Why the client may not live as long as the app."""
    scope = client.scope
    if not isinstance(scope, Function):
        return None
    if {"lru_cache", "cache"} & set(scope.decorators):
        return f"{scope.name}() is cached: who clears the cache gets another client"
    for around in (client.call, *_statements(client)):
        match around:
            case ast.Assign(targets=[target, *_]) | ast.AnnAssign(target=target):
                is_shared = isinstance(target, ast.Attribute | ast.Subscript) or (
                    isinstance(target, ast.Name) and target.id in scope.elsewhere
                )
                return None if is_shared else f"{scope.name}() makes a client for each call"
            case ast.Return() | ast.Yield():
                return f"{scope.name}() is a factory: it may make a client for each call"
            case _:
                pass
    return f"{scope.name}() makes a client for each call"


def _statements(client: Client) -> Iterator[ast.AST]:
    here = client.scope.outer.get(id(client.call))
    while here is not None:
        yield here
        here = client.scope.outer.get(id(here))
