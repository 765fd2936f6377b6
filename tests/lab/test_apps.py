"""Do the processes of a comparison find the right things in their environment?"""

from __future__ import annotations

import json

import pytest

from phase1.lab.apps import Upstream, _inherited, example_app, upstream_target


@pytest.mark.parametrize("environment", [{}, {"OPENAI_API_KEY": " "}, {"LLM_MODEL": "gpt-4o"}])
def test_without_key_and_url_there_is_no_real_upstream(environment: dict[str, str]) -> None:
    """An empty value counts as not set."""
    assert Upstream.real(environment) is None


def test_key_alone_means_the_provider() -> None:
    """The SDK's default address."""
    found = Upstream.real({"OPENAI_API_KEY": "sk-1"})
    assert found == Upstream(base_url="https://api.openai.com/v1", api_key="sk-1", mock=False)


def test_url_alone_means_a_server_that_needs_no_key() -> None:
    """Both apps still get a key, because the SDK wants one; the model is the environment's."""
    found = Upstream.real({"OPENAI_BASE_URL": "http://10.0.0.1/v1/", "LLM_MODEL": "llama"})
    assert found is not None
    assert found.variables == {
        "OPENAI_API_KEY": "phase1-demo",
        "OPENAI_BASE_URL": "http://10.0.0.1/v1",
        "LLM_MODEL": "llama",
    }
    target = upstream_target(found)
    assert (target.url, json.loads(target.ask.body)["model"]) == ("http://10.0.0.1/v1/chat/completions", "llama")


def test_pool_has_another_name_for_the_mock_model() -> None:
    """Faults are aimed at that name, so legacy's requests to the same mock go unharmed."""
    variables = Upstream(base_url="http://127.0.0.1:9/v1", api_key="k", mock=True).variables
    (node,) = json.loads(variables["LLM_NODES"])
    assert node["models"] == {variables["LLM_MODEL"]: "gpt-4o-mini-pool"}
    assert node["base_url"] == variables["OPENAI_BASE_URL"]


def test_own_settings_of_the_shell_stay_outside() -> None:
    """A `DISABLE_POOL=true` that was exported once does not change what is measured; the rest is inherited."""
    ours = dict.fromkeys(("DISABLE_POOL", "llm_pool_size", "OPENAI_API_POOL_SIZE", "AUTH_SECRET", "LLMOCK_CONFIG"), "x")
    assert _inherited({**ours, "PATH": "/bin"}) == {"PATH": "/bin", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def test_loopback_is_never_asked_by_a_proxy() -> None:
    """What was excepted from the proxy before still is."""
    assert _inherited({"HTTP_PROXY": "http://proxy", "no_proxy": "intra"})["NO_PROXY"] == "intra,127.0.0.1"


def test_example_app_is_found() -> None:
    """In the repository it is the one in `examples/`."""
    assert example_app().parts[-2:] == ("examples", "legacy_main.py")
