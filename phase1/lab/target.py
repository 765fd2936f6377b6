"""Which app is measured, and what is it asked?

An app is named as uvicorn names it, `module:attribute`. What it is asked is one request; `{user}` in the values of its
headers and in its body is the number of the user who asks, so that an app that knows its users knows these too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from phase1.exceptions import ConfigurationError

__all__ = ["SAMPLE_BODY", "Ask", "TargetApp", "header_of"]

SAMPLE_BODY: Final = '{"message": "What is a fraction?"}'
"""What an app is asked unless somebody says something else."""

_APP: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_USER: Final = "{user}"
_SECRET: Final = re.compile("auth|cookie|key|token|secret", re.IGNORECASE)
_METHODS: Final = ("POST", "GET", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request to an app; `body` is JSON, `""` = none. Raises `ConfigurationError` for what cannot be sent."""

    route: str = "/chat"
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: str = field(default=SAMPLE_BODY, repr=False)

    def __post_init__(self) -> None:
        if not self.route.startswith("/"):
            raise ConfigurationError(f"--route {self.route}: must be a path of the app, such as /chat")
        if self.method not in _METHODS:
            raise ConfigurationError(f"--method {self.method}: must be one of {', '.join(_METHODS)}")
        if self.body:
            _require_json(self.body)

    def headers_of(self, user: int) -> dict[str, str]:
        """The header fields of user number `user`."""
        named = {name: value.replace(_USER, str(user)) for name, value in self.headers}
        return {"content-type": "application/json", **named} if self.body else named

    def body_of(self, user: int) -> bytes:
        """The body of user number `user`."""
        return self.body.replace(_USER, str(user)).encode()

    @property
    def public_headers(self) -> tuple[str, ...]:
        """The headers as a report may show them: without the values that are somebody's secret."""
        return tuple(f"{name}: {'…' if _SECRET.search(name) else value}" for name, value in self.headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetApp:
    """An app that is the user's own.

    `app`: `module:attribute`, found from `folder`, which is also its working directory; `factory`: the attribute makes
    the app. `variables`: what it has in its environment besides ours; `{folder}` in a value is a directory that exists
    for one run of the app only. Raises `ConfigurationError` for another form.
    """

    app: str
    ask: Ask = field(default_factory=Ask)
    folder: Path = field(default_factory=Path.cwd)
    factory: bool = False
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not _APP.fullmatch(self.app):
            raise ConfigurationError(f"{self.app}: must have the form module:app, as uvicorn takes it")

    def variables_in(self, folder: Path) -> dict[str, str]:
        """Its own variables, for a run whose directory is `folder`."""
        return {name: value.replace("{folder}", str(folder)) for name, value in self.variables.items()}

    @classmethod
    def of(cls, app: TargetApp | str) -> TargetApp:
        """`app` itself, or the app of that name with everything else at its default."""
        return cls(app=app) if isinstance(app, str) else app


def header_of(text: str) -> tuple[str, str]:
    """`Name: value` as a pair. Raises `ConfigurationError` for another form; the text does not show the value."""
    name, colon, value = text.partition(":")
    if not colon or not _HEADER_NAME.fullmatch(name.strip()):
        raise ConfigurationError('--header: must have the form "Name: value"')
    if not value.strip().isprintable() or not value.strip().isascii():
        raise ConfigurationError(f"--header {name.strip()}: the value must be printable ASCII")
    return name.strip(), value.strip()


def _require_json(body: str) -> None:
    try:
        json.loads(body.replace(_USER, "1"))
    except ValueError as error:
        raise ConfigurationError(f"--body is not JSON: {error}") from None
