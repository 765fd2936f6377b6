"""An upstream with moods, for an app under load: three hosts in one, chosen by the first part of the path.

`/good` answers, `/slow` takes its time, `/bad` fails every other time. Run by uvicorn.
"""

from __future__ import annotations

import asyncio
import itertools
import json

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

_turns = itertools.count()
_SECONDS = {"good": 0.05, "slow": 0.2, "bad": 0.02}


async def health(_: Request) -> Response:
    """Whether it is up."""
    return JSONResponse({})


async def chat(request: Request) -> Response:
    """A chat completion, whole or as a stream."""
    mood, body = request.path_params["mood"], await request.json()
    if body["model"] == "no-such-model":
        error = {"message": "planted-answer-canary", "type": "invalid_request_error", "param": None, "code": None}
        return JSONResponse({"error": error}, 400)
    turn = next(_turns)
    await asyncio.sleep(_SECONDS[mood] * (1 + turn % 3))
    if mood == "bad" and turn % 2:
        error = {"message": "planted-answer-canary", "type": "server_error", "param": None, "code": None}
        return JSONResponse({"error": error}, 500 if turn % 4 == 1 else 429, {"x-request-id": f"req_{turn}"})
    if body.get("stream"):
        return StreamingResponse(_events(body["model"]), media_type="text/event-stream")
    message = {"role": "assistant", "content": "planted-answer-canary"}
    return JSONResponse(
        {**_answer(body["model"]), "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    )


def _answer(model: str) -> dict[str, object]:
    usage = {"prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46}
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": model, "usage": usage}


async def _events(model: str):  # noqa: ANN202
    common = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": model}
    for word in ("planted-", "answer-", "canary"):
        delta = {"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None}
        yield f"data: {json.dumps({**common, 'choices': [delta]})}\n\n"
        await asyncio.sleep(0.02)
    yield f"data: {json.dumps({**common, 'choices': [{'index': 0, 'delta': {}, 'finish_reason': 'stop'}]})}\n\n"
    yield f"data: {json.dumps({**common, 'choices': [], 'usage': _answer(model)['usage']})}\n\n"
    yield "data: [DONE]\n\n"


app = Starlette(routes=[Route("/health", health), Route("/{mood}/v1/chat/completions", chat, methods=["POST"])])
