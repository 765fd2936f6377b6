"""Is an edit what it says? Before anything is written, each changed file has to pass."""

from __future__ import annotations

import ast

from phase1.patchkit.errors import PatchkitError
from phase1.patchkit.hunks import hunks_between, taken_out

__all__ = ["prove"]


def prove(name: str, before: bytes, after: bytes, *, has_recipe: bool) -> None:
    """Raises `PatchkitError` unless `after` parses, can be reverted, and is the same program but for our calls.

    `has_recipe`: endpoints got a parameter, so the program is not the same on purpose.
    """
    try:
        new = ast.parse(after)
    except SyntaxError as error:
        raise PatchkitError(f"{name}: the patched file does not parse ({error}), so nothing is written") from error
    if taken_out(after, hunks_between(before, after)) != before:
        raise PatchkitError(f"{name}: the edit could not be reverted, so nothing is written")
    if not has_recipe and _without_us(new) != _without_us(ast.parse(before)):
        raise PatchkitError(f"{name}: the edit changes more than it should, so nothing is written")


def _without_us(module: ast.Module) -> str:
    return ast.dump(_Undo().visit(module))


class _Undo(ast.NodeTransformer):
    """Takes our calls away again."""

    def visit_Import(self, node: ast.Import) -> ast.AST | None:
        return None if [alias.name for alias in node.names] == ["phase1"] else node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if _called(node.value) == "install" else self.generic_visit(node)

    def visit_Await(self, node: ast.Await) -> ast.AST:
        self.generic_visit(node)
        match node.value:
            case ast.Call(args=[function, *args], keywords=keywords) if _called(node.value) == "call":
                return ast.Call(func=function, args=args, keywords=keywords)
            case _:
                return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        return node.args[0] if _called(node) in {"adopt", "iterate"} and len(node.args) == 1 else node

    def visit_AsyncFor(self, node: ast.AsyncFor) -> ast.AST:
        is_ours = _called(node.iter) == "iterate"
        self.generic_visit(node)
        if not is_ours:
            return node
        return ast.For(
            target=node.target, iter=node.iter, body=node.body, orelse=node.orelse, type_comment=node.type_comment
        )


def _called(node: ast.AST) -> str | None:
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="phase1"), attr=name)):
            return name
        case _:
            return None
