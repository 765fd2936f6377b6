"""An app with offload, and beside it the same answer streamed directly by the endpoint."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

import phase1
from phase1.offload import Hooks

app = FastAPI()
phase1.install(app, offload=Hooks(user=lambda request: request.headers.get("x-user")))


@app.post("/direct")
async def direct(request: Request, llm: phase1.LLM) -> StreamingResponse:
    """As one would write it without a queue."""
    message = (await request.json())["message"]
    stream = await llm.chat.completions.create(
        model="m", messages=[{"role": "user", "content": message}], stream=True, stream_options={"include_usage": True}
    )

    async def events() -> AsyncIterator[str]:
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                yield f"data: {json.dumps({'delta': chunk.choices[0].delta.content})}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")
