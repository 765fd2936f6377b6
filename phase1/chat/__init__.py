"""What surrounds the call of the model in a chat endpoint?

Database work side by side, history limits, timings, a save that loses nothing, an agent that is built once. A room
beside the core: it uses the core's names, and the core never imports it. `phase1.chat.langchain` needs LangChain.
"""

from __future__ import annotations

from phase1.chat.agent_cache import AsyncCachedAgent, CachedAgent, CacheInfo, cached_agent
from phase1.chat.agent_route import add_agent_cache_route
from phase1.chat.answers import OptimizedAgentResponse, OptimizedChatResponse
from phase1.chat.database import AsyncDatabaseHelper, Fetched, Read, optional, required
from phase1.chat.dead_letters import DeadLetters, Replayed
from phase1.chat.endpoints import optimized_chat_with_ai, optimized_chat_with_conversation_agent
from phase1.chat.exceptions import AgentNotBuilt, ChatError, DatabaseTimeout, DeadLetterError, HistoryLimitError
from phase1.chat.history import HistoryLimits
from phase1.chat.optimized import optimized
from phase1.chat.prompt import Decision, PromptParts, plain_prompt
from phase1.chat.store import ChatStore
from phase1.chat.supabase import (
    AsyncProjectContextBuilder,
    SupabaseStore,
    parallel_fetch_context_and_history,
    parallel_save_chat_logs,
)
from phase1.chat.timing import PerformanceMetrics, QueryTiming, Stopwatch
from phase1.chat.turn import Question, Turn

__all__ = [
    "AgentNotBuilt",
    "AsyncCachedAgent",
    "AsyncDatabaseHelper",
    "AsyncProjectContextBuilder",
    "CacheInfo",
    "CachedAgent",
    "ChatError",
    "ChatStore",
    "DatabaseTimeout",
    "DeadLetterError",
    "DeadLetters",
    "Decision",
    "Fetched",
    "HistoryLimitError",
    "HistoryLimits",
    "OptimizedAgentResponse",
    "OptimizedChatResponse",
    "PerformanceMetrics",
    "PromptParts",
    "QueryTiming",
    "Question",
    "Read",
    "Replayed",
    "Stopwatch",
    "SupabaseStore",
    "Turn",
    "add_agent_cache_route",
    "cached_agent",
    "optimized",
    "optimized_chat_with_ai",
    "optimized_chat_with_conversation_agent",
    "optional",
    "parallel_fetch_context_and_history",
    "parallel_save_chat_logs",
    "plain_prompt",
    "required",
]
