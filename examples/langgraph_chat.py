"""A chat app around a LangGraph agent, before and after.

    uvicorn examples.langgraph_chat:app                          # after
    uvicorn --factory examples.langgraph_chat:create_before      # before
    python -m benchmarks.chat langgraph                          # both, with 50 users at once

Before: the agent is made by `if _chat_agent is None`, which builds several when several threads come first, and its
graph calls `llm.invoke` in a coroutine, so that one user after the other is answered. After: `cached_agent`,
`llm.ainvoke`, and the model on the pool, behind the pool's limit of requests per second.

    curl -s -X POST localhost:8000/api/chat -H 'Content-Type: application/json' -d '{"message": "Hello"}'
    curl -s localhost:8000/api/debug/agent-cache

Environment: what `.env.phase1.example` describes; OPENAI_API_KEY, OPENAI_BASE_URL, LLM_MODEL, ENABLE_LLM_POOL,
OPENAI_RATE_LIMIT_REQUESTS_PER_SECOND, OPENAI_MAX_RETRIES, CHAT_HISTORY_LIMIT_MAX.
Needs: pip install "phase1[langchain]" langgraph fastapi uvicorn
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypedDict
from uuid import uuid4

from fastapi import FastAPI
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph, add_messages
from pydantic import BaseModel, Field

import phase1
from phase1.chat import HistoryLimits, add_agent_cache_route, cached_agent
from phase1.chat.langchain import PoolRateLimiter, on_pool

logger = logging.getLogger("langgraph_chat")

SYSTEM_PROMPT = "You are a helpful assistant. Answer in the user's language."


class AgentState(TypedDict):
    """What the graph hands on."""

    messages: Annotated[list[BaseMessage], add_messages]


class ChatAgent:
    """One model, one graph, the conversations of this process."""

    def __init__(self) -> None:
        settings = phase1.Settings.load()
        logger.info("initializing the chat agent")
        self.history = HistoryLimits.of(settings)
        self.llm = on_pool(
            ChatOpenAI,
            model=os.environ.get("LLM_MODEL", "gpt-4o-mini"),
            temperature=0.7,
            rate_limiter=PoolRateLimiter(),  # OPENAI_RATE_LIMIT_REQUESTS_PER_SECOND
            max_retries=settings.openai_max_retries,
        )
        self.graph = self._compile()

    def _compile(self) -> Any:  # noqa: ANN401 - LangGraph's own, with four parameters
        graph = StateGraph(AgentState)
        graph.add_node("generate", self._generate_response)
        graph.add_edge(START, "generate")
        graph.add_edge("generate", END)
        return graph.compile(checkpointer=InMemorySaver())

    def _prompt(self, state: AgentState) -> list[BaseMessage]:
        return [SystemMessage(SYSTEM_PROMPT), *self.history.latest(state["messages"])]

    async def _generate_response(self, state: AgentState) -> dict[str, list[BaseMessage]]:
        """Ask the model, without blocking the event loop."""
        return {"messages": [await self.llm.ainvoke(self._prompt(state))]}

    async def chat(self, message: str, conversation_id: str) -> str:
        """The answer to `message`, which knows the conversation so far."""
        config = {"configurable": {"thread_id": conversation_id}}
        state = await self.graph.ainvoke({"messages": [HumanMessage(message)]}, config)
        return str(state["messages"][-1].text)

    async def aclose(self) -> None:
        """Close the connections of the model's HTTP clients."""
        self.llm.http_client.close()
        await self.llm.http_async_client.aclose()


@cached_agent
def get_chat_agent() -> ChatAgent:
    """The agent of this process, built once."""
    logger.info("building a new ChatAgent")
    return ChatAgent()


def clear_chat_agent_cache() -> None:
    """For tests: forget the agent."""
    get_chat_agent.cache_clear()


def get_chat_agent_cache_info() -> str:
    """For debugging: how often it was asked for and built."""
    info = get_chat_agent.cache_info()
    return f"hits={info.hits}, misses={info.misses}"


# --- before -----------------------------------------------------------------------------------------------------------


class BlockingChatAgent(ChatAgent):
    """The agent as it was: its model blocks the event loop."""

    async def _generate_response(self, state: AgentState) -> dict[str, list[BaseMessage]]:
        return {"messages": [self.llm.invoke(self._prompt(state))]}


_chat_agent: BlockingChatAgent | None = None


def get_blocking_chat_agent() -> BlockingChatAgent:
    """The singleton as it was: whoever comes while it is built, in another thread, builds another."""
    global _chat_agent  # noqa: PLW0603 - the pattern this is an example of
    if _chat_agent is None:
        _chat_agent = BlockingChatAgent()
    return _chat_agent


# --- the API ----------------------------------------------------------------------------------------------------------


class ChatRequest(BaseModel):
    """A message; without a conversation it begins one."""

    message: str = Field(min_length=1, max_length=4000)
    conversation_id: str | None = Field(None, min_length=1, max_length=64)


class ChatResponse(BaseModel):
    """The answer, and the conversation to go on with."""

    response: str
    conversation_id: str


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Let go of the agent at the end."""
    yield
    if (agent := get_chat_agent.peek()) is not None:
        await agent.aclose()
        clear_chat_agent_cache()


def create_app() -> FastAPI:
    """The app."""
    app = FastAPI(title="LangGraph chat", lifespan=lifespan)
    phase1.install(app)
    add_agent_cache_route(app, get_chat_agent)

    @app.post("/api/chat")
    async def chat(request: ChatRequest) -> ChatResponse:
        """Answer a message."""
        return await answer(get_chat_agent(), request)

    return app


def create_before() -> FastAPI:
    """The app as it was."""
    app = FastAPI(title="LangGraph chat, before")

    @app.post("/api/chat")
    async def chat(request: ChatRequest) -> ChatResponse:
        """Answer a message."""
        return await answer(get_blocking_chat_agent(), request)

    return app


async def answer(agent: ChatAgent, request: ChatRequest) -> ChatResponse:
    """What both do."""
    conversation_id = request.conversation_id or str(uuid4())
    logger.info("chat request: conversation_id=%s", conversation_id)
    response = await agent.chat(request.message, conversation_id)
    logger.info("chat response: conversation_id=%s", conversation_id)
    return ChatResponse(response=response, conversation_id=conversation_id)


app = create_app()
