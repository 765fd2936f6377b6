"""Is what cannot be read told, with a reason, and left as it is, while all else is found?"""

from __future__ import annotations

from pathlib import Path

import pytest

from phase1.patchkit.errors import PatchkitError
from phase1.patchkit.tree import read_tree

from .trees import blocking, contents, copy_of, diagnosed, found, planned, tree_of

UNREADABLE = {
    "syntax_error": ("def f(:\n", "a syntax error: ", 1),
    "python2": ('print "hello"\n', "Python 2: not supported", 1),
    "python2_except": ("try:\n    pass\nexcept Exception, e:\n    pass\n", "Python 2: not supported", 3),
    "undecodable": (b'x = "\xff\xfe"\n', "cannot be decoded: save it as UTF-8", None),
    "unknown_encoding": (b"# -*- coding: klingon -*-\n", "cannot be decoded: save it as UTF-8", None),
    "null_bytes": (b"x = 1\x00\n", "", None),
    "too_large": (b"#" * 2_000_001, "larger than 2,000,000 bytes: taken for generated code", None),
    "deeply_nested": ("x = " + "(" * 300 + "1" + ")" * 300 + "\n", "", None),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_file_is_told_and_left(name: str, tmp_path: Path) -> None:
    """The rest of the app is found and edited, this file keeps its bytes."""
    content, reason, line = UNREADABLE[name]
    root = tree_of(copy_of("direct", tmp_path), {"broken.py": content})
    diagnosis = found(root)
    (problem,) = diagnosis.problems
    assert (problem.name, problem.line if line else None) == ("broken.py", line)
    assert problem.reason.startswith(reason)
    assert len(diagnosis.blocking) == 1
    assert [change.source.name for change in planned(root).changes] == ["main.py"]


def test_notebook_is_told(tmp_path: Path) -> None:
    """Only .py files are read."""
    root = tree_of(tmp_path, {"analysis.ipynb": "{}"})
    assert [(one.name, one.reason) for one in found(root).problems] == [
        ("analysis.ipynb", "a notebook: only .py files are read")
    ]


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A file or a folder elsewhere is never read or written through a link, nor goes a loop on for ever."""
    outside = tree_of(tmp_path / "outside", {"main.py": "import openai\n"})
    root = copy_of("direct", tmp_path)
    (root / "linked.py").symlink_to(outside / "main.py")
    (root / "folder").symlink_to(outside)
    (root / "loop").symlink_to(root)
    diagnosis = found(root)
    assert {one.name: one.reason for one in diagnosis.problems} == dict.fromkeys(
        ("linked.py", "folder", "loop"), "a symbolic link: not followed"
    )
    assert list(diagnosis.model.tree.sources) == ["main.py"]


@pytest.mark.parametrize("folder", [".venv", "venv", "node_modules", "migrations", "__pycache__", ".git", "odd"])
def test_folders_of_others_are_left_out(folder: str, tmp_path: Path) -> None:
    """Virtual environments, also with a name of their own, packages, migrations and what begins with a dot."""
    root = copy_of("direct", tmp_path)
    more = {f"{folder}/lib/main.py": (root / "main.py").read_bytes(), f"{folder}/broken.py": "def ("}
    tree_of(root, more | ({"odd/pyvenv.cfg": ""} if folder == "odd" else {}))
    assert list(read_tree(root).sources) == ["main.py"]
    assert found(root).problems == ()


def test_progress_is_told(tmp_path: Path) -> None:
    """How many files are read, of how many."""
    told: list[tuple[int, int]] = []
    read_tree(tree_of(tmp_path, {f"m{n}.py": "" for n in range(3)}), lambda *numbers: told.append(numbers))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_many_files_are_read(tmp_path: Path) -> None:
    """Thousands that do not matter hide nothing."""
    root = copy_of("wrapper", tmp_path)
    tree_of(root, {f"lib/p{n // 100}/m{n}.py": "def f():\n    return 1\n" for n in range(3000)})
    assert blocking(root) == ["app/services/tutor.py:12"]


def test_one_file_is_a_tree(tmp_path: Path) -> None:
    """Its neighbours are not looked at."""
    root = copy_of("wrapper", tmp_path)
    assert list(read_tree(root / "main.py").sources) == ["main.py"]


def test_empty_folder_has_nothing(tmp_path: Path) -> None:
    """No finding, no problem."""
    assert (found(tmp_path).findings, found(tmp_path).problems) == ((), ())


def test_reading_writes_nothing(tmp_path: Path) -> None:
    """No cache, no manifest, no byte."""
    root = copy_of("helper", tmp_path)
    before = contents(root)
    planned(root, unsafe=True)
    assert contents(root) == before


@pytest.mark.parametrize("text", ["nowhere", "nowhere:app", "main:", ":app", "main:1", "main.py:app", "main:nothing"])
def test_wrong_target_is_named(text: str, tmp_path: Path) -> None:
    """The error names what was given."""
    root = copy_of("direct", tmp_path)
    with pytest.raises(PatchkitError, match=text.partition(":")[0] or ":app"):
        diagnosed(text, root)


def test_missing_install_is_added(tmp_path: Path) -> None:
    """An app that uses phase1 and does not install it."""
    root = copy_of("async_client", tmp_path)
    text = (root / "main.py").read_text()
    (root / "main.py").write_text(
        "import phase1\n" + text.replace("AsyncOpenAI(max_retries=0)", "phase1.adopt(AsyncOpenAI())")
    )
    (change,) = planned(root).changes
    assert b"app = FastAPI()\nphase1.install(app)\n" in change.after


def test_several_installs_are_not_one_too_many(tmp_path: Path) -> None:
    """An app that is installed already gets no second line."""
    root = copy_of("async_client", tmp_path)
    text = (root / "main.py").read_text()
    (root / "main.py").write_text(
        "import phase1\n" + text.replace("app = FastAPI()\n", "app = FastAPI()\nphase1.install(app)\n")
    )
    (change,) = planned(root).changes
    assert change.after.count(b"phase1.install") == 1
    assert change.after.count(b"import phase1") == 1


def test_a_namesake_is_refused(tmp_path: Path) -> None:
    """A file called phase1.py beside the app would be imported instead of the package."""
    root = tree_of(copy_of("direct", tmp_path), {"phase1.py": ""})
    with pytest.raises(PatchkitError, match=r"phase1\.py would hide the package"):
        planned(root)
