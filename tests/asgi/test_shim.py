"""Does an import string put phase1 into an app that nobody has edited?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent

import pytest
from starlette.applications import Starlette

from phase1.asgi import shim
from phase1.asgi.install import installed
from phase1.asgi.middleware import Phase1Middleware
from phase1.asgi.shim import load
from phase1.asgi.trial import SHIM
from phase1.doors.everywhere import doors_open
from phase1.exceptions import ConfigurationError
from tests.asgi.model import TEXT, Model
from tests.asgi.servers import serving

MODULE = "app_of_the_shim"
APP = """
    from starlette.applications import Starlette

    app = Starlette()
    number = 7

    class Holder:
        inner = app

    async def plain(scope, receive, send):
        pass

    def make():
        return app
"""


@pytest.fixture(autouse=True)
def doors_shut_afterwards() -> Iterator[None]:
    """The SDK's classes are every test's."""
    with doors_open():
        yield


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Write the app's module."""
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda text: (tmp_path / f"{MODULE}.py").write_text(dedent(text)) and None
    sys.modules.pop(MODULE, None)


@pytest.fixture
def written(write: Callable[[str], None]) -> None:
    """The app's module is there."""
    write(APP)


def attribute(name: str) -> object:
    """Of the app's module."""
    return getattr(sys.modules[MODULE], name)


@pytest.mark.parametrize("path", ["app", "Holder.inner"])
def test_starlette_app_gets_phase1_inside(path: str, written: None) -> None:
    """The app itself is served, nested in something or not."""
    app = load(f"{MODULE}:{path}")
    assert app is attribute("app")
    assert isinstance(app, Starlette)
    assert installed(app) is not None


def test_factory_is_called(written: None) -> None:
    """What it makes is served."""
    assert load(f"{MODULE}:make", factory=True) is attribute("app")


def test_any_other_app_is_wrapped(written: None) -> None:
    """The app stays inside as it is."""
    app = load(f"{MODULE}:plain")
    assert isinstance(app, Phase1Middleware)
    assert app.app is attribute("plain")


def test_app_with_phase1_keeps_its_own(write: Callable[[str], None]) -> None:
    """`install` twice is once."""
    write(APP + "\n    import phase1\n    manager = phase1.install(app)\n")
    app = load(f"{MODULE}:app")
    assert isinstance(app, Starlette)
    assert installed(app) is attribute("manager")


def test_it_says_what_it_did(
    written: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On standard error: the state, the doors, and who is out of reach."""
    monkeypatch.setitem(sys.modules, "anthropic", pytest)
    load(f"{MODULE}:app")
    said = capsys.readouterr()
    assert said.out == ""
    assert f"phase1: {MODULE}:app: every openai client has a door now" in said.err
    assert "calls of anthropic are out of reach" in said.err


@pytest.mark.parametrize("target", ["", "main", "main:", ":app"])
def test_target_of_another_form_is_refused(target: str) -> None:
    """With the variable to mend."""
    with pytest.raises(ConfigurationError, match=f"PHASE1_APP={target}: must have the form module:attribute"):
        load(target)


@pytest.mark.parametrize("path", ["nothing", "Holder.nothing", "app.nothing.more"])
def test_missing_attribute_is_named(path: str, written: None) -> None:
    """Nested or not."""
    with pytest.raises(ConfigurationError, match=f"{MODULE} has no attribute {path}"):
        load(f"{MODULE}:{path}")


@pytest.mark.parametrize("name", ["not_there_at_all", f"{MODULE}.not_there"])
def test_missing_module_is_named(name: str, written: None) -> None:
    """And where it was looked for."""
    with pytest.raises(ConfigurationError, match=f"there is no module {name} in "):
        load(f"{name}:app")


def test_module_that_the_app_misses_is_the_apps_error(write: Callable[[str], None]) -> None:
    """It is not taken for the target."""
    write("import not_there_at_all")
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        load(f"{MODULE}:app")


def test_servers_find_the_app_by_the_variables(
    written: None, env: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`phase1.asgi.shim:app`, loaded once."""
    monkeypatch.setitem(vars(shim), "app", None)  # taken away again afterwards
    monkeypatch.delitem(vars(shim), "app")
    env(PHASE1_APP=f"{MODULE}:make", PHASE1_FACTORY="true")
    assert shim.app is attribute("app")
    assert shim.app is vars(shim)["app"]


def test_attribute_error_of_the_app_is_not_taken_for_a_missing_app(
    write: Callable[[str], None], env: Callable[..., None]
) -> None:
    """Servers would say that the shim has no `app`."""
    write("app = object().nothing")
    env(PHASE1_APP=f"{MODULE}:app")
    with pytest.raises(ImportError, match="'object' object has no attribute 'nothing'"):
        _ = shim.app


def test_other_attributes_of_the_shim_are_missing() -> None:
    """As of any module."""
    assert not hasattr(shim, "nothing")


MANY = 5


@pytest.fixture
def model() -> Iterator[Model]:
    """An upstream for other processes."""
    with Model() as model:
        yield model


def around(model: Model, **more: str) -> dict[str, str]:
    """What the app is configured with."""
    return {"OPENAI_API_KEY": "sk-0123456789", "OPENAI_BASE_URL": model.url, "ENABLE_LLM_POOL": "true"} | more


@pytest.mark.parametrize(
    "target", [{"PHASE1_APP": "untouched:app"}, {"PHASE1_APP": "untouched:make", "PHASE1_FACTORY": "true"}]
)
def test_untouched_app_is_pooled_and_its_loop_free(target: dict[str, str], model: Model, tmp_path: Path) -> None:
    """A module-global `OpenAI()` called in `async def`: the model has all requests before it answers the first."""
    model.gate.clear()
    with (
        serving(tmp_path, target=SHIM, **around(model, **target)) as server,
        ThreadPoolExecutor(MANY) as browsers,
    ):
        asked = [browsers.submit(server.get, "/ask") for _ in range(MANY)]
        try:
            assert all(model.was_asked() for _ in range(MANY))
        finally:
            model.gate.set()
        assert [request.result().text for request in asked] == [TEXT] * MANY
        assert server.get("/debug/llm-system").json()["pool"]["open"] is True
        metrics = server.get("/metrics/llm?format=json").json()
    assert metrics["status"] != "legacy_mode"
    assert metrics["blocking_sites"] == {}
    assert "every openai client has a door now" in server.text


def test_untouched_app_with_the_pool_off_is_the_old_app(model: Model, tmp_path: Path) -> None:
    """It answers, by its own client."""
    with serving(tmp_path, target=SHIM, **around(model, PHASE1_APP="untouched:app", ENABLE_LLM_POOL="false")) as server:
        assert server.get("/ask").text == TEXT
        assert server.get("/metrics/llm?format=json").json()["status"] == "legacy_mode"
