"""Which nodes come out of which list, and which lists are refused?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from phase1.settings import NodeSettings, Settings

SECRET = "hush-0123456789"
NODE = {"name": "a", "base_url": "https://host/v1", "api_key": SECRET}
NO_KEY = "OPENAI_API_KEY is not set: give the provider's key, or list the nodes in LLM_NODES or LLM_NODES_FILE"


def listed(*nodes: object) -> str:
    """The list as `LLM_NODES` holds it."""
    return json.dumps(nodes)


def node(**fields: object) -> dict[str, object]:
    """A valid node but for `fields`; `None` leaves one out."""
    return {name: value for name, value in {**NODE, **fields}.items() if value is not None}


class TestSingleNode:
    """Without a list there is one node, `default`."""

    def test_of_key_and_url(self, env: Callable[..., None]) -> None:
        """It is what the SDK would use."""
        env(OPENAI_API_KEY="sk-test", OPENAI_BASE_URL="http://gateway:8080/v1")

        assert Settings.load().nodes() == (
            NodeSettings(name="default", base_url="http://gateway:8080/v1", api_key=SecretStr("sk-test")),
        )

    def test_of_a_key_alone(self) -> None:
        """The provider is OpenAI then."""
        (only,) = Settings.load(openai_api_key="sk-test").nodes()

        assert only.base_url == "https://api.openai.com/v1"
        assert (only.weight, only.pool_size, only.models, only.priority) == (1.0, None, {}, 0)

    @pytest.mark.parametrize("key", [None, "", SecretStr("")])
    def test_without_a_key(self, nodes_error: Callable[..., str], key: object) -> None:
        """The settings load, for the pool may be off; the nodes do not."""
        assert nodes_error(openai_api_key=key) == NO_KEY


class TestList:
    """`LLM_NODES` and `LLM_NODES_FILE`."""

    def test_of_json(self, env: Callable[..., None]) -> None:
        """Every field that this version honours."""
        env(
            KEY_OF_B=SECRET,
            LLM_NODES=listed(
                NODE,
                {
                    "name": "b.eu-1",
                    "base_url": "https://eu.host/v1",
                    "api_key_env": "KEY_OF_B",
                    "weight": 2,
                    "pool_size": 3,
                    "models": {"gpt-4o": "my-deployment"},
                    "region": "eu",
                    "quota_domain": "org-1",
                    "priority": 1,
                },
            ),
        )

        assert Settings.load().nodes() == (
            NodeSettings(name="a", base_url="https://host/v1", api_key=SecretStr(SECRET)),
            NodeSettings(
                name="b.eu-1",
                base_url="https://eu.host/v1",
                api_key=SecretStr(SECRET),
                api_key_env="KEY_OF_B",
                weight=2.0,
                pool_size=3,
                models={"gpt-4o": "my-deployment"},
                region="eu",
                quota_domain="org-1",
                priority=1,
            ),
        )

    def test_of_toml(self, tmp_path: Path) -> None:
        """The same fields, one table per node."""
        toml = (
            '[[nodes]]\nname = "a"\nbase_url = "https://host/v1"\napi_key = "k1"\n\n'
            '[[nodes]]\nname = "b"\nbase_url = "https://host/v1"\napi_key = "k2"\n[nodes.models]\n"gpt-4o" = "mini"\n'
        )
        (tmp_path / "nodes.toml").write_text(toml, encoding="utf-8")

        first, second = Settings.load(llm_nodes_file="nodes.toml").nodes()

        assert (first.name, first.api_key, second.name, second.models) == (
            "a",
            SecretStr("k1"),
            "b",
            {"gpt-4o": "mini"},
        )

    def test_a_key_of_the_env_file(self, env_file: Callable[[str], Path]) -> None:
        """`api_key_env` names a variable of `.env.phase1` as well."""
        env_file(f"KEY_OF_A={SECRET}\n")

        (only,) = Settings.load(llm_nodes=listed(node(api_key=None, api_key_env="KEY_OF_A"))).nodes()

        assert only.api_key == SecretStr(SECRET)

    def test_limits_are_shared(self) -> None:
        """A node that leaves them out has those of its quota; another key, or other models, have their own."""
        entries = (
            node(rpm=60, tpm=6000),
            node(name="b"),
            node(name="c", api_key="other"),
            node(name="d", models={"x": "y"}, rpm=7),
            node(name="e", api_key="other", quota_domain="org", rpm=9),
            node(name="f", quota_domain="org"),
        )

        found = Settings.load(llm_nodes=listed(*entries)).nodes()

        assert [(one.rpm, one.tpm) for one in found] == [
            (60, 6000),
            (60, 6000),
            (None, None),
            (7, None),
            (9, None),
            (9, None),
        ]

    def test_the_files_that_the_nodes_depend_on(self) -> None:
        """The list, and the file with the keys; none for the single node."""
        assert Settings.load(openai_api_key="k").node_files() == []
        assert Settings.load(llm_nodes=listed(NODE)).node_files() == [Path(".env.phase1")]
        assert Settings.load(llm_nodes_file="n.toml").node_files() == [Path(".env.phase1"), Path("n.toml")]

    def test_the_single_node_is_not_beside_a_list(self, env: Callable[..., None]) -> None:
        """`OPENAI_API_KEY` may stay set for the legacy client."""
        env(OPENAI_API_KEY="sk-test", LLM_NODES=listed(NODE))

        assert [found.name for found in Settings.load().nodes()] == ["a"]

    def test_list_and_file(self, env: Callable[..., None], nodes_error: Callable[..., str]) -> None:
        """Which of the two would win, nobody can know."""
        env(LLM_NODES=listed(NODE), LLM_NODES_FILE="nodes.toml")

        assert nodes_error() == "LLM_NODES and LLM_NODES_FILE: only one of them may be set"


NAME = "must be 1 to 64 characters of A-Z a-z 0-9 . _ -"
HTTP_URL = "must be a URL that begins with http:// or https:// and names a host"
POSITIVE = "must be more than 0"
TABLE = "must be a table of fields"
UNKNOWN = "unknown field"
EITHER = "give either api_key or api_key_env"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nodes.toml", "is not valid JSON (Expecting value: line 1 column 1 (char 0))"),
        (f'["{SECRET}', "is not valid JSON (Unterminated string starting at: line 1 column 2 (char 1))"),
        ("{}", "must be a list of at least one node"),
        ("[]", "must be a list of at least one node"),
        (listed(SECRET), "node #1: must be a table of fields"),
        (listed(node(name=None)), "node #1: name: is missing"),
        (listed(node(name="")), f"node #1: name=: {NAME}"),
        (listed(node(name="x" * 65)), f"node #1: name={'x' * 65}: {NAME}"),
        (listed(node(name="två")), f"node #1: name=två: {NAME}"),
        (listed(node(name=5)), "node #1: name=5: must be text"),
        (listed(node(base_url=None)), 'node "a": base_url: is missing'),
        (
            listed(node(base_url=f"ftp://u:{SECRET}@host/v1?{SECRET}")),
            f'node "a": base_url=ftp://host/v1: {HTTP_URL}',
        ),
        (listed(node(weight=0)), 'node "a": weight=0: must be more than 0'),
        (listed(node(weight=-1.5)), 'node "a": weight=-1.5: must be more than 0'),
        (listed(node(weight="heavy")), 'node "a": weight=heavy: must be a number, more than 0'),
        (listed(node(weight=float("inf"))), 'node "a": weight=inf: must be a number, more than 0'),
        (listed(node(pool_size=0)), 'node "a": pool_size=0: must be at least 1'),
        (listed(node(pool_size=1001)), 'node "a": pool_size=1001: must be between 1 and 1000'),
        (listed(node(priority=-1)), 'node "a": priority=-1: must be at least 0'),
        (listed(node(models=["x"])), 'node "a": models: must be a table'),
        (listed(node(models={"gpt": 4})), 'node "a": models.gpt: must be text'),
        (listed(node(models={"gpt": " "})), 'node "a": models.gpt: must not be empty'),
        (listed(node(region="")), 'node "a": region: must not be empty'),
        (listed(node(apikey=SECRET)), 'node "a": apikey: unknown field'),
        (listed(node(rpm=0)), 'node "a": rpm=0: must be at least 1'),
        (listed(node(tpm="many")), 'node "a": tpm=many: must be one whole number, at least 1'),
        (
            listed(node(rpm=60, tpm=59)),
            'node "a": tpm=59: must be at least rpm=60, for a request has a token',
        ),
        (
            listed(node(rpm=60), node(name="b", rpm=61)),
            'node "b": rpm=61: node "a" of the same quota has rpm=60; give both the same, or leave one out',
        ),
        (
            listed(
                node(quota_domain="org", tpm=100),
                node(name="b", quota_domain="org", api_key="other", models={"x": "y"}, tpm=200),
            ),
            'node "b": tpm=200: node "a" of the same quota has tpm=100; give both the same, or leave one out',
        ),
        (listed(node(api_key=None)), f'node "a": {EITHER}'),
        (listed(node(api_key_env="KEY_OF_A")), f'node "a": {EITHER}'),
        (
            listed(node(api_key=None, api_key_env="KEY_OF_A")),
            'node "a": api_key_env=KEY_OF_A: this variable is not set',
        ),
        (listed(node(api_key=None, api_key_env=SECRET)), 'node "a": api_key_env: must be the name of a variable'),
        (listed(node(api_key=None, api_key_env=7)), 'node "a": api_key_env: must be the name of a variable'),
        (listed(node(api_key="")), 'node "a": api_key: must not be empty'),
        (listed(node(api_key=f"{SECRET} ")), 'node "a": api_key: must be printable ASCII without spaces'),
        (listed(node(api_key=7)), 'node "a": api_key: must be text'),
        (listed(NODE, NODE, node(name="b")), 'node "a": 2 nodes have this name'),
        (
            listed(node(weight=0, rank=1), node(name="b", nmae="c"), 4),
            f'node "a": weight=0: {POSITIVE}; node "a": rank: {UNKNOWN}; node "b": nmae: {UNKNOWN}; node #3: {TABLE}',
        ),
    ],
)
def test_a_bad_list_is_told_without_its_secrets(nodes_error: Callable[..., str], text: str, problem: str) -> None:
    """The node, the field and what is allowed are named; keys and unknown values are not."""
    error = nodes_error(llm_nodes=text)

    assert error == f"LLM_NODES: {problem}"
    assert SECRET not in error


def test_a_key_of_the_environment_is_checked_too(env: Callable[..., None], nodes_error: Callable[..., str]) -> None:
    """A key that no header can carry is found wherever it comes from."""
    env(KEY_OF_A="two words", LLM_NODES=listed(node(api_key=None, api_key_env="KEY_OF_A")))

    assert nodes_error() == 'LLM_NODES: node "a": api_key: must be printable ASCII without spaces'


class TestBadFile:
    """What can be wrong with the file itself."""

    def test_missing(self, nodes_error: Callable[..., str]) -> None:
        """The variable and the reason are named."""
        assert nodes_error(llm_nodes_file="nodes.toml") == (
            "LLM_NODES_FILE=nodes.toml: cannot be read (No such file or directory)"
        )

    def test_a_directory(self, nodes_error: Callable[..., str], tmp_path: Path) -> None:
        """A path that is no file."""
        (tmp_path / "nodes").mkdir()

        assert nodes_error(llm_nodes_file="nodes") == "LLM_NODES_FILE=nodes: cannot be read (Is a directory)"

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (b"\xff\xfe", "is not UTF-8 text"),
            (b"[[nodes]]\nname = \n", "is not valid TOML (Invalid value (at line 2, column 8))"),
            (b"", "must hold tables [[nodes]] and nothing else"),
            (b"[[node]]\n", "must hold tables [[nodes]] and nothing else"),
            (b'[nodes]\nname = "a"\n', "must be a list of at least one node"),
            (b'[[nodes]]\nname = "a"\napi_key = "k"\n', 'node "a": base_url: is missing'),
        ],
    )
    def test_content(self, nodes_error: Callable[..., str], tmp_path: Path, content: bytes, problem: str) -> None:
        """What is in it is told like a list of `LLM_NODES`."""
        (tmp_path / "nodes.toml").write_bytes(content)

        assert nodes_error(llm_nodes_file="nodes.toml") == f"LLM_NODES_FILE=nodes.toml: {problem}"


class TestNodeSettings:
    """One node as a value."""

    def test_repr_has_no_secret(self) -> None:
        """Neither the key nor the URL's credentials."""
        text = repr(
            NodeSettings(name="a", base_url=f"https://u:{SECRET}@host/v1?k={SECRET}", api_key=SecretStr(SECRET))
        )

        assert SECRET not in text
        assert "base_url='https://host/v1'" in text

    def test_direct_construction_is_validated_and_hides_the_input(self) -> None:
        """Pydantic's own error, without the key."""
        with pytest.raises(ValidationError) as caught:
            NodeSettings(name="a b", base_url="https://host/v1", api_key=SecretStr(f"{SECRET} "))

        assert SECRET not in str(caught.value)

    def test_frozen(self) -> None:
        """As all settings."""
        only = NodeSettings(name="a", base_url="https://host/v1", api_key=SecretStr("k"))

        with pytest.raises(ValidationError, match="frozen"):
            only.weight = 2.0
