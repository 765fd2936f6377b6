"""Whose task is it? The app's own user, or a browser with a signed cookie; never anything from the body.

In Redis and in keys a user is a pseudonym: what can be read there names nobody.
"""

from __future__ import annotations

import hashlib
import inspect
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from phase1.asgi.context import SCOPE_KEY, RequestContext

if TYPE_CHECKING:
    from starlette.requests import Request

    from phase1.offload.hooks import Hooks
    from phase1.offload.ids import Signer

__all__ = ["COOKIE", "Identity", "identify"]

COOKIE: Final = "phase1_visitor"
_YEAR: Final = 365 * 86_400


@dataclass(frozen=True, slots=True)
class Identity:
    """`key`: the pseudonym. `cookie`: a `Set-Cookie` for a visitor who comes for the first time.

    `rate`: what the rate is counted by. Of visitors it is the address: a cookie is thrown away too easily.
    """

    key: str
    rate: str
    cookie: str | None = None


async def identify(request: Request, hooks: Hooks, signer: Signer) -> Identity:
    """The user that the app knows, else the visitor."""
    name = await _name(request, hooks)
    if name is not None:
        key = "u" + _pseudonym(signer, "user", name)
        return Identity(key, key)
    address = "a" + _pseudonym(signer, "address", request.client.host if request.client else "")
    visitor = _visitor(request.cookies.get(COOKIE, ""), signer)
    if visitor is not None:
        return Identity("v" + _pseudonym(signer, "visitor", visitor), address)
    visitor = secrets.token_urlsafe(16)
    secure = "; Secure" if request.url.scheme == "https" else ""
    value = f"{visitor}.{signer.tag('cookie', visitor)}"
    path = "; Path=/; HttpOnly; SameSite=Lax"
    cookie = f"{COOKIE}={value}; Max-Age={_YEAR}{path}{secure}"
    return Identity("v" + _pseudonym(signer, "visitor", visitor), address, cookie)


async def _name(request: Request, hooks: Hooks) -> str | None:
    if hooks.user is None:
        context = request.scope.get(SCOPE_KEY)
        return context.unit.key if isinstance(context, RequestContext) else None
    found = hooks.user(request)
    name = await found if inspect.isawaitable(found) else found
    return None if name is None else str(name)


def _visitor(cookie: str, signer: Signer) -> str | None:
    visitor, _, tag = cookie.partition(".")
    return visitor if visitor and tag and signer.verify("cookie", visitor, tag) else None


def _pseudonym(signer: Signer, kind: str, name: str) -> str:
    return hashlib.sha256(f"{signer.tag(kind, name)}{kind}{name}".encode()).hexdigest()[:24]
