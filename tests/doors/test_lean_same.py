"""Is the short way the same way? What a known client is asked and answered, beside the stock client."""

# ruff: noqa: ANN401 - the SDK's clients, whatever they are

from __future__ import annotations

import json
from array import array
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from phase1.doors.lean import short

from .answers import DONE, Reply, chat, error, json_reply, sse_reply, words
from .cases import CASES, HELLO, Case
from .provider import Fault, Provider
from .same import DOORS, both, by_ours
from .world import app_request, given, items, manager_of, no_fallback

pytest_plugins = ["tests.doors.providing"]

NOT_GIVEN = getattr(openai, "omit", openai.NOT_GIVEN)
SHORT = (
    "chat",
    "chat_stream",
    "chat_stream_left_early",
    "chat_tools",
    "embeddings",
    "embeddings_as_they_come",
    "responses",
    "responses_stream",
)


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """How many calls go the short way."""
    sent = []
    send = short._send

    def counting(home: Any, asked: Any) -> Any:
        sent.append(asked)
        return send(home, asked)

    monkeypatch.setattr(short, "_send", counting)
    yield lambda: len(sent)


def asking(**arguments: Any) -> Case:
    """One chat call with these arguments."""

    async def case(client: Any) -> Any:
        made = {name: value() if callable(value) and name == "messages" else value for name, value in arguments.items()}
        answer = await given(client.chat.completions.create(**({"model": "m", "messages": HELLO} | made)))
        return await items(answer) if arguments.get("stream") is True else answer

    return case


async def read_all(client: Any) -> Any:
    """A chat stream, event by event, up to its end or its error."""
    seen: list[Any] = []
    stream = await given(client.chat.completions.create(model="m", messages=HELLO, stream=True))
    try:
        if hasattr(stream, "__aiter__"):
            async for chunk in stream:
                seen.append(chunk)  # noqa: PERF401 - what has come before an error is kept
        else:
            seen.extend(keeping(seen, stream))
    except openai.APIError as exc:
        return seen, type(exc), exc.message, exc.body
    return seen


def keeping(seen: list[Any], stream: Any) -> list[Any]:
    """Read it into `seen`, as far as it goes."""
    for chunk in stream:
        seen.append(chunk)  # noqa: PERF402 - what has come before an error is kept
    return []


def same(seen: Any) -> Any:
    """With bodies as JSON: in which order and how numbers and letters are written is the library's business."""
    outcome, requests = seen
    return outcome, [(method, path, headers, _json(body)) for method, path, headers, body in requests]


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body


@pytest.mark.parametrize("case", SHORT)
@pytest.mark.parametrize("door", DOORS)
async def test_known_client_goes_the_short_way(
    door: str, case: str, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same on the wire, the same in the hand, and the SDK's own code has not been asked."""
    async with manager_of(provider) as manager:
        with counted(monkeypatch) as sent, no_fallback(manager):
            stock, ours = await both(door, provider, manager, CASES[case], known=True)
    assert same(ours) == same(stock)
    assert sent() == 1


@pytest.mark.parametrize("case", sorted(CASES.keys() - set(SHORT)))
@pytest.mark.parametrize("door", DOORS)
async def test_everything_else_goes_the_ordinary_way(
    door: str, case: str, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raw answers, helpers, extras, copies and the other resources, of a client that is known."""
    async with manager_of(provider) as manager:
        with counted(monkeypatch) as sent, no_fallback(manager):
            stock, ours = await both(door, provider, manager, CASES[case], known=True)
    assert same(ours) == same(stock)
    assert sent() == 0


class Tone(StrEnum):
    """As apps write their constants."""

    CALM = "calm"


class Trip(BaseModel):
    """A structured answer."""

    city: str


MESSAGE = openai.types.chat.ChatCompletionMessage(role="assistant", content="before")
SHORTLY, ORDINARILY, EITHER = {1}, {0}, {0, 1}
ARGUMENTS: dict[str, tuple[dict[str, Any], set[int]]] = {
    "floats": ({"temperature": 0.1, "top_p": 1e-9}, SHORTLY),
    "big_numbers": ({"seed": 2**53, "max_tokens": 10**15}, SHORTLY),
    "too_big_a_number": ({"seed": 2**80}, ORDINARILY),
    "nested": ({"metadata": {"a": "b"}, "stop": ["x", "y"], "logit_bias": {"1": -100}}, SHORTLY),
    "none": ({"stop": None, "user": None}, SHORTLY),
    "not_given": ({"temperature": NOT_GIVEN, "stream": NOT_GIVEN}, ORDINARILY),
    "one_not_given": ({"temperature": NOT_GIVEN}, SHORTLY),
    "unicode": ({"messages": [{"role": "user", "content": "häß 日本 😀 \x00 \u2028 </s>"}]}, SHORTLY),
    "lone_surrogate": ({"messages": [{"role": "user", "content": "\ud800"}]}, ORDINARILY),
    "tuple": ({"messages": tuple(HELLO)}, SHORTLY),
    "generator": ({"messages": lambda: (dict(message) for message in HELLO)}, ORDINARILY),
    "an_answer_before": ({"messages": [*HELLO, MESSAGE]}, SHORTLY),
    "a_constant": ({"user": Tone.CALM}, EITHER),
    "a_date": ({"user": datetime(2026, 1, 1, tzinfo=UTC)}, ORDINARILY),
    "not_a_number": ({"temperature": float("nan")}, ORDINARILY),
    "a_class": ({"response_format": Trip}, ORDINARILY),
    "no_such_argument": ({"temprature": 1}, ORDINARILY),
    "stream_of_another_kind": ({"stream": 0}, EITHER),
    "streamed_with_usage": ({"stream": True, "stream_options": {"include_usage": True}}, SHORTLY),
}


@pytest.mark.parametrize(("arguments", "ways"), ARGUMENTS.values(), ids=ARGUMENTS)
@pytest.mark.parametrize("door", ["async", "portal"])
async def test_arguments_reach_the_wire_as_the_sdk_sends_them(
    door: str, arguments: dict[str, Any], ways: set[int], provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same body, or the same complaint."""
    async with manager_of(provider) as manager:
        with counted(monkeypatch) as sent:
            stock, ours = await both(door, provider, manager, asking(**arguments), known=True)
    assert same(ours) == same(stock)
    assert sent() in ways


@pytest.mark.parametrize("missing", ["model", "messages"])
async def test_missing_argument_is_the_sdks_complaint(missing: str, provider: Provider) -> None:
    """Nothing is sent."""

    async def case(client: Any) -> Any:
        arguments = {"model": "m", "messages": HELLO}
        del arguments[missing]
        return await given(client.chat.completions.create(**arguments))

    async with manager_of(provider) as manager:
        stock, ours = await both("async", provider, manager, case, known=True)
    assert same(ours) == same(stock)
    assert not provider.requests


def changed(**fields: Any) -> Reply:
    """A chat completion of another provider."""
    return json_reply(chat() | fields)


def choice(**fields: Any) -> Reply:
    """The same, with another choice."""
    (usual,) = chat()["choices"]
    return changed(choices=[usual | fields])


CALL = {"id": "t1", "function": {"name": "plan", "arguments": "{}"}}
ANSWERS = {
    "unknown_fields": changed(provider="x", nested={"a": [1]}, usage={"prompt_tokens": 1, "cost": 0.1}),
    "unknown_finish": choice(finish_reason="eos"),
    "unknown_tier": changed(service_tier="gold"),
    "text_for_a_number": changed(created="1"),
    "float_for_a_number": changed(created=1.5),
    "whole_float": changed(created=1.0),
    "no_id": json_reply({name: value for name, value in chat().items() if name != "id"}),
    "no_choices": changed(choices=[]),
    "null_choices": changed(choices=None),
    "null_content": choice(message={"role": "assistant", "content": None}),
    "tool_calls": choice(message={"role": "assistant", "tool_calls": [CALL | {"type": "function"}]}),
    "tool_calls_without_type": choice(message={"role": "assistant", "tool_calls": [CALL]}),
    "custom_tool_call": choice(
        message={
            "role": "assistant",
            "tool_calls": [{"id": "t", "type": "custom", "custom": {"name": "n", "input": "i"}}],
        }
    ),
    "logprobs": choice(logprobs={"content": [{"token": "a", "logprob": -1, "bytes": [1], "top_logprobs": []}]}),
    "reasoning": choice(message={"role": "assistant", "content": "x", "reasoning_content": "because"}),
    "no_request_id": Reply(200, [("content-type", "application/json")], [json.dumps(chat()).encode()]),
    "other_json_type": json_reply(chat(), headers={"content-type": "application/vnd.api+json"}),
    "a_list": json_reply([1, 2]),
    "a_text": json_reply("hello"),
    "empty_object": json_reply({}),
    "created": json_reply(chat(), status=201),
    "nothing": Reply(204, [("content-length", "0")], []),
    "plain_text": Reply(200, [("content-type", "text/plain"), ("content-length", "5")], [b"hello"]),
}


@pytest.mark.parametrize("reply", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("door", ["async", "portal"])
async def test_answers_of_every_shape_are_the_sdks_objects(door: str, reply: Reply, provider: Provider) -> None:
    """What is not to the letter is made by the SDK's own lenient code."""
    provider.answers(reply)
    async with manager_of(provider) as manager:
        stock, ours = await both(door, provider, manager, CASES["chat"], known=True, max_retries=0)
    assert same(ours) == same(stock)


def vectors(*embeddings: object, **fields: object) -> Reply:
    """An answer to a call of embeddings."""
    data = [{"object": "embedding", "index": index, "embedding": each} for index, each in enumerate(embeddings)]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    return json_reply({"object": "list", "model": "m", "data": data, "usage": usage} | fields)


def coded(*floats: float) -> str:
    """As OpenAI sends them."""
    return b64encode(array("f", floats).tobytes()).decode()


VECTORS = {
    "floats": vectors([0.5, -0.5], [1.0]),
    "whole_numbers": vectors([1, 2]),
    "base64": vectors(coded(0.1, -1e30, 3.0), coded(1.0)),
    "mixed": vectors(coded(0.1), [0.5]),
    "nothing_in_it": vectors(""),
    "no_base64": vectors("***"),
    "cut_base64": vectors("AAA"),
    "bytes_missing": vectors("AAAA"),
    "none": vectors(),
    "null": vectors(None),
    "no_data": json_reply({"object": "list", "model": "m"}),
    "unknown_fields": vectors(coded(0.1), cost=0.1),
    "other_shapes": vectors(coded(0.1), usage={"prompt_tokens": "1"}),
}


@pytest.mark.parametrize("reply", VECTORS.values(), ids=VECTORS)
@pytest.mark.parametrize("case", ["embeddings", "embeddings_as_they_come"])
@pytest.mark.parametrize("door", ["async", "portal"])
async def test_vectors_of_every_shape_are_the_sdks_objects(
    door: str, case: str, reply: Reply, provider: Provider
) -> None:
    """Decoded where the SDK decodes them, and no error where it has none."""
    provider.answers(reply)
    async with manager_of(provider) as manager:
        stock, ours = await both(door, provider, manager, CASES[case], known=True, max_retries=0)
    assert same(ours) == same(stock)


def events(*parts: object, **headers: str) -> Reply:
    """A stream of these events."""
    reply = sse_reply(*parts)
    return Reply(200, list({**dict(reply.headers), **headers}.items()), reply.parts)


def chunk(payload: dict[str, Any]) -> bytes:
    """One event."""
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


ROLE, HEL, LO, STOP, _ = words("Hel", "lo")
USAGE = chunk({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": None})
ERROR = chunk({"error": {"message": "over", "type": "server_error", "code": "x"}})
STREAMS = {
    "whole": events(ROLE, HEL, LO, STOP, USAGE, DONE),
    "one_packet": events(b"".join([ROLE, HEL, LO, STOP, USAGE, DONE])),
    "cut_anywhere": events(ROLE[:7], ROLE[7:] + HEL[:1], HEL[1:-1], HEL[-1:] + LO, STOP + DONE[:3], DONE[3:]),
    "other_line_ends": events(*(part.replace(b"\n", b"\r\n") for part in (ROLE, HEL, LO, STOP, DONE))),
    "keep_alives": events(b": hello\n\n", ROLE, b": ping\n\n", HEL, b"\n\n", LO, STOP, DONE),
    "no_space": events(*(part.replace(b"data: ", b"data:") for part in (ROLE, HEL, LO, STOP, DONE))),
    "named": events(*(b"event: chunk\n" + part for part in (ROLE, HEL, LO, STOP)), DONE),
    "several_lines": events(ROLE, HEL.replace(b', "object"', b',\ndata: "object"'), LO, STOP, DONE),
    "compact": events(*(part.replace(b": ", b":").replace(b", ", b",") for part in (ROLE, HEL, LO, STOP)), DONE),
    "no_end": events(ROLE, HEL, LO, STOP),
    "unknown_fields": events(ROLE, HEL.replace(b'"model"', b'"cost": 1, "model"'), LO, STOP, DONE),
    "other_shapes": events(ROLE, HEL.replace(b'"created": 1', b'"created": "1"'), LO, STOP, DONE),
    "unknown_finish": events(ROLE, HEL, LO, STOP.replace(b'"stop"', b'"eos"'), DONE),
    "error_in_the_words": events(ROLE, HEL.replace(b"Hel", b'\\"error\\"'), LO, STOP, DONE),
    "error_later": events(ROLE, HEL, ERROR),
    "after_the_end": events(ROLE, HEL, STOP, DONE, LO),
    "other_type": events(ROLE, HEL, STOP, DONE, **{"content-type": "application/octet-stream"}),
    "not_a_stream": json_reply(chat()),
}


@pytest.mark.parametrize("reply", STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("door", DOORS)
async def test_streams_of_every_shape_are_the_sdks_chunks(door: str, reply: Reply, provider: Provider) -> None:
    """Wherever the network cuts them."""
    provider.answers(reply)
    async with manager_of(provider) as manager:
        stock, ours = await both(door, provider, manager, read_all, known=True, max_retries=0)
    assert same(ours) == same(stock)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("known", ["known", "new"])
@pytest.mark.parametrize(
    "parts",
    [(ROLE, HEL, Fault.CUT), (ROLE, HEL, b'data: {"id": "c1", broken}\n\n'), (ROLE, HEL)],
    ids=["cut", "malformed", "no_end"],
)
async def test_broken_stream_ends_with_an_error(
    door: str, known: str, parts: tuple[object, ...], provider: Provider
) -> None:
    """After what was said, on both ways alike; the breaker counts it."""
    provider.answers(events(*parts))
    async with manager_of(provider) as manager:
        async with app_request(manager):
            ours = await by_ours(door, provider, read_all, known=known == "known", max_retries=0)
        seen, kind, message, _body = ours
        assert [fields["choices"][0]["delta"]["content"] for _, fields, _ in seen] == ["", "Hel"]
        assert (kind, message) == (openai.APIError, "the upstream's stream broke before its end")
        assert manager.tally.calls["broken_after_token"] == 1


@pytest.mark.parametrize("status", [400, 401, 404, 409, 418, 422, 429, 500, 503])
@pytest.mark.parametrize("case", ["chat", "chat_stream", "embeddings_as_they_come"])
@pytest.mark.parametrize("door", ["async", "portal"])
async def test_errors_are_the_sdks(door: str, case: str, status: int, provider: Provider) -> None:
    """Type, status, code, body, request id and text; what legacy may answer, legacy has answered."""
    provider.answers(error(status, code="scripted_code", headers={"x-request-id": "req_error"}))
    async with manager_of(provider) as manager:
        stock, ours = await both(door, provider, manager, CASES[case], known=True, max_retries=0)
    assert ours[0] == stock[0]  # type: ignore[index]
