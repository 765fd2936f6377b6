"""Whose request is it? The sticky key of the canary and of the fair queue (`LLM_CANARY_KEY`)."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING
from uuid import UUID

from phase1.exceptions import ConfigurationError

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

__all__ = ["KeySource", "key_source", "user_key_of"]

KeySource = Callable[["HTTPConnection"], str | None]

_USER_FIELDS = ("id", "user_id", "sub", "uid", "username", "email")


def key_source(setting: str) -> KeySource:
    """What `LLM_CANARY_KEY` says, as a function of the request. Raises `ConfigurationError`."""
    kind, _, name = setting.partition(":")
    match kind:
        case "auto":
            return _automatic
        case "authorization":
            return _authorization
        case "header":
            return lambda request: request.headers.get(name)
        case "cookie":
            return lambda request: request.cookies.get(name)
        case _:
            return _function(setting)


def _automatic(request: HTTPConnection) -> str | None:
    """The user that the app's authentication middleware found, else the credentials it was given."""
    user = request.scope.get("user")
    known = user_key_of(user) or _starlette_name(user) if getattr(user, "is_authenticated", False) else None
    return known or _authorization(request)


def _starlette_name(user: object) -> str | None:
    for name in ("identity", "display_name"):
        with contextlib.suppress(NotImplementedError):  # what Starlette's BaseUser does by default
            if isinstance(value := getattr(user, name, None), str):
                return value
    return None


def _authorization(request: HTTPConnection) -> str | None:
    value = next((value for name, value in request.scope["headers"] if name == b"authorization"), b"")
    return hashlib.sha256(value.decode("latin-1").encode()).hexdigest()[:32] if value else None


def _function(setting: str) -> KeySource:
    module_name, _, path = setting.partition(":")
    try:
        found: object = import_module(module_name)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as exc:  # the app's own module may raise anything
        message = f"LLM_CANARY_KEY={setting}: must name a function(request) that can be imported ({exc})"
        raise ConfigurationError(message) from exc
    if not callable(found) or inspect.iscoroutinefunction(found):
        raise ConfigurationError(f"LLM_CANARY_KEY={setting}: must name a function(request) that is not async")
    return found


def user_key_of(user: object) -> str | None:
    """A stable key for what an app calls a user: an id, or a mapping or object that has one; else `None`."""
    if (key := _as_key(user)) is not None:
        return key
    for field in _USER_FIELDS:
        value = user.get(field) if isinstance(user, Mapping) else getattr(user, field, None)
        if (key := _as_key(value)) is not None:
            return key
    return None


def _as_key(value: object) -> str | None:
    """`True` is no id: "logged in" would be one key for everybody."""
    return str(value) if isinstance(value, str | int | UUID) and not isinstance(value, bool) else None
