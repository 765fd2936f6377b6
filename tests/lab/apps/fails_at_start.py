"""Somebody's app whose database is not there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    raise RuntimeError("the database is not there")
    yield


app = FastAPI(lifespan=lifespan)
