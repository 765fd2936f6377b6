"""The app that `deploy/compose.yml` runs: offload and its chat page, and nothing else. Put your own in its place."""

from __future__ import annotations

from fastapi import FastAPI

import phase1

app = FastAPI()
phase1.install(app, offload=True)
