"""Where does a redirect lead? Where the SDK's own httpx would go, with the same request; but without any key."""

from __future__ import annotations

import asyncio

import pytest

from phase1.engine.transport import Broken, WireRequest
from phase1.engine.transport.family import httpx
from phase1.engine.transport.mock import MockResponse, MockTransport
from phase1.engine.transport.redirects import follow, redirected

HERE = "http://here:8000/v1/chat?x=1"
HEADERS = (("authorization", "Bearer k"), ("cookie", "c"), ("content-type", "application/json"), ("x-a", "1"))


def answer(status: int, location: str | None) -> MockResponse:
    """A redirect."""
    return MockResponse(status, [("x-b", "1"), *([("location", location)] if location is not None else [])])


async def by_httpx(request: WireRequest, status: int, location: str) -> tuple[str, str, list[tuple[str, str]], bytes]:
    """What the SDK's client asks next: method, URL, fields, body."""
    seen: list[httpx.Request] = []

    def upstream(asked: httpx.Request) -> httpx.Response:
        seen.append(asked)
        fields = [] if len(seen) > 1 else [(b"location", location.encode())]
        return httpx.Response(status if fields else 200, headers=fields)

    async with httpx.AsyncClient(transport=httpx.MockTransport(upstream), follow_redirects=True) as client:
        outgoing = httpx.Request(request.method, request.url, headers=list(request.headers), content=request.body)
        await client.send(outgoing)
    names = {name for name, _ in request.headers}
    fields = [(name, value) for name, value in seen[1].headers.multi_items() if name in names]
    return seen[1].method, str(seen[1].url), fields, seen[1].read()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    [
        "http://here:8000/v2",
        "/v2?y=2#there",
        "there",
        "../up",
        "?z=3",
        "//here:8000/v2",
        "http://there/v2",
        "https://here:8000/v2",
        "https://here/v2",
        "http://here/v2",
        "/with space/ü?q=ü%20b",
    ],
)
async def test_it_leads_where_httpx_goes(method: str, status: int, location: str) -> None:
    """Method, address, fields and body."""
    request = WireRequest(method, HERE, HEADERS, b"" if method in {"GET", "HEAD"} else b"body")
    following = redirected(request, answer(status, location))
    assert following is not None
    asked, url, *rest = await by_httpx(request, status, location)
    expected = [asked, url.partition("#")[0], *rest]
    assert [following.method, following.url, list(following.headers), following.body] == expected


async def test_same_host_by_tls_keeps_the_key_as_httpx_does() -> None:
    """From port 80 to port 443, and nowhere else."""
    request = WireRequest("POST", "http://here/v1", HEADERS, b"body")
    following = redirected(request, answer(308, "https://here/v1"))
    assert following is not None
    assert (following.method, following.url, list(following.headers), following.body) == await by_httpx(
        request, 308, "https://here/v1"
    )
    assert dict(following.headers)["authorization"] == "Bearer k"


@pytest.mark.parametrize("name", ["authorization", "api-key", "x-api-key", "proxy-authorization", "cookie"])
def test_no_key_goes_to_another_origin(name: str) -> None:
    """Whatever the field that it stands in."""
    request = WireRequest("POST", HERE, [(name, "k"), ("x-a", "1")], b"body")
    following = redirected(request, answer(307, "http://there:8000/v1"))
    assert following is not None
    assert list(following.headers) == [("x-a", "1")]


@pytest.mark.parametrize(
    ("status", "location"), [(200, "http://there/"), (300, "http://there/"), (304, "/"), (307, None)]
)
def test_other_answers_lead_nowhere(status: int, location: str | None) -> None:
    """A redirect needs its status and its field."""
    assert redirected(WireRequest("POST", HERE, HEADERS, b""), answer(status, location)) is None


@pytest.mark.parametrize("location", ["http://[", "http://there:port/", "http://there:99999/"])
def test_redirect_to_no_address_is_broken(location: str) -> None:
    """The upstream's fault, not the caller's."""
    with pytest.raises(Broken):
        redirected(WireRequest("POST", HERE, HEADERS, b""), answer(307, location))


async def test_every_answer_on_the_way_is_closed() -> None:
    """Read to its end first, so that its connection serves again."""
    answers = [answer(307, "/2"), answer(302, "/3"), answer(200, None)]
    left = iter(answers[1:])
    transport = MockTransport(lambda request: next(left))
    last = await follow(transport.send, WireRequest("POST", HERE, HEADERS, b"body"), answers[0])
    assert last is answers[2]
    assert [(request.method, request.url) for request in transport.requests] == [
        ("POST", "http://here:8000/2"),
        ("GET", "http://here:8000/3"),
    ]
    assert [response.closed for response in answers] == [True, True, False]


@pytest.mark.parametrize("failure", [Broken("cut"), asyncio.CancelledError()])
async def test_failure_on_the_way_closes_what_is_open(failure: BaseException) -> None:
    """In the body of the redirect, too."""

    async def fail() -> None:
        raise failure

    opened = MockResponse(307, [("location", "/2")], [fail()])
    with pytest.raises(type(failure)):
        await follow(MockTransport(lambda request: opened).send, WireRequest("POST", HERE, HEADERS, b""), opened)
    assert opened.closed
