"""Does this version accept every settings block of INTEGRATION.md exactly as it stands there?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from dotenv import dotenv_values

from phase1.lab.defaults import Wishes, target_of
from phase1.policy.rollout_plan import Metric
from phase1.rollout.plan_file import plan_from_file
from phase1.settings import Settings, limits_of_this_version

from .pages import INTEGRATION, ROOT

ENV = INTEGRATION.named("env")
WEEKS = ("week-1", "week-2", "week-2-canary", "week-3", "week-4-eight", "week-4-ten")


def cells(text: str) -> list[str]:
    """What a cell lists, without its backticks."""
    return [part.strip("` ") for part in text.split(",")]


def test_every_settings_block_has_a_name() -> None:
    """None is left out of these tests."""
    kinds = {"dotenv": "env", "toml": "toml"}
    blocks = [block for block in INTEGRATION.blocks if block.language in kinds]
    assert [block for block in blocks if block.kind != kinds[block.language]] == []


@pytest.mark.parametrize("name", ENV)
def test_block_is_accepted_as_the_file(name: str, tmp_path: Path) -> None:
    """Saved as `.env.phase1`, every line takes effect."""
    (tmp_path / ".env.phase1").write_text(ENV[name], encoding="utf-8")
    described = Settings.load().describe()
    written = dotenv_values(tmp_path / ".env.phase1")
    assert written
    assert {variable: described[variable]["source"] for variable in written} == dict.fromkeys(written, ".env.phase1")
    assert len(written) == ENV[name].count("\n")


def test_weeks_rise_as_the_text_says(tmp_path: Path) -> None:
    """Off; on with 3 clients, for everybody or for 10 %; 5; 8 or 10."""
    steps = []
    for week in WEEKS:
        (tmp_path / ".env.phase1").write_text(ENV[week], encoding="utf-8")
        settings = Settings.load()
        steps.append((settings.enable_llm_pool, settings.llm_pool_size, settings.llm_canary_percent))
    assert steps == [(False, 5, 100), (True, 3, 100), (True, 3, 10), (True, 5, 100), (True, 8, 100), (True, 10, 100)]


def test_nodes_block_is_accepted(env: Callable[..., None], tmp_path: Path) -> None:
    """As the file that LLM_NODES_FILE names, with the keys in the environment."""
    (tmp_path / "nodes.toml").write_text(INTEGRATION.named("toml")["nodes"], encoding="utf-8")
    env(OPENAI_API_KEY="sk-1", OPENAI_API_KEY_2="sk-2", AZURE_OPENAI_API_KEY="sk-3", LLM_NODES_FILE="nodes.toml")
    nodes = Settings.load().nodes()
    assert [(node.name, node.weight, node.priority) for node in nodes] == [
        ("primary", 1.0, 0),
        ("second-account", 0.5, 0),
        ("azure", 1.0, 1),
    ]
    assert [node.api_key.get_secret_value() for node in nodes] == ["sk-1", "sk-2", "sk-3"]
    assert nodes[2].models == {"gpt-4o-mini": "my-deployment"}


def test_rollout_file_is_read(tmp_path: Path) -> None:
    """Each step, and what the text says of it."""
    (tmp_path / "rollout.toml").write_text(INTEGRATION.named("toml")["rollout"], encoding="utf-8")
    plan = plan_from_file(tmp_path / "rollout.toml")
    assert [(step.percent, step.approval) for step in plan.steps] == [(1, True), (50, False), (100, False)]
    assert (plan.max_tokens, plan.margins[Metric.FAILED]) == (4000, 0.02)


def test_environment_wins_and_empty_is_not_set(env: Callable[..., None], tmp_path: Path) -> None:
    """The two rules of the text."""
    (tmp_path / ".env.phase1").write_text("LLM_POOL_SIZE=7\n", encoding="utf-8")
    env(LLM_POOL_SIZE="9")
    assert Settings.load().llm_pool_size == 9
    env(LLM_POOL_SIZE="")
    assert Settings.load().llm_pool_size == 7


def test_what_this_version_refuses_is_told() -> None:
    """The table under `Not in this version` is the code's list."""
    told = {setting.strip("`"): cells(accepted) for setting, accepted in INTEGRATION.table("setting")}
    limits = {name.upper(): limits_of_this_version(name) for name in Settings.model_fields}
    assert told == {name: limit.split(", ") for name, limit in limits.items() if limit}


def test_no_setting_is_without_an_effect() -> None:
    """Some module looks at each of them, or its only value is refused together with the others."""
    readers = [
        path
        for path in (ROOT / "phase1").rglob("*.py")
        if path.name not in {"settings.py", "validation.py", "envfile.py"}
    ]
    code = "\n".join(path.read_text(encoding="utf-8") for path in readers)
    unused = {name for name in Settings.model_fields if f".{name}" not in code and f'"{name}"' not in code}
    assert {name for name in unused if not limits_of_this_version(name)} == set()


def test_lab_block_is_accepted(tmp_path: Path) -> None:
    """As part of a project's pyproject.toml: `phase1 compare main:app` asks as it says."""
    (tmp_path / "pyproject.toml").write_text(INTEGRATION.named("toml")["lab"], encoding="utf-8")
    target = target_of("main:app", Wishes(), folder=tmp_path)
    assert target.ask.headers_of(3)["Authorization"] == "Bearer demo-3"
    assert target.variables == {"RATE_LIMIT": "0"}
