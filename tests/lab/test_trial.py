"""Does the user's own app run with the pool off and on, and is whatever is wrong with it one clear line?"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from phase1.exceptions import ConfigurationError
from phase1.lab.apps import Upstream
from phase1.lab.processes import LabError
from phase1.lab.target import Ask, TargetApp, header_of
from phase1.lab.trial import Trial, open_trial

APPS = Path(__file__).parent / "apps"

pytestmark = pytest.mark.timeout(180)  # up to four processes start, one after the other
ANSWER = (
    b'{"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0,'
    b' "finish_reason": "stop", "message": {"role": "assistant", "content": "a part of a whole"}}]}'
)


class Model:
    """An upstream that counts: one request on each connection."""

    def __init__(self) -> None:
        self.asked = 0
        self.upstream = Upstream(base_url="", api_key="sk-lab", mock=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        head = (
            f"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {len(ANSWER)}"
        )
        writer.write(head.encode() + b"\r\n\r\n" + ANSWER)
        await writer.drain()
        writer.close()

    async def count(self) -> int:
        return self.asked


@pytest.fixture
async def model() -> AsyncIterator[Model]:
    """A running one."""
    found = Model()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    found.upstream = Upstream(base_url=url, api_key="sk-lab", mock=True)
    try:
        yield found
    finally:
        server.close()


Opener = Callable[[TargetApp], AbstractAsyncContextManager[Trial]]


@pytest.fixture
def opened(model: Model, environment: dict[str, str]) -> Opener:
    """Opens a trial of an app against the model."""
    return lambda target: open_trial(target, model.upstream, environment=environment)


def _plain(ask: Ask | None = None, **variables: str) -> TargetApp:
    return TargetApp(app="plain:app", ask=ask or Ask(), folder=APPS, variables=variables)


async def test_app_without_phase1_gets_its_pool_from_outside(opened: Opener, model: Model) -> None:
    """Both ways it answers by the model; the pooled one by a pool, and the legacy one knows nothing of phase1.

    A route that asks the model by a way which has no door is told so.
    """
    async with opened(_plain(KIND="{folder}")) as trial:
        legacy = await trial.start(pooled=False)
        await trial.check(legacy, asked=model.count)
        assert await legacy.status() is None
        assert not await trial.integrated()
        pooled = await trial.start(pooled=True, settings={"LLM_POOL_SIZE": "2"})
        aside = replace(pooled, target=replace(pooled.target, ask=Ask(route="/own")))
        with pytest.raises(LabError, match="answered /own, but not by its pool"):
            await trial.check(aside, asked=model.count)
        await trial.check(pooled, asked=model.count)
        status = await pooled.status()
        assert status is not None
        assert status["pool"]["clients"] == 2
        assert [route["route"] for route in status["metrics"]["routes"]] == ["pool"]
        assert [node["name"] for node in status["nodes"]] == ["lab"]
        async with httpx.AsyncClient(trust_env=False) as client:
            folder = (await client.post(legacy.url, json={"message": "?"})).json()["kind"]
        assert os.path.isdir(folder)  # noqa: ASYNC240, PTH112
    assert not os.path.exists(folder)  # noqa: ASYNC240, PTH110
    assert legacy.server.process.poll() is not None
    assert pooled.server.process.poll() is not None


async def test_app_made_by_a_factory(opened: Opener, model: Model) -> None:
    """`module:function`, with the pool off and on."""
    target = TargetApp(app="plain:make_app", folder=APPS, factory=True)
    async with opened(target) as trial:
        for pooled in (False, True):
            await trial.check(await trial.start(pooled=pooled), asked=model.count)


async def test_own_nodes_file_is_not_asked(opened: Opener, model: Model, tmp_path: Path) -> None:
    """`.env.phase1` may name the real endpoints: in a trial there is only the lab's upstream.

    Its other settings hold, and those of one start win over them; a pooled app without its pool says why.
    """
    (tmp_path / "plain.py").write_text((APPS / "plain.py").read_text())
    (tmp_path / ".env.phase1").write_text("LLM_NODES_FILE=real.toml\nLLM_POOL_SIZE=3\n")
    async with opened(TargetApp(app="plain:app", folder=tmp_path)) as trial:
        pooled = await trial.start(pooled=True)
        await trial.check(pooled, asked=model.count)
        status = await pooled.status()
        with pytest.raises(LabError, match="runs without its pool: LLM_POOL_SIZE=none"):
            await trial.start(pooled=True, settings={"LLM_POOL_SIZE": "none"})
    assert status is not None
    assert (status["pool"]["clients"], status["nodes"][0]["base_url"]) == (3, model.upstream.base_url)


REFUSED = {
    "no route": (
        Ask(route="/nothing"),
        r"POST /nothing answers 404: the app has no such route \(--route, --method\); it has POST /chat, POST /",
    ),
    "no method": (Ask(method="GET", body=""), r"GET /chat answers 405: the app has no such route"),
    "own 404": (Ask(route="/missing"), r"POST /missing answers 404 to the sample request \(.*no such project"),
    "own 404 below a parameter": (
        Ask(route="/items/7?deep=1"),
        r"POST /items/7\?deep=1 answers 404 to the sample request \(.*no such item",
    ),
    "auth": (Ask(route="/private"), r"POST /private answers 401 .*who are you\?.*: it needs auth; .* --header"),
    "body": (Ask(body='{"question": 1}'), r"POST /chat answers 422 .*message.*: give a body that it takes by --body"),
    "limit": (Ask(route="/busy"), r"POST /busy answers 429 .*--env"),
    "redirect": (Ask(route="/moved"), r"POST /moved answers 308: it redirects to /chat; give that by --route"),
    "fails": (Ask(route="/broken"), r"POST /broken answers 500 .*Internal Server Error"),
    "asks nobody": (Ask(route="/echo"), r"/echo answered without asking the upstream of the lab"),
}


async def test_request_that_the_app_does_not_take(opened: Opener, model: Model) -> None:
    """One line each: what it answered, and what to change. `{user}` in a header is the number of who asks."""
    async with opened(_plain()) as trial:
        app = await trial.start(pooled=False)
        for ask, said in REFUSED.values():
            with pytest.raises(LabError, match=said) as raised:
                await trial.check(replace(app, target=replace(app.target, ask=ask)), asked=model.count)
            assert "\n" not in str(raised.value)
        welcome = Ask(route="/private", headers=(header_of("Authorization: Bearer user-{user}"),))
        await trial.check(replace(app, target=replace(app.target, ask=welcome)), asked=model.count)


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("nowhere:app", "legacy app ended with status 3: .*Could not import module"),
        ("plain:application", "legacy app ended with status 3: .*Attribute"),
        ("fails_at_import:app", "legacy app ended with status 1: ModuleNotFoundError: No module named 'a_library"),
        ("fails_at_start:app", "legacy app ended with status 3: RuntimeError: the database is not there"),
    ],
)
async def test_app_that_does_not_start(app: str, said: str, opened: Opener) -> None:
    """One line with its last words."""
    async with opened(TargetApp(app=app, folder=APPS)) as trial:
        with pytest.raises(LabError, match=said) as raised:
            await trial.start(pooled=False)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: TargetApp(app="main"), "main: must have the form module:app"),
        (lambda: Ask(route="chat"), "--route chat: must be a path"),
        (lambda: Ask(method="post"), "--method post: must be one of POST, GET"),
        (lambda: Ask(body="{"), "--body is not JSON"),
        (lambda: header_of("Bearer"), '--header: must have the form "Name: value"'),
        (lambda: header_of("X: \N{SNOWMAN}"), "--header X: the value must be printable ASCII"),
    ],
)
def test_what_cannot_be_sent(make: Callable[[], object], said: str) -> None:
    """Said before anything starts, without a secret."""
    with pytest.raises(ConfigurationError) as raised:
        make()
    assert str(raised.value).startswith(said)


def test_secrets_are_not_shown() -> None:
    """Neither in a `repr` nor in what a report says of the headers."""
    ask = Ask(headers=(("Authorization", "Bearer secret"), ("Accept", "text/plain")), body='{"prompt": "private"}')
    assert "secret" not in repr(ask)
    assert "private" not in repr(ask)
    assert ask.public_headers == ("Authorization: …", "Accept: text/plain")
