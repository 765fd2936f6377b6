"""What can be asked of the SDK's clients? One text for each, for `OpenAI` and `AsyncOpenAI` alike."""

# ruff: noqa: ANN401 - the SDK's clients, whatever they are

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from openai._base_client import make_request_options
from pydantic import BaseModel

from phase1.engine.transport.family import httpx

from .answers import AUDIO, CHAT_STREAM
from .world import given, items, opened

__all__ = ["CASES", "Case", "Trip", "shown"]

Case = Callable[[Any], Awaitable[Any]]

HELLO: Any = [{"role": "user", "content": "hello"}]
FILE = ("a.jsonl", b'{"stream": true}\n{"a": 1}\n', "application/jsonl")


class Trip(BaseModel):
    """What a model may be asked for."""

    city: str
    days: int


async def chat(client: Any) -> Any:
    return await given(client.chat.completions.create(model="m", messages=HELLO, temperature=0.5))


async def chat_stream(client: Any) -> Any:
    stream = await given(client.chat.completions.create(model="m", messages=HELLO, stream=True))
    chunks = await items(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "".join(CHAT_STREAM)
    return next(cls for cls in type(stream).__mro__ if cls.__module__.partition(".")[0] == "openai"), chunks


async def chat_stream_left_early(client: Any) -> Any:
    stream = await given(client.chat.completions.create(model="m", messages=HELLO, stream=True))
    async with opened(stream) as events:
        return await given(anext(events) if hasattr(events, "__anext__") else next(events))


async def chat_stream_helper(client: Any) -> Any:
    async with opened(client.chat.completions.stream(model="m", messages=HELLO)) as stream:
        events = await items(stream)
        final = await given(stream.get_final_completion())
    assert final.choices[0].message.content == "".join(CHAT_STREAM)
    return [event.type for event in events], final


async def chat_parse(client: Any) -> Any:
    done = await given(client.chat.completions.parse(model="m", messages=HELLO, response_format=Trip))
    assert done.choices[0].message.parsed == Trip(city="Rome", days=3)
    return done


async def chat_tools(client: Any) -> Any:
    tool: Any = {"type": "function", "function": {"name": "plan", "parameters": {"type": "object"}}}
    return await given(client.chat.completions.create(model="m", messages=HELLO, tools=[tool]))


async def chat_raw(client: Any) -> Any:
    raw = await given(client.chat.completions.with_raw_response.create(model="m", messages=HELLO))
    return type(raw), raw.status_code, raw.headers["x-request-id"], raw.text, raw.retries_taken, raw.parse()


async def chat_raw_stream(client: Any) -> Any:
    raw = await given(client.chat.completions.with_raw_response.create(model="m", messages=HELLO, stream=True))
    return type(raw), raw.http_request.method, await items(raw.parse())


async def chat_streaming_response(client: Any) -> Any:
    create = client.chat.completions.with_streaming_response.create
    async with opened(create(model="m", messages=HELLO)) as response:
        return type(response), response.http_response.status_code, await given(response.parse())


async def chat_streaming_response_lines(client: Any) -> Any:
    create = client.chat.completions.with_streaming_response.create
    async with opened(create(model="m", messages=HELLO, stream=True)) as response:
        return await items(response.iter_lines())


async def chat_with_extras(client: Any) -> Any:
    return await given(
        client.chat.completions.create(
            model="m",
            messages=HELLO,
            extra_headers={"X-Trace": "t1", "x-trace-2": "t2"},
            extra_query={"a": "1 2", "b": ["x", "y"]},
            extra_body={"unknown": {"deep": [1, None]}},
            timeout=30,
        )
    )


async def with_options(client: Any) -> Any:
    other = client.with_options(timeout=7, max_retries=0, default_headers={"X-Of": "options"}, organization="org")
    return type(other) is type(client), await chat(other)


async def copied(client: Any) -> Any:
    return await chat(client.copy(default_query={"q": "copied"}, set_default_headers={"X-Of": "copy"}))


async def legacy_completions(client: Any) -> Any:
    return await given(client.completions.create(model="m", prompt="hello"))


async def responses(client: Any) -> Any:
    done = await given(client.responses.create(model="m", input="hello"))
    assert done.output_text == "Hello"
    return done


async def responses_stream(client: Any) -> Any:
    return await items(await given(client.responses.create(model="m", input="hello", stream=True)))


async def responses_stream_helper(client: Any) -> Any:
    async with opened(client.responses.stream(model="m", input="hello")) as stream:
        events = await items(stream)
        final = await given(stream.get_final_response())
    return [event.type for event in events], final


async def responses_retrieve(client: Any) -> Any:
    return await given(client.responses.with_raw_response.retrieve("r1"))


async def embeddings(client: Any) -> Any:
    return await given(client.embeddings.create(model="m", input=["hello"], encoding_format="float"))


async def embeddings_as_they_come(client: Any) -> Any:
    return await given(client.embeddings.create(model="m", input="hello"))


async def images(client: Any) -> Any:
    return await given(client.images.generate(model="m", prompt="a cat"))


async def image_edit(client: Any) -> Any:
    return await given(client.images.edit(image=("a.png", b"png", "image/png"), prompt="a cat"))


async def speech(client: Any) -> Any:
    done = await given(client.audio.speech.create(model="m", input="hello", voice="alloy"))
    assert done.content == AUDIO
    return type(done), done.content


async def speech_streaming_response(client: Any) -> Any:
    create = client.audio.speech.with_streaming_response.create
    async with opened(create(model="m", input="hello", voice="alloy")) as response:
        return type(response), b"".join(await items(response.iter_bytes()))


async def transcription(client: Any) -> Any:
    return await given(client.audio.transcriptions.create(model="m", file=("a.mp3", b"mp3", "audio/mpeg")))


async def file_upload(client: Any) -> Any:
    return await given(client.files.create(file=FILE, purpose="batch"))


async def file_content(client: Any) -> Any:
    done = await given(client.files.content("f1"))
    return (
        type(done),
        done.text,
        await items(await given(done.aiter_lines() if _is_async(client) else done.iter_lines())),
    )


async def file_delete(client: Any) -> Any:
    return await given(client.files.delete("f1"))


async def pages(client: Any) -> Any:
    listed = client.files.list(limit=2)
    found = await items(listed)
    assert [file.id for file in found] == ["f1", "f2", "f3", "f4", "f5", "f6"]
    return found


async def pages_by_hand(client: Any) -> Any:
    first = await given(client.files.list(limit=2))
    assert first.has_next_page()
    second = await given(first.get_next_page())
    return first.data, second.data


async def batches(client: Any) -> Any:
    made = await given(
        client.batches.create(completion_window="24h", endpoint="/v1/chat/completions", input_file_id="f1")
    )
    return made, await given(client.batches.retrieve("b1"))


async def models(client: Any) -> Any:
    return await items(client.models.list()), await given(client.models.retrieve("m"))


async def moderations(client: Any) -> Any:
    return await given(client.moderations.create(input="hello"))


async def anything(client: Any) -> Any:
    options = make_request_options(extra_headers={"X-Own": "1"})
    return await given(client.post("/embeddings", cast_to=object, body={"own": True}, options=options))


async def http_response(client: Any) -> Any:
    response = await given(client.get("/models", cast_to=httpx.Response))
    return type(response), response.status_code, response.json()


def _is_async(client: Any) -> bool:
    return hasattr(client, "__aenter__")


CASES: dict[str, Case] = {
    case.__name__: case
    for case in (
        chat,
        chat_stream,
        chat_stream_left_early,
        chat_stream_helper,
        chat_parse,
        chat_tools,
        chat_raw,
        chat_raw_stream,
        chat_streaming_response,
        chat_streaming_response_lines,
        chat_with_extras,
        with_options,
        copied,
        legacy_completions,
        responses,
        responses_stream,
        responses_stream_helper,
        responses_retrieve,
        embeddings,
        embeddings_as_they_come,
        images,
        image_edit,
        speech,
        speech_streaming_response,
        transcription,
        file_upload,
        file_content,
        file_delete,
        pages,
        pages_by_hand,
        batches,
        models,
        moderations,
        anything,
        http_response,
    )
}


def shown(value: object) -> object:
    """Something that can be compared: the same when a user would see the same."""
    if isinstance(value, BaseModel):
        return type(value), value.model_dump(warnings=False), getattr(value, "_request_id", None)
    if isinstance(value, list | tuple):
        return [shown(item) for item in value]
    if hasattr(value, "http_response"):
        return type(value), value.http_response.status_code, value.http_response.text
    return value
