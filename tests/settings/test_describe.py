"""What of the settings may be seen?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from phase1.settings import Settings

SECRET = "hush-0123456789-hush"
SECRETS = {
    "OPENAI_API_KEY": SECRET,
    "LLM_ADMIN_TOKEN": SECRET,
    "LLM_METRICS_TOKEN": SECRET,
    "LLM_OFFLOAD_SECRET": SECRET,
    "LLM_CANARY_ALLOW": f"{SECRET},user-1",
    "LLM_CANARY_DENY": f"{SECRET}-too",
    "LLM_CANARY_SECRET": SECRET,
    "LLM_NODES": json.dumps([{"name": "a", "base_url": "https://h/v1", "api_key": SECRET}]),
    "REDIS_URL": f"redis://user:{SECRET}@cache:6379/0?password={SECRET}",
    "OPENAI_BASE_URL": f"https://{SECRET}:{SECRET}@gateway:8443/v1?key={SECRET}#{SECRET}",
}


def test_value_and_source_of_every_variable(env: Callable[..., None], env_file: Callable[[str], Path]) -> None:
    """Each of the four sources is named."""
    env_file("LLM_QUEUE_SIZE=7\nLLM_CANARY_PERCENT=12.5\n")
    env(LLM_CANARY_PERCENT="25")

    described = Settings.load(llm_model="gpt", llm_nodes_file="nodes.toml").describe()

    assert described["LLM_QUEUE_SIZE"] == {"value": 7, "source": ".env.phase1"}
    assert described["LLM_CANARY_PERCENT"] == {"value": 25.0, "source": "environment"}
    assert described["LLM_MODEL"] == {"value": "gpt", "source": "argument"}
    assert described["LLM_NODES_FILE"] == {"value": "nodes.toml", "source": "argument"}
    assert described["ENABLE_LLM_POOL"] == {"value": False, "source": "default"}
    assert described["OPENAI_API_KEY"] == {"value": None, "source": "default"}
    assert list(described) == [name.upper() for name in Settings.model_fields]


def test_secrets_are_masked(env: Callable[..., None]) -> None:
    """Of a secret one sees that it is set; of a URL neither credentials nor query."""
    env(**SECRETS)

    described = Settings.load().describe()

    assert {name: described[name]["value"] for name in SECRETS} == {
        "OPENAI_API_KEY": "******",
        "LLM_ADMIN_TOKEN": "******",
        "LLM_METRICS_TOKEN": "******",
        "LLM_OFFLOAD_SECRET": "******",
        "LLM_CANARY_ALLOW": "******",
        "LLM_CANARY_DENY": "******",
        "LLM_CANARY_SECRET": "******",
        "LLM_NODES": "******",
        "REDIS_URL": "redis://cache:6379/0",
        "OPENAI_BASE_URL": "https://gateway:8443/v1",
    }


def test_a_secret_is_nowhere_to_be_seen(env: Callable[..., None], load_error: Callable[..., str]) -> None:
    """Neither repr, str, description nor an error about another setting shows one."""
    env(**SECRETS)
    settings = Settings.load()

    for text in (repr(settings), str(settings), json.dumps(settings.describe()), load_error(llm_pool_size=0)):
        assert SECRET not in text


def test_every_secret_field_is_covered_by_these_tests() -> None:
    """A secret that is added later must be added here."""
    secret = {name.upper() for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}

    assert secret <= SECRETS.keys()


def test_repr_tells_what_differs_from_the_defaults() -> None:
    """Forty-six defaults would hide the one value that matters."""
    assert repr(Settings.load()) == "Settings()"
    assert repr(Settings.load(enable_llm_pool=True, llm_pool_size=5, openai_api_key="sk-test")) == (
        "Settings(enable_llm_pool=True, openai_api_key='******')"
    )


def test_description_is_json() -> None:
    """The debug page sends it as it is."""
    described = Settings.load(llm_nodes_file="nodes.toml").describe()

    assert json.loads(json.dumps(described)) == described


@pytest.mark.parametrize("key", ["sk-test", SecretStr("sk-test")])
def test_secrets_are_given_as_text_or_as_secret(key: object) -> None:
    """Callers need not wrap a key themselves."""
    assert Settings.load(openai_api_key=key).openai_api_key == SecretStr("sk-test")
