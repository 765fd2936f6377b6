"""Does a project's pyproject.toml say how its apps are measured, and does the command line win?"""

from __future__ import annotations

from pathlib import Path

import pytest

from phase1.exceptions import ConfigurationError
from phase1.lab.defaults import Wishes, ask_of, target_of
from phase1.lab.target import SAMPLE_BODY, TargetApp

ROOT = Path(__file__).resolve().parents[2]
TABLE = """
[tool.phase1.lab."main:app"]
route = "/ask"
method = "put"
headers = ["X-User: {user}"]
body = '{"question": "why?"}'
env = { LIMIT = "0", HOME = "{folder}" }
factory = true
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that says everything."""
    (tmp_path / "pyproject.toml").write_text(TABLE)
    return tmp_path


def test_project_says_it_all(project: Path) -> None:
    """So that the command is the app's name and nothing else."""
    found = target_of("main:app", Wishes(), folder=project)
    assert (found.ask.route, found.ask.method, found.factory) == ("/ask", "PUT", True)
    assert found.ask.headers_of(7) == {"content-type": "application/json", "X-User": "7"}
    assert found.ask.body_of(7) == b'{"question": "why?"}'
    assert found.variables_in(Path("/run")) == {"LIMIT": "0", "HOME": "/run"}


def test_command_line_wins(project: Path) -> None:
    """What it names, and only that."""
    wishes = Wishes(route="/chat", headers=["X-Key: a"], body="-", env=["LIMIT=5", "MORE=a=b"])
    found = target_of("main:app", wishes, folder=project)
    assert (found.ask.route, found.ask.method) == ("/chat", "PUT")
    assert found.ask.headers_of(1) == {"X-Key": "a"}
    assert found.variables == {"LIMIT": "5", "HOME": "{folder}", "MORE": "a=b"}


@pytest.mark.parametrize("app", ["other:app", "main:application"])
def test_other_apps_have_the_defaults(app: str, project: Path) -> None:
    """A table is about one app."""
    assert target_of(app, Wishes(), folder=project) == TargetApp(app=app, folder=project)


def test_body_from_a_file(tmp_path: Path) -> None:
    """`@file`; the number of the user is put in later."""
    (tmp_path / "body.json").write_text('{"who": "{user}"}')
    ask = ask_of(Wishes(body=f"@{tmp_path / 'body.json'}"), {})
    assert ask.body_of(3) == b'{"who": "3"}'
    assert ask_of(Wishes(), {}).body == SAMPLE_BODY


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.phase1.lab.'main:app']\nrout = '/x'", 'pyproject.toml [tool.phase1.lab."main:app"]: rout is unknown'),
        ("[tool.phase1.lab.'main:app']\nroute = 1", 'pyproject.toml [tool.phase1.lab."main:app"]: route has another'),
        ("[tool.phase1.lab.'main:app']\nheaders = [1]", 'pyproject.toml [tool.phase1.lab."main:app"]: headers has'),
        ("[tool.phase1.lab.'main:app']\nenv = {A = 1}", 'pyproject.toml [tool.phase1.lab."main:app"]: env has another'),
        ("[tool", "pyproject.toml cannot be read"),
    ],
)
def test_wrong_table_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    """It names the table and what is wrong with it."""
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(ConfigurationError) as raised:
        target_of("main:app", Wishes(), folder=tmp_path)
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        (Wishes(env=["LIMIT"]), "--env: must have the form NAME=VALUE"),
        (Wishes(env=["=x"]), "--env: must have the form NAME=VALUE"),
        (Wishes(body="@/nowhere/body.json"), "--body @/nowhere/body.json: No such file"),
        (Wishes(method="fetch"), "--method FETCH: must be one of"),
    ],
)
def test_wrong_wish_is_one_line(wishes: Wishes, said: str, tmp_path: Path) -> None:
    """It names the option."""
    with pytest.raises(ConfigurationError) as raised:
        target_of("main:app", wishes, folder=tmp_path)
    assert str(raised.value).startswith(said)


def test_example_of_the_repository_is_described() -> None:
    """`phase1 compare examples.legacy_main:app` needs no option: a token for each user, nobody held back."""
    found = target_of("examples.legacy_main:app", Wishes(), folder=ROOT)
    assert found.ask.headers_of(2)["Authorization"] == "Bearer demo-2"
    assert found.variables["RATE_LIMIT"] == "0"
