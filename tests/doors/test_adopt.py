"""Is an adopted object still the same to everybody who uses it, and do its blocking methods leave the loop free?"""

from __future__ import annotations

import asyncio
import copy
import functools
import pickle
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Any, Self

import openai
import pytest

import phase1
from phase1.doors.portal import in_portal
from phase1.doors.unit import current_unit
from phase1.exceptions import PoolClosed

from .bench import BOUND, Bench
from .cases import HELLO
from .provider import Providers
from .world import APP_KEY, app_request, bounded, given, manager_of

pytest_plugins = ["tests.doors.providing"]


@pytest.fixture(autouse=True)
def pool_on(env: Callable[..., None]) -> None:
    """What `adopt` looks at."""
    env(ENABLE_LLM_POOL="true")


class Mode(Enum):
    """A setting of the provider's client."""

    FAST = "fast"


class Messages:
    """A resource of the client."""

    def __init__(self, owner: Provider) -> None:
        self.owner = owner

    def create(self, text: str) -> str:
        self.owner.note()
        return f"created {text}"

    def stream(self, *words: str) -> Words:
        self.owner.note()
        return Words(self.owner, list(words))


class Words:
    """A stream as other SDKs have it: an iterator with a connection."""

    def __init__(self, owner: Provider, words: list[str]) -> None:
        self.owner = owner
        self.words = words
        self.closed = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.owner.note()
        if not self.words:
            raise StopIteration
        return self.words.pop(0)

    def __enter__(self) -> Self:
        self.owner.note()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.owner.note()
        self.closed = True


class Refused(Exception):
    """What the provider's SDK raises."""


@dataclass
class Provider:
    """Another provider's client. `threads` is where its code has run."""

    model: str = "their-model"
    mode: Mode = Mode.FAST
    threads: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate: Any = None

    def note(self) -> None:
        """Remember who is running this."""
        self.threads.append(threading.current_thread().name)

    @property
    def messages(self) -> Messages:
        """A resource."""
        return Messages(self)

    def ask(self, text: str = "hello", *, loud: bool = False) -> str:
        """Block for an answer."""
        self.note()
        return text.upper() if loud else text

    def fail(self) -> None:
        """Never answers."""
        self.note()
        raise Refused("no")

    def words(self, *words: str) -> Iterator[str]:
        """A generator, with a last word of its own."""
        for word in words:
            self.note()
            yield word
        return "the end"

    def with_options(self) -> Provider:
        """Another client of the same kind."""
        return Provider(model="with options", threads=self.threads)

    async def ask_async(self) -> str:
        """Is asynchronous by itself."""
        self.note()
        return "async"

    async def words_async(self) -> AsyncIterator[str]:
        """A stream that is asynchronous by itself."""
        self.note()
        yield "async"

    def ask_awaitable(self) -> Awaitable[str]:
        """Gives something to await."""
        return self.ask_async()

    def __enter__(self) -> Self:
        self.note()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.note()


@pytest.fixture
def bench() -> Bench:
    """A manager whose threads are used."""
    return Bench()


@pytest.fixture
def theirs() -> Provider:
    """The client that the app made."""
    return Provider()


LEGACY = "phase1-legacy"
HERE = threading.main_thread().name


# The loop is free


async def test_a_blocking_method_runs_in_our_threads(bench: Bench, theirs: Provider) -> None:
    """Called in an `async def`: off the loop, with its arguments and its answer."""
    client = phase1.adopt(theirs)
    async with bench.manager, app_request(bench.manager):
        assert client.ask("hi", loud=True) == "HI"
    assert theirs.threads == [LEGACY]


async def test_many_blocking_methods_run_at_once(bench: Bench, theirs: Provider) -> None:
    """Each waits for all the others: none of them blocks the loop."""
    barrier = threading.Barrier(3, timeout=BOUND)
    client: Any = phase1.adopt(functools.partial(barrier.wait))

    async def endpoint() -> None:
        async with app_request(bench.manager):
            client()

    async with bench.manager:
        await bounded(asyncio.gather(*(in_portal(endpoint()) for _ in range(3))))  # type: ignore[arg-type]


async def test_nested_resources_do_too(bench: Bench, theirs: Provider) -> None:
    """`client.messages.create(…)`."""
    client = phase1.adopt(theirs)
    async with bench.manager, app_request(bench.manager):
        assert client.messages.create("x") == "created x"
    assert theirs.threads == [LEGACY]


async def test_generators_are_read_in_our_threads(bench: Bench, theirs: Provider) -> None:
    """Item by item, and the last word is not lost."""
    client = phase1.adopt(theirs)

    def whole() -> Iterator[str]:
        end = yield from client.words("a", "b")  # type: ignore[misc]
        yield str(end)

    async with bench.manager, app_request(bench.manager):
        assert list(client.words("a", "b")) == ["a", "b"]
        assert list(whole()) == ["a", "b", "the end"]
    assert set(theirs.threads) == {LEGACY}


async def test_streams_of_other_sdks_are_read_in_our_threads(bench: Bench, theirs: Provider) -> None:
    """An iterator that is a context manager, too: entered, read and left off the loop."""
    client = phase1.adopt(theirs)
    async with bench.manager, app_request(bench.manager):
        with client.messages.stream("a", "b") as stream:
            assert list(stream) == ["a", "b"]
        assert isinstance(stream, Words)
        assert stream.closed
    assert set(theirs.threads) == {LEGACY}


async def test_a_context_manager_is_entered_off_the_loop(bench: Bench, theirs: Provider) -> None:
    """What `with` gives is adopted as well."""
    async with bench.manager, app_request(bench.manager):
        with phase1.adopt(theirs) as client:
            assert client.ask() == "hello"
    assert set(theirs.threads) == {LEGACY}


async def test_a_client_made_by_the_client_is_adopted(bench: Bench, theirs: Provider) -> None:
    """`client.with_options(…).ask()`."""
    async with bench.manager, app_request(bench.manager):
        other = phase1.adopt(theirs).with_options()
        assert other.model == "with options"
        other.ask()
    assert theirs.threads == [LEGACY]


async def test_a_thread_may_block(bench: Bench, theirs: Provider) -> None:
    """In a `def` endpoint the method runs where it was called."""
    client = phase1.adopt(theirs)
    async with bench.manager, app_request(bench.manager):
        await asyncio.to_thread(client.ask)
    assert theirs.threads[0] != LEGACY


async def test_asynchronous_methods_stay_on_the_loop(bench: Bench, theirs: Provider) -> None:
    """They never blocked it."""
    client = phase1.adopt(theirs)
    async with bench.manager, app_request(bench.manager):
        assert await client.ask_async() == "async"
        assert [word async for word in client.words_async()] == ["async"]
        assert await client.ask_awaitable() == "async"
    assert theirs.threads == [HERE] * 3


async def test_without_a_portal_it_blocks_as_before_and_is_counted(bench: Bench, theirs: Provider) -> None:
    """The app's own line is named."""
    client = phase1.adopt(theirs)
    async with bench.manager, app_request(bench.manager, portal=False):
        client.ask()
    assert theirs.threads == [HERE]
    ((site, times),) = bench.manager.tally.blocking_sites.items()
    assert (site.rpartition(":")[0], times) == (__file__, 1)


@pytest.mark.parametrize("switch", ["disable_pool", "force_legacy_llm", "emergency_mode"])
async def test_a_kill_switch_does_not_block_the_loop_again(switch: str, theirs: Provider) -> None:
    """It is the way to the pool that is closed; what was adopted is legacy anyway."""
    bench = Bench(**{switch: True})
    async with bench.manager, app_request(bench.manager):
        phase1.adopt(theirs).ask()
    assert theirs.threads == [LEGACY]


async def test_an_app_with_the_pool_off_is_left_alone(theirs: Provider) -> None:
    """Adopted in the environment, but this app's settings say off: inline, uncounted."""
    bench = Bench(enable_llm_pool=False)
    async with bench.manager, app_request(bench.manager):
        phase1.adopt(theirs).ask()
    assert theirs.threads == [HERE]
    assert not bench.manager.tally.blocking_sites


async def test_calls_inside_belong_to_the_request(bench: Bench) -> None:
    """A wrapper around the SDK finds the request's unit in the thread it runs in."""
    seen: list[object] = []
    client: Any = phase1.adopt(functools.partial(lambda: seen.append(current_unit.get())))
    async with bench.manager, app_request(bench.manager) as unit:
        client()
    assert seen == [unit]


# It is the same object


def test_off_means_the_very_same_object(env: Callable[..., None], theirs: Provider) -> None:
    """`ENABLE_LLM_POOL=false`: nothing is between the app and its client."""
    env(ENABLE_LLM_POOL="false")
    stock = openai.OpenAI(api_key="k")
    assert phase1.adopt(theirs) is theirs
    assert phase1.adopt(stock) is stock


def test_twice_is_once(theirs: Provider) -> None:
    """Adopting what was adopted changes nothing."""
    client = phase1.adopt(theirs)
    assert phase1.adopt(client) is client


def test_type_checks_and_comparisons_hold(theirs: Provider) -> None:
    """`isinstance`, equality, hash, repr, truth."""
    client = phase1.adopt(theirs)
    assert isinstance(client, Provider)
    assert client == theirs
    assert theirs == client
    assert repr(client) == repr(theirs)
    assert str(client) == str(theirs)
    assert client.__class__ is Provider
    assert bool(phase1.adopt([])) is False


def test_attributes_are_read_and_written_through(theirs: Provider) -> None:
    """What is set on the one is set on the other; plain values are plain."""
    client = phase1.adopt(theirs)
    client.model = "new"
    assert theirs.model == "new"
    assert type(client.model) is str
    assert client.mode is Mode.FAST
    assert client.threads is theirs.threads
    del client.model
    assert "model" not in vars(theirs)


def test_a_missing_attribute_is_missing(theirs: Provider) -> None:
    """The error is the object's own."""
    client: Any = phase1.adopt(theirs)
    with pytest.raises(AttributeError, match="Provider"):
        _ = client.nothing
    assert not hasattr(client, "nothing")


def test_it_can_do_what_the_object_can() -> None:
    """Callable and iterable only if the object is."""
    assert callable(phase1.adopt(print))
    assert not callable(phase1.adopt(Provider()))
    assert list(phase1.adopt([1, 2])) == [1, 2]
    with pytest.raises(TypeError):
        iter(phase1.adopt(Provider()))  # type: ignore[call-overload]


def test_methods_keep_their_names_and_signatures(theirs: Provider) -> None:
    """Frameworks look at them."""
    import inspect

    client = phase1.adopt(theirs)
    assert client.ask.__name__ == "ask"
    assert inspect.signature(client.ask) == inspect.signature(theirs.ask)
    assert client.ask.__doc__ == "Block for an answer."


async def test_exceptions_are_the_objects_own(bench: Bench, theirs: Provider) -> None:
    """Type, text and the line that raised."""
    client = phase1.adopt(theirs)
    async with bench.manager, app_request(bench.manager):
        with pytest.raises(Refused, match="no") as raised:
            client.fail()
    assert raised.traceback[-1].name == "fail"


def test_copies_are_adopted_too(theirs: Provider) -> None:
    """`copy.copy` and `copy.deepcopy`, as frameworks do with their settings."""
    client = phase1.adopt(theirs)
    for twin in (copy.copy(client), copy.deepcopy(client)):
        assert twin == client
        assert type(twin) is type(client)
        assert twin.__wrapped__ is not theirs  # type: ignore[attr-defined]


def test_a_pickled_object_is_adopted_where_it_arrives(theirs: Provider, env: Callable[..., None]) -> None:
    """In another process it is what that process's switch says."""
    pickled = pickle.dumps(phase1.adopt(theirs))
    assert type(pickle.loads(pickled)) is type(phase1.adopt(theirs))  # noqa: S301 - our own
    env(ENABLE_LLM_POOL="false")
    assert type(pickle.loads(pickled)) is Provider  # noqa: S301


# Clients of the SDK


@pytest.mark.parametrize(
    "made",
    [
        lambda: openai.OpenAI(api_key="k", timeout=7),
        lambda: openai.AsyncOpenAI(api_key="k", timeout=7),
        lambda: openai.AzureOpenAI(api_key="k", api_version="1", azure_endpoint="https://h.test", timeout=7),
        lambda: openai.AsyncAzureOpenAI(api_key="k", api_version="1", azure_endpoint="https://h.test", timeout=7),
    ],
    ids=["OpenAI", "AsyncOpenAI", "AzureOpenAI", "AsyncAzureOpenAI"],
)
def test_a_client_of_the_sdk_stays_one(made: Callable[[], Any]) -> None:
    """The same class by name and check, the same options; the one given is not changed."""
    stock = made()
    before, cls = dict(vars(stock)), type(stock)
    client = phase1.adopt(stock)
    assert isinstance(client, cls)
    assert (type(client).__name__, repr(client).partition(" at ")[0]) == (
        cls.__name__,
        repr(stock).partition(" at ")[0],
    )
    assert (client.api_key, client.timeout, client.base_url) == (stock.api_key, 7, stock.base_url)
    assert type(client.with_options(timeout=8)) is type(client)
    assert type(phase1.adopt(made())) is type(client)
    assert (type(stock), vars(stock)) == (cls, before)


def test_resources_made_before_do_not_lead_past_the_door() -> None:
    """`client.chat` was used before the client was adopted: the adopted one makes its own."""
    stock = openai.OpenAI(api_key="k")
    chat = stock.chat
    client = phase1.adopt(stock)
    assert client.chat._client is client
    assert chat._client is stock
    assert stock.chat is chat


async def test_a_manager_that_is_gone_leaves_the_method_alone(bench: Bench, theirs: Provider) -> None:
    """After the pool was closed: a clear error that is ours, at once."""
    client = phase1.adopt(theirs)
    async with bench.manager, app_request(bench.manager):
        await bench.manager.aclose()
        with pytest.raises(PoolClosed):
            client.ask()


@pytest.mark.parametrize("cls", [openai.AzureOpenAI, openai.AsyncAzureOpenAI])
async def test_an_azure_client_stays_one_on_the_wire(cls: Any, providers: Providers) -> None:  # noqa: ANN401
    """Its URLs and its key's header, over the pool."""
    azure = providers.new("/openai")
    client = cls(api_key=APP_KEY, base_url=azure.url, api_version="2024-10-21")
    elsewhere = f"{azure.url}/elsewhere"
    async with manager_of(azure, openai_base_url=elsewhere) as manager, app_request(manager):
        await bounded(given(phase1.adopt(client).chat.completions.create(model="m", messages=HELLO)))
        assert sum(manager.tally.calls.values()) == 1
    assert azure.requests[0].header("api-key") == APP_KEY
    await given(client.close())


# More of what passes through


async def test_an_exception_is_the_very_same_object(bench: Bench) -> None:
    """Not one of ours, nor a copy; and `with` tells it to the object."""
    error = LookupError("gone")

    class Raising(Provider):
        def ask(self, text: str = "hello", *, loud: bool = False) -> str:
            raise error

        def __exit__(self, *exc_info: object) -> None:
            self.gate = exc_info[1]

    theirs = Raising()
    client = phase1.adopt(theirs)
    async with bench.manager, app_request(bench.manager):
        with pytest.raises(LookupError) as caught, client:
            client.ask()
    assert caught.value is error
    assert theirs.gate is error


async def test_closing_a_generator_reaches_it(bench: Bench, theirs: Provider) -> None:
    """`close()`: nothing comes any more."""
    async with bench.manager, app_request(bench.manager):
        words: Any = phase1.adopt(theirs).words("a", "b")
        assert next(words) == "a"
        words.close()
        assert list(words) == []


async def test_unblock_switched_off_is_inline(theirs: Provider) -> None:
    """`LLM_UNBLOCK=false`: as before."""
    bench = Bench(llm_unblock=False)
    async with bench.manager, app_request(bench.manager):
        phase1.adopt(theirs).ask()
    assert theirs.threads == [HERE]


def test_dir_is_the_objects_own(theirs: Provider) -> None:
    """What a shell completes."""
    assert dir(phase1.adopt(theirs)) == dir(theirs)


@pytest.mark.parametrize("toggle", ["false", ""])
@pytest.mark.parametrize("made", [Provider, dict, lambda: openai.AsyncOpenAI(api_key="k")])
def test_off_or_not_set_means_the_very_same_object(
    toggle: str, made: Callable[[], object], env: Callable[..., None]
) -> None:
    """Whatever it is."""
    env(ENABLE_LLM_POOL=toggle)
    client = made()
    assert phase1.adopt(client) is client
