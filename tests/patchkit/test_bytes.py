"""Do all bytes stay but those of the edits, whatever the file is like? And are they back after a revert?"""

from __future__ import annotations

import ast
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phase1.patchkit.hunks import hunks_between
from phase1.patchkit.journal import FOLDER, Journal
from phase1.patchkit.revert import revert

from .trees import APPS, contents, copy_of, planned, tree_of

EDITED = sorted(path.name for path in APPS.iterdir() if path.is_dir() and planned(path, unsafe=True).changes)
BOM = b"\xef\xbb\xbf"
few = settings(max_examples=15, deadline=None)


def write(root: Path, *, unsafe: bool = True) -> list[str]:
    """Patch; the names of the files that changed."""
    changes = planned(root, unsafe=unsafe).changes
    if changes:
        Journal(root).write((change.source.name, change.source.data, change.after) for change in changes)
    return [change.source.name for change in changes]


@contextmanager
def folder() -> Iterator[Path]:
    """One for each example that hypothesis makes."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name).resolve()


@pytest.mark.parametrize("name", EDITED)
@pytest.mark.parametrize("unsafe", [False, True], ids=["safe", "unsafe"])
def test_patch_and_revert_leave_every_byte(name: str, unsafe: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """On every fixture; the manifest is gone too."""
    root = copy_of(name, tmp_path)
    before = contents(root)
    changed = write(root, unsafe=unsafe)
    assert {path for path, data in contents(root).items() if before.get(path) != data} - {
        f"{FOLDER}/manifest.json"
    } == set(changed)
    if changed:
        assert all(one.exact for one in revert(root))
    assert contents(root) == before


@st.composite
def layouts(draw: st.DrawFn) -> dict[str, bytes]:
    """A fixture app, its files written in another way that means the same."""
    name = draw(st.sampled_from(EDITED))
    files = {path.relative_to(APPS / name).as_posix(): path.read_text() for path in (APPS / name).rglob("*.py")}
    return {path: draw(written(text)) for path, text in files.items()}


@st.composite
def written(draw: st.DrawFn, text: str) -> bytes:
    """`text` with other line ends, indents, comments and encodings."""
    lines = text.split("\n")
    if draw(st.booleans()):
        lines = [line.replace("    ", "\t") for line in lines]
    comment = draw(st.sampled_from(["", "  # ✓ 日本語", "  # ünïcode\t", "   "]))
    if comment:
        lines = [f"{line}{comment}" if line.endswith(("()", ")")) and "#" not in line else line for line in lines]
    blank = draw(st.sampled_from(["", "\x0c", "  "]))
    lines = [blank if not line and number > 1 else line for number, line in enumerate(lines)]
    end = draw(st.sampled_from(["\n", "\r\n"]))
    whole = end.join(lines)
    if draw(st.booleans()):
        whole = whole.rstrip()
    return (BOM if draw(st.booleans()) else b"") + whole.encode()


@few
@given(layouts())
def test_any_layout_comes_back(files: dict[str, bytes]) -> None:
    """Patched it parses, a second patch finds nothing, and the revert is byte for byte."""
    with folder() as root:
        before = contents(tree_of(root, files))
        changed = write(root)
        for name in changed:
            ast.parse((root / name).read_bytes())
            assert (root / name).read_bytes().startswith(BOM) == before[name].startswith(BOM)
        assert planned(root, unsafe=True).changes == ()
        if changed:
            assert all(one.exact for one in revert(root))
        assert contents(root) == before


@few
@given(layouts())
def test_only_lines_of_the_edits_differ(files: dict[str, bytes]) -> None:
    """Lines that are gone are back, changed, in a line of ours; each other line stands as it stood."""
    with folder() as root:
        before = contents(tree_of(root, files))
        for name in write(root):
            for hunk in hunks_between(before[name], (root / name).read_bytes()):
                ours = b"".join(hunk.after)
                assert b"phase1" in ours or not ours.strip() or ours.strip().startswith(b"))")


@few
@given(layouts(), st.data())
def test_later_changes_survive_a_revert(files: dict[str, bytes], data: st.DataObject) -> None:
    """Lines that somebody adds between patch and revert stay; the edits are taken out from around them."""
    with folder() as root:
        before = contents(tree_of(root, files))
        for name in write(root):
            end = b"\r\n" if b"\r\n" in before[name] else b"\n"
            added = b"# added later: " + str(data.draw(st.integers())).encode()
            patched, extra = (root / name).read_bytes(), end + added + end
            (root / name).write_bytes(patched + extra)
            before[name] += extra
        if (root / FOLDER).exists():
            revert(root)
        assert contents(root) == before
