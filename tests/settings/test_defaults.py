"""Is every variable of the specification there, with its default?"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic import SecretStr, ValidationError

from phase1.settings import LoadBalanceStrategy, Settings

SPECIFIED = {
    "ENABLE_LLM_POOL": False,
    "LLM_CANARY_PERCENT": 100.0,
    "LLM_CANARY_KEY": "auto",
    "LLM_CANARY_ALLOW": None,
    "LLM_CANARY_DENY": None,
    "LLM_CANARY_SECRET": None,
    "FORCE_LEGACY_LLM": False,
    "DISABLE_POOL": False,
    "EMERGENCY_MODE": False,
    "LLM_FAILURE_THRESHOLD": 3,
    "LLM_POOL_SIZE": 5,
    "LLM_CLIENT_CONCURRENCY": 32,
    "LLM_QUEUE_SIZE": 1000,
    "LLM_QUEUE_TIMEOUT": 30.0,
    "LLM_REQUEST_DEADLINE": 55.0,
    "LLM_CONNECT_TIMEOUT": 5.0,
    "LLM_FIRST_TOKEN_TIMEOUT": 30.0,
    "LLM_IDLE_TIMEOUT": 20.0,
    "LLM_STREAM_FLOOR": 0.0,
    "LLM_CANCEL_ON_DISCONNECT": True,
    "LLM_CACHE_SECONDS": 0.0,
    "LLM_SINGLE_FLIGHT": False,
    "LLM_CACHE_SCOPE": "user",
    "LLM_CACHE_NONDETERMINISTIC": False,
    "LLM_CACHE_MAX_BYTES": 64 * 1024 * 1024,
    "LLM_CACHE_MAX_ENTRIES": 10_000,
    "LLM_HEDGE": False,
    "LLM_HEDGE_QUANTILE": 0.95,
    "LLM_STREAM_RESCUE": "off",
    "LLM_POOL_DEBUG": False,
    "LOG_LEVEL": "INFO",
    "ENABLE_LOAD_BALANCER": False,
    "LOAD_BALANCE_STRATEGY": "adaptive",
    "LLM_NODES": None,
    "LLM_NODES_FILE": None,
    "AUTO_SCALING": False,
    "POOL_CLEANUP_INTERVAL": 300.0,
    "LLM_HEALTH_CHECK_INTERVAL": 30.0,
    "OPENAI_API_KEY": None,
    "OPENAI_BASE_URL": None,
    "LLM_MODEL": None,
    "OPENAI_RATE_LIMIT_REQUESTS_PER_SECOND": None,
    "OPENAI_MAX_RETRIES": 2,
    "LLM_AUTO_ROLLOUT": False,
    "LLM_ROLLOUT_FILE": None,
    "LLM_SHADOW_PERCENT": 0.0,
    "LLM_SHADOW_BUDGET": None,
    "LLM_SHADOW_BUDGET_TOTAL": None,
    "LLM_SHADOW_PRICES": None,
    "LLM_SHADOW_CONCURRENCY": 4,
    "LLM_STRICT_START": False,
    "LLM_UNBLOCK": True,
    "LLM_TRANSPORT": "auto",
    "LLM_STATE_URL": "memory:",
    "LLM_STATE_NAME": "phase1",
    "LLM_ADMIN_TOKEN": None,
    "LLM_METRICS_TOKEN": None,
    "LLM_DEBUG_ACCESS": "auto",
    "LLM_METRICS_ACCESS": "auto",
    "LLM_ADMIN_ACCESS": "auto",
    "LLM_ROUTE_HEADER": False,
    "LLM_SERVER_TIMING": False,
    "LLM_RUNTIME_DIR": None,
    "USE_OPTIMIZED_CHAT": True,
    "USE_OPTIMIZED_AGENT": True,
    "CHAT_HISTORY_LIMIT_DEFAULT": 20,
    "CHAT_HISTORY_LIMIT_MAX": 50,
    "REDIS_URL": None,
    "REDIS_POOL_MAX_CONNECTIONS": 50,
    "LLM_OFFLOAD_BACKEND": "memory",
    "LLM_OFFLOAD_SECRET": None,
    "LLM_OFFLOAD_CONCURRENCY": 32,
    "LLM_OFFLOAD_QUEUE_SIZE": 1000,
    "LLM_OFFLOAD_MODELS": None,
    "LLM_OFFLOAD_REQUESTS_PER_MINUTE": 60,
    "LLM_OFFLOAD_TASKS_PER_USER": 4,
    "LLM_OFFLOAD_ON_DISCONNECT": "continue",
    "LLM_OFFLOAD_CACHE_SECONDS": 0,
    "LLM_OFFLOAD_FALLBACK": "off",
}


def test_every_specified_variable_has_its_default() -> None:
    """With an empty environment the settings are the table of the specification, no more and no less."""
    assert {name.upper(): value for name, value in Settings.load().model_dump().items()} == SPECIFIED


def test_defaults_are_valid_values(env: Callable[..., None]) -> None:
    """Each default, written down, is accepted and means itself."""
    env(**{name: str(value) for name, value in SPECIFIED.items() if value is not None})

    assert Settings.load().model_dump() == {name.lower(): value for name, value in SPECIFIED.items()}


def test_every_field_is_described() -> None:
    """The example file is made of the descriptions, so none is empty."""
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_settings_are_frozen() -> None:
    """Nobody changes a setting behind the back of those who have read it."""
    settings = Settings.load()

    with pytest.raises(ValidationError, match="frozen"):
        settings.llm_pool_size = 7


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("ENABLE_LLM_POOL", "1", True),
        ("ENABLE_LLM_POOL", "Yes", True),
        ("LLM_UNBLOCK", "off", False),
        ("LLM_CANARY_PERCENT", "0", 0.0),
        ("LLM_CANARY_PERCENT", "33.33", 33.33),
        ("LLM_CANARY_PERCENT", "100", 100.0),
        ("LLM_CANARY_KEY", "header:X-User-Id", "header:X-User-Id"),
        ("LLM_CANARY_KEY", "cookie:sid", "cookie:sid"),
        ("LLM_CANARY_KEY", "authorization", "authorization"),
        ("LLM_CANARY_KEY", "app.keys:user_of", "app.keys:user_of"),
        ("LLM_POOL_SIZE", "1", 1),
        ("LLM_POOL_SIZE", "1000", 1000),
        ("LLM_QUEUE_SIZE", "0", 0),
        ("OPENAI_MAX_RETRIES", "0", 0),
        ("LLM_QUEUE_TIMEOUT", "0.5", 0.5),
        ("LOG_LEVEL", "debug", "DEBUG"),
        ("LOG_LEVEL", "warn", "WARNING"),
        ("LOG_LEVEL", "Fatal", "CRITICAL"),
        ("LOAD_BALANCE_STRATEGY", "ROUND_ROBIN", LoadBalanceStrategy.ROUND_ROBIN),
        ("LLM_TRANSPORT", "HTTPX", "httpx"),
        ("LLM_DEBUG_ACCESS", "Off", "off"),
        ("OPENAI_BASE_URL", "http://[::1]:8080/v1", "http://[::1]:8080/v1"),
        ("REDIS_URL", "rediss://cache:6380/1", SecretStr("rediss://cache:6380/1")),
        ("REDIS_URL", "unix:///run/redis.sock", SecretStr("unix:///run/redis.sock")),
        ("LLM_ADMIN_TOKEN", "0123456789abcdef", SecretStr("0123456789abcdef")),
    ],
)
def test_values_at_the_edge_of_what_is_allowed(
    env: Callable[..., None], variable: str, value: str, expected: object
) -> None:
    """What the documentation promises is read as it promises."""
    env(**{variable: value})

    assert getattr(Settings.load(), variable.lower()) == expected
