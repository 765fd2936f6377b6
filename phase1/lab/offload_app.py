"""The app of `phase1 demo --offload`: offload and its chat page."""

from __future__ import annotations

from starlette.applications import Starlette

import phase1

app = Starlette()
phase1.install(app, offload=True)
