"""Do the ten shapes of apps get the edits of the table, and do they then behave as promised: off as before, on free?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from phase1.patchkit.journal import Journal
from tests.doors.answers import error
from tests.doors.provider import Provider

from .running import ask, behaviour
from .trees import contents, copy_of, found, patched, planned, told

pytest_plugins = ["tests.doors.providing"]

OK = '200 "Hello"'
STREAMED = "200 Hello"


@dataclass(frozen=True)
class Shape:
    """A fixture app, what is to be found, and which lines are to be there after the edits."""

    name: str
    findings: list[tuple[str, str, str]]
    lines: list[str] = field(default_factory=list)
    blocks: bool = True
    unsafe: bool = False
    answer: str = OK


INSTALL = "phase1.install(app)"
SHAPES = (
    Shape(
        "module_client",
        [("P201", "safe", "main.py:10"), ("P102", "safe", "llm.py:3"), ("P101", "safe", "main.py:5")],
        [
            INSTALL,
            "client = phase1.adopt(OpenAI(max_retries=0))",
            'answer = await phase1.call(client.chat.completions.create, model="m", messages=MESSAGES)',
        ],
    ),
    Shape(
        "async_client",
        [("P101", "safe", "main.py:4"), ("P102", "safe", "main.py:5")],
        [INSTALL, "client = phase1.adopt(AsyncOpenAI(max_retries=0))"],
        blocks=False,
    ),
    Shape(
        "wrapper",
        [
            ("P202", "safe", "app/routes.py:10"),
            ("P102", "safe", "app/services/tutor.py:7"),
            ("P101", "safe", "main.py:5"),
        ],
        [INSTALL, "return await phase1.call(tutor.answer, question)", "self.client = phase1.adopt(openai.OpenAI("],
    ),
    Shape(
        "factory",
        [("P201", "safe", "main.py:16"), ("P101", "safe", "main.py:6"), ("P102", "unsafe", "main.py:11")],
        [INSTALL, "return phase1.adopt(OpenAI(max_retries=0))"],
        unsafe=True,
    ),
    Shape(
        "helper",
        [("P202", "safe", "main.py:10"), ("P101", "safe", "main.py:5"), ("P102", "safe", "steps.py:3")],
        [INSTALL, "return await phase1.call(process, question)", "client = phase1.adopt(openai.OpenAI(max_retries=0))"],
    ),
    Shape(
        "def_endpoint",
        [("P101", "safe", "main.py:4"), ("P102", "safe", "main.py:5")],
        [INSTALL, "client = phase1.adopt(OpenAI(max_retries=0))", "def ask(question: str) -> str:"],
        blocks=False,
    ),
    Shape(
        "langchain_chain",
        [("P203", "safe", "main.py:13"), ("P101", "safe", "main.py:6")],
        [INSTALL, 'return await phase1.call(chain.invoke, {"question": question})'],
    ),
    Shape(
        "async_stream",
        [("P101", "safe", "main.py:5"), ("P102", "safe", "main.py:6")],
        [INSTALL, "client = phase1.adopt(AsyncOpenAI(max_retries=0))"],
        blocks=False,
        answer=STREAMED,
    ),
    Shape(
        "fake_async",
        [("P201", "safe", "main.py:10"), ("P102", "safe", "main.py:7"), ("P101", "safe", "main.py:17")],
        [INSTALL, "response = await phase1.call(self.client.chat.completions.create,"],
    ),
    Shape(
        "direct",
        [("P201", "safe", "main.py:11"), ("P102", "safe", "main.py:5"), ("P101", "safe", "main.py:6")],
        [
            INSTALL,
            'präfix = "é"; text = (await phase1.call(client.chat.completions.create,  # noqa: E702',
            ")).choices[0].message.content",
        ],
    ),
    Shape(
        "sync_stream",
        [
            ("P201", "safe", "main.py:10"),
            ("P204", "unsafe", "main.py:11"),
            ("P101", "safe", "main.py:5"),
            ("P102", "safe", "main.py:6"),
        ],
        [INSTALL, "async for chunk in phase1.iterate(stream):"],
        unsafe=True,
        answer=STREAMED,
    ),
)
EVERY = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)


@pytest.fixture(autouse=True)
def connected(provider: Provider, env: Callable[..., None]) -> None:
    """The app's SDK asks the stub."""
    env(OPENAI_BASE_URL=provider.url, OPENAI_API_KEY="sk-app")


def patch(root: Path, shape: Shape) -> None:
    """Make the edits."""
    changes = planned(root, unsafe=shape.unsafe).changes
    Journal(root).write((change.source.name, change.source.data, change.after) for change in changes)


@EVERY
def test_shape_is_found(shape: Shape, tmp_path: Path) -> None:
    """Rule, safety and line of each finding."""
    assert told(found(copy_of(shape.name, tmp_path))) == shape.findings


@EVERY
def test_shape_gets_its_edits(shape: Shape, tmp_path: Path) -> None:
    """The lines of the table are there."""
    texts = patched(copy_of(shape.name, tmp_path), unsafe=shape.unsafe)
    lines = [line.strip() for text in texts.values() for line in text.splitlines()]
    lines = [line.replace('[{"role": "user", "content": question}]', "MESSAGES") for line in lines]
    assert [line for line in shape.lines if line not in lines] == []
    assert all("\nimport phase1\n" in text for text in texts.values())


@EVERY
def test_second_patch_is_a_no_op(shape: Shape, tmp_path: Path) -> None:
    """Nothing is left to edit, and nothing blocks that a person is not told of."""
    root = copy_of(shape.name, tmp_path)
    patch(root, shape)
    before = contents(root)
    assert planned(root, unsafe=shape.unsafe).changes == ()
    assert found(root).blocking == ()
    assert contents(root) == before


@EVERY
async def test_before_the_loop_is_what_the_doctor_says(shape: Shape, tmp_path: Path, provider: Provider) -> None:
    """The app as it is: blocked where it was found to block, free where not."""
    root = copy_of(shape.name, tmp_path)
    seen = await behaviour(root, provider, expect_free=not shape.blocks)
    assert (seen.outcome, seen.loop_is_free) == (shape.answer, not shape.blocks)


@EVERY
async def test_off_is_as_before(shape: Shape, tmp_path: Path, provider: Provider) -> None:
    """With the pool off the patched app answers the same, and blocks as it always has."""
    root = copy_of(shape.name, tmp_path)
    patch(root, shape)
    seen = await behaviour(root, provider, expect_free=not shape.blocks)
    assert (seen.outcome, seen.loop_is_free) == (shape.answer, not shape.blocks)


@EVERY
async def test_on_the_loop_is_free(shape: Shape, tmp_path: Path, provider: Provider, env: Callable[..., None]) -> None:
    """With the pool on the answer is the same, and the loop does other things while the model is thinking."""
    root = copy_of(shape.name, tmp_path)
    patch(root, shape)
    env(ENABLE_LLM_POOL="true")
    seen = await behaviour(root, provider, expect_free=True)
    assert (seen.outcome, seen.loop_is_free) == (shape.answer, True)


@EVERY
@pytest.mark.parametrize("pool", ["false", "true"], ids=["off", "on"])
async def test_errors_are_the_same(
    shape: Shape, pool: str, tmp_path: Path, provider: Provider, env: Callable[..., None]
) -> None:
    """A refusal of the model comes out as the same exception, before and after."""
    root = copy_of(shape.name, tmp_path)
    provider.answers(error(400))
    before = await ask(root)
    patch(root, shape)
    env(ENABLE_LLM_POOL=pool)
    assert before.endswith("RequestError")
    assert await ask(root) == before
