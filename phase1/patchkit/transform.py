"""The edits as a libcst transformer. Only `edits` imports this: libcst comes with the extra `patch`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, TypeVar

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider

from phase1.patchkit.edits import (
    AddParameter,
    Adopt,
    Append,
    AwaitCall,
    Edit,
    Import,
    InsertAfter,
    Iterate,
    Redirect,
    Span,
)
from phase1.patchkit.errors import PatchkitError

__all__ = ["transformed"]

_Placed: TypeAlias = InsertAfter | Adopt | AwaitCall | Iterate | Redirect | AddParameter
T = TypeVar("T", bound=_Placed)


def transformed(module: cst.Module, edits: Sequence[Edit], name: str) -> cst.Module:
    """`module` after `edits`. Raises `PatchkitError` if one of them finds no node."""
    transformer = _Transformer(edits)
    changed = MetadataWrapper(module, unsafe_skip_copy=True).visit(transformer)
    if transformer.left:
        places = sorted(edit.span.start[0] for edit in transformer.left)
        raise PatchkitError(f"{name}: nothing to edit found at line {', '.join(map(str, places))}: nothing is written")
    for edit in edits:
        if isinstance(edit, Import):
            changed = _with_import(changed, edit)
        elif isinstance(edit, Append):
            changed = _with_appended(changed, edit)
    return changed


class _Transformer(cst.CSTTransformer):
    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self, edits: Sequence[Edit]) -> None:
        super().__init__()
        self.left: set[_Placed] = {edit for edit in edits if not isinstance(edit, Import | Append)}
        self._comments: dict[int, str] = {}  # line → comment for the end of the statement there
        self._await: set[Span] = set()  # calls that became `await …`
        self._attributed: set[Span] = set()

    # --- calls --------------------------------------------------------------------------------------------------------

    def visit_Attribute(self, node: cst.Attribute) -> None:  # noqa: N802 - libcst's name
        self._note_owner(node.value)

    def visit_Subscript(self, node: cst.Subscript) -> None:  # noqa: N802
        self._note_owner(node.value)

    def visit_Call(self, node: cst.Call) -> None:  # noqa: N802
        self._note_owner(node.func)

    def visit_Await(self, node: cst.Await) -> None:  # noqa: N802
        self._note_owner(node.expression)

    def visit_BinaryOperation(self, node: cst.BinaryOperation) -> None:  # noqa: N802
        if isinstance(node.operator, cst.Power):
            self._note_owner(node.left)

    def _note_owner(self, node: cst.BaseExpression) -> None:
        """`f(x).y`: an `await` here needs parentheses."""
        self._attributed.add(self._span(node))

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:  # noqa: N802
        span = self._span(original_node)
        result: cst.BaseExpression = updated_node
        if self._take(AwaitCall, span) is not None:
            result = self._awaited(_through_phase1(updated_node), span, updated_node)
        elif (redirect := self._take(Redirect, span)) is not None:
            function = cst.ensure_type(cst.parse_expression(redirect.function), cst.Attribute)
            result = self._awaited(updated_node.with_changes(func=function, lpar=[], rpar=[]), span, updated_node)
            if redirect.comment is not None:
                self._comments[span.start[0]] = redirect.comment
        if self._take(Adopt, span) is not None:
            inner = updated_node.with_changes(lpar=[], rpar=[])
            adopted = cst.Call(func=_phase1("adopt"), args=[cst.Arg(inner)])
            result = adopted.with_changes(lpar=updated_node.lpar, rpar=updated_node.rpar)
        return result

    def _awaited(self, call: cst.Call, span: Span, before: cst.Call) -> cst.Await:
        lpar, rpar = list(before.lpar), list(before.rpar)
        if span in self._attributed and not lpar:
            lpar, rpar = [cst.LeftParen()], [cst.RightParen()]
        return cst.Await(expression=call, lpar=lpar, rpar=rpar)

    # --- statements ---------------------------------------------------------------------------------------------------

    def leave_For(self, original_node: cst.For, updated_node: cst.For) -> cst.For:  # noqa: N802
        if self._take(Iterate, self._span(original_node)) is None:
            return updated_node
        stream = cst.Call(func=_phase1("iterate"), args=[cst.Arg(updated_node.iter.with_changes(lpar=[], rpar=[]))])
        gap = cst.SimpleWhitespace(" ")
        return updated_node.with_changes(
            asynchronous=cst.Asynchronous(whitespace_after=gap), iter=stream, whitespace_after_in=gap
        )

    def leave_FunctionDef(  # noqa: N802
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef:
        edit = next((edit for edit in self._of(AddParameter) if self._starts(original_node, edit.span)), None)
        if edit is None:
            return updated_node
        self.left.discard(edit)
        return updated_node.with_changes(params=_with_parameter(updated_node.params, edit))

    def leave_SimpleStatementLine(  # noqa: N802
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.BaseStatement | cst.FlattenSentinel[cst.BaseStatement]:
        start, end = self._span(original_node).start[0], self._span(original_node).end[0]
        for line in [line for line in self._comments if start <= line <= end]:
            updated_node = _commented(updated_node, self._comments.pop(line))
        added = [
            edit for edit in self._of(InsertAfter) if any(self._span(one) == edit.span for one in original_node.body)
        ]
        if not added:
            return updated_node
        self.left -= set(added)
        return cst.FlattenSentinel([updated_node, *(_line(edit.code, edit.comment) for edit in added)])

    # --- which edits --------------------------------------------------------------------------------------------------

    def _span(self, node: cst.CSTNode) -> Span:
        range_ = self.get_metadata(PositionProvider, node)
        return Span((range_.start.line, range_.start.column), (range_.end.line, range_.end.column))

    def _starts(self, node: cst.FunctionDef, span: Span) -> bool:
        """`ast` begins a function at its `def`, libcst at its first decorator."""
        first = node.asynchronous or node.name
        line = self.get_metadata(PositionProvider, first).start.line
        return line == span.start[0]

    def _of(self, kind: type[T]) -> list[T]:
        return [edit for edit in self.left if isinstance(edit, kind)]

    def _take(self, kind: type[T], span: Span) -> T | None:
        found = next((edit for edit in self._of(kind) if self._means(edit, span)), None)
        if found is not None:
            self.left.discard(found)
        return found

    def _means(self, edit: _Placed, span: Span) -> bool:
        """A `for` may end where `ast` sees its end, or at the comment below: it is known by its start."""
        return edit.span.start == span.start if isinstance(edit, Iterate) else edit.span == span


def _phase1(name: str) -> cst.Attribute:
    return cst.Attribute(value=cst.Name("phase1"), attr=cst.Name(name))


def _through_phase1(call: cst.Call) -> cst.Call:
    """`f(a)` as `phase1.call(f, a)`, with the line breaks and comments that it has."""
    gap = call.whitespace_before_args
    if isinstance(gap, cst.SimpleWhitespace):
        gap = cst.SimpleWhitespace(" ")
    function = call.func
    if not call.args:
        return cst.Call(func=_phase1("call"), args=[cst.Arg(function)], whitespace_before_args=cst.SimpleWhitespace(""))
    first = cst.Arg(function, comma=cst.Comma(whitespace_after=gap))
    return cst.Call(func=_phase1("call"), args=[first, *call.args])


def _line(code: str, comment: str | None) -> cst.SimpleStatementLine:
    line = cst.ensure_type(cst.parse_statement(code), cst.SimpleStatementLine)
    return line if comment is None else _commented(line, comment)


def _commented(line: cst.SimpleStatementLine, comment: str) -> cst.SimpleStatementLine:
    return line.with_changes(trailing_whitespace=_comment(comment))


def _comment(comment: str) -> cst.TrailingWhitespace:
    return cst.TrailingWhitespace(whitespace=cst.SimpleWhitespace("  "), comment=cst.Comment(comment))


def _with_parameter(parameters: cst.Parameters, edit: AddParameter) -> cst.Parameters:
    function = cst.ensure_type(cst.parse_statement(f"def f({edit.code}): ..."), cst.FunctionDef)
    new = function.params.params[0]
    given = list(parameters.params)
    place = next((at for at, one in enumerate(given) if one.default is not None), len(given))
    before = given[place - 1] if place else None
    if place < len(given) or before is None:
        given.insert(place, new.with_changes(comma=_gap(parameters, edit)))
        return parameters.with_changes(params=given)
    last = before.comma
    if isinstance(last, cst.Comma) and isinstance(last.whitespace_after, cst.ParenthesizedWhitespace):
        closing = last.whitespace_after
        between = closing.with_changes(last_line=_indent_of(given, closing))
        comma = closing if edit.comment is None else closing.with_changes(first_line=_comment(edit.comment))
        given[-1] = before.with_changes(comma=last.with_changes(whitespace_after=between))
        given.append(new.with_changes(comma=cst.Comma(whitespace_after=comma)))
    else:
        given[-1] = before.with_changes(comma=cst.Comma(whitespace_after=cst.SimpleWhitespace(" ")))
        given.append(new.with_changes(comma=last))
    return parameters.with_changes(params=given)


def _gap(parameters: cst.Parameters, edit: AddParameter) -> cst.Comma | cst.MaybeSentinel:
    """After a parameter that stands before others: the break that they have between them."""
    first = next((one.comma for one in parameters.params if isinstance(one.comma, cst.Comma)), None)
    if first is not None and isinstance(first.whitespace_after, cst.ParenthesizedWhitespace) and edit.comment:
        return first.with_changes(
            whitespace_after=first.whitespace_after.with_changes(first_line=_comment(edit.comment))
        )
    if first is not None:
        return first
    return cst.Comma(whitespace_after=cst.SimpleWhitespace(" ")) if parameters.params else cst.MaybeSentinel.DEFAULT


def _indent_of(given: Sequence[cst.Param], closing: cst.ParenthesizedWhitespace) -> cst.SimpleWhitespace:
    for one in given[:-1]:
        gap = one.comma.whitespace_after if isinstance(one.comma, cst.Comma) else None
        if isinstance(gap, cst.ParenthesizedWhitespace):
            return gap.last_line
    return cst.SimpleWhitespace(closing.last_line.value + "    ")


def _with_import(module: cst.Module, edit: Import) -> cst.Module:
    """Below the imports that the file begins with, as a block of its own."""
    body = list(module.body)
    at = 0
    for number, statement in enumerate(body):
        if _is_import(statement):
            at = number + 1
        elif not (number == 0 and _is_docstring(statement)):
            break
    line = _line("import phase1", edit.comment)
    if at == 0 and body and _is_docstring(body[0]):
        at = 1
    if at == 0:
        return module.with_changes(body=[line, *_set_apart(body)])
    return module.with_changes(
        body=[*body[:at], line.with_changes(leading_lines=[cst.EmptyLine(indent=False)]), *_set_apart(body[at:])]
    )


def _set_apart(body: list[cst.SimpleStatementLine | cst.BaseCompoundStatement]) -> list[cst.BaseStatement]:
    """What follows, behind a blank line."""
    if not body:
        return []
    first = body[0]
    if first.leading_lines and first.leading_lines[0].comment is None:
        return list(body)
    return [first.with_changes(leading_lines=[cst.EmptyLine(indent=False), *first.leading_lines]), *body[1:]]


def _is_import(statement: cst.BaseStatement | cst.BaseSmallStatement) -> bool:
    return isinstance(statement, cst.SimpleStatementLine) and all(
        isinstance(one, cst.Import | cst.ImportFrom) for one in statement.body
    )


def _is_docstring(statement: cst.BaseStatement | cst.BaseSmallStatement) -> bool:
    if not isinstance(statement, cst.SimpleStatementLine) or len(statement.body) != 1:
        return False
    one = statement.body[0]
    return isinstance(one, cst.Expr) and isinstance(one.value, cst.SimpleString | cst.ConcatenatedString)


def _with_appended(module: cst.Module, edit: Append) -> cst.Module:
    statement = cst.ensure_type(cst.parse_statement(edit.code), cst.FunctionDef)
    blank = cst.EmptyLine(indent=False)
    return module.with_changes(body=[*module.body, statement.with_changes(leading_lines=[blank, blank])])
