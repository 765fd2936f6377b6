"""What does a project say about how its apps are to be measured? `[tool.phase1.lab]` of the pyproject.toml beside it.

    [tool.phase1.lab."main:app"]
    route = "/chat"
    headers = ["Authorization: Bearer demo-{user}"]
    body = '{"message": "What is a fraction?"}'
    env = { RATE_LIMIT = "0", DATABASE_URL = "sqlite:///{folder}/lab.sqlite3" }

so that `phase1 compare main:app` says it all, on a desk and in CI. Options of the command win.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from phase1.exceptions import ConfigurationError
from phase1.lab.target import SAMPLE_BODY, Ask, TargetApp, header_of

__all__ = ["Wishes", "ask_of", "target_of"]

_FILE: Final = "pyproject.toml"
_KINDS: Final[Mapping[str, type]] = {
    "route": str,
    "method": str,
    "headers": list,
    "body": str,
    "env": dict,
    "factory": bool,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What was said on the command line; what is empty was not said. `body`: JSON, `@file`, or `-` for none."""

    route: str = ""
    method: str = ""
    headers: Sequence[str] = ()
    body: str = field(default="", repr=False)
    env: Sequence[str] = field(default=(), repr=False)
    factory: bool = False


def target_of(
    app: str, wishes: Wishes, *, folder: Path | None = None, project: Mapping[str, Any] | None = None
) -> TargetApp:
    """The app, as the command line and the project in `folder` have it. Raises `ConfigurationError`.

    `project`: what is known without its pyproject.toml.
    """
    found = folder or Path.cwd()
    project = _project(found / _FILE, app) if project is None else project
    return TargetApp(
        app=app,
        folder=found,
        factory=wishes.factory or project.get("factory", False),
        variables={**project.get("env", {}), **dict(map(_variable, wishes.env))},
        ask=ask_of(wishes, project),
    )


def ask_of(wishes: Wishes, project: Mapping[str, Any]) -> Ask:
    """The request, as the command line and the `project` have it. Raises `ConfigurationError`."""
    return Ask(
        route=wishes.route or project.get("route", "/chat"),
        method=(wishes.method or project.get("method", "POST")).upper(),
        headers=tuple(map(header_of, wishes.headers or project.get("headers", ()))),
        body=_body(wishes.body or project.get("body", SAMPLE_BODY)),
    )


def _project(file: Path, app: str) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file.name} cannot be read: {error}") from None
    table = document.get("tool", {}).get("phase1", {}).get("lab", {}).get(app, {})
    for name, value in table.items():
        _require_kind(app, name, value)
    return dict(table)


def _require_kind(app: str, name: str, value: object) -> None:
    where = f'{_FILE} [tool.phase1.lab."{app}"]'
    if name not in _KINDS:
        raise ConfigurationError(f"{where}: {name} is unknown; there are {', '.join(_KINDS)}")
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if not isinstance(value, _KINDS[name]) or not all(isinstance(member, str) for member in members):
        raise ConfigurationError(f"{where}: {name} has another type than it should")


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigurationError("--env: must have the form NAME=VALUE")
    return name, value


def _body(text: str) -> str:
    if text == "-":
        return ""
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--body {text}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"--body {text}: is not UTF-8 text") from None
