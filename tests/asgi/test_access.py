"""Who is truly local, who has a token, and which browser speaks for another site?"""

from __future__ import annotations

import base64
from typing import Any

import pytest

from phase1.asgi.access import Access, Verdict, is_cross_origin, is_cross_site, is_truly_local, judge_access

TOKEN = "token-of-the-admin-0123"
LOCAL = ("127.0.0.1", 50_000)
LOCALHOST = {"host": "localhost:8000"}


def scope(client: object = LOCAL) -> dict[str, Any]:
    """A connection from `client`."""
    return {"type": "http", "client": client}


def verdict(authorization: str | None, *tokens: str) -> Verdict:
    """What a remote caller with this header gets."""
    headers = {"host": "example.com"} | ({} if authorization is None else {"authorization": authorization})
    allowed = tuple(token.encode() for token in tokens)
    return judge_access(access="auto", tokens=allowed, scope=scope(("203.0.113.9", 1)), headers=headers)


def basic(credentials: str) -> str:
    """An `Authorization` header."""
    return f"Basic {base64.b64encode(credentials.encode()).decode()}"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "::1%lo", "::ffff:127.0.0.1"])
def test_loopback_addresses_are_local(address: str) -> None:
    """Every way to write this machine."""
    assert is_truly_local(scope((address, 50_000)), LOCALHOST)


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "203.0.113.9", "169.254.169.254", "fe80::1%eth0", "::ffff:10.0.0.1", "::", "testclient"],
)
def test_other_addresses_are_not_local(address: str) -> None:
    """Neither a neighbour nor what is no address."""
    assert not is_truly_local(scope((address, 50_000)), LOCALHOST)


@pytest.mark.parametrize(
    "client", [None, ("", 0), ("127.0.0.1", 0), ("127.0.0.1", None)], ids=["none", "empty", "port 0", "no port"]
)
def test_unix_socket_is_not_local(client: object) -> None:
    """Behind a unix socket stands a proxy: uvicorn knows no address then, or a forwarded one without a port."""
    assert not is_truly_local(scope(client), LOCALHOST)


def test_scope_without_a_client_is_not_local() -> None:
    """A server need not name the client at all."""
    assert not is_truly_local({"type": "http"}, LOCALHOST)


@pytest.mark.parametrize(
    "header",
    ["forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip", "via", "cf-connecting-ip"],
)
def test_header_of_a_proxy_makes_a_loopback_caller_remote(header: str) -> None:
    """Servers trust loopback proxies, so the address alone says nothing."""
    assert not is_truly_local(scope(), LOCALHOST | {header: "127.0.0.1"})


@pytest.mark.parametrize(("version", "local"), [("1.0", False), ("1.1", True), ("2", True)])
def test_http_1_0_is_how_a_proxy_asks(version: str, local: bool) -> None:  # noqa: FBT001
    """Nginx at its defaults names us in Host and forwards nothing: only its HTTP version gives it away."""
    assert is_truly_local(scope() | {"http_version": version}, LOCALHOST) is local


def test_headers_that_only_look_forwarded_change_nothing() -> None:
    """The list is exact: an app's own header does not count."""
    assert is_truly_local(scope(), LOCALHOST | {"x-forward": "1", "x-real": "1", "viaduct": "1"})


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8000",
        "app.localhost",
        "a.b.localhost:1",
        "127.0.0.1",
        "127.0.0.1:8000",
        "[::1]",
        "[::1]:9",
    ],
)
def test_local_hosts_are_local(host: str) -> None:
    """Names that a browser resolves to this machine only."""
    assert is_truly_local(scope(), {"host": host})


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "localhost.example.com",
        "notlocalhost",
        "127.0.0.1.example.com",
        "192.168.0.1",
        "[::ffff:7f00:1]",
        "",
        "[::1",
        "localhost@example.com",
    ],
)
def test_other_hosts_are_not_local(host: str) -> None:
    """A rebound DNS name points to 127.0.0.1 and still names itself in Host."""
    assert not is_truly_local(scope(), {"host": host})


def test_missing_host_is_not_local() -> None:
    """HTTP/1.0 without a Host."""
    assert not is_truly_local(scope(), {})


@pytest.mark.parametrize(
    "authorization", [f"Bearer {TOKEN}", f"bearer   {TOKEN} ", basic(f"admin:{TOKEN}"), basic(f":{TOKEN}")]
)
def test_right_token_opens(authorization: str) -> None:
    """By Bearer, or by Basic as the password of whomever; the scheme is read in any case."""
    assert verdict(authorization, TOKEN) is Verdict.ALLOWED


def test_second_of_two_tokens_opens_too() -> None:
    """The metrics pages know two."""
    assert verdict(f"Bearer {TOKEN}", "another-token-01234567", TOKEN) is Verdict.ALLOWED


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        TOKEN,
        f"Token {TOKEN}",
        basic(TOKEN),
        basic(f"{TOKEN}:"),
        "Basic not-base64!",
        "Basic ä",
        f"Basic {TOKEN}",
        "Bearer tök€n-ünïcode-012345",
        "Bearer t\xf6k\xe9n",
        basic("admin:tök€n-ünïcode-012345"),
    ],
)
def test_anything_else_does_not_open(authorization: str | None) -> None:
    """Missing, wrong, cut off, in the wrong place or not even text: asked for the token again, without a crash."""
    assert verdict(authorization, TOKEN) is Verdict.UNAUTHORIZED


def test_without_a_token_there_is_nothing_to_guess() -> None:
    """The pages do not exist for a remote caller, whatever he sends."""
    assert verdict(None) is Verdict.HIDDEN
    assert verdict("Bearer ") is Verdict.HIDDEN


def test_off_hides_from_everybody() -> None:
    """Also from a local caller with the right token."""
    headers = LOCALHOST | {"authorization": f"Bearer {TOKEN}"}
    assert judge_access(access=Access.OFF, tokens=(TOKEN.encode(),), scope=scope(), headers=headers) is Verdict.HIDDEN


def test_local_caller_needs_no_token() -> None:
    """Also when there is one."""
    for tokens in ((), (TOKEN.encode(),)):
        assert judge_access(access="auto", tokens=tokens, scope=scope(), headers=LOCALHOST) is Verdict.ALLOWED


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "http://localhost:3000"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://["},
        {"origin": "https://evil.example", "sec-fetch-site": "same-origin"},
    ],
)
def test_other_sites_are_recognised(headers: dict[str, str]) -> None:
    """By what browsers say, by the origin, and by an origin that is none."""
    assert is_cross_site({"host": "localhost:8000", **headers})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "same-origin"},
        {"origin": "http://localhost:8000"},
        {"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"},
    ],
)
def test_own_site_and_no_browser_are_let_through(headers: dict[str, str]) -> None:
    """A command line sends neither header, a typed URL `none`, our own page `same-origin`."""
    assert not is_cross_site({"host": "localhost:8000", **headers})


def test_following_a_link_is_no_reading_across_origins() -> None:
    """A link from another site is a navigation: it sends no Origin, and no script sees the answer."""
    assert not is_cross_origin({"host": "localhost", "sec-fetch-site": "cross-site"})


@pytest.mark.parametrize("origin", ["null", "", "http://["])
def test_no_host_equals_no_origin(origin: str) -> None:
    """An origin that cannot be read is not the same as a Host that is missing."""
    assert is_cross_origin({"origin": origin})
