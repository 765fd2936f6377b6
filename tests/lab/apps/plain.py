"""Somebody's app without phase1 in it: a synchronous client in `async def`, and routes that refuse in every way."""

from __future__ import annotations

import os
from typing import Annotated

import httpx
import openai
from fastapi import FastAPI, Header, HTTPException
from fastapi.responses import RedirectResponse
from pydantic import BaseModel

app = FastAPI()
client = openai.OpenAI(max_retries=0)


class Question(BaseModel):
    message: str


@app.post("/chat")
async def chat(question: Question) -> dict[str, str | None]:
    completion = client.chat.completions.create(model="m", messages=[{"role": "user", "content": question.message}])
    return {"answer": completion.choices[0].message.content, "kind": os.environ.get("KIND")}


@app.post("/own")
async def own(question: Question) -> dict[str, int]:
    async with httpx.AsyncClient(base_url=os.environ["OPENAI_BASE_URL"], trust_env=False) as direct:
        return {"status": (await direct.post("chat/completions", json=question.model_dump())).status_code}


@app.post("/private")
async def private(question: Question, authorization: Annotated[str, Header()] = "") -> dict[str, str | None]:
    if authorization != "Bearer user-1":
        raise HTTPException(401, "who are you?")
    return await chat(question)


@app.post("/busy")
async def busy() -> None:
    raise HTTPException(429, "slowly")


@app.post("/missing")
async def missing() -> None:
    raise HTTPException(404, "no such project")


@app.post("/items/{item_id}")
async def item(item_id: int) -> None:
    raise HTTPException(404, f"no such item: {item_id}")


@app.post("/moved")
async def moved() -> RedirectResponse:
    return RedirectResponse("/chat", 308)


@app.post("/broken")
async def broken() -> None:
    raise ValueError("no luck today")


@app.post("/echo")
async def echo() -> dict[str, str]:
    return {"answer": "nobody was asked"}


def make_app() -> FastAPI:
    return app
