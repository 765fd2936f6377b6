"""Does `phase1 patch` make the example from the plain legacy app, and are `patches/` its steps?

The last step of the example, the database work of two endpoints side by side, is a change of the app's design: nobody
but its owner can make it. All the others are what the tool writes, but for the number of steps in their marks.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from phase1.patchkit.hunks import unified_diff
from phase1.patchkit.journal import Journal
from phase1.patchkit.revert import revert
from tests.example import apps

from .trees import found, planned, told

BY_HAND = ("optimized",)
BY_TOOL = tuple(patch for patch in apps.PATCHES if patch.stem.partition("-")[2] not in BY_HAND)


def numbered(text: str) -> str:
    """The marks as they are if the steps of the tool were all."""
    return re.sub(rf"# phase1 \((\d)/{len(apps.PATCHES)} ", rf"# phase1 (\1/{len(BY_TOOL)} ", text)


def example(folder: Path) -> bytes:
    """The example after the steps that a tool can make."""
    target = apps.make_plain(folder / "example")
    apps.apply(target, *BY_TOOL)
    return numbered(target.read_text(encoding="utf-8")).encode()


def test_only_the_last_step_is_made_by_hand() -> None:
    """A step that is added is one that the tool makes too, or it is named above."""
    assert apps.PATCHES[: len(BY_TOOL)] == BY_TOOL
    assert len(BY_TOOL) == 7


def test_patching_the_plain_app_gives_the_example(tmp_path: Path) -> None:
    """Reversing `patches/*.patch` gives the plain app; patching that gives the example back, byte for byte."""
    plain = apps.make_plain(tmp_path / "plain")
    changes = planned(plain.parent).changes
    assert [change.source.name for change in changes] == ["legacy_main.py"]
    assert changes[0].after == example(tmp_path)


def test_the_edits_are_the_patches(tmp_path: Path) -> None:
    """The added and removed lines are those of `patches/*.patch`, in their order."""
    plain = apps.make_plain(tmp_path)
    change = planned(plain.parent).changes[0]
    made = _lines(unified_diff("legacy_main.py", change.source.data, change.after).decode())
    steps = [line for patch in BY_TOOL for line in _lines(patch.read_text(encoding="utf-8").partition("---\n")[2])]
    assert sorted(made) == sorted(map(numbered, steps))


def test_the_example_is_done(tmp_path: Path) -> None:
    """Nothing blocks in it, and nothing is left to edit."""
    done = apps.copy_of_example(tmp_path).parent
    assert told(found(done)) == []
    assert planned(done, unsafe=True).changes == ()


def test_git_takes_the_diff(tmp_path: Path) -> None:
    """What `--diff` prints is a patch for `git apply`."""
    plain = apps.make_plain(tmp_path / "plain")
    change = planned(plain.parent).changes[0]
    patch = tmp_path / "all.patch"
    patch.write_bytes(unified_diff("examples/legacy_main.py", change.source.data, change.after))
    subprocess.run(["git", "apply", str(patch)], cwd=tmp_path / "plain", check=True, timeout=60)
    assert plain.read_bytes() == example(tmp_path)


def test_reverting_gives_the_plain_app_back(tmp_path: Path) -> None:
    """Patch, then revert: the bytes of the plain app."""
    plain = apps.make_plain(tmp_path)
    before = plain.read_bytes()
    Journal(plain.parent).write((one.source.name, one.source.data, one.after) for one in planned(plain.parent).changes)
    assert plain.read_bytes() != before
    assert [one.exact for one in revert(plain.parent)] == [True]
    assert plain.read_bytes() == before


def _lines(diff: str) -> list[str]:
    return [line for line in diff.splitlines() if line.startswith(("+", "-")) and not line.startswith(("+++", "---"))]
