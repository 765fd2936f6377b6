"""Where does a value come from, and which place wins?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from phase1.settings import Settings, pool_requested, strict_start_requested


def test_the_environment_wins_over_the_file(env: Callable[..., None], env_file: Callable[[str], Path]) -> None:
    """A variable of the process overrides the file; what only the file has is used."""
    env_file("LLM_POOL_SIZE=3\nLLM_QUEUE_SIZE=7\n")
    env(LLM_POOL_SIZE="4")

    settings = Settings.load()

    assert (settings.llm_pool_size, settings.llm_queue_size) == (4, 7)


def test_arguments_win_over_the_environment(env: Callable[..., None]) -> None:
    """What the code says is not overridden from outside."""
    env(LLM_POOL_SIZE="4")

    assert Settings.load(llm_pool_size=9).llm_pool_size == 9


@pytest.mark.parametrize("empty", ["", "   "])
def test_an_empty_value_is_not_set(env: Callable[..., None], env_file: Callable[[str], Path], empty: str) -> None:
    """`KEY=` neither is a value nor hides the one of the file."""
    env_file("LLM_POOL_SIZE=3\nLLM_MODEL=\nLLM_NODES\n")
    env(LLM_POOL_SIZE=empty, OPENAI_API_KEY=empty)

    settings = Settings.load()

    assert (settings.llm_pool_size, settings.llm_model, settings.openai_api_key) == (3, None, None)


def test_an_empty_argument_is_the_default(env: Callable[..., None]) -> None:
    """An explicit nothing is not filled up from the environment."""
    env(OPENAI_API_KEY="sk-test")

    settings = Settings.load(openai_api_key="")

    assert settings.openai_api_key is None
    assert settings.describe()["OPENAI_API_KEY"] == {"value": None, "source": "default"}


def test_none_as_argument_unsets(env: Callable[..., None]) -> None:
    """`None` takes an optional setting away."""
    env(OPENAI_API_KEY="sk-test")

    assert Settings.load(openai_api_key=None).openai_api_key is None


def test_surrounding_spaces_are_dropped(env: Callable[..., None]) -> None:
    """`docker --env-file` keeps the space at the end of a line that the others drop."""
    env(LLM_CANARY_KEY=" header:X-User ", OPENAI_API_KEY="sk-test\n")

    settings = Settings.load(llm_model=" gpt ")

    assert settings.llm_canary_key == "header:X-User"
    assert settings.llm_model == "gpt"
    assert settings.openai_api_key is not None
    assert settings.openai_api_key.get_secret_value() == "sk-test"


def test_names_are_read_in_any_case(env: Callable[..., None]) -> None:
    """As everywhere with pydantic-settings."""
    env(llm_pool_size="6")

    assert Settings.load().llm_pool_size == 6


def test_unknown_variables_are_ignored(env: Callable[..., None], env_file: Callable[[str], Path]) -> None:
    """The environment and the file belong to the app too."""
    env_file("LLM_SOMETHING_ELSE=1\nDATABASE_URL=sqlite://\n")
    env(LLM_POOL_SIZES="4")

    assert Settings.load().model_dump() == Settings.model_construct().model_dump()


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    """Windows editors write one."""
    (tmp_path / ".env.phase1").write_text("LLM_POOL_SIZE=3\n", encoding="utf-8-sig")

    assert Settings.load().llm_pool_size == 3


def test_a_file_that_is_not_text_is_told(load_error: Callable[..., str], tmp_path: Path) -> None:
    """A file in another encoding is an error of its own."""
    (tmp_path / ".env.phase1").write_bytes("LLM_MODEL=modèle".encode("latin-1"))

    assert load_error() == ".env.phase1: is not UTF-8 text"


def test_a_file_that_cannot_be_read_is_told(monkeypatch: pytest.MonkeyPatch, load_error: Callable[..., str]) -> None:
    """A file that is there and cannot be read is not the same as no file."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("phase1.settings.DotEnvSettingsSource", refuse)  # root, who runs CI, may read every file

    assert load_error() == ".env.phase1: cannot be read (Permission denied)"


class TestPoolSizeAlias:
    """`OPENAI_API_POOL_SIZE` is seed 002's name of `LLM_POOL_SIZE`."""

    def test_alone(self, env: Callable[..., None]) -> None:
        """It is the pool size."""
        env(OPENAI_API_POOL_SIZE="10")

        settings = Settings.load()

        assert settings.llm_pool_size == 10
        assert settings.describe()["LLM_POOL_SIZE"] == {"value": 10, "source": "environment"}

    def test_both_alike(self, env: Callable[..., None], env_file: Callable[[str], Path]) -> None:
        """Saying the same twice is no contradiction."""
        env(OPENAI_API_POOL_SIZE="10")
        env_file("LLM_POOL_SIZE=10\n")

        assert Settings.load().llm_pool_size == 10

    def test_both_different(self, env: Callable[..., None], load_error: Callable[..., str]) -> None:
        """Neither name wins; both are named."""
        env(OPENAI_API_POOL_SIZE="10", LLM_POOL_SIZE="5")

        assert load_error() == (
            "LLM_POOL_SIZE=5 and OPENAI_API_POOL_SIZE=10: two names of one setting; set only one of them"
        )

    def test_different_between_file_and_environment(
        self, env: Callable[..., None], env_file: Callable[[str], Path], load_error: Callable[..., str]
    ) -> None:
        """The two names disagree, wherever they stand."""
        env(OPENAI_API_POOL_SIZE="10")
        env_file("LLM_POOL_SIZE=5\n")

        assert load_error() == (
            "LLM_POOL_SIZE=5 and OPENAI_API_POOL_SIZE=10: two names of one setting; set only one of them"
        )

    @pytest.mark.parametrize("name", ["llm_pool_size", "openai_api_pool_size"])
    @pytest.mark.parametrize("variable", ["LLM_POOL_SIZE", "OPENAI_API_POOL_SIZE"])
    def test_an_argument_wins(self, env: Callable[..., None], name: str, variable: str) -> None:
        """Under either name an argument wins over either variable."""
        env(**{variable: "10"})

        assert Settings.load(**{name: 3}).llm_pool_size == 3

    def test_both_as_arguments(self, load_error: Callable[..., str]) -> None:
        """Code can contradict itself too."""
        assert load_error(llm_pool_size=1, openai_api_pool_size=2) == (
            "LLM_POOL_SIZE=1 and OPENAI_API_POOL_SIZE=2: two names of one setting; set only one of them"
        )


class TestStrictStart:
    """`LLM_STRICT_START` decides what an error at start means, so it is read on its own."""

    @pytest.mark.parametrize("value", ["true", "1", "ON"])
    def test_requested(self, env: Callable[..., None], value: str) -> None:
        """Every spelling of true is one."""
        env(LLM_STRICT_START=value)

        assert strict_start_requested() is True

    @pytest.mark.parametrize("value", ["false", "0", "", "?"])
    def test_not_requested(self, env: Callable[..., None], value: str) -> None:
        """What cannot be read as true is no request."""
        env(LLM_STRICT_START=value)

        assert strict_start_requested() is False

    def test_not_set(self) -> None:
        """The default is to start on legacy."""
        assert strict_start_requested() is False

    def test_from_the_file(self, env_file: Callable[[str], Path]) -> None:
        """The file counts as for every other setting."""
        env_file("LLM_STRICT_START=true\n")

        assert strict_start_requested() is True

    def test_beside_invalid_settings(self, env: Callable[..., None], load_error: Callable[..., str]) -> None:
        """It is known even when the settings cannot be loaded."""
        env(LLM_STRICT_START="true", LLM_POOL_SIZE="0")

        assert load_error() == "LLM_POOL_SIZE=0: must be at least 1"
        assert strict_start_requested() is True

    def test_with_an_unreadable_file(self, tmp_path: Path) -> None:
        """It never raises."""
        (tmp_path / ".env.phase1").write_bytes(b"\xff")

        assert strict_start_requested() is False


class TestPoolRequested:
    """`ENABLE_LLM_POOL` is known even when the settings are invalid."""

    def test_requested(self, env: Callable[..., None]) -> None:
        """An operator who wants the pool and made a mistake hears of it."""
        env(ENABLE_LLM_POOL="true", LLM_POOL_SIZE="0")

        assert pool_requested() is True

    def test_not_requested(self) -> None:
        """The default is off."""
        assert pool_requested() is False
