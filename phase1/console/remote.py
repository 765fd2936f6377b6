"""How does the command line ask a running app? Over HTTP, with the operator's token, and with one clear line if not."""

from __future__ import annotations

import ipaddress
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx

from phase1.exceptions import ConfigurationError, Phase1Error
from phase1.settings import Settings
from phase1.validation import public_url

__all__ = ["DEFAULT_URL", "Remote", "RemoteError"]

DEFAULT_URL: Final = "http://127.0.0.1:8000"
_PAGE: Final = "/debug/llm-system"
_CONTROL: Final = "/admin/llm-system/control"
_TIMEOUT: Final = 10.0


class RemoteError(Phase1Error):
    """The app does not answer, or not to us."""


class Remote:
    """The debug page of the app at `url`: `with` it. `token`: default = `LLM_ADMIN_TOKEN` of the settings here.

    Raises `RemoteError` for what is no HTTP address.
    """

    def __init__(self, url: str, *, token: str | None = None, transport: httpx.BaseTransport | None = None) -> None:
        self.url = _page_of(url)
        token = token or _token_here()
        headers = {"accept": "application/json", **({"authorization": f"Bearer {token}"} if token else {})}
        self._http = httpx.Client(
            headers=headers, timeout=_TIMEOUT, trust_env=not _is_local(self.url), transport=transport
        )
        self.sends_token_openly = bool(token) and self.url.startswith("http:") and not _is_local(self.url)
        """Whether somebody on the way could read the token."""

    def document(self) -> dict[str, Any]:
        """The state. Raises `RemoteError`."""
        shown = public_url(self.url)
        try:
            response = self._http.get(self.url, params={"format": "json"})
        except httpx.HTTPError as exc:
            raise RemoteError(f"nothing answers at {shown} ({type(exc).__name__})") from exc
        match response.status_code:
            case 200:
                return _document(response, shown)
            case 401:
                raise RemoteError(f"{shown} asks for a token: set LLM_ADMIN_TOKEN, or give --token")
            case 404:
                raise RemoteError(
                    f"{shown} is not there: phase1 is not in this app, LLM_DEBUG_ACCESS=off, or only local callers may"
                    " see it (no LLM_ADMIN_TOKEN is set there)"
                )
            case status:
                raise RemoteError(f"{shown} answers {status}")

    def control(self, **wishes: object) -> list[dict[str, Any]]:
        """Switch at run time; returns what was changed. Raises `RemoteError`, in the app's words where it says no."""
        url = self.url.removesuffix(_PAGE) + _CONTROL
        shown = public_url(url)
        try:
            response = self._http.post(url, json=wishes)
        except httpx.HTTPError as exc:
            raise RemoteError(f"nothing answers at {shown} ({type(exc).__name__})") from exc
        match response.status_code:
            case 200:
                changes: list[dict[str, Any]] = response.json()["changes"]
                return changes
            case 401:
                raise RemoteError(f"{shown} asks for a token: set LLM_ADMIN_TOKEN, or give --token")
            case 404:
                raise RemoteError(
                    f"{shown} is not there: phase1 is not in this app, LLM_ADMIN_ACCESS=off, or no LLM_ADMIN_TOKEN is"
                    " set there"
                )
            case 400 | 403 | 409 | 429 | 503:
                raise RemoteError(f"{shown} says no: {response.text.strip()[:300]}")
            case status:
                raise RemoteError(f"{shown} answers {status}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._http.close()


def _document(response: httpx.Response, shown: str) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError:
        document = None
    if not isinstance(document, dict) or not str(document.get("schema", "")).startswith("phase1.llm-system/"):
        raise RemoteError(f"{shown} is no page of phase1")
    return document


def _page_of(url: str) -> str:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise RemoteError(f"{url}: must be the address of an app, {DEFAULT_URL} for example")
    path = parts.path.rstrip("/")
    return parts._replace(path=path if path.endswith(_PAGE) else path + _PAGE, query="", fragment="").geturl()


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _token_here() -> str | None:
    try:
        given = Settings.load().llm_admin_token
    except ConfigurationError:  # of other settings: they are not what is asked for
        return None
    return given.get_secret_value() if given is not None else None
