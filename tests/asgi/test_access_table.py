"""Does every page answer to every caller as the table of OBSERVABILITY §2 says?"""

from __future__ import annotations

import base64
from itertools import product

import pytest

from tests.asgi.web import LOCAL, REMOTE, bench_app, browser

ADMIN = "admin-token-0123456789"
METRICS = "metrics-token-0123456789"

DEBUG_PAGES = ["/debug/llm-system", "/debug/llm-system/requests"]
METRICS_PAGES = ["/metrics/llm", "/metrics/llm-system"]
GET_PAGES = [*DEBUG_PAGES, *METRICS_PAGES]
LOG_STATUS = "/admin/llm-system/log-status"
CONTROL = "/admin/llm-system/control"
PAGES = [*(("GET", path) for path in GET_PAGES), ("POST", LOG_STATUS)]

TOKENS = {"llm_admin_token": ADMIN, "llm_metrics_token": METRICS}
OFF = {"llm_debug_access": "off", "llm_metrics_access": "off", "llm_admin_access": "off"}


def bearer(token: str) -> dict[str, str]:
    """The usual header."""
    return {"authorization": f"Bearer {token}"}


def basic(token: str) -> dict[str, str]:
    """What a browser sends after asking its user."""
    return {"authorization": f"Basic {base64.b64encode(f'anybody:{token}'.encode()).decode()}"}


async def get(
    method: str,
    path: str,
    *,
    client: tuple[str, int] | None = LOCAL,
    host: str = "localhost",
    headers: dict[str, str] | None = None,
    content: bytes | None = None,
    **settings: object,
) -> tuple[int, str]:
    """Status and text of one answer."""
    app, _ = bench_app(**settings)
    async with browser(app, client=client, host=host) as http:
        response = await http.request(method, path, headers=headers, content=content)
        return response.status_code, response.text


OWN = (404, "the app's own")
"""What the app's catch-all route answers: our page does not exist."""


@pytest.mark.parametrize(("page", "tokens"), list(product(PAGES, [{}, TOKENS])))
@pytest.mark.parametrize("headers", [{}, bearer(ADMIN)], ids=["anonymous", "with token"])
async def test_off_is_the_apps_own_404(page: tuple[str, str], tokens: dict[str, str], headers: dict[str, str]) -> None:
    """For a local caller too, and with the right token."""
    assert await get(*page, headers=headers, **OFF, **tokens) == OWN


@pytest.mark.parametrize("page", PAGES)
async def test_off_is_set_page_by_page(page: tuple[str, str]) -> None:
    """Switching the other pages off leaves this one on."""
    method, path = page
    kind = path.split("/")[1]
    others = {name: value for name, value in OFF.items() if kind not in name}
    assert (await get(method, path, **others))[0] == 200


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("tokens", [{}, TOKENS], ids=["no token set", "token set"])
async def test_truly_local_caller_is_served(page: tuple[str, str], tokens: dict[str, str]) -> None:
    """The developer on this machine needs no token."""
    assert (await get(*page, **tokens))[0] == 200


@pytest.mark.parametrize("page", PAGES)
async def test_remote_caller_without_any_token_set_gets_the_apps_own_404(page: tuple[str, str]) -> None:
    """Nothing shows that phase1 is there."""
    assert await get(*page, client=REMOTE, host="app.example") == OWN


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    ("client", "host", "headers"),
    [
        (LOCAL, "localhost", {"forwarded": "for=203.0.113.9"}),
        (LOCAL, "localhost", {"x-forwarded-for": "127.0.0.1"}),
        (LOCAL, "localhost", {"x-real-ip": "127.0.0.1"}),
        (LOCAL, "localhost", {"via": "1.1 proxy"}),
        (LOCAL, "localhost", {"cf-connecting-ip": "127.0.0.1"}),
        (LOCAL, "rebound.example", {}),
        (("127.0.0.1", 0), "localhost", {}),
        (None, "localhost", {}),
        (REMOTE, "localhost", {}),
    ],
)
async def test_caller_who_is_almost_local_gets_the_apps_own_404(
    page: tuple[str, str], client: tuple[str, int] | None, host: str, headers: dict[str, str]
) -> None:
    """One sign of a proxy, of a public name or of a unix socket is enough."""
    assert await get(*page, client=client, host=host, headers=headers) == OWN


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("headers", [bearer(ADMIN), basic(ADMIN)], ids=["bearer", "basic"])
async def test_admin_token_opens_every_page_from_afar(page: tuple[str, str], headers: dict[str, str]) -> None:
    """By Bearer, or by Basic with the token as password."""
    assert (await get(*page, client=REMOTE, host="app.example", headers=headers, **TOKENS))[0] == 200


@pytest.mark.parametrize("path", METRICS_PAGES)
@pytest.mark.parametrize("headers", [bearer(METRICS), basic(METRICS)], ids=["bearer", "basic"])
async def test_metrics_token_opens_the_metrics_pages(path: str, headers: dict[str, str]) -> None:
    """Prometheus needs no more than that."""
    assert (await get("GET", path, client=REMOTE, host="app.example", headers=headers, **TOKENS))[0] == 200


@pytest.mark.parametrize("page", [("GET", "/debug/llm-system"), ("POST", LOG_STATUS)])
async def test_metrics_token_opens_nothing_else(page: tuple[str, str]) -> None:
    """Whoever scrapes may not look further."""
    assert (await get(*page, client=REMOTE, host="app.example", headers=bearer(METRICS), **TOKENS))[0] == 401


@pytest.mark.parametrize("page", [("GET", "/debug/llm-system"), ("POST", LOG_STATUS)])
async def test_metrics_token_alone_leaves_the_other_pages_hidden(page: tuple[str, str]) -> None:
    """A page that no token opens does not ask for one."""
    only = {"llm_metrics_token": METRICS}
    assert await get(*page, client=REMOTE, host="app.example", headers=bearer(METRICS), **only) == OWN


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("headers", [{}, bearer("wrong-token-0123456789"), basic("wrong-token-0123456789")])
async def test_missing_or_wrong_token_from_afar_is_401(page: tuple[str, str], headers: dict[str, str]) -> None:
    """With a challenge, and with nothing about the system."""
    app, _ = bench_app(**TOKENS)
    async with browser(app, client=REMOTE, host="app.example") as http:
        response = await http.request(*page, headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert response.text == "a token is needed\n"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        *((method, path, "GET, HEAD") for method in ("POST", "PUT", "DELETE", "OPTIONS") for path in GET_PAGES),
        *((method, LOG_STATUS, "POST") for method in ("GET", "HEAD", "PUT", "OPTIONS")),
    ],
)
async def test_wrong_method_is_405_with_allow(method: str, path: str, allowed: str) -> None:
    """For those who may see the page."""
    app, bench = bench_app()
    async with browser(app) as http:
        response = await http.request(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, allowed)
    assert bench.ear.heard == []


async def test_wrong_method_tells_a_stranger_nothing() -> None:
    """To him the page does not exist with any method."""
    assert await get("PUT", "/debug/llm-system", client=REMOTE, host="app.example") == OWN


@pytest.mark.parametrize("path", GET_PAGES)
async def test_head_is_answered_like_get(path: str) -> None:
    """Monitors ask that way."""
    assert (await get("HEAD", path))[0] == 200


@pytest.mark.parametrize(
    "headers", [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "https://evil.example"}]
)
@pytest.mark.parametrize("extra", [{}, bearer(ADMIN)], ids=["local", "with token"])
async def test_cross_site_post_is_403(headers: dict[str, str], extra: dict[str, str]) -> None:
    """A page in the developer's browser cannot make the app do something, even where the browser knows the token."""
    assert (await get("POST", LOG_STATUS, headers=headers | extra, **TOKENS))[0] == 403


async def test_same_origin_post_is_served() -> None:
    """Our own page may."""
    headers = {"origin": "http://localhost", "sec-fetch-site": "same-origin"}
    assert (await get("POST", LOG_STATUS, headers=headers))[0] == 200


@pytest.mark.parametrize("path", GET_PAGES)
async def test_script_of_another_origin_reads_nothing(path: str) -> None:
    """No page of ours is for other origins, whatever CORS headers the app's own middleware adds to every answer."""
    assert (await get("GET", path, headers={"origin": "https://evil.example"}))[0] == 403


@pytest.mark.parametrize("path", GET_PAGES)
async def test_link_from_another_site_is_followed(path: str) -> None:
    """A runbook may link to the page: a navigation sends no Origin."""
    assert (await get("GET", path, headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}))[0] == 200


# -- control always needs a token


async def control(headers: dict[str, str] | None = None, **asked: object) -> tuple[int, str]:
    """One wish, as whoever asks."""
    sent = {"content-type": "application/json", **(headers or {})}
    return await get("POST", CONTROL, headers=sent, content=b'{"percent": 50}', **asked)  # type: ignore[arg-type]


async def test_control_without_any_token_set_is_the_apps_own_404() -> None:
    """For a truly local caller too: whoever runs code on this machine may look, not steer."""
    assert await control() == OWN
    assert await control(client=REMOTE, host="app.example") == OWN


@pytest.mark.parametrize("where", [{}, {"client": REMOTE, "host": "app.example"}], ids=["local", "remote"])
@pytest.mark.parametrize(
    "headers", [{}, bearer("wrong-token-0123456789"), bearer(METRICS)], ids=["none", "wrong", "metrics"]
)
async def test_control_without_the_right_token_is_401(where: dict[str, object], headers: dict[str, str]) -> None:
    """From here and from afar."""
    assert (await control(headers, **where, **TOKENS))[0] == 401


@pytest.mark.parametrize("headers", [bearer(ADMIN), basic(ADMIN)], ids=["bearer", "basic"])
@pytest.mark.parametrize("where", [{}, {"client": REMOTE, "host": "app.example"}], ids=["local", "remote"])
async def test_control_with_the_token_is_granted(where: dict[str, object], headers: dict[str, str]) -> None:
    """By Bearer or Basic."""
    assert (await control(headers, **where, **TOKENS))[0] == 200


async def test_control_is_off_when_the_admin_pages_are() -> None:
    """With the right token too."""
    assert await control(bearer(ADMIN), **TOKENS, **OFF) == OWN


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_control_takes_post_only(method: str) -> None:
    """405 for those who may see it, and nothing for the others."""
    assert (await get(method, CONTROL, headers=bearer(ADMIN), **TOKENS))[0] == 405
    assert (await get(method, CONTROL, **TOKENS))[0] == 401
    assert (await get(method, CONTROL))[0] == 404


@pytest.mark.parametrize("headers", [{"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}])
async def test_another_site_cannot_steer(headers: dict[str, str]) -> None:
    """Even if the browser has the token (Basic) and sends it by itself."""
    assert (await control({**basic(ADMIN), **headers}, **TOKENS))[0] == 403


async def test_browser_is_asked_for_the_token() -> None:
    """It knows Basic: its user types the token as the password."""
    app, _ = bench_app(**TOKENS)
    async with browser(app, client=REMOTE, host="app.example") as http:
        response = await http.get("/debug/llm-system", headers={"accept": "text/html"})
    assert response.headers["www-authenticate"] == 'Bearer realm="phase1", Basic realm="phase1"'


async def test_one_call_is_as_hidden_as_the_list() -> None:
    """Its page lies below the list's, with the same rules."""
    path = "/debug/llm-system/requests/1-1"
    assert await get("GET", path, client=REMOTE, host="app.example") == OWN
    assert (await get("GET", path, client=REMOTE, host="app.example", **TOKENS))[0] == 401
    assert (await get("POST", path))[0] == 405
    status, text = await get("GET", path)
    assert (status, text) == (404, "no such request is remembered; the last thousand are\n")
