"""Is this the app of `examples/legacy_main.py`: one global wrapper, made at start-up, asked by blocking endpoints?

Such an app gets an LLM parameter in its endpoints, and its wrapper stays what it is: the legacy client. Each step has a
number in a comment, so that `patches/` and a reviewer can speak of it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from phase1.patchkit.edits import AddParameter, Append, Edit, Import, InsertAfter, Redirect, Span, span_of
from phase1.patchkit.frames import Site
from phase1.patchkit.model import Model
from phase1.patchkit.routes import App
from phase1.patchkit.scopes import Class, Function, Scope
from phase1.patchkit.values import Instance

__all__ = ["Recipe", "recipe_of"]

_METHOD = "generate_response"
_MONITORING = '''\
@{app}.get("/metrics/llm-summary", include_in_schema=False)  {mark}
async def llm_summary(_current_user: {user}) -> dict[str, object]:
    """What the LLM system has done so far, for the app's own users."""
    return phase1_llm_manager.get_metrics()
'''


@dataclass(frozen=True, slots=True)
class Recipe:
    """The steps for one app."""

    app: App
    client: str  # the global's name
    wrapper: Class
    sites: list[Site]
    startup: ast.stmt | None
    user: str | None  # the alias that endpoints write for the current user
    user_function: str | None
    user_key: str | None
    steps: dict[str, int] = field(default_factory=dict)

    @property
    def module(self) -> Scope:
        """The one file that is edited."""
        return self.app.scope

    def mark(self, step: str) -> str:
        """The comment of a step."""
        return f"# phase1 ({self.steps[step]}/{len(self.steps)} {step.partition(':')[0]})"

    def shared_edits(self) -> Iterator[Edit]:
        """Import, install, start-up and monitoring."""
        source = self.module.source
        yield Import(self.mark("import"))
        key = f", user_key={self.user_key}" if self.user_key else ""
        install = f"phase1_llm_manager = phase1.install({self.app.name}, legacy=lambda: {self.client}{key})"
        assert self.app.statement is not None  # noqa: S101 - asked in `recipe_of`
        yield InsertAfter(span_of(source, self.app.statement), install, self.mark("global"))
        if self.startup is not None:
            status = "phase1_llm_manager.log_status()"
            yield InsertAfter(span_of(source, self.startup), status, self.mark("startup"))
        if self.user is not None:
            yield Append(_MONITORING.format(app=self.app.name, mark=self.mark("monitoring"), user=self.user))

    def edits_of(self, site: Site) -> Iterator[Edit]:
        """The parameter and the awaited call of one endpoint."""
        source, mark = self.module.source, self.mark(_step(site))
        node = site.frame.node
        assert isinstance(node, ast.AsyncFunctionDef)  # noqa: S101 - it is a frame
        code = "llm: phase1.LLM"
        if self.user_function is not None:
            code = f"llm: Annotated[phase1.LLMClient, Depends(phase1.llm_for({self.user_function}))]"
        yield AddParameter(_function_span(site.frame), code, mark)
        yield Redirect(span_of(source, _call(site)), "llm.generate_response_async", mark)


def recipe_of(model: Model) -> Recipe | None:
    """The recipe for this app, if it is one of its kind."""
    app = next((app for app in model.apps if app.can_install), None)
    if app is None or app.statement is None or app.scope.parent is not None or model.has_several_apps:
        return None
    sites = [site for site in model.sites if _fits(model, site, app)]
    names = {_global_of(site) for site in sites}
    if len(names) != 1 or model.is_installed:
        return None
    client = names.pop()
    wrapper = _wrapper(model, app.scope, client)
    if wrapper is None:
        return None
    user, function = _user_alias(app.scope, sites)
    recipe = Recipe(
        app,
        client,
        wrapper,
        sites,
        _made_at_startup(model, app.scope, client),
        user,
        function,
        _user_key(model, app.scope),
    )
    recipe.steps.update({step: number for number, step in enumerate(_steps(recipe), 1)})
    return recipe


def _steps(recipe: Recipe) -> Iterator[str]:
    yield "import"
    yield "global"
    if recipe.startup is not None:
        yield "startup"
    yield from dict.fromkeys(_step(site) for site in recipe.sites)
    if recipe.user is not None:
        yield "monitoring"


def _step(site: Site) -> str:
    """`/conversation-agent/chat` is `agent`, `/themes/{id}` is `theme`; the function keeps two of a name apart."""
    first = next((part for part in site.route.label.split("/")[1:] if part and not part.startswith("{")), "root")
    word = re.split(r"[-_]", first)[-1]
    return f"{word.removesuffix('s')}:{site.frame.name}"


def _fits(model: Model, site: Site, app: App) -> bool:
    match site.node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attr), args=args, keywords=keywords):
            is_call = attr == _METHOD and _asks_with_messages(args, keywords)
        case _:
            return False
    return (
        is_call
        and site.frame is site.route.function
        and site.frame.parent is app.scope
        and "llm" not in site.frame.names
        and name not in site.frame.names
        and _wrapper(model, app.scope, name) is not None
    )


def _asks_with_messages(args: list[ast.expr], keywords: list[ast.keyword]) -> bool:
    if len(args) == 1:
        return not keywords and not isinstance(args[0], ast.Starred)
    return not args and [keyword.arg for keyword in keywords] == ["messages"]


def _call(site: Site) -> ast.Call:
    assert isinstance(site.node, ast.Call)  # noqa: S101 - asked in `_fits`
    return site.node


def _global_of(site: Site) -> str:
    function = _call(site).func
    assert isinstance(function, ast.Attribute)  # noqa: S101 - asked in `_fits`
    assert isinstance(function.value, ast.Name)  # noqa: S101
    return function.value.id


def _wrapper(model: Model, module: Scope, name: str) -> Class | None:
    """The own class whose object the global is, if it is None until start-up."""
    if not any(_is_none(node, name) for node in module.nodes):
        return None
    for value in model.flow.named(name, module):
        if isinstance(value, Instance):
            method = value.of.methods.get(_METHOD)
            if method is not None and not method.is_async and not method.yields:
                return value.of
    return None


def _is_none(node: ast.AST, name: str) -> bool:
    match node:
        case ast.Assign(targets=[ast.Name(id=given)], value=ast.Constant(value=None)):
            return given == name
        case ast.AnnAssign(target=ast.Name(id=given), value=ast.Constant(value=None)):
            return given == name
        case _:
            return False


def _made_at_startup(model: Model, module: Scope, name: str) -> ast.stmt | None:
    for function in model.flow.functions:
        if function.module is module and name in function.elsewhere:
            for node in function.nodes:
                match node:
                    case ast.Assign(targets=[ast.Name(id=given)], value=ast.Call()) if given == name:
                        return node
                    case _:
                        pass
    return None


def _user_alias(module: Scope, sites: list[Site]) -> tuple[str | None, str | None]:
    """`CurrentUser = Annotated[…, Depends(get_current_user)]`, if every endpoint has such a parameter."""
    found: list[tuple[str, str]] = []
    for site in sites:
        for parameter in site.frame.parameters:
            alias = parameter.annotation.id if isinstance(parameter.annotation, ast.Name) else ""
            function = _depended(module, alias)
            if function is not None and "user" in function:
                found.append((alias, function))
                break
    has_names = {"Annotated", "Depends"} <= module.names
    if not has_names or len(found) != len(sites) or len(set(found)) != 1:
        return None, None
    return found[0]


def _depended(module: Scope, alias: str) -> str | None:
    for node in module.nodes:
        match node:
            case ast.Assign(
                targets=[ast.Name(id=name)],
                value=ast.Subscript(
                    value=ast.Name(id="Annotated"),
                    slice=ast.Tuple(elts=[_, ast.Call(func=ast.Name(id="Depends"), args=[ast.Name(id=function)])]),
                ),
            ) if name == alias:
                return function
            case _:
                pass
    return None


def _user_key(model: Model, module: Scope) -> str | None:
    """A function above the app that tells the user of a request and never refuses: `(request) -> str | None`."""
    for function in model.flow.functions:
        if function.parent is module and not function.is_async and isinstance(function.node, ast.FunctionDef):
            parameters, returns = function.parameters, function.node.returns
            if len(parameters) == 1 and parameters[0].annotation is not None and returns is not None:
                takes = ast.unparse(parameters[0].annotation)
                gives = ast.unparse(returns)
                if takes in {"HTTPConnection", "Request"} and gives in {"str | None", "Optional[str]"}:
                    return function.name if "user" in function.name else None
    return None


def _function_span(function: Function) -> Span:
    node = function.node
    assert isinstance(node, ast.AsyncFunctionDef)  # noqa: S101 - it is a frame
    return span_of(function.source, node)
