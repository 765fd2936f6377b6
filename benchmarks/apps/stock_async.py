"""What would the untouched app be if somebody rewrote it? The same routes with the SDK's asynchronous client."""

from __future__ import annotations

from fastapi import FastAPI
from openai import AsyncOpenAI

from benchmarks.apps.lag import read_lags, sampled

app = FastAPI(lifespan=sampled)
app.add_api_route("/lag", read_lags)

client = AsyncOpenAI()


@app.get("/direct")
async def direct() -> str | None:
    """The call stands in the endpoint."""
    answer = await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hello"}])
    return answer.choices[0].message.content


@app.get("/deep")
async def deep() -> str | None:
    """The call is two levels below the endpoint."""
    return await _lesson("pools")


async def _lesson(theme: str) -> str | None:
    return await _ask(f"Explain {theme}.")


async def _ask(prompt: str) -> str | None:
    answer = await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": prompt}])
    return answer.choices[0].message.content


@app.get("/stream")
async def stream() -> str:
    """An asynchronous stream."""
    chunks = await client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "hello"}], stream=True
    )
    return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])


@app.get("/embeddings")
async def embeddings() -> list[int]:
    """Two texts as vectors; their lengths."""
    answer = await client.embeddings.create(model="text-embedding-3-small", input=["a text", "another one"])
    return [len(item.embedding) for item in answer.data]
