"""Does the public interface have the types that a user expects? Checked by mypy in strict mode; nobody runs it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, assert_type

import openai
from fastapi import Depends, FastAPI
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessageParam
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response

import phase1

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


class OldClient:
    """The app's own client."""

    model = "m"

    def generate_response(self, messages: list[dict[str, str]]) -> str:
        """The text of the answer; blocks."""
        return messages[0]["content"]

    def stream(self) -> Iterator[str]:
        """Its words."""
        yield self.model


old_client = OldClient()


# Into the app: install, a lifespan, or the middleware.


@contextlib.asynccontextmanager
async def my_lifespan(app: FastAPI) -> AsyncIterator[dict[str, int]]:
    """The app's own."""
    yield {"started": 1}


def user_of(request: HTTPConnection) -> str | None:
    """Whose request it is."""
    return request.headers.get("x-user")


settings = phase1.Settings.load(enable_llm_pool=True, llm_pool_size=10)
assert_type(settings, phase1.Settings)
assert_type(settings.llm_pool_size, int)

offloading = FastAPI()
phase1.install(offloading, offload=True)
phase1.install(offloading, offload=phase1.offload.Hooks(user=user_of, priority=lambda request: 0))
offloading.mount("/api/async", phase1.offload.router)

app = FastAPI()
manager = phase1.install(app, lambda: old_client, settings=settings, user_key=user_of)
assert_type(manager, phase1.LLMManager)

FastAPI(lifespan=phase1.lifespan())
FastAPI(lifespan=phase1.lifespan(my_lifespan, legacy=lambda: old_client))
Starlette(middleware=[Middleware(phase1.Phase1Middleware, legacy=old_client)])
app.add_middleware(phase1.Phase1Middleware, legacy=old_client, settings=settings, user_key=user_of)
wrapped = phase1.Phase1Middleware(app, old_client)


# In an endpoint.


@app.post("/chat")
async def chat(llm: phase1.LLM) -> str:
    """FastAPI."""
    assert_type(llm, phase1.LLMClient)
    completion = await llm.chat.completions.create(model="m", messages=HELLO)
    assert_type(completion, ChatCompletion)
    return await llm.generate_response_async([{"role": "user", "content": "hello"}], temperature=0.5)


def get_current_user() -> dict[str, str]:
    """The app's own dependency."""
    return {"id": "u1"}


UserLLM = Annotated[phase1.LLMClient, Depends(phase1.llm_for(get_current_user))]


@app.post("/mine")
async def mine(llm: UserLLM) -> str | None:
    """Keyed by the app's own user."""
    assert_type(llm.route, str)
    return llm.key


async def starlette_endpoint(request: Request) -> Response:
    """Starlette."""
    llm = phase1.get_llm(request)
    assert_type(llm, phase1.LLMClient)
    assert_type(llm.generate_response([{"role": "user", "content": "hello"}]), str)
    return JSONResponse({"route": llm.route, "reason": llm.reason})


async def script() -> dict[str, object]:
    """Without an app."""
    async with phase1.LLMManager(settings, old_client) as own:
        assert_type(own, phase1.LLMManager)
        assert_type(own.llm("user"), phase1.LLMClient)
        assert_type(own.client, phase1.AsyncOpenAI)
        return own.get_metrics()


# The SDK's clients.


async def asynchronous() -> None:
    """In the place of `openai.AsyncOpenAI`."""
    async with phase1.AsyncOpenAI(api_key="sk", timeout=5.0) as client:
        stock: openai.AsyncOpenAI = client
        assert_type(await stock.chat.completions.create(model="m", messages=HELLO), ChatCompletion)
        assert_type(client.with_options(max_retries=1), phase1.AsyncOpenAI)
        stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True)
        async for chunk in stream:
            assert_type(chunk, ChatCompletionChunk)


def synchronous() -> openai.OpenAI:
    """In the place of `openai.OpenAI`."""
    client = phase1.OpenAI(api_key="sk")
    assert_type(client.chat.completions.create(model="m", messages=HELLO), ChatCompletion)
    for chunk in client.chat.completions.create(model="m", messages=HELLO, stream=True):
        assert_type(chunk, ChatCompletionChunk)
    return client


assert_type(phase1.adopt(openai.OpenAI()), openai.OpenAI)
assert_type(phase1.adopt(openai.AsyncAzureOpenAI()), openai.AsyncAzureOpenAI)
assert_type(phase1.adopt(old_client), OldClient)


# One line off the loop.


def blocking(number: int, *, text: str = "") -> list[str]:
    """Blocks."""
    return [text] * number


async def coroutine_function(number: int) -> bytes:
    """Does not."""
    return bytes(number)


async def offloaded(words: AsyncIterator[int]) -> None:
    """`call` and `iterate`."""
    assert_type(await phase1.call(blocking, 2, text="hello"), list[str])
    assert_type(await phase1.call(coroutine_function, 2), bytes)
    await phase1.call(blocking, "two")  # type: ignore[call-overload]  # `fn`'s own signature is checked
    async for word in phase1.iterate(old_client.stream()):
        assert_type(word, str)
    async for number in phase1.iterate(words):
        assert_type(number, int)


async def relayed(client: phase1.AsyncOpenAI) -> None:
    """The bytes of a stream."""
    stream = await client.chat.completions.create(model="m", messages=[], stream=True)
    async for events in phase1.relay(stream):
        assert_type(events, bytes)


# Libraries that take an httpx client.

with phase1.http_client(timeout=5.0) as http:
    openai.OpenAI(http_client=http)
openai.AsyncOpenAI(http_client=phase1.async_http_client())


def observed(scope: dict[str, object]) -> bool:
    """Stages around database work, and our own pages in the app's traces."""
    with phase1.stage("db_fetch"):
        pass
    return assert_type(phase1.is_internal(scope), bool)


# Pools and balancers by themselves.


async def balanced() -> None:
    """The names of the migration guide."""
    pool = await phase1.get_llm_pool(pool_size=10, connection_timeout=30.0)
    async with pool.get_async_client() as client:
        assert_type(client, phase1.LLMClient)
    assert_type(await pool.get_metrics(), dict[str, object])
    configs: list[dict[str, object]] = [{"pool_size": 8, "weight": 1.0, "name": "primary"}]
    async with await phase1.get_load_balancer(
        strategy=phase1.LoadBalanceStrategy.ADAPTIVE, pool_configs=configs, health_check_interval=10.0
    ) as balancer:
        async with await balancer.get_client(prefer_async=True) as one:
            assert_type(await one.generate_response_async([{"role": "user", "content": "hello"}]), str)
        assert_type(await balancer.get_status(), dict[str, object])
    kept = phase1.get_async_llm_client(pool_size=10)
    assert_type(await kept.generate_response_async([{"role": "user", "content": "hello"}]), str)
    assert_type(kept.client, phase1.AsyncOpenAI)


# Chat endpoints.


class ChatAgent:
    """Expensive."""


@phase1.chat.cached_agent
def get_chat_agent() -> ChatAgent:
    """Built once."""
    return ChatAgent()


@phase1.chat.cached_agent
async def get_other_agent() -> ChatAgent:
    """On the loop."""
    return ChatAgent()


def save_turn(turn: phase1.chat.Turn) -> None:
    """Write it."""


def recent(question: phase1.chat.Question) -> list[dict[str, str]]:
    """Read it."""
    return [{"message": str(question.user_id), "response": ""}] * question.history_limit


chat_store = phase1.chat.ChatStore(phase1.chat.AsyncDatabaseHelper(), history=recent, save=save_turn)


async def better_chat(chat_data: object, llm: phase1.LLMClient) -> Response:
    """The second way."""
    answer = await phase1.chat.optimized_chat_with_ai(
        chat_data=chat_data, current_user=1, supabase=chat_store, llm_client=llm, prompt=phase1.chat.plain_prompt
    )
    assert_type(answer, phase1.chat.OptimizedChatResponse)
    return JSONResponse({"response": answer.response, "times": answer.performance_metrics})


@phase1.chat.optimized(better_chat, switch="use_optimized_chat")
async def own_chat(chat_data: object, llm: phase1.LLM) -> str:
    """As it was."""
    return "own"


async def agents() -> None:
    """One of each kind."""
    assert_type(get_chat_agent(), ChatAgent)
    assert_type(await get_other_agent(), ChatAgent)
    assert_type(get_chat_agent.cache_info(), phase1.chat.CacheInfo)
    db = phase1.chat.AsyncDatabaseHelper(threads=4, timeout=2.0)
    read = await db.gather(
        project=phase1.chat.required(blocking, 1), history=phase1.chat.optional(coroutine_function, 2, default=b"")
    )
    assert_type(read, phase1.chat.Fetched)
    phase1.chat.add_agent_cache_route(app, get_chat_agent)
    phase1.chat.add_agent_cache_route(app, get_other_agent, settings=settings)
