"""Whose request is it?"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from uuid import UUID

import pytest
from pydantic import BaseModel
from starlette.authentication import BaseUser, SimpleUser, UnauthenticatedUser
from starlette.requests import HTTPConnection

from phase1.asgi.keys import key_source, user_key_of
from phase1.exceptions import ConfigurationError

FUNCTIONS = "tests.asgi.app_keys"


def connection(headers: dict[str, str] | None = None, query: str = "", **scope: object) -> HTTPConnection:
    """A request with these headers."""
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    return HTTPConnection({"type": "http", "headers": raw, "query_string": query.encode(), **scope})


def key(setting: str, **request: object) -> str | None:
    """The key that `LLM_CANARY_KEY` finds in a request."""
    return key_source(setting)(connection(**request))


def digest(authorization: str) -> str:
    """How a credential becomes a key."""
    return hashlib.sha256(authorization.encode()).hexdigest()[:32]


def test_header_is_the_key() -> None:
    """`header:X-User-Id`, the name in any case."""
    assert key("header:X-User-Id", headers={"x-user-id": "alice"}) == "alice"


def test_cookie_is_the_key() -> None:
    """`cookie:session`."""
    assert key("cookie:session", headers={"cookie": "a=b; session=s1"}) == "s1"


@pytest.mark.parametrize("setting", ["header:X-User-Id", "cookie:session", "authorization", "auto"])
def test_request_without_it_has_no_key(setting: str) -> None:
    """Then it is on legacy while the percent is below 100."""
    assert key(setting, headers={"x-other": "1", "cookie": "other=1"}) is None


@pytest.mark.parametrize("setting", ["authorization", "auto"])
def test_authorization_is_hashed(setting: str) -> None:
    """The credential itself goes nowhere."""
    assert key(setting, headers={"authorization": "Bearer s3cret"}) == digest("Bearer s3cret")


def test_authorization_of_odd_bytes_is_a_key_too() -> None:
    """Header bytes are whatever the client sends."""
    assert key("authorization", headers={"authorization": "Bearer \xff\xfe"}) == digest("Bearer \xff\xfe")


@pytest.mark.parametrize("path", ["tenant", "Keys.tenant"])
def test_function_is_asked(path: str) -> None:
    """`module:function`, dotted where it is an attribute."""
    setting = f"{FUNCTIONS}:{path}"
    assert key(setting, query="tenant=t1") == "t1"
    assert key(setting) is None


@pytest.mark.parametrize(
    "setting",
    [
        f"{FUNCTIONS}:missing",
        f"{FUNCTIONS}:Keys.missing",
        f"{FUNCTIONS}:NOTHING",
        f"{FUNCTIONS}:slow_tenant",
        "no_such_module_anywhere:function",
        "tests.asgi.app_broken:function",
    ],
)
def test_function_that_cannot_be_had_is_a_configuration_error(setting: str) -> None:
    """One line that names variable, value and what is allowed, whatever went wrong in the app's module."""
    with pytest.raises(ConfigurationError) as caught:
        key_source(setting)
    text = str(caught.value)
    assert text.startswith(f"LLM_CANARY_KEY={setting}: must name a function(request)")
    assert "\n" not in text


@pytest.mark.parametrize("field", ["id", "user_id", "sub", "uid", "username", "email"])
def test_auto_finds_the_user_of_the_apps_authentication(field: str) -> None:
    """What an authentication middleware has put into the scope wins over the header."""

    class User(BaseUser):
        is_authenticated = True

    user = User()
    setattr(user, field, "u1")
    assert key("auto", user=user, headers={"authorization": "Bearer x"}) == "u1"


def test_auto_takes_starlettes_own_users() -> None:
    """A `SimpleUser` by its name; one that nobody knows, by its credentials."""
    header = {"authorization": "Bearer x"}
    assert key("auto", user=SimpleUser("alice"), headers=header) == "alice"
    assert key("auto", user=UnauthenticatedUser(), headers=header) == digest("Bearer x")
    assert key("auto", user=UnauthenticatedUser()) is None


def test_auto_takes_what_starlettes_user_must_have() -> None:
    """`identity` or `display_name`, and neither is asked for more than it has: `BaseUser` raises by default."""

    class Identified(BaseUser):
        is_authenticated = True
        identity = "i1"

    class Named(BaseUser):
        is_authenticated = True
        display_name = "n1"

    class Nameless(BaseUser):
        is_authenticated = True

    assert key("auto", user=Identified()) == "i1"
    assert key("auto", user=Named()) == "n1"
    assert key("auto", user=Nameless()) is None
    assert key("auto", user=Nameless(), headers={"authorization": "Bearer x"}) == digest("Bearer x")


@dataclass
class Row:
    """A user as an ORM gives it."""

    id: int | None = None
    username: str | None = None


class Model(BaseModel):
    """A user as pydantic gives it."""

    user_id: UUID
    name: str


UUID_TEXT = "12345678-1234-5678-1234-567812345678"


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("alice", "alice"),
        (42, "42"),
        (0, "0"),
        (UUID(UUID_TEXT), UUID_TEXT),
        ({"id": 7}, "7"),
        ({"sub": "auth0|1", "aud": "x"}, "auth0|1"),
        ({"id": None, "email": "a@b.c"}, "a@b.c"),
        (Row(id=5), "5"),
        (Row(username="bob"), "bob"),
        (Model(user_id=UUID(UUID_TEXT), name="x"), UUID_TEXT),
    ],
)
def test_user_becomes_a_key(user: object, expected: str) -> None:
    """An id, or a mapping or object that has one; the first field that holds one counts."""
    assert user_key_of(user) == expected


@pytest.mark.parametrize("user", [None, True, {}, {"name": "x"}, Row(), object(), 1.5, {"id": ["a"]}, ["id"]])
def test_what_has_no_id_has_no_key(user: object) -> None:
    """No key is better than one that is different each time."""
    assert user_key_of(user) is None
