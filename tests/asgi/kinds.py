"""Which kinds of apps are there? One builder each; the app writes down when its own start and end happen."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Route

from tests.asgi.web import ask

__all__ = ["KINDS", "WITH_HOOKS", "Hook"]

Hook = Callable[[str], object]
"""Called with `up` at the app's own start, and with `down` at its end."""


def bare_fastapi(hook: Hook) -> FastAPI:
    """No start-up of its own."""
    app = FastAPI()
    app.add_route("/ask", ask)
    return app


def fastapi_with_lifespan(hook: Hook) -> FastAPI:
    """The modern way."""
    app = FastAPI(lifespan=_lifespan(hook))
    app.add_route("/ask", ask)
    return app


def fastapi_with_on_event(hook: Hook) -> FastAPI:
    """The way of the seeds' apps, deprecated."""
    app = FastAPI()
    app.add_route("/ask", ask)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)

        @app.on_event("startup")
        async def up() -> None:
            hook("up")

        @app.on_event("shutdown")
        def down() -> None:
            hook("down")

    return app


def bare_starlette(hook: Hook) -> Starlette:
    """No FastAPI at all."""
    return Starlette(routes=[Route("/ask", ask)])


def starlette_with_lifespan(hook: Hook) -> Starlette:
    """Its only way."""
    return Starlette(routes=[Route("/ask", ask)], lifespan=_lifespan(hook))


def _lifespan(hook: Hook) -> Callable[[Starlette], contextlib.AbstractAsyncContextManager[dict[str, str]]]:
    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
        hook("up")
        yield {"database": "connected"}
        hook("down")

    return lifespan


WITH_HOOKS = {
    "fastapi lifespan": fastapi_with_lifespan,
    "fastapi on_event": fastapi_with_on_event,
    "starlette lifespan": starlette_with_lifespan,
}
KINDS = WITH_HOOKS | {"fastapi": bare_fastapi, "starlette": bare_starlette}
