"""Which calls ask a model, and do they block? Told by what the object was made from, never by its name.

A value is followed as a path from its import: `openai.OpenAI().chat.completions.create`. `()` is a call, `(stream)` one
that asks for a stream.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Final

__all__ = [
    "CHAIN",
    "Ask",
    "Family",
    "ask",
    "client_class",
    "is_answer",
    "is_chain",
    "is_stream",
    "is_threading_lock",
    "mentions_llm",
]

CHAIN: Final = "langchain:chain()"  # what `prompt | model` makes


class Family(Enum):
    """What kind of client it is, as far as an edit has to know."""

    OPENAI = "openai"
    OPENAI_LEGACY = "openai < 1"
    ASSISTANTS = "openai assistants"
    LANGCHAIN = "langchain"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Ask:
    """A call that asks a model."""

    family: Family
    blocks: bool


# The SDKs that are made like OpenAI's: a synchronous and an asynchronous client with the same resources.
_CLIENTS: Final = {
    "openai.OpenAI": (Family.OPENAI, True),
    "openai.Client": (Family.OPENAI, True),
    "openai.AzureOpenAI": (Family.OPENAI, True),
    "openai.lib.azure.AzureOpenAI": (Family.OPENAI, True),
    "openai.AsyncOpenAI": (Family.OPENAI, False),
    "openai.AsyncClient": (Family.OPENAI, False),
    "openai.AsyncAzureOpenAI": (Family.OPENAI, False),
    "openai.lib.azure.AsyncAzureOpenAI": (Family.OPENAI, False),
    "langfuse.openai.OpenAI": (Family.OTHER, True),
    "langfuse.openai.AzureOpenAI": (Family.OTHER, True),
    "langfuse.openai.AsyncOpenAI": (Family.OTHER, False),
    "anthropic.Anthropic": (Family.OTHER, True),
    "anthropic.Client": (Family.OTHER, True),
    "anthropic.AnthropicBedrock": (Family.OTHER, True),
    "anthropic.AnthropicVertex": (Family.OTHER, True),
    "anthropic.AsyncAnthropic": (Family.OTHER, False),
    "anthropic.AsyncAnthropicBedrock": (Family.OTHER, False),
    "anthropic.AsyncAnthropicVertex": (Family.OTHER, False),
    "cerebras.cloud.sdk.Cerebras": (Family.OTHER, True),
    "cerebras.cloud.sdk.AsyncCerebras": (Family.OTHER, False),
    "cohere.AsyncClient": (Family.OTHER, False),
    "cohere.AsyncClientV2": (Family.OTHER, False),
    "cohere.Client": (Family.OTHER, True),
    "cohere.ClientV2": (Family.OTHER, True),
    "google.genai.Client": (Family.OTHER, True),
    "google.genai.client.Client": (Family.OTHER, True),
    "google.generativeai.GenerativeModel": (Family.OTHER, True),
    "google.generativeai.ChatSession": (Family.OTHER, True),
    "vertexai.generative_models.GenerativeModel": (Family.OTHER, True),
    "vertexai.preview.generative_models.GenerativeModel": (Family.OTHER, True),
    "groq.Groq": (Family.OTHER, True),
    "groq.Client": (Family.OTHER, True),
    "groq.AsyncGroq": (Family.OTHER, False),
    "huggingface_hub.InferenceClient": (Family.OTHER, True),
    "huggingface_hub.AsyncInferenceClient": (Family.OTHER, False),
    "mistralai.Mistral": (Family.OTHER, True),
    "mistralai.client.MistralClient": (Family.OTHER, True),
    "mistralai.async_client.MistralAsyncClient": (Family.OTHER, False),
    "ollama.Client": (Family.OTHER, True),
    "ollama.AsyncClient": (Family.OTHER, False),
    "replicate.Client": (Family.OTHER, True),
    "together.Together": (Family.OTHER, True),
    "together.AsyncTogether": (Family.OTHER, False),
    "zhipuai.ZhipuAI": (Family.OTHER, True),
}
_FUNCTIONS: Final = re.compile(
    r"(openai\.(chat\.completions|responses|embeddings|completions|images|moderations|audio\.\w+)\.(create|parse|generate)"
    r"|litellm\.(completion|text_completion|embedding|responses|image_generation)"
    r"|ollama\.(chat|generate|embed|embeddings)"
    r"|replicate\.(run|stream)"
    r"|dashscope\.(\w+\.)?(Generation|MultiModalConversation)\.call"
    r"|google\.generativeai\.(generate_text|chat|embed_content))"
)
_LEGACY: Final = re.compile(r"openai\.(ChatCompletion|Completion|Embedding|Image|Moderation|Audio|Edit)\.(a?)\w+")
_RESOURCES: Final = (
    r"audio|batches|beta|chat|completions|containers|conversations|embeddings|evals|files|fine_tuning|images|messages"
    r"|models|moderations|responses|threads|uploads|vector_stores|videos|aio|chats|fim|agents|predictions|rerank"
)
_TWIN: Final = r"(?:\.(?:with_options|copy)\(\)|\.with_raw_response|\.with_streaming_response)*"
_OF_RESOURCE: Final = re.compile(rf"{_TWIN}\.({_RESOURCES})(\.[a-z]\w*)+")
_CHAT_OF_GENAI: Final = re.compile(r"(\.aio)?\.chats\.create\(\)\.send_message(_stream)?")
_OWN_METHODS: Final = re.compile(
    r"(\.start_chat\(\))?\.(generate_content|send_message|count_tokens)(_async)?"
    r"|\.(chat|chat_stream|generate|generate_stream|embed|embeddings|rerank|run|stream|complete)"
    r"|\.(chat_completion|text_generation|feature_extraction|text_to_image|summarization|conversational)"
)
_NO_NETWORK: Final = frozenset({"with_options", "copy", "close", "with_raw_response", "with_streaming_response"})

_CHAIN_ROOTS: Final = re.compile(r"lang(chain|graph)\w*[.:]")
_LLAMA_ROOTS: Final = re.compile(r"llama_index\.")
_MODEL_LIKE: Final = re.compile(
    r"Chat(?!Prompt|Message|History|Generation|Result|Session)\w*|\w*LLM|\w*Chain|(Azure)?OpenAI|\w*OpenAI|Ollama(LLM)?"
    r"|HuggingFace(Hub|Endpoint|Pipeline|TextGenInference)|Bedrock(LLM)?|VertexAI|GoogleGenerativeAI|GooglePalm|Cohere"
    r"|Anthropic|LlamaCpp|Together|Replicate|CTransformers|GPT4All|init_chat_model|initialize_agent|AgentExecutor"
    r"|create_\w*(agent|chain|executor|supervisor|swarm|history_aware_retriever|extractor)|load_\w*chain|RetrievalQA\w*"
    r"|StateGraph|MessageGraph|Graph|chain"
)
_NOT_MODEL_LIKE: Final = re.compile(
    r"\w*(Embeddings?|Parser|Loader|Template|Retriever|Splitter|Message|Memory|History)"
)
_INVOKES: Final = frozenset(
    {"apply", "batch", "call_as_llm", "generate", "generate_prompt", "invoke", "predict", "predict_messages", "run"}
    | {"stream", "transform"}
)
_AWAITS: Final = frozenset(
    {"abatch", "acall", "agenerate", "ainvoke", "apredict", "apredict_messages", "arun", "astream", "astream_events"}
)
_LLAMA_INVOKES: Final = frozenset(
    {"chat", "complete", "predict", "query", "stream_chat", "stream_complete", "structured_predict"}
)
_STREAM_CALL: Final = re.compile(r"\(stream\)|\.(stream|chat_stream|generate_stream|\w+_stream|stream_\w+)\(\)")
_LOCK: Final = re.compile(r"(threading|multiprocessing)\.(Lock|RLock|Semaphore|BoundedSemaphore|Condition)\(\)")

_MENTIONS: Final = re.compile(
    r"(import|from)\s+(openai|anthropic|groq|langchain|langgraph|llama_index|litellm|ollama|cohere|mistralai|together"
    r"|replicate|zhipuai|dashscope|vertexai|huggingface_hub|langfuse|instructor|cerebras|google)\b"
)


def mentions_llm(text: str) -> bool:
    """Whether the text imports a library that asks models."""
    return _MENTIONS.search(text) is not None or "langchain_" in text


@cache
def client_class(path: str) -> tuple[Family, bool] | None:
    """(family, blocks) if `path` names a client's class."""
    return _CLIENTS.get(path)


@cache
def ask(path: str) -> Ask | None:
    """What calling `path` does, if it asks a model."""
    if path.startswith("openai.") and (legacy := _LEGACY.fullmatch(path)):
        return Ask(Family.OPENAI_LEGACY, blocks=not legacy[2])
    if _FUNCTIONS.fullmatch(path):
        return Ask(Family.OPENAI if path.startswith("openai.") else Family.OTHER, blocks=True)
    if re.fullmatch(r"litellm\.a(completion|text_completion|embedding|responses)", path):
        return Ask(Family.OTHER, blocks=False)
    return _ask_client(path) or _ask_chain(path)


def _ask_client(path: str) -> Ask | None:
    root, called, rest = path.partition("()")
    known = client_class(root) if called else None
    if known is None:
        return None
    family, blocks = known
    if _OF_RESOURCE.fullmatch(rest) or _CHAT_OF_GENAI.fullmatch(rest):
        if rest.rpartition(".")[2] in _NO_NETWORK or rest.endswith(".chats.create"):
            return None
        if family is Family.OPENAI and re.search(r"\.beta\.(threads|assistants)\.", rest):
            family = Family.ASSISTANTS
        return Ask(family, blocks=blocks and ".aio." not in rest and not rest.endswith("_async"))
    if family is Family.OTHER and _OWN_METHODS.fullmatch(rest):
        return Ask(family, blocks=blocks and not rest.endswith("_async"))
    return None


def _ask_chain(path: str) -> Ask | None:
    if path.endswith("()"):
        is_direct = is_chain(path) and path.count("()") == 1 and not path.startswith("langgraph")
        return Ask(Family.LANGCHAIN, blocks=True) if is_direct and "create_" not in path else None
    origin, _, method = path.rpartition(".")
    if _LLAMA_ROOTS.match(path) and "()" in origin:
        return Ask(Family.LANGCHAIN, blocks=True) if method in _LLAMA_INVOKES else None
    if method in _INVOKES | _AWAITS and is_chain(origin) and not _has_answered(origin):
        return Ask(Family.LANGCHAIN, blocks=method in _INVOKES)
    return None


def _has_answered(path: str) -> bool:
    """Whether the path goes through an answer: `model.invoke(x).content` is no model any more."""
    return any(f".{method}()" in path for method in _INVOKES | _AWAITS)


@cache
def is_chain(path: str) -> bool:
    """Whether `path` is an object of LangChain or LangGraph that asks a model when it is invoked."""
    if not _CHAIN_ROOTS.match(path) or "()" not in path:
        return False
    made = path.partition("()")[0]
    names = re.split(r"[.:]", made)
    maker = next((name for name in reversed(names) if not name.startswith("from_")), "")
    return _MODEL_LIKE.fullmatch(maker) is not None and _NOT_MODEL_LIKE.fullmatch(maker) is None


@cache
def is_answer(path: str) -> bool:
    """Whether `path` is what a model has answered, and no stream: nothing that is in it asks again."""
    return path.endswith("()") and ask(path[:-2]) is not None and not is_stream(path)


@cache
def is_stream(path: str) -> bool:
    """Whether going through `path` reads an answer from the network piece by piece."""
    for call in _STREAM_CALL.finditer(path):
        asked = ask(path[: call.end()].rpartition("(")[0])
        if asked is not None and asked.blocks:
            return "(" not in path[call.end() :] or path.endswith(".__enter__()")
    return False


def is_threading_lock(path: str) -> bool:
    """Whether `path` is a lock that makes a thread wait."""
    return _LOCK.fullmatch(path) is not None
