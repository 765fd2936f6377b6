"""What an app may have for `LLM_CANARY_KEY=module:function` to name."""

from __future__ import annotations

from starlette.requests import HTTPConnection


def tenant(request: HTTPConnection) -> str | None:
    """The app's own idea of whose request it is."""
    return request.query_params.get("tenant")


def tenant_header(request: HTTPConnection) -> str | None:
    """The same, from a header."""
    return request.headers.get("x-tenant")


class Keys:
    @staticmethod
    def tenant(request: HTTPConnection) -> str | None:
        return tenant(request)


async def slow_tenant(request: HTTPConnection) -> str | None:
    """Keys are asked for synchronously: this one cannot be used."""
    return tenant(request)


NOTHING = "not a function"
