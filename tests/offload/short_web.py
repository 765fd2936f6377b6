"""A web process with the same short times."""

from __future__ import annotations

import dataclasses

from starlette.applications import Starlette
from starlette.requests import Request

import phase1
from phase1.offload.config import Config
from phase1.offload.hooks import Hooks
from phase1.offload.service import Offload
from phase1.settings import Settings

from .short_worker import SHORT


def user_of(request: Request) -> str | None:
    """Whose request it is."""
    return request.headers.get("x-user")


settings = Settings.load()
hooks = Hooks(user=user_of)
app = Starlette()
phase1.install(app, settings=settings, offload=hooks)
layer = app.router.middleware_stack.app  # type: ignore[attr-defined]
layer.offload = Offload(layer.offload.manager, hooks, dataclasses.replace(Config.of(settings), times=SHORT))
