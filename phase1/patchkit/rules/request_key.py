"""A client with a key that came with the request: whose pool would it be?"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from phase1.patchkit.findings import Finding, Rule, Safety
from phase1.patchkit.model import Client, Model
from phase1.patchkit.scopes import Class, Function
from phase1.patchkit.values import Made

__all__ = ["RULE", "find", "is_request_key"]

RULE: Final = Rule(
    "P303", "request-key", "p303-request-key", Safety.REPORT, "a client is made with a key that came with the request"
)


def find(model: Model) -> Iterator[Finding]:
    """Said, and left alone."""
    for client in model.clients.values():
        if model.pools(client.origin) and is_request_key(model, client):
            yield Finding(
                RULE,
                Safety.REPORT,
                client.scope.source,
                client.call,
                f"{ast.unparse(client.call.func)}() gets its key from the request: a pool would be made for each key",
                "leave it as it is, or adopt it by hand if the keys are few",
            )


def is_request_key(model: Model, client: Client) -> bool:
    """Whether a parameter that comes from outside is in the key."""
    if not isinstance(client.scope, Function):
        return False
    names = _names_in(_keys(client.call)) & {parameter.arg for parameter in client.scope.parameters}
    if client.scope.receives_self and client.scope.parameters:
        names -= {client.scope.parameters[0].arg}
    if not names:
        return False
    return client.scope.name != "__init__" or _is_made_per_request(model, client.scope.owner)


def _keys(call: ast.Call) -> Iterator[ast.expr]:
    yield from (keyword.value for keyword in call.keywords if keyword.arg in {"api_key", None})


def _names_in(expressions: Iterator[ast.expr]) -> set[str]:
    return {node.id for one in expressions for node in ast.walk(one) if isinstance(node, ast.Name)}


def _is_made_per_request(model: Model, owner: Class | None) -> bool:
    """Whether some function makes the object from what it was given itself."""
    for function in model.flow.functions:
        given = {parameter.arg for parameter in function.parameters}
        for node in function.nodes:
            if isinstance(node, ast.Call) and given:
                makes = any(
                    isinstance(value, Made) and value.of is owner for value in model.flow.values(node.func, function)
                )
                arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
                if makes and _names_in(iter(arguments)) & given:
                    return True
    return False
