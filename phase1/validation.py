"""Which forms may the value of a setting have, and in which words is a bad one refused?

Validators take a value and return it, or raise `ValueError` with a text that says what is allowed.
`reason` turns one pydantic error into such a text; `shown` and `public_url` make a value fit to be printed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

from phase1.policy.purse import prices_of
from phase1.policy.targets import digests_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

__all__ = [
    "MASK",
    "canary_key",
    "credential",
    "http_url",
    "in_hundredths",
    "key_list",
    "log_level",
    "lower",
    "price_table",
    "public_url",
    "reason",
    "redis_url",
    "shown",
    "state_name",
    "state_url",
    "token",
]

MASK: Final = "******"

_LONGEST_SHOWN: Final = 80
_TOKEN_MIN_LENGTH: Final = 16
_HTTP_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110 token: the names of headers and cookies
_REQUEST_KEY: Final = re.compile(rf"auto|authorization|(?:header|cookie):{_HTTP_NAME}")
_DOTTED: Final = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_FUNCTION_KEY: Final = re.compile(rf"(?!header:|cookie:){_DOTTED}:{_DOTTED}")
_STATE_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADER_SAFE: Final = re.compile(r"[!-~]*")
_LEVEL_SYNONYMS: Final = {"WARN": "WARNING", "FATAL": "CRITICAL"}


def lower(value: object) -> object:
    """Choices are read in any case: seed 000 writes both `adaptive` and `ADAPTIVE`."""
    return value.lower() if isinstance(value, str) else value


def log_level(value: object) -> object:
    """`warn` → `WARNING`: the names that `logging` knows, in any case."""
    return _LEVEL_SYNONYMS.get(value.upper(), value.upper()) if isinstance(value, str) else value


def in_hundredths(value: float) -> float:
    """A finer percent cannot be honoured: there are 10,000 buckets."""
    if round(value, 2) != value:
        raise ValueError("must be in steps of 0.01")
    return value


def canary_key(value: str) -> str:
    """Only the form; whether `module:function` exists is known when the app starts."""
    if _REQUEST_KEY.fullmatch(value) or _FUNCTION_KEY.fullmatch(value):
        return value
    raise ValueError("must be auto, authorization, header:NAME, cookie:NAME or module:function")


def credential(value: SecretStr) -> SecretStr:
    """What no HTTP header can carry would fail at the first request, with a text that hides why."""
    if not _HEADER_SAFE.fullmatch(value.get_secret_value()):
        raise ValueError("must be printable ASCII without spaces")
    return value


def token(value: SecretStr) -> SecretStr:
    """A token that guards our pages: long enough not to be guessed."""
    if len(value.get_secret_value()) < _TOKEN_MIN_LENGTH:
        raise ValueError(f"must be at least {_TOKEN_MIN_LENGTH} characters long")
    return credential(value)


def key_list(value: SecretStr) -> SecretStr:
    """Keys, or their digests, separated by commas."""
    digests_of(value.get_secret_value())
    return value


def price_table(value: str) -> str:
    """`gpt-4o=2.5/10,*=5/15`."""
    prices_of(value)
    return value


def http_url(value: str) -> str:
    """`http(s)://host[:port][/path]`."""
    if _is_url(value, "http", "https"):
        return value
    raise ValueError("must be a URL that begins with http:// or https:// and names a host")


def redis_url(value: SecretStr) -> SecretStr:
    """The forms that redis-py reads."""
    if _is_redis(value.get_secret_value()):
        return value
    raise ValueError("must be a URL: redis://host, rediss://host or unix:///path")


def state_url(value: str) -> str:
    """Where several workers agree."""
    if value == "memory:" or _is_path_url(value, "file") or _is_url(value, "redis", "rediss"):
        return value
    raise ValueError("must be memory:, file:///path or redis://host")


def state_name(value: str) -> str:
    """Part of a key in Redis."""
    if _STATE_NAME.fullmatch(value):
        return value
    raise ValueError("must be 1 to 64 characters of A-Z a-z 0-9 . _ -")


def _is_redis(value: str) -> bool:
    return _is_url(value, "redis", "rediss") or _is_path_url(value, "unix")


def _is_url(value: str, *schemes: str) -> bool:
    parts = _split(value)
    return parts is not None and parts.scheme in schemes and bool(parts.hostname)


def _is_path_url(value: str, scheme: str) -> bool:
    parts = _split(value)
    return parts is not None and parts.scheme == scheme and parts.path.startswith("/") and parts.path != "/"


def _split(value: str) -> SplitResult | None:
    if not value.isprintable() or " " in value:  # urlsplit drops tabs and newlines without a word
        return None
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises if it is no port
    except ValueError:
        return None
    return parts


def public_url(value: str) -> str:
    """The URL without user, password, query and fragment; masked when it is no URL, for then it may be anything."""
    parts = _split(value)
    if parts is None or "://" not in value:
        return value if value == "memory:" else MASK
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def shown(value: object) -> str:
    """One short printable line, spelled as in the environment."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    text = text.removesuffix(".0") if isinstance(value, float) else text
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def reason(error: ErrorDetails, field: FieldInfo | None) -> str:
    """What is allowed instead; `field` tells the bounds."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in _TEXTS:
        return _TEXTS[kind].format(**_formatted(context), bounds=_bounds(field))
    if kind in {"literal_error", "enum"}:
        return f"must be one of {_choices(context['expected'])}"
    return f"is not allowed ({error['msg']})"


_LIMITS: Final = ("ge", "gt", "le")
_WHOLE: Final = "must be one whole number{bounds}"
_NUMBER: Final = "must be a number{bounds}"
_YES_NO: Final = "must be true or false"
_TEXT: Final = "must be text"
_TEXTS: Final = {
    "value_error": "{error}",
    "missing": "is missing",
    "extra_forbidden": "unknown field",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be{bounds}",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "bool_type": _YES_NO,
    "bool_parsing": _YES_NO,
    "string_type": _TEXT,
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "path_type": "must be a path",
    "dict_type": "must be a table",
}


def _choices(expected: str) -> str:
    """`'off', 'splice' or 'restart'`, as pydantic lists them → `off, splice, restart`."""
    return expected.replace("'", "").replace(" or ", ", ")


def _bounds(field: FieldInfo | None) -> str:
    metadata = field.metadata if field else []
    found = _formatted({name: getattr(item, name) for item in metadata for name in _LIMITS if hasattr(item, name)})
    if "le" in found:
        return f" between {found['ge']} and {found['le']}"
    if "ge" in found:
        return f", at least {found['ge']}"
    return f", more than {found['gt']}" if "gt" in found else ""


def _formatted(values: Mapping[str, object]) -> dict[str, str]:
    return {name: shown(value) for name, value in values.items()}
