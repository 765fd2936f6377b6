"""Do the code samples of the concurrency design (001) and of the integration guide (002) run with our import names?

They stand here as they stand there, but for the imports, the names of the app's files, and what they leave out (`...`).
Left out: `pip install aiofiles asyncio` (neither is needed, and asyncio on PyPI is not the one of the standard library),
and `uvicorn.run(app, workers=8)` (uvicorn takes several workers only with an import string).
"""

# ruff: noqa: RUF001, E501 - the samples are Japanese

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import os
import subprocess
import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from asgi_lifespan import LifespanManager

import phase1
from phase1.settings import Settings
from tests.example.upstream import Upstream

from .postgrest import PostgREST

pytestmark = pytest.mark.filterwarnings("ignore:The '.*' parameter is deprecated:DeprecationWarning")  # supabase's own

ROOT = Path(__file__).parents[2]
BOUND = 30.0


def module_of(text: str, **names: object) -> types.ModuleType:
    """The sample as a module, which knows `names` from the start."""
    module = types.ModuleType("sample")
    module.__dict__.update(names)
    sys.modules["sample"] = module
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # on_event: the samples have it
        exec(compile(text, "sample.py", "exec"), module.__dict__)  # noqa: S102 - our own text
    return module


class ChatAgent:
    """What the samples of 001 build. It waits until a second one is built, or nobody else can be."""

    built = 0
    again = threading.Event()
    patience = 0.05

    def __init__(self) -> None:
        ChatAgent.built += 1
        if ChatAgent.built > 1:
            ChatAgent.again.set()
        ChatAgent.again.wait(ChatAgent.patience)


@pytest.fixture(autouse=True)
def none_built() -> Iterator[None]:
    """Count anew."""
    ChatAgent.built, ChatAgent.again = 0, threading.Event()
    yield
    sys.modules.pop("sample", None)


# --- 001: the singleton -----------------------------------------------------------------------------------------------

NAIVE = """
# 問題のあった実装
_chat_agent: ChatAgent | None = None

def get_chat_agent() -> ChatAgent:
    global _chat_agent
    if _chat_agent is None:  # ← Race Condition発生ポイント
        _chat_agent = ChatAgent()
    return _chat_agent
"""

SINGLETON = '''
from phase1.chat import cached_agent

@cached_agent
def get_chat_agent() -> ChatAgent:
    """チャットエージェントのシングルトンインスタンスを取得（スレッドセーフ）."""
    logger.info("新しいChatAgentインスタンスを作成します")
    return ChatAgent()
'''

TEST_SUPPORT = '''
def clear_chat_agent_cache() -> None:
    """テスト用: エージェントキャッシュをクリア."""
    get_chat_agent.cache_clear()

def get_chat_agent_cache_info() -> str:
    """デバッグ用: キャッシュ統計を取得."""
    info = get_chat_agent.cache_info()
    return f"hits={info.hits}, misses={info.misses}"
'''

UNIT_TEST = """
import pytest
from examples.langgraph_chat import clear_chat_agent_cache, get_chat_agent

def test_chat_agent_singleton():
    # テスト前にキャッシュクリア
    clear_chat_agent_cache()

    # テスト実行
    agent1 = get_chat_agent()
    agent2 = get_chat_agent()

    # 同じインスタンスであることを確認
    assert agent1 is agent2
"""


def call_at_once(get: Callable[[], object], callers: int = 100) -> None:
    """So many first calls."""
    start = threading.Barrier(callers)

    def call() -> object:
        start.wait(BOUND)
        return get()

    with ThreadPoolExecutor(callers) as pool:
        for done in [pool.submit(call) for _ in range(callers)]:
            done.result(BOUND)


def test_001_naive_singleton_is_built_more_than_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The design's problem: several instances for calls at the same time."""
    monkeypatch.setattr(ChatAgent, "patience", BOUND)
    call_at_once(module_of(NAIVE, ChatAgent=ChatAgent).get_chat_agent)
    assert ChatAgent.built > 1


def test_001_cached_agent_is_built_once() -> None:
    """The design's solution, with a decorator that keeps its promise."""
    names = {"ChatAgent": ChatAgent, "logger": logging.getLogger("sample")}
    sample = module_of(SINGLETON + TEST_SUPPORT, **names)
    call_at_once(sample.get_chat_agent)
    assert ChatAgent.built == 1
    assert sample.get_chat_agent_cache_info() == "hits=99, misses=1"
    sample.clear_chat_agent_cache()
    assert sample.get_chat_agent_cache_info() == "hits=0, misses=0"


@pytest.fixture
def example(env: Callable[..., None]) -> Iterator[types.ModuleType]:
    """`examples.langgraph_chat`, new."""
    env(OPENAI_API_KEY="sk-x")
    spec = importlib.util.spec_from_file_location("examples.langgraph_chat", ROOT / "examples" / "langgraph_chat.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["examples.langgraph_chat"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    asyncio.run(module.get_chat_agent().aclose())
    del sys.modules["examples.langgraph_chat"]


def test_001_unit_test(example: types.ModuleType) -> None:
    """The design's test of its own."""
    module_of(UNIT_TEST).test_chat_agent_singleton()
    assert example.get_chat_agent_cache_info() == "hits=1, misses=1"


# --- 001: the model ---------------------------------------------------------------------------------------------------

GENERATE = '''
async def _generate_response(self, state: AgentState) -> Dict[str, Any]:
    """AIレスポンスを生成."""
    try:
        # 非同期メソッドを使用してパフォーマンス向上
        response = await self.llm.ainvoke(langchain_messages)
    except Exception as e:
        logger.error("LLM呼び出しエラー: %r", e)
        raise e
    return {"response": response}
'''

BLOCKING = GENERATE.replace(
    "await self.llm.ainvoke(langchain_messages)", "self.llm.invoke(langchain_messages)  # ブロッキング"
)

RATE_LIMIT = """
{limiter}
def __init__(self):
    # 基本的なレート制限を設定
    rate_limiter = InMemoryRateLimiter(
        requests_per_second=10,  # 秒間10リクエスト
        check_every_n_seconds=0.1,
        max_bucket_size=10
    )

    self.llm = ChatOpenAI(
        model="gpt-3.5-turbo",
        temperature=0.7,
        api_key=os.getenv("OPENAI_API_KEY"),
        rate_limiter=rate_limiter,  # レート制限を適用
        max_retries=2  # リトライ回数
    )
"""

OURS = "from phase1.chat.langchain import PoolRateLimiter as InMemoryRateLimiter\n"
THEIRS = "from langchain_core.rate_limiters import InMemoryRateLimiter\n"


def agent_of(limiter: str, generate: str) -> Any:  # noqa: ANN401 - a class of the sample's
    """The sample's class."""
    from langchain_core.messages import HumanMessage
    from langchain_openai import ChatOpenAI

    names = {
        "os": os,
        "ChatOpenAI": ChatOpenAI,
        "AgentState": dict,
        "Dict": dict,
        "Any": Any,
        "langchain_messages": [HumanMessage("こんにちは")],
        "logger": logging.getLogger("sample"),
    }
    sample = module_of(RATE_LIMIT.format(limiter=limiter) + generate, **names)
    agent = type("ChatAgent", (), {"__init__": sample.__init__, "_generate_response": sample._generate_response})
    return agent()


async def close(agent: Any) -> None:  # noqa: ANN401
    """Close the connections that LangChain opened for it."""
    await agent.llm.root_async_client.close()
    agent.llm.root_client.close()


@pytest.mark.parametrize("limiter", [OURS, THEIRS], ids=["ours", "theirs"])
async def test_001_awaited_model_answers_users_at_once(limiter: str, env: Callable[..., None]) -> None:
    """Five calls at the same time, at an upstream that answers only five at once."""
    with Upstream(5) as crowd:
        env(OPENAI_API_BASE=crowd.url, OPENAI_API_KEY="sk-x")  # by this name LangChain keeps clients apart
        agent = agent_of(limiter, GENERATE)
        answers = await asyncio.gather(*(agent._generate_response({}) for _ in range(5)))
        await close(agent)
    assert [answer["response"].content[:2] for answer in answers] == ["1."] * 5


async def test_001_blocking_model_does_not(env: Callable[..., None]) -> None:
    """The design's problem: the second user is not asked for while the first one waits."""
    with Upstream(2, patience=0.1) as crowd:
        env(OPENAI_API_BASE=crowd.url, OPENAI_API_KEY="sk-x")  # by this name LangChain keeps clients apart
        agent = agent_of(OURS, BLOCKING)
        agent.llm.root_client.max_retries = 0
        answers = await asyncio.gather(*(agent._generate_response({}) for _ in range(2)), return_exceptions=True)
        await close(agent)
    assert all(isinstance(answer, Exception) for answer in answers)


ENV_001 = """
# OpenAI API レート制限設定
OPENAI_RATE_LIMIT_REQUESTS_PER_SECOND=10
OPENAI_MAX_RETRIES=3

# ログ設定
LOG_LEVEL=INFO
"""


def test_001_settings() -> None:
    """The block as the file `.env.phase1`."""
    Path(".env.phase1").write_text(ENV_001, encoding="utf-8")
    settings = Settings.load()
    assert (settings.openai_max_retries, settings.log_level) == (3, "INFO")
    assert settings.openai_rate_limit_requests_per_second == 10


RESPONSE_001 = """
{
  "cache_info": "hits=10, misses=1, maxsize=1, currsize=1",
  "agent_id": 140234567890123,
  "message": "エージェントキャッシュ統計"
}
"""


@pytest.mark.parametrize("workers", [1, 4])
async def test_001_workers_have_an_agent_each(workers: int) -> None:
    """`uvicorn main:app --workers 1` has one agent, `--workers 4` one in each process; the debug page says whose."""
    shape = set(json.loads(RESPONSE_001))
    with uvicorn("tests.chat.workers_app:app", "--workers", str(workers)) as url:
        seen: dict[int, dict[str, Any]] = {}
        for _ in range(200):
            await ask_at_once(url, seen)
            if len(seen) >= min(workers, 2):
                break
    assert len(seen) == 1 if workers == 1 else len(seen) > 1
    for page in seen.values():
        assert shape <= set(page)
        assert "misses=1, maxsize=1, currsize=1" in page["cache_info"]


async def ask_at_once(url: str, seen: dict[int, dict[str, Any]]) -> None:
    """Each on a connection of its own, so that any process may take it. `seen`: pages by process, once it has an agent."""

    async def ask() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=BOUND, trust_env=False, verify=False) as browser:  # noqa: S501 - plain HTTP
            await browser.get("/chat")
            page = (await browser.get("/api/debug/agent-cache")).json()
            seen[page["process"]] = page

    try:
        await asyncio.gather(*(ask() for _ in range(8)))
    except httpx.ConnectError:  # no worker listens yet
        await asyncio.sleep(0.1)


@contextmanager
def uvicorn(*arguments: str) -> Iterator[str]:
    """A server, whose workers end with it; gives its URL."""
    command = [sys.executable, "-m", "uvicorn", *arguments, "--port", "0", "--no-access-log"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        reader = threading.Thread(target=server.stderr.read, daemon=True)
        try:
            running = next(line for line in server.stderr if "running on " in line)
            reader.start()
            yield running.partition("running on ")[2].split()[0]
        finally:
            server.terminate()
            server.wait(BOUND)
            reader.join(BOUND)


# --- 002 --------------------------------------------------------------------------------------------------------------

STEP_1 = """
# 既存のインポートの後に追加
from phase1.chat import (
    AsyncDatabaseHelper,
    AsyncProjectContextBuilder,
    parallel_fetch_context_and_history,
    parallel_save_chat_logs
)
from phase1 import get_async_llm_client
from phase1.chat import optimized_chat_with_ai
from phase1.chat import optimized_chat_with_conversation_agent
"""

STEP_2 = """
# 既存のグローバル変数の後に追加
async_llm_client = None  # 非同期LLMクライアント
"""

STEP_3 = """
@app.on_event("startup")
async def startup_event():
    global llm_client, supabase, conversation_orchestrator, async_llm_client

    # 既存の初期化コード...
    llm_client, supabase, conversation_orchestrator = make_all()

    # 非同期LLMクライアントの初期化
    try:
        async_llm_client = get_async_llm_client(pool_size=10)
        logger.info("✅ 非同期LLMクライアント初期化完了")
    except Exception as e:
        logger.error(f"❌ 非同期LLMクライアント初期化エラー: {e}")
        async_llm_client = None
"""

STEP_4 = '''
@app.post("/chat", response_model=ChatResponse, dependencies=[Depends(chat_rate_limiter)])
async def chat_with_ai(
    chat_data: ChatMessage,
    current_user: int = Depends(get_current_user_cached)
):
    """AIとのチャット（最適化版）"""
    # 最適化フラグ（環境変数で制御可能）
    use_optimized = os.environ.get("USE_OPTIMIZED_CHAT", "true").lower() == "true"

    if use_optimized and async_llm_client:
        # 最適化版を使用
        result = await optimized_chat_with_ai(
            chat_data=chat_data,
            current_user=current_user,
            supabase=supabase,
            llm_client=llm_client,
            conversation_orchestrator=conversation_orchestrator,
            ENABLE_CONVERSATION_AGENT=ENABLE_CONVERSATION_AGENT,
            MAX_CHAT_MESSAGE_LENGTH=MAX_CHAT_MESSAGE_LENGTH
        )

        # 既存のChatResponseモデルに変換
        return ChatResponse(
            response=result.response,
            timestamp=result.timestamp,
            token_usage=result.token_usage,
            context_metadata=result.context_metadata,
            support_type=result.support_type,
            selected_acts=result.selected_acts,
            state_snapshot=result.state_snapshot,
            project_plan=result.project_plan,
            decision_metadata=result.decision_metadata,
            metrics=result.metrics
        )
    else:
        # 既存の処理にフォールバック
        return ChatResponse(response="legacy", timestamp="now")
'''

STEP_5 = '''
@app.post("/conversation-agent/chat", response_model=ConversationAgentResponse)
async def chat_with_conversation_agent(
    request: ConversationAgentRequest,
    current_user: int = Depends(get_current_user_cached)
):
    """対話エージェント検証用エンドポイント（最適化版）"""
    use_optimized = os.environ.get("USE_OPTIMIZED_AGENT", "true").lower() == "true"

    if use_optimized:
        result = await optimized_chat_with_conversation_agent(
            request=request,
            current_user=current_user,
            supabase=supabase,
            llm_client=llm_client,
            conversation_orchestrator=conversation_orchestrator,
            CONVERSATION_AGENT_AVAILABLE=CONVERSATION_AGENT_AVAILABLE,
            ENABLE_CONVERSATION_AGENT=ENABLE_CONVERSATION_AGENT
        )

        # 既存のConversationAgentResponseモデルに変換
        return ConversationAgentResponse(
            response=result.response,
            timestamp=result.timestamp,
            support_type=result.support_type,
            selected_acts=result.selected_acts,
            state_snapshot=result.state_snapshot,
            project_plan=result.project_plan,
            decision_metadata=result.decision_metadata,
            metrics=result.metrics,
            debug_info=result.debug_info,
            conversation_id=result.conversation_id,
            history_count=result.history_count,
            error=result.error,
            warning=result.warning
        )
    else:
        # 既存の処理にフォールバック
        return ConversationAgentResponse(response="legacy", timestamp="now")
'''

THE_APPS_OWN = """
import logging
import os
from typing import Any

from fastapi import Depends, FastAPI
from pydantic import BaseModel

app = FastAPI()
logger = logging.getLogger("sample")
llm_client = supabase = conversation_orchestrator = None
ENABLE_CONVERSATION_AGENT = CONVERSATION_AGENT_AVAILABLE = True
MAX_CHAT_MESSAGE_LENGTH = 2000

async def get_current_user_cached():
    return 1

async def chat_rate_limiter():
    pass

class ChatMessage(BaseModel):
    message: str
    project_id: int | None = None

class ConversationAgentRequest(ChatMessage):
    conversation_id: str | None = None

class ChatResponse(BaseModel):
    response: str
    timestamp: str
    token_usage: dict[str, Any] | None = None
    context_metadata: dict[str, Any] | None = None
    support_type: str | None = None
    selected_acts: list[str] | None = None
    state_snapshot: dict[str, Any] | None = None
    project_plan: dict[str, Any] | None = None
    decision_metadata: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None

class ConversationAgentResponse(ChatResponse):
    debug_info: dict[str, Any] | None = None
    conversation_id: str | None = None
    history_count: int = 0
    error: str | None = None
    warning: str | None = None
"""


class Planner:
    """The app's client: it blocks."""

    def __init__(self) -> None:
        self.prompts: list[list[dict[str, str]]] = []

    def generate_response(self, messages: list[dict[str, str]]) -> str:
        self.prompts.append(messages)
        return "Think in steps."


class Orchestrator:
    """The app's own, which takes the whole turn."""

    def process_turn(self, *, user_message: str, project_context: str | None, **_: object) -> dict[str, Any]:
        return {
            "response": f"agent: {user_message}",
            "support_type": "planning",
            "decision_metadata": {"c": project_context},
        }


@pytest.fixture(autouse=True)
def key(env: Callable[..., None]) -> None:
    """The provider's."""
    env(OPENAI_API_KEY="sk-x")


async def talk(orchestrator: object, planner: Planner, rest: PostgREST) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the app of all five steps answers at its two routes."""
    from supabase import create_client

    supabase = create_client(rest.url, "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.c2lnbmF0dXJl")
    names = {"make_all": lambda: (planner, supabase, orchestrator)}
    sample = module_of(THE_APPS_OWN + STEP_1 + STEP_2 + STEP_3 + STEP_4 + STEP_5, **names)
    phase1.install(sample.app, legacy=lambda: planner)
    body = {"message": "How do I begin?", "project_id": 7}
    transport = httpx.ASGITransport(sample.app)
    async with LifespanManager(sample.app), httpx.AsyncClient(transport=transport, base_url="http://a") as browser:
        paths = ("/chat", "/conversation-agent/chat")
        chat, agent = [await browser.post(path, json=body) for path in paths]
    supabase.postgrest.session.close()
    return chat.json(), agent.json()


async def test_002_all_steps_make_an_app_that_answers(rest: PostgREST) -> None:
    """Both routes over Supabase: context and history are read, the turns are saved, and what the models name is there."""
    rest.tables["projects"].append({"id": 7, "user_id": 1, "theme": "Bridges"})
    planner = Planner()
    chat, agent = await talk(None, planner, rest)
    assert chat["response"] == "Think in steps."
    assert chat["context_metadata"] == {"project_id": 7, "history_count": 0}
    assert agent["response"] == "Think in steps."
    assert agent["conversation_id"]
    assert "theme: Bridges" in planner.prompts[0][0]["content"]
    saved = [(row["sender"], row["message"]) for row in rest.tables["chat_logs"]]
    assert saved == [("user", "How do I begin?"), ("assistant", "Think in steps.")] * 2


async def test_002_orchestrator_takes_the_turn(rest: PostgREST) -> None:
    """With one, it answers at both routes, and what it decided is in the answer."""
    rest.tables["projects"].append({"id": 7, "user_id": 1, "theme": "Bridges"})
    for answer in await talk(Orchestrator(), Planner(), rest):
        assert answer["response"] == "agent: How do I begin?"
        assert answer["support_type"] == "planning"
        assert "theme: Bridges" in answer["decision_metadata"]["c"]


async def test_002_flags_off_are_the_old_way(rest: PostgREST, env: Callable[..., None]) -> None:
    """`export USE_OPTIMIZED_CHAT=false`, `export USE_OPTIMIZED_AGENT=false`."""
    env(USE_OPTIMIZED_CHAT="false", USE_OPTIMIZED_AGENT="false")
    assert [answer["response"] for answer in await talk(None, Planner(), rest)] == ["legacy", "legacy"]
    assert rest.seen == []


ENV_002 = """
# 最適化設定
USE_OPTIMIZED_CHAT=true        # 最適化版チャットエンドポイント使用
USE_OPTIMIZED_AGENT=true       # 最適化版エージェントエンドポイント使用
OPENAI_API_POOL_SIZE=10        # OpenAI API同時接続数
CHAT_HISTORY_LIMIT_DEFAULT=20  # デフォルト履歴取得数（削減）
CHAT_HISTORY_LIMIT_MAX=50      # 最大履歴取得数（削減）
"""


def test_002_settings() -> None:
    """The block as the file `.env.phase1`."""
    Path(".env.phase1").write_text(ENV_002, encoding="utf-8")
    settings = Settings.load()
    assert (settings.use_optimized_chat, settings.use_optimized_agent, settings.llm_pool_size) == (True, True, 10)
    assert (settings.chat_history_limit_default, settings.chat_history_limit_max) == (20, 50)


@pytest.mark.parametrize("value", ["true", "false"])
def test_002_exports(value: str) -> None:
    """The shell's lines of the migration and of the rollback."""
    script = f"export USE_OPTIMIZED_CHAT={value}\nexport USE_OPTIMIZED_AGENT={value}\n"
    python = "from phase1 import Settings; s = Settings.load(); print(s.use_optimized_chat, s.use_optimized_agent)"
    done = subprocess.run(
        ["bash", "-c", f'{script}"$0" -c "$1"', sys.executable, python], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [value.capitalize()] * 2


METRICS_002 = """
{
  "performance_metrics": {
    "db_fetch_time": 0.23,
    "llm_response_time": 1.45,
    "db_save_time": 0.12,
    "total_time": 1.82
  }
}
"""


async def test_002_metrics_have_these_names_and_add_up(rest: PostgREST) -> None:
    """Three parts of a whole: within 5 %."""
    from supabase import create_client

    from phase1.chat import optimized_chat_with_ai

    supabase = create_client(rest.url, "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.c2lnbmF0dXJl")
    body = types.SimpleNamespace(message="hi")
    answer = await optimized_chat_with_ai(chat_data=body, current_user=1, supabase=supabase, llm_client=Planner())
    supabase.postgrest.session.close()
    times: Any = answer.performance_metrics
    shown = json.loads(METRICS_002)["performance_metrics"]
    assert set(times) == set(shown)
    for example in (times, shown):
        parts = sum(seconds for name, seconds in example.items() if name != "total_time")
        assert parts == pytest.approx(example["total_time"], rel=0.05)
