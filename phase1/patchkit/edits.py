"""How is an edit made so that every other byte stays? libcst keeps them; each edit names its node by where it stands.

The model is read by `ast`, which is fast; a file that is edited is read once more by libcst, which loses nothing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from phase1.exceptions import MissingExtraError
from phase1.patchkit.errors import PatchkitError
from phase1.patchkit.tree import Source

__all__ = [
    "AddParameter",
    "Adopt",
    "Append",
    "AwaitCall",
    "Edit",
    "Import",
    "InsertAfter",
    "Iterate",
    "Redirect",
    "Span",
    "edited",
    "is_import_of_phase1",
    "is_name_taken",
    "round_trips",
    "span_of",
]

_LINE: Final = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Span:
    """Where a node stands: lines from 1, columns from 0 in characters, as libcst counts."""

    start: tuple[int, int]
    end: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Import:
    """`import phase1`, in a block of its own below the first imports."""

    comment: str | None = None


@dataclass(frozen=True, slots=True)
class InsertAfter:
    """A statement below the one at `span`."""

    span: Span
    code: str
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Adopt:
    """`X(...)` becomes `phase1.adopt(X(...))`."""

    span: Span


@dataclass(frozen=True, slots=True)
class AwaitCall:
    """`f(a)` becomes `await phase1.call(f, a)`."""

    span: Span


@dataclass(frozen=True, slots=True)
class Iterate:
    """`for x in stream` becomes `async for x in phase1.iterate(stream)`."""

    span: Span


@dataclass(frozen=True, slots=True)
class Redirect:
    """`old(a)` becomes `await new(a)`; the comment goes to the end of the line."""

    span: Span
    function: str
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class AddParameter:
    """A parameter of the function at `span`, before those with defaults."""

    span: Span
    code: str
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class Append:
    """A definition at the end of the file."""

    code: str


Edit: TypeAlias = Import | InsertAfter | Adopt | AwaitCall | Iterate | Redirect | AddParameter | Append


def span_of(source: Source, node: ast.expr | ast.stmt) -> Span:
    """Where `node` stands. `ast` counts columns in bytes of UTF-8."""
    lines = _LINE.split(source.text)
    end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or node.col_offset
    return Span(
        (node.lineno, _characters(lines[node.lineno - 1], node.col_offset)),
        (end_line, _characters(lines[end_line - 1], end_column)),
    )


def _characters(line: str, column: int) -> int:
    return len(line.encode("utf-8", "surrogatepass")[:column].decode("utf-8", "surrogatepass"))


def edited(source: Source, edits: Sequence[Edit]) -> bytes:
    """The file's bytes after `edits`.

    Raises `PatchkitError` for a file that libcst does not give back byte for byte, and if a node is not found.
    """
    cst = _libcst()
    try:
        module = cst.parse_module(source.data)
    except (cst.ParserSyntaxError, UnicodeDecodeError) as error:
        raise PatchkitError(f"{source.name}: libcst cannot parse it, so it is left alone") from error
    if module.bytes != source.data:
        raise PatchkitError(f"{source.name}: it does not come back byte for byte from libcst, so it is left alone")
    from phase1.patchkit.transform import transformed  # noqa: PLC0415 - needs the extra

    return transformed(module, edits, source.name).bytes


def round_trips(source: Source) -> bool:
    """Whether libcst gives the file back byte for byte."""
    cst = _libcst()
    try:
        return bool(cst.parse_module(source.data).bytes == source.data)
    except (cst.ParserSyntaxError, UnicodeDecodeError):
        return False


def _libcst() -> Any:  # noqa: ANN401 - a module
    try:
        import libcst  # noqa: PLC0415 - only the extra brings it
    except ModuleNotFoundError as missing:
        raise MissingExtraError("phase1 patch", "patch") from missing
    return libcst


def is_import_of_phase1(statements: Iterable[ast.stmt]) -> bool:
    """Whether `phase1` is a name after these statements."""
    return any(
        isinstance(node, ast.Import) and any(alias.name == "phase1" and alias.asname is None for alias in node.names)
        for node in statements
    )


def is_name_taken(source: Source) -> bool:
    """Whether `phase1` is anything else in this file than the package."""
    return "phase1" in source.text and any(_takes_name(node) for node in ast.walk(source.module))


def _takes_name(node: ast.AST) -> bool:
    match node:
        case ast.Name(id="phase1", ctx=ast.Store()) | ast.arg(arg="phase1"):
            return True
        case ast.FunctionDef(name="phase1") | ast.AsyncFunctionDef(name="phase1") | ast.ClassDef(name="phase1"):
            return True
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            plain = isinstance(node, ast.Import)
            return any(alias.asname == "phase1" or (alias.name == "phase1" and not plain) for alias in aliases)
        case _:
            return False
