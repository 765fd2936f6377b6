"""How do half of the real apps call their model? A module-global synchronous client inside `async def`."""

from __future__ import annotations

from fastapi import FastAPI
from openai import OpenAI

from benchmarks.apps.lag import read_lags, sampled

app = FastAPI(lifespan=sampled)
app.add_api_route("/lag", read_lags)

client = OpenAI()


@app.get("/direct")
async def direct() -> str | None:
    """The call stands in the endpoint."""
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hello"}])
    return answer.choices[0].message.content


@app.get("/deep")
async def deep() -> str | None:
    """The call is two levels below the endpoint."""
    return _lesson("pools")


def _lesson(theme: str) -> str | None:
    return _ask(f"Explain {theme}.")


def _ask(prompt: str) -> str | None:
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": prompt}])
    return answer.choices[0].message.content


@app.get("/stream")
async def stream() -> str:
    """A synchronous stream, gone through on the event loop."""
    chunks = client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "hello"}], stream=True
    )
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


@app.get("/embeddings")
async def embeddings() -> list[int]:
    """Two texts as vectors; their lengths."""
    answer = client.embeddings.create(model="text-embedding-3-small", input=["a text", "another one"])
    return [len(item.embedding) for item in answer.data]
