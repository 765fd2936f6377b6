"""Is all written or nothing, is the manifest true at every moment, and does a revert take out exactly the edits?"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from phase1.patchkit import journal as room
from phase1.patchkit.errors import PatchkitError
from phase1.patchkit.journal import FOLDER, Journal, digest
from phase1.patchkit.revert import plan_revert, revert

from .trees import contents, copy_of, planned


class Killed(BaseException):
    """As if the process ended here."""


def changes(root: Path, *, unsafe: bool = False) -> list[tuple[str, bytes, bytes]]:
    """What `Journal.write` takes."""
    return [(one.source.name, one.source.data, one.after) for one in planned(root, unsafe=unsafe).changes]


def sources(root: Path) -> dict[str, bytes]:
    """The app's files, without the manifest."""
    return {name: data for name, data in contents(root).items() if name.endswith(".py")}


@pytest.mark.parametrize("survivors", range(4))
def test_killed_between_files_leaves_each_old_or_new(
    survivors: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is written by then: the manifest's hashes tell it, and a revert gives everything back."""
    root = copy_of("wrapper", tmp_path)
    before, wanted = sources(root), changes(root)
    replaced, real = [], os.replace

    def replace(source: str, target: str | Path) -> None:
        if Path(target).suffix == ".py":
            if len(replaced) == survivors:
                raise Killed
            replaced.append(target)
        real(source, target)

    monkeypatch.setattr(room.os, "replace", replace)
    try:
        Journal(root).write(wanted)
    except Killed:
        assert survivors < 3
    monkeypatch.undo()
    now = sources(root)
    assert [name for name, old, new in wanted if now[name] not in {old, new}] == []
    entries = json.loads((root / FOLDER / "manifest.json").read_text())["runs"][0]["files"]
    assert all(digest(now[entry["name"]]) in {entry["before"], entry["after"]} for entry in entries)
    assert (Journal(root).interrupted() is not None) == (survivors < 3)
    revert(root)
    assert sources(root) == before
    assert not (root / FOLDER).exists()


def test_file_that_cannot_be_written_undoes_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All or none: the first files get their old bytes back, and no manifest stays."""
    root = copy_of("wrapper", tmp_path)
    before, wanted, real = contents(root), changes(root), os.replace

    def replace(source: str, target: str | Path) -> None:
        if Path(target).name == "main.py":
            raise PermissionError(13, "Permission denied")
        real(source, target)

    monkeypatch.setattr(room.os, "replace", replace)
    with pytest.raises(PatchkitError, match=r"main\.py cannot be written \(Permission denied\): nothing is changed"):
        Journal(root).write(wanted)
    assert contents(root) == before


def test_file_that_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    """Nobody's work is overwritten."""
    root = copy_of("direct", tmp_path)
    wanted = changes(root)
    (root / "main.py").write_bytes(b"# mine\n")
    with pytest.raises(PatchkitError, match=r"main\.py has changed while it was read"):
        Journal(root).write(wanted)
    assert contents(root) == {"main.py": b"# mine\n"}


def test_mode_of_a_file_stays(tmp_path: Path) -> None:
    """An executable script is one afterwards."""
    root = copy_of("direct", tmp_path)
    (root / "main.py").chmod(0o755)
    Journal(root).write(changes(root))
    assert (root / "main.py").stat().st_mode & 0o777 == 0o755


def test_two_runs_are_taken_back_together(tmp_path: Path) -> None:
    """First the safe edits, later the others: one revert."""
    root = copy_of("sync_stream", tmp_path)
    before = contents(root)
    Journal(root).write(changes(root))
    Journal(root).write(changes(root, unsafe=True))
    assert len(Journal(root).runs) == 2
    assert [one.exact for one in revert(root)] == [True]
    assert contents(root) == before


def test_edits_are_taken_out_around_later_changes(tmp_path: Path) -> None:
    """Lines above, below and between stay; the file says so itself."""
    root = copy_of("direct", tmp_path)
    plain = (root / "main.py").read_text()
    Journal(root).write(changes(root))
    text = (root / "main.py").read_text()
    later = text.replace('"""Fragen', '# above\n"""Fragen').replace(
        "    return text\n", "    print(text)\n    return text\n"
    )
    (root / "main.py").write_text(later)
    assert [one.exact for one in revert(root)] == [False]
    expected = plain.replace('"""Fragen', '# above\n"""Fragen').replace(
        "    return text\n", "    print(text)\n    return text\n"
    )
    assert (root / "main.py").read_text() == expected


def test_changed_edit_is_told_and_nothing_is_reverted(tmp_path: Path) -> None:
    """A line of ours that somebody has rewritten is not guessed at."""
    root = copy_of("wrapper", tmp_path)
    Journal(root).write(changes(root))
    path = root / "app" / "routes.py"
    path.write_text(
        path.read_text().replace("phase1.call(tutor.answer, question)", "phase1.call(tutor.answer, question[:9])")
    )
    before = contents(root)
    with pytest.raises(PatchkitError, match=r"(?s)nothing is reverted.*app/routes\.py: `return await phase1\.call"):
        revert(root)
    assert contents(root) == before


def test_file_that_is_gone_stays_gone(tmp_path: Path) -> None:
    """Its edits went with it; the others are taken out."""
    root = copy_of("wrapper", tmp_path)
    Journal(root).write(changes(root))
    (root / "app" / "routes.py").unlink()
    assert {one.name for one in revert(root)} == {"main.py", "app/services/tutor.py"}


def test_nothing_to_revert_is_told(tmp_path: Path) -> None:
    """A folder that was never patched."""
    with pytest.raises(PatchkitError, match="nothing to revert"):
        plan_revert(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"schema": "phase1.patchkit/v9", "runs": []}',
        '{"schema": "phase1.patchkit/v1", "runs": [{"files": [{"name": "main.py"}]}]}',
        (
            '{"schema": "phase1.patchkit/v1", "runs": [{"files": [{"name": "../main.py", "before": "", "after": "",'
            ' "hunks": []}]}]}'
        ),
    ],
    ids=["no json", "no object", "another version", "damaged", "outside"],
)
def test_damaged_manifest_is_told(text: str, tmp_path: Path) -> None:
    """Nothing is written from what cannot be trusted, and nothing outside of the tree."""
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "manifest.json").write_text(text)
    with pytest.raises(PatchkitError, match="manifest"):
        plan_revert(tmp_path)
