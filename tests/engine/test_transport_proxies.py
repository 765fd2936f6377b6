"""Which proxy stands before which address, by the variables that everybody knows?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from phase1.engine.transport.proxies import Proxies
from phase1.exceptions import ConfigurationError

HTTP, HTTPS, ALL = "http://plain:1", "http://secure:2", "http://any:3"

SetVariables = Callable[..., None]


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> SetVariables:
    """Set variables of the process; no others are there."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    def set_variables(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_variables


def before(url: str) -> str | None:
    """The proxy before `url`."""
    proxy = Proxies.from_environment().of(url)
    return proxy.url if proxy else None


def test_without_variables_there_is_none(variables: SetVariables) -> None:
    """And nothing is thought about."""
    assert before("https://api.openai.com/v1") is None


@pytest.mark.parametrize(
    ("names", "http", "https"),
    [
        (("HTTP_PROXY",), HTTP, None),
        (("HTTPS_PROXY",), None, HTTPS),
        (("ALL_PROXY",), ALL, ALL),
        (("HTTP_PROXY", "ALL_PROXY"), HTTP, ALL),
        (("http_proxy", "https_proxy", "all_proxy"), HTTP, HTTPS),
    ],
)
def test_each_scheme_has_its_variable(
    variables: SetVariables, names: tuple[str, ...], http: str | None, https: str | None
) -> None:
    """In either case; `ALL_PROXY` is for what has none of its own."""
    values = {"http_proxy": HTTP, "https_proxy": HTTPS, "all_proxy": ALL}
    variables(**{name: values[name.lower()] for name in names})
    assert before("http://host/v1") == http
    assert before("https://host:8443/v1/chat?x=1") == https


def test_lower_case_wins(variables: SetVariables) -> None:
    """As everywhere."""
    variables(HTTPS_PROXY=ALL, https_proxy=HTTPS)
    assert before("https://host/") == HTTPS


def test_address_without_a_scheme_is_a_plain_proxy(variables: SetVariables) -> None:
    """As many write it; a scheme is read in any case."""
    variables(HTTPS_PROXY="proxy.local:3128", HTTP_PROXY="HTTPS://proxy.local")
    assert before("https://host/") == "http://proxy.local:3128"
    assert before("http://host/") == "https://proxy.local"


@pytest.mark.parametrize(
    ("entries", "exempt", "not_exempt"),
    [
        ("*", ["https://a.example", "http://10.0.0.1"], []),
        ("b.example,*", ["https://a.example"], []),
        ("example.com", ["https://example.com", "https://API.example.com:8443"], ["https://badexample.com"]),
        (".example.com", ["https://a.example.com"], ["https://example.com"]),
        ("*.example.com", ["https://a.b.example.com"], ["https://example.com"]),
        ("*example.com", ["https://example.com", "https://a.example.com"], ["https://badexample.com"]),
        (" a.example , b.example ", ["https://a.example", "https://b.example"], ["https://c.example"]),
        ("EXAMPLE.com", ["https://example.com"], ["https://example.org"]),
        ("localhost", ["http://localhost:8000"], ["http://a.localhost"]),
        ("127.0.0.1", ["http://127.0.0.1:8000"], ["http://127.0.0.2"]),
        ("10.0.0.0/8", ["http://10.1.2.3"], ["http://11.0.0.1", "http://ten.example"]),
        ("::1", ["http://[::1]:8000"], ["http://[::2]"]),
        ("[::1]", ["http://[::1]"], ["http://[::2]", "http://127.0.0.1"]),
        ("fd00::/8", ["http://[fd12::1]"], ["http://[fe80::1]"]),
        ("host:8080", ["http://host:8080", "http://a.host:8080"], ["http://host", "http://host:80"]),
        ("host:443", ["https://host"], ["http://host"]),
        ("https://host", ["https://host"], ["http://host", "https://a.host"]),
        ("all://host", ["https://host", "http://host"], ["https://a.host"]),
        ("http://", ["http://host"], ["https://host"]),
        ("host:port,,good", ["https://good"], ["https://host"]),
    ],
)
def test_exempt_addresses_go_without(
    variables: SetVariables, entries: str, exempt: list[str], not_exempt: list[str]
) -> None:
    """`NO_PROXY` in every form that is in use; an entry that means nothing is passed over."""
    variables(ALL_PROXY=ALL, NO_PROXY=entries)
    proxies = Proxies.from_environment()
    for _ in range(2):  # thought about, and remembered
        assert [url for url in exempt if proxies.of(f"{url}/v1")] == []
        assert [url for url in not_exempt if proxies.of(f"{url}/v1") is None] == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HTTPS_PROXY", "ftp://proxy:1"),
        ("HTTP_PROXY", "http://"),
        ("ALL_PROXY", "http://proxy:port"),
        ("https_proxy", "http://proxy:0"),
        ("all_proxy", "http://[::1"),
    ],
)
def test_what_is_no_proxy_is_an_error_that_names_the_variable(
    variables: SetVariables, variable: str, value: str
) -> None:
    """At start, not as a mystery of the first request."""
    variables(**{variable: value})
    with pytest.raises(ConfigurationError, match=f"^{variable.upper()}="):
        Proxies.from_environment()


def test_password_is_not_shown(variables: SetVariables) -> None:
    """Neither in an error nor by `repr`."""
    variables(HTTPS_PROXY="http://me:hush@proxy:1", ALL_PROXY="socks5://me:hush@proxy:1")
    proxies = Proxies.from_environment()
    assert "hush" not in f"{proxies!r} {proxies.socks}"
    assert str(proxies.socks) == "ALL_PROXY=socks5://proxy:1"
    variables(HTTPS_PROXY="gopher://me:hush@proxy:1")
    with pytest.raises(ConfigurationError) as caught:
        Proxies.from_environment()
    assert "hush" not in str(caught.value)
