"""Is it the same client? Every case is asked of the stock client and of ours, at the same provider."""

from __future__ import annotations

import openai
import pytest

import phase1

from .answers import error, json_reply
from .cases import CASES, Case
from .provider import Provider
from .same import DOORS, both
from .world import APP_KEY, app_request, given, manager_of, no_fallback

pytest_plugins = ["tests.doors.providing"]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("door", DOORS)
async def test_every_resource_answers_as_the_stock_client(door: str, case: Case, provider: Provider) -> None:
    """The same result from the same requests, and all of them went through the pool."""
    async with manager_of(provider) as manager:
        with no_fallback(manager) as pooled:
            stock, ours = await both(door, provider, manager, case)
        assert ours == stock
        assert pooled() == len(provider.requests)


@pytest.mark.parametrize("status", [400, 404, 409, 418, 422])
@pytest.mark.parametrize("door", DOORS)
async def test_the_callers_own_errors_are_the_sdks(door: str, status: int, provider: Provider) -> None:
    """Type, status, code, body, request id and text of an error are what the stock client raises."""
    provider.answers(error(status, code="scripted_code", headers={"x-request-id": "req_error"}))
    async with manager_of(provider) as manager:
        stock, ours = await both(door, provider, manager, CASES["chat"], max_retries=0)
    assert ours == stock
    assert "req_error" in stock[0]  # type: ignore[index]


@pytest.mark.parametrize("status", [400, 404])
@pytest.mark.parametrize("case", ["chat_stream", "chat_raw", "chat_streaming_response", "speech_streaming_response"])
@pytest.mark.parametrize("door", DOORS)
async def test_errors_are_the_sdks_for_every_kind_of_answer(
    door: str, case: str, status: int, provider: Provider
) -> None:
    """Streams and raw answers fail as they do with the stock client."""
    provider.answers(error(status))
    async with manager_of(provider) as manager:
        stock, ours = await both(door, provider, manager, CASES[case], max_retries=0)
    assert ours == stock


@pytest.mark.parametrize("door", DOORS)
async def test_strict_validation_is_kept(door: str, provider: Provider) -> None:
    """`_strict_response_validation=True` raises for an answer of another shape, as with the stock client."""
    provider.answers(json_reply({"id": 1}))
    async with manager_of(provider) as manager:
        stock, ours = await both(door, provider, manager, CASES["chat"], _strict_response_validation=True)
    assert ours == stock
    assert ours[0][0] is openai.APIResponseValidationError  # type: ignore[index]


@pytest.mark.parametrize("door", DOORS)
async def test_client_options_reach_the_wire(door: str, provider: Provider) -> None:
    """What the client was made with is on every request: headers, query, organization, project."""
    options = {
        "default_headers": {"X-App": "a"},
        "default_query": {"q": "1"},
        "organization": "org",
        "project": "proj",
        "timeout": 9,
    }
    async with manager_of(provider) as manager:
        stock, ours = await both(door, provider, manager, CASES["chat"], **options)
    assert ours == stock
    assert {("x-app", "a"), ("openai-organization", "org")} <= set(provider.requests[0].headers)


@pytest.mark.parametrize("door", DOORS)
async def test_the_apps_own_header_fields_are_not_doubled(door: str, provider: Provider) -> None:
    """Each field is on the wire once."""
    async with manager_of(provider) as manager:
        await both(door, provider, manager, CASES["chat"])
    names = [name for name, _ in provider.requests[0].headers]
    assert len(names) == len(set(names))


async def test_without_the_pool_it_is_the_stock_client(provider: Provider) -> None:
    """`ENABLE_LLM_POOL=false`: no call goes through the engine, results are the same."""
    async with manager_of(provider, enable_llm_pool=False) as manager:
        with no_fallback(manager) as pooled:
            stock, ours = await both("async", provider, manager, CASES["chat"])
        assert ours == stock
        assert pooled() == 0


def test_clients_are_the_sdks_clients() -> None:
    """`isinstance` holds, and so does `issubclass`."""
    assert isinstance(phase1.OpenAI(api_key="k"), openai.OpenAI)
    assert isinstance(phase1.AsyncOpenAI(api_key="k"), openai.AsyncOpenAI)
    assert not isinstance(openai.OpenAI(api_key="k"), phase1.OpenAI)


def test_repr_shows_no_key() -> None:
    """A client in a log line is no leak."""
    assert "sk-secret" not in repr(phase1.OpenAI(api_key="sk-secret"))


def test_options_are_where_the_sdk_has_them() -> None:
    """Attributes of the client are what it was made with."""
    client = phase1.OpenAI(api_key="k", base_url="http://h/v1", timeout=3, max_retries=7, organization="o")
    assert (client.api_key, str(client.base_url), client.timeout, client.max_retries, client.organization) == (
        "k",
        "http://h/v1/",
        3,
        7,
        "o",
    )


def test_a_client_without_a_key_is_refused_by_the_sdk() -> None:
    """The SDK's own complaint, not ours."""
    with pytest.raises(openai.OpenAIError):
        phase1.OpenAI()


async def test_a_closed_client_is_refused_by_neither_side(provider: Provider) -> None:
    """The pool's connections are not the client's: closing one client leaves the others alone."""
    async with manager_of(provider) as manager, app_request(manager):
        first, second = (phase1.AsyncOpenAI(api_key=APP_KEY, base_url=provider.url) for _ in range(2))
        await CASES["chat"](first)
        await first.close()
        assert first.is_closed()
        await CASES["chat"](second)
        assert not second.is_closed()
        await second.close()


async def test_what_does_not_go_through_request_is_left_alone() -> None:
    """Realtime connections are the SDK's own."""
    client = phase1.AsyncOpenAI(api_key="k")
    assert type(client.realtime.connect(model="m")).__module__.startswith("openai.")
    await client.close()


async def test_the_platform_is_found_out_once(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK asks a thread for the platform's name at an asynchronous client's first call, not at each."""
    async with manager_of(provider) as manager, app_request(manager):
        client = phase1.AsyncOpenAI(api_key=APP_KEY, base_url=provider.url)
        await given(CASES["chat"](client))
        monkeypatch.setattr("openai._base_client.get_platform", lambda: pytest.fail("asked again"))
        await given(CASES["chat"](client))
        await client.close()
