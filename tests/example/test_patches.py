"""Are the patches the example's steps: reversible, in any useful order, and is the app whole after each of them?"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from . import apps, cases, compare
from .conftest import NewDatabase
from .upstream import Upstream

COUNT = len(apps.PATCHES)
INDEPENDENT = [pytest.param(patch, id=patch.stem) for patch in apps.PATCHES[2:]]
LLM_ROUTES = (cases.chat("chat", "Hi."), cases.agent("agent", "Hi."), cases.theme("theme", 1))


async def _statuses(example: Path, database: str) -> set[int]:
    """What the routes with an LLM answer."""
    with Upstream() as upstream, apps.loaded(example, apps.environment(upstream.url, database)) as module:
        async with apps.serving(module) as client:
            answers = await compare.ask_all(client, LLM_ROUTES)
    return {answer.status for answer in answers.values()}


def test_each_step_has_its_patch() -> None:
    """The seven of the pool, and the chat helpers: each its own patch, numbered in the order of work."""
    names = [patch.stem.partition("-")[2] for patch in apps.PATCHES]
    assert names == ["import", "global", "startup", "chat", "agent", "theme", "monitoring", "optimized"]


def test_patches_are_what_the_example_makes_of_them() -> None:
    """`scripts/make_patches.py --check` finds nothing to write."""
    command = [sys.executable, str(apps.ROOT / "scripts" / "make_patches.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout) == (0, "")


def test_plain_app_knows_nothing_of_phase1(plain: Path) -> None:
    """All patches reversed: the name is nowhere, the blocking calls and the global client are back."""
    text = plain.read_text(encoding="utf-8")
    assert "phase1" not in text
    assert text.count("response = llm_client.generate_response(messages)") == 3


def test_reapplied_patches_give_the_example_back(tmp_path: Path) -> None:
    """Reversed and applied again, the example is the same byte for byte."""
    example = apps.make_plain(tmp_path)
    apps.apply(example, *apps.PATCHES)
    assert example.read_bytes() == apps.EXAMPLE.read_bytes()


def test_every_line_of_the_integration_is_marked() -> None:
    """A reader sees which lines are the integration: each added line is marked, or stands in a paragraph below one."""
    for number, patch in enumerate(apps.PATCHES, start=1):
        mark = f"# phase1 ({number}/{COUNT} {patch.stem.partition('-')[2]})"
        for lines in _added(patch):
            is_paragraph = not lines[0].startswith(" ") and len(lines) > 1
            assert [line for line in lines if line.endswith(mark)] == (lines[:1] if is_paragraph else lines)


def _added(patch: Path) -> list[list[str]]:
    """The added lines, where they stand together without an empty one."""
    body = patch.read_text(encoding="utf-8").partition("\n@@")[2]
    groups = re.findall(r"(?:^\+.+\n)+", body, re.MULTILINE)
    return [[line.removeprefix("+") for line in group.splitlines()] for group in groups]


@pytest.mark.parametrize("steps", range(COUNT + 1))
async def test_app_works_after_each_step(steps: int, tmp_path: Path, new_sqlite: NewDatabase) -> None:
    """The patches can be rolled out, and back, one by one."""
    example = apps.make_plain(tmp_path)
    apps.apply(example, *apps.PATCHES[:steps])
    assert await _statuses(example, new_sqlite()) == {200}


@pytest.mark.parametrize("patch", INDEPENDENT)
async def test_app_works_without_one_step(patch: Path, tmp_path: Path, new_sqlite: NewDatabase) -> None:
    """Each step above the global one can be taken back alone, while the later ones stay."""
    example = apps.copy_of_example(tmp_path)
    apps.apply(example, patch, reverse=True)
    assert await _statuses(example, new_sqlite()) == {200}


@pytest.mark.parametrize("patch", apps.PATCHES, ids=lambda patch: patch.stem)
def test_patch_says_what_why_and_how_to_undo(patch: Path) -> None:
    """A reviewer needs nothing but the patch: subject, reason, undo."""
    head = patch.read_text(encoding="utf-8").partition("\n---\n")[0]
    subject, reason, undo = head.split("\n\n")
    assert subject.startswith(f"Subject: [PATCH {int(patch.name[:4])}/{COUNT}] ")
    assert reason
    assert undo == f"Undo: git apply -R patches/{patch.name}"


def test_readme_lists_every_patch() -> None:
    """`patches/README.md` has a row for each patch."""
    readme = (apps.ROOT / "patches" / "README.md").read_text(encoding="utf-8")
    assert [patch.name for patch in apps.PATCHES if f"| `{patch.name}` |" not in readme] == []
