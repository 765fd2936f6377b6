"""May this call go the short way, and what are its bytes?

Only plain arguments may: JSON values for parameters that the SDK names. Everything that asks the SDK for more
(`extra_headers=`, `timeout=`, a class as `response_format` …), and everything that somebody has put around the SDK
(instrumentation, a debug log), goes the ordinary way.
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from types import FunctionType
from typing import Annotated, Any, cast, get_args, get_origin

import openai
from pydantic import BaseModel

__all__ = ["Coded", "Resource", "body_of", "resource_of"]

_ASKS_FOR_MORE = frozenset({"self", "extra_headers", "extra_query", "extra_body", "timeout"})
_sdk_log = logging.getLogger("openai")

Dumps = Callable[[Mapping[str, object]], bytes]


@dataclass(frozen=True, slots=True)
class Coded:
    """A request without the parameter `name` gets it with this `value`.

    Then `read` makes an object of a whole body, if it is plain; `finish` is done to an object of the SDK's making.
    """

    name: str
    value: object
    read: Callable[[bytes], BaseModel | None]
    finish: Callable[[Any], Any]

    def concerns(self, arguments: Mapping[str, object]) -> bool:
        """Whether a call leaves it to the SDK."""
        return self.name not in arguments or type(arguments[self.name]) in _NOT_GIVEN


@dataclass(frozen=True, slots=True)
class Resource:
    """One method of the SDK that has a short way: its address, its parameters, the classes of its answers.

    `owner` and `stock`: where the method stands, and what stood there when phase1 was imported; another one there now
    is somebody's instrumentation. `stock` is `None` when it was there before us. `chunk`: what the SDK makes of an
    event; `chunks`: the classes by the events' names, where that is a union. `coded`: what the SDK adds to a request
    that does not say it, and how it reads the answer then.
    """

    name: str
    owner: type
    stock: object
    parameters: frozenset[str]
    needs: frozenset[str]
    result: type[BaseModel]
    chunk: Any
    chunks: Mapping[str, type[BaseModel]] | None
    coded: Coded | None

    @property
    def is_stock(self) -> bool:
        """Whether the SDK's own code makes the call."""
        return self.stock is not None and self.owner.__dict__.get("create") is self.stock

    def ordinary(self, caller: object, arguments: Mapping[str, object]) -> Any:  # noqa: ANN401 - awaitable or not
        """Call the method of `caller`, which is or extends an `owner`, as it stands there now."""
        return cast("Any", self.owner).create(caller, **arguments)


def resource_of(
    owner: type,
    *,
    needs: frozenset[str],
    result: type[BaseModel],
    chunk: object = None,
    coded: Coded | None = None,
) -> Resource:
    """What is to be known of `owner.create`."""
    create = owner.__dict__["create"]
    ours = type(create) is FunctionType and create.__module__.startswith("openai.")
    parameters = frozenset(inspect.signature(create).parameters) - _ASKS_FOR_MORE
    return Resource(
        owner.__qualname__, owner, create if ours else None, parameters, needs, result, chunk, _by_name(chunk), coded
    )


def _by_name(chunk: object) -> Mapping[str, type[BaseModel]] | None:
    """The members of a union of events by the literal that is their `type`."""
    union = get_args(chunk)[0] if get_origin(chunk) is Annotated else chunk
    members = [member for member in get_args(union) if isinstance(member, type) and issubclass(member, BaseModel)]
    named = {get_args(member.model_fields["type"].annotation)[0]: member for member in members}
    return named or None


def body_of(resource: Resource, arguments: Mapping[str, object]) -> bytes | None:
    """The request's body; `None` = not plain."""
    if not (arguments.keys() <= resource.parameters and resource.needs <= arguments.keys() and resource.is_stock):
        return None
    if _sdk_log.isEnabledFor(logging.DEBUG):
        return None
    given = arguments
    for value in arguments.values():
        if type(value) in _NOT_GIVEN:
            given = {name: value for name, value in arguments.items() if type(value) not in _NOT_GIVEN}
        elif type(value) is float and not isfinite(value):
            return None  # orjson would say null
    if resource.coded is not None and resource.coded.concerns(given):
        given = {**given, resource.coded.name: resource.coded.value}
    try:
        return _dumps(given)
    except (TypeError, ValueError):
        return None


_NOT_GIVEN = frozenset({openai.NotGiven, getattr(openai, "Omit", openai.NotGiven)})


def _model(value: object) -> object:
    """An answer's message among the messages, as the SDK writes it."""
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_unset=True, mode="json", exclude=getattr(value, "__api_exclude__", None))
    raise TypeError


def _with_json() -> Dumps:
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_model).encode
    return lambda value: encode(value).encode()


def _with_orjson() -> Dumps:
    import orjson  # noqa: PLC0415 - extra `fast`

    options = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
    return lambda value: orjson.dumps(value, _model, options)


def _fastest() -> Dumps:
    try:
        return _with_orjson()
    except ImportError:
        return _with_json()


_dumps: Dumps = _fastest()
