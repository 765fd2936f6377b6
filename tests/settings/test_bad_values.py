"""In which words is a value refused?"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import pytest
from pydantic_core import ErrorDetails

from phase1.exceptions import ConfigurationError
from phase1.settings import Settings
from phase1.validation import reason

CANARY_KEY = "must be auto, authorization, header:NAME, cookie:NAME or module:function"
HTTP_URL = "must be a URL that begins with http:// or https:// and names a host"
REDIS_URL = "must be a URL: redis://host, rediss://host or unix:///path"
STATE_URL = "must be memory:, file:///path or redis://host"
STRATEGY = "must be one of round_robin, weighted, least_busy, latency, adaptive, sticky"
TOKEN = "must be at least 16 characters long"
PRICES = "must be MODEL=INPUT/OUTPUT, per million tokens, each model once"
TODAY = "not available in this version; allowed:"


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("LLM_POOL_SIZE=0", "must be at least 1"),
        ("LLM_POOL_SIZE=-3", "must be at least 1"),
        ("LLM_POOL_SIZE=1001", "must be between 1 and 1000"),
        ("LLM_POOL_SIZE=8-10", "must be one whole number between 1 and 1000"),
        ("LLM_POOL_SIZE=2.5", "must be one whole number between 1 and 1000"),
        ("OPENAI_API_POOL_SIZE=0", "must be at least 1"),
        ("LLM_CANARY_PERCENT=101", "must be between 0 and 100"),
        ("LLM_CANARY_PERCENT=-1", "must be at least 0"),
        ("LLM_CANARY_PERCENT=ten", "must be a number between 0 and 100"),
        ("LLM_CANARY_PERCENT=nan", "must be a number between 0 and 100"),
        ("LLM_CANARY_PERCENT=0.005", "must be in steps of 0.01"),
        ("LLM_CANARY_KEY=user", CANARY_KEY),
        ("LLM_CANARY_KEY=header:", CANARY_KEY),
        ("LLM_CANARY_KEY=header:X User", CANARY_KEY),
        ("LLM_CANARY_KEY=cookie:a;b", CANARY_KEY),
        ("LLM_CANARY_KEY=header:X:Y", CANARY_KEY),
        ("LLM_CANARY_KEY=app keys:user", CANARY_KEY),
        ("LLM_CANARY_KEY=app.keys:", CANARY_KEY),
        ("ENABLE_LLM_POOL=maybe", "must be true or false"),
        ("LLM_FAILURE_THRESHOLD=0", "must be at least 1"),
        ("LLM_FAILURE_THRESHOLD=three", "must be one whole number, at least 1"),
        ("LLM_CLIENT_CONCURRENCY=0", "must be at least 1"),
        ("LLM_QUEUE_SIZE=-1", "must be at least 0"),
        ("LLM_QUEUE_TIMEOUT=0", "must be more than 0"),
        ("LLM_QUEUE_TIMEOUT=inf", "must be a number, more than 0"),
        ("LLM_REQUEST_DEADLINE=55s", "must be a number, more than 0"),
        ("LLM_CONNECT_TIMEOUT=-5", "must be more than 0"),
        ("LLM_FIRST_TOKEN_TIMEOUT=0", "must be more than 0"),
        ("LLM_IDLE_TIMEOUT=0", "must be more than 0"),
        ("LLM_STREAM_FLOOR=-1", "must be at least 0"),
        ("LLM_CACHE_SECONDS=-1", "must be at least 0"),
        ("LLM_CACHE_SCOPE=tenant", "must be one of user, app"),
        ("LLM_CACHE_MAX_BYTES=0", "must be at least 1"),
        ("LLM_HEDGE_QUANTILE=95", "must be between 0.5 and 0.999"),
        ("LLM_STREAM_FLOOR=inf", "must be a number, at least 0"),
        ("POOL_CLEANUP_INTERVAL=0", "must be more than 0"),
        ("LLM_HEALTH_CHECK_INTERVAL=0", "must be more than 0"),
        ("OPENAI_MAX_RETRIES=-1", "must be at least 0"),
        ("REDIS_POOL_MAX_CONNECTIONS=0", "must be at least 1"),
        ("CHAT_HISTORY_LIMIT_MAX=0", "must be at least 1"),
        ("LOG_LEVEL=loud", "must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
        ("LLM_DEBUG_ACCESS=all", "must be one of auto, off"),
        ("LOAD_BALANCE_STRATEGY=fastest", STRATEGY),
        ("OPENAI_BASE_URL=ftp://host/v1", HTTP_URL),
        ("OPENAI_BASE_URL=https://", HTTP_URL),
        ("OPENAI_BASE_URL=http+unix://%2Frun%2Fmodel.sock/v1", HTTP_URL),
        ("REDIS_URL=http://cache", REDIS_URL),
        ("REDIS_URL=unix://", REDIS_URL),
        ("LLM_STATE_URL=file:///", STATE_URL),
        ("LLM_AUTO_ROLLOUT=maybe", "must be true or false"),
        ("LLM_STATE_NAME=my app", "must be 1 to 64 characters of A-Z a-z 0-9 . _ -"),
        ("LLM_STREAM_RESCUE=splice", f"{TODAY} off"),
        ("LLM_STREAM_RESCUE=maybe", "not known; allowed: off"),
        ("LLM_SHADOW_PERCENT=101", "must be between 0 and 100"),
        ("LLM_SHADOW_PERCENT=5", "needs LLM_SHADOW_BUDGET and LLM_SHADOW_PRICES"),
        ("LLM_SHADOW_BUDGET=0", "must be more than 0"),
        ("LLM_SHADOW_BUDGET_TOTAL=free", "must be a number"),
        ("LLM_SHADOW_PRICES=gpt-4o=2.5", f"entry 1: {PRICES}"),
        ("LLM_SHADOW_PRICES=a=1/2,*=-1/2", f"entry 2: {PRICES}"),
        ("LLM_SHADOW_CONCURRENCY=0", "must be at least 1"),
        ("LLM_TRANSPORT=curl", "must be one of auto, aiohttp, httpx"),
        ("LLM_STATE_URL=http://cache", STATE_URL),
        ("OPENAI_RATE_LIMIT_REQUESTS_PER_SECOND=0", "must be more than 0"),
    ],
)
def test_the_error_names_variable_value_and_what_is_allowed(
    env: Callable[..., None], load_error: Callable[..., str], written: str, reason: str
) -> None:
    """One bad variable is one short line."""
    name, _, value = written.partition("=")
    env(**{name: value})

    assert load_error() == f"{written}: {reason}"


@pytest.mark.parametrize(
    ("variable", "value", "text"),
    [
        ("LLM_ADMIN_TOKEN", "too-short", f"LLM_ADMIN_TOKEN: {TOKEN}"),
        ("LLM_METRICS_TOKEN", "123456789012345", f"LLM_METRICS_TOKEN: {TOKEN}"),
        ("LLM_ADMIN_TOKEN", "sixteen chars and spaces", "LLM_ADMIN_TOKEN: must be printable ASCII without spaces"),
        ("OPENAI_API_KEY", "sk-ключ", "OPENAI_API_KEY: must be printable ASCII without spaces"),
        ("OPENAI_BASE_URL", "me:hush@host/v1", f"OPENAI_BASE_URL=******: {HTTP_URL}"),
        ("OPENAI_BASE_URL", "sk-pasted-into-the-wrong-line", f"OPENAI_BASE_URL=******: {HTTP_URL}"),
        ("OPENAI_BASE_URL", "https://host:port/v1", f"OPENAI_BASE_URL=******: {HTTP_URL}"),
        ("OPENAI_BASE_URL", "ftp://me:hush@host/v1?key=hush#hush", f"OPENAI_BASE_URL=ftp://host/v1: {HTTP_URL}"),
        ("OPENAI_BASE_URL", "https://me:hush@ho\tst/v1", f"OPENAI_BASE_URL=******: {HTTP_URL}"),
        ("REDIS_URL", "http://:hush@cache:1/0", f"REDIS_URL=http://cache:1/0: {REDIS_URL}"),
        ("LLM_STATE_URL", "http://:hush@cache", f"LLM_STATE_URL=http://cache: {STATE_URL}"),
        ("LLM_CANARY_SECRET", "too-short", f"LLM_CANARY_SECRET: {TOKEN}"),
        (
            "LLM_CANARY_ALLOW",
            "hush-1,,hush-2",
            "LLM_CANARY_ALLOW: entry 2 is empty; allowed: keys or sha256:DIGEST, separated by commas",
        ),
        (
            "LLM_CANARY_DENY",
            "hush-1, sha256:hush",
            "LLM_CANARY_DENY: entry 2 must be sha256: and 64 hex digits (printf %s KEY | sha256sum)",
        ),
        (
            "LLM_CANARY_DENY",
            "hush" * 257,
            "LLM_CANARY_DENY: entry 1 must be at most 1024 characters long; a digest may stand for it",
        ),
    ],
)
def test_secrets_are_not_repeated(
    env: Callable[..., None], load_error: Callable[..., str], variable: str, value: str, text: str
) -> None:
    """The value of a secret, and what a URL must not show, is not in the text."""
    env(**{variable: value})

    assert load_error() == text


def test_all_problems_are_in_one_line(env: Callable[..., None], load_error: Callable[..., str]) -> None:
    """Nobody starts the app five times to learn of five mistakes."""
    env(LLM_POOL_SIZE="0", LLM_CANARY_PERCENT="101", LLM_STREAM_RESCUE="splice", LLM_ADMIN_TOKEN="short")

    assert load_error() == (
        "LLM_CANARY_PERCENT=101: must be between 0 and 100; LLM_POOL_SIZE=0: must be at least 1;"
        " LLM_STREAM_RESCUE=splice: not available in this version; allowed: off;"
        " LLM_ADMIN_TOKEN: must be at least 16 characters long"
    )


def test_the_line_stays_one_short_line(env: Callable[..., None], load_error: Callable[..., str]) -> None:
    """A value with line breaks is escaped, a long one is cut."""
    env(LLM_POOL_SIZE="1\n2", LLM_QUEUE_SIZE="9" * 5 + "x" * 500)

    assert load_error() == (
        "LLM_POOL_SIZE=1\\n2: must be one whole number between 1 and 1000;"
        f" LLM_QUEUE_SIZE=99999{'x' * 75}…: must be one whole number, at least 0"
    )


def test_no_context_hangs_on_the_error() -> None:
    """A traceback would otherwise print pydantic's error, and error trackers keep the whole chain."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(llm_pool_size=0)

    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"llm_pool_size": 0}, "LLM_POOL_SIZE=0: must be at least 1"),
        ({"llm_pool_size": None}, "LLM_POOL_SIZE=None: must be one whole number between 1 and 1000"),
        ({"llm_queue_timeout": 0.0}, "LLM_QUEUE_TIMEOUT=0: must be more than 0"),
        ({"llm_queue_timeout": []}, "LLM_QUEUE_TIMEOUT=[]: must be a number, more than 0"),
        ({"enable_llm_pool": 7}, "ENABLE_LLM_POOL=7: must be true or false"),
        ({"enable_llm_pool": []}, "ENABLE_LLM_POOL=[]: must be true or false"),
        ({"llm_stream_rescue": "splice"}, "LLM_STREAM_RESCUE=splice: not available in this version; allowed: off"),
        ({"llm_model": 4}, "LLM_MODEL=4: must be text"),
        ({"log_level": 10}, "LOG_LEVEL=10: must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
        (
            {"load_balance_strategy": 1},
            f"LOAD_BALANCE_STRATEGY=1: {STRATEGY}",
        ),
        ({"llm_nodes_file": 3}, "LLM_NODES_FILE=3: must be a path"),
        ({"llm_pool_sise": 3}, "llm_pool_sise: unknown setting"),
        ({"_env_file": ".env"}, "_env_file: unknown setting"),
    ],
)
@pytest.mark.parametrize("build", [Settings, Settings.load])
def test_arguments_are_checked_like_variables(
    build: Callable[..., Settings], arguments: dict[str, object], text: str
) -> None:
    """`Settings(...)` and `Settings.load(...)` raise the same error, and a misspelt name is one."""
    with pytest.raises(ConfigurationError) as caught:
        build(**arguments)

    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        (
            {"LLM_CONNECT_TIMEOUT": "60"},
            "LLM_CONNECT_TIMEOUT=60: must be less than LLM_REQUEST_DEADLINE=55",
        ),
        (
            {"LLM_CONNECT_TIMEOUT": "10", "LLM_REQUEST_DEADLINE": "10"},
            "LLM_CONNECT_TIMEOUT=10: must be less than LLM_REQUEST_DEADLINE=10",
        ),
        (
            {"CHAT_HISTORY_LIMIT_DEFAULT": "80"},
            "CHAT_HISTORY_LIMIT_DEFAULT=80: must be at most CHAT_HISTORY_LIMIT_MAX=50",
        ),
    ],
)
def test_a_written_value_that_can_never_hold(
    env: Callable[..., None], load_error: Callable[..., str], variables: dict[str, str], text: str
) -> None:
    """Two settings that contradict each other are both named."""
    env(**variables)

    assert load_error() == text


@pytest.mark.parametrize(
    "variables",
    [
        {"LLM_REQUEST_DEADLINE": "4"},
        {"CHAT_HISTORY_LIMIT_MAX": "10"},
        {"CHAT_HISTORY_LIMIT_DEFAULT": "50"},
        {"LLM_FIRST_TOKEN_TIMEOUT": "90"},
        {"LLM_QUEUE_TIMEOUT": "90"},
    ],
)
def test_a_default_gives_way(env: Callable[..., None], variables: dict[str, str]) -> None:
    """Who lowers a limit need not lower all the defaults below it; a clock that never fires is no contradiction."""
    env(**variables)

    Settings.load()


def test_an_error_without_words_of_ours_keeps_those_of_pydantic() -> None:
    """A type that a later field brings is told at least."""
    assert reason({"type": "url_parsing", "loc": (), "msg": "No URL", "input": ""}, None) == "is not allowed (No URL)"


def test_a_number_without_bounds() -> None:
    """The text has no gap where the bounds would be."""
    error: ErrorDetails = {"type": "int_type", "loc": (), "msg": "", "input": None}

    assert reason(error, None) == "must be one whole number"


def test_a_key_on_both_lists_is_refused(env: Callable[..., None], load_error: Callable[..., str]) -> None:
    """Also when one list has its digest; the text names no key."""
    digest = sha256(b"user-1").hexdigest()
    env(LLM_CANARY_ALLOW="user-1,user-2", LLM_CANARY_DENY=f"user-3, sha256:{digest.upper()}")

    assert load_error() == "LLM_CANARY_ALLOW and LLM_CANARY_DENY: keys that are on both lists: 1"
