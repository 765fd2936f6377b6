"""Does a trial give the SDK's own classes doors, and take them back without a trace?"""

# ruff: noqa: ANN401 - the SDK's classes

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import openai
import pytest

import phase1
from phase1.doors.everywhere import doors_open, open_doors, out_of_reach
from phase1.doors.sdk import AsyncDoor, SyncDoor

from .cases import CASES, HELLO, Case
from .provider import Provider
from .same import outcome, wire
from .world import APP_KEY, app_request, bounded, given, manager_of, no_fallback

pytest_plugins = ["tests.doors.providing"]

CLASSES = [openai.OpenAI, openai.AsyncOpenAI]
SUBCLASSES = [openai.AzureOpenAI, openai.AsyncAzureOpenAI]


class Own(openai.OpenAI):
    """An app's own subclass."""


def text(client: openai.OpenAI) -> str:
    """One answer."""
    return str(client.chat.completions.create(model="m", messages=HELLO).choices[0].message.content)


@pytest.fixture
def doors() -> Iterator[None]:
    """Open."""
    with doors_open():
        yield


@pytest.mark.parametrize("cls", CLASSES)
def test_doors_are_shut_without_a_trace(cls: Any) -> None:
    """`request` is the same function object as before, and no attribute of ours is left."""
    request, names = cls.request, set(vars(cls))
    with doors_open():
        assert cls.request is not request
    assert cls.request is request
    assert set(vars(cls)) == names


@pytest.mark.parametrize("cls", CLASSES)
def test_doors_are_shut_after_an_exception(cls: Any) -> None:
    """Whatever happens inside."""
    request = cls.request
    with pytest.raises(ZeroDivisionError), doors_open():
        raise ZeroDivisionError
    assert cls.request is request


@pytest.mark.parametrize("cls", CLASSES)
def test_opening_twice_is_once(cls: Any, doors: None) -> None:
    """The second time does not take the door for the SDK's own `request`."""
    before = dict(vars(cls))
    open_doors()
    assert dict(vars(cls)) == before
    assert cls._phase1_request not in {AsyncDoor.request, SyncDoor.request}


@pytest.mark.parametrize("cls", CLASSES)
def test_block_inside_a_block_leaves_the_doors_open(cls: Any, doors: None) -> None:
    """Who has not opened them does not shut them."""
    with doors_open():
        pass
    assert cls.request in {AsyncDoor.request, SyncDoor.request}


@pytest.mark.parametrize("cls", [*SUBCLASSES, Own])
def test_subclasses_have_doors_too(cls: Any) -> None:
    """Azure's, and the app's own; afterwards none."""
    request = cls.request
    with doors_open():
        assert cls.request in {AsyncDoor.request, SyncDoor.request}
    assert cls.request is request


@pytest.mark.parametrize("cls", [*CLASSES, Own])
async def test_client_that_exists_already_is_pooled_inside_only(cls: Any, provider: Provider) -> None:
    """Before and after, its requests are its own."""
    client = cls(api_key=APP_KEY, base_url=provider.url)

    async def ask() -> None:
        await bounded(given(client.chat.completions.create(model="m", messages=HELLO)))

    async with manager_of(provider) as manager, app_request(manager):
        await ask()
        assert sum(manager.tally.calls.values()) == 0
        with doors_open():
            await ask()
        assert sum(manager.tally.calls.values()) == 1
        await ask()
        assert sum(manager.tally.calls.values()) == 1
    await given(client.close())
    assert len(provider.requests) == 3


@pytest.mark.parametrize("cls", CLASSES)
async def test_pool_that_is_off_leaves_requests_alone(cls: Any, provider: Provider, doors: None) -> None:
    """A door with nothing behind it is the client's own way."""
    client = cls(api_key=APP_KEY, base_url=provider.url)
    async with manager_of(provider, enable_llm_pool=False) as manager, app_request(manager, portal=False):
        await bounded(given(client.chat.completions.create(model="m", messages=HELLO)))
        assert sum(manager.tally.calls.values()) == 0
    await given(client.close())
    assert provider.paths == ["POST /chat/completions"]


def test_out_of_reach_names_what_the_app_has_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another SDK; one that nobody has imported is not named."""
    monkeypatch.setitem(sys.modules, "anthropic", pytest)
    monkeypatch.delitem(sys.modules, "cohere", raising=False)
    assert "anthropic" in out_of_reach()
    assert "cohere" not in out_of_reach()


async def test_resources_that_exist_already_are_pooled(provider: Provider) -> None:
    """`completions = client.chat.completions`, kept somewhere."""
    with openai.OpenAI(api_key=APP_KEY, base_url=provider.url) as client:
        completions = client.chat.completions
        with doors_open():
            async with manager_of(provider) as manager, app_request(manager):
                completions.create(model="m", messages=HELLO)
                assert sum(manager.tally.calls.values()) == 1


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_every_resource_answers_as_before(kind: str, case: Case, provider: Provider) -> None:
    """The same client with and without doors: the same result from the same requests."""
    made: Any = openai.AsyncOpenAI if kind == "async" else openai.OpenAI
    client = made(api_key=APP_KEY, base_url=provider.url)
    stock = await bounded(outcome(case, client))
    seen_of_stock = wire(provider.requests)
    provider.requests.clear()
    with doors_open():
        async with manager_of(provider) as manager, app_request(manager):
            with no_fallback(manager) as pooled:
                ours = await bounded(outcome(case, client))
            assert pooled() == len(provider.requests)
    assert (ours, wire(provider.requests)) == (stock, seen_of_stock)
    closing = client.close()
    await closing if kind == "async" else None


class Asked(openai.OpenAI):
    """An app's own subclass that looks at each request."""

    def request(self, *args: Any, **kwargs: Any) -> Any:
        self.asked = True
        return super().request(*args, **kwargs)


async def test_an_apps_own_subclass_is_pooled_and_still_asked(doors: None, provider: Provider) -> None:
    """Its `request` is called, and calls the door."""
    async with manager_of(provider) as manager, app_request(manager):
        with Asked(api_key=APP_KEY, base_url=provider.url) as client:
            assert text(client) == "Hello"
            assert client.asked
        assert sum(manager.tally.calls.values()) == 1


@pytest.mark.parametrize("setting", [{}, {"force_legacy_llm": True}, {"enable_llm_pool": False}])
async def test_our_own_clients_work_as_they_do_without(
    doors: None, provider: Provider, env: Any, setting: dict[str, bool]
) -> None:
    """`phase1.OpenAI`, its subclasses and adopted clients, on every route: one request each."""
    env(ENABLE_LLM_POOL="true")
    options = {"api_key": APP_KEY, "base_url": provider.url}

    class OwnDoor(phase1.OpenAI):
        """Made while the doors are open."""

    class OwnStock(openai.OpenAI):
        """The same."""

    async with manager_of(provider, **setting) as manager, app_request(manager):
        clients = [phase1.OpenAI(**options), OwnDoor(**options), phase1.adopt(openai.OpenAI(**options))]  # type: ignore[arg-type]
        clients.append(phase1.adopt(OwnStock(**options)))  # type: ignore[arg-type]
        assert [text(client) for client in clients] == ["Hello"] * 4
        for client in clients:
            client.close()
    assert len(provider.requests) == 4


async def test_the_facade_is_not_pooled_twice(doors: None, provider: Provider) -> None:
    """`llm.chat` is an SDK client on the pool already."""
    async with manager_of(provider) as manager:
        await manager.llm().chat.completions.create(model="m", messages=HELLO)
        assert dict(manager.tally.calls) == {"ok": 1}
    assert len(provider.requests) == 1
