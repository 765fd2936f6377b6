"""Which files of a directory are the app, and what can be read of them? Nothing is imported, nothing is written."""

from __future__ import annotations

import ast
import os
import tokenize
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Final

from phase1.patchkit.errors import PatchkitError

__all__ = ["Problem", "Source", "Tree", "read_tree"]

Progress = Callable[[int, int], None]  # files read, files found

_LEFT_OUT: Final = frozenset(
    {"__pycache__", "alembic", "build", "dist", "migrations", "node_modules", "site-packages", "venv"}
)
_LARGEST: Final = 2_000_000  # bytes: what is larger was not written by hand


@dataclass(frozen=True, eq=False)
class Source:
    """One Python file as it is on the disk, known to parse."""

    path: Path
    name: str  # relative to the tree's root, with `/`
    data: bytes

    def __repr__(self) -> str:
        return f"<Source {self.name}>"

    @cached_property
    def text(self) -> str:
        """Without a byte order mark."""
        return _text(self.data)

    @cached_property
    def module(self) -> ast.Module:
        """Parsed when somebody asks: of a large tree few files matter, and a syntax tree is large."""
        return _parsed(self.data, self.text)


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that could not be read, and why. It is left as it is."""

    name: str
    reason: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Tree:
    """The files below `root`."""

    root: Path
    sources: dict[str, Source] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read_tree(root: Path, progress: Progress | None = None) -> Tree:
    """All Python files below `root`, or the one file that it is. Raises `PatchkitError` if there is nothing to read."""
    if not root.exists():
        raise PatchkitError(f"{root}: there is no such file or directory")
    tree = Tree(root.parent.resolve() if root.is_file() else root.resolve())
    paths = [root.resolve()] if root.is_file() else sorted(_files(tree))
    for count, path in enumerate(paths):
        if progress is not None:
            progress(count, len(paths))
        _read(tree, path)
    if progress is not None:
        progress(len(paths), len(paths))
    return tree


def _files(tree: Tree) -> Iterator[Path]:
    for folder, folders, files in os.walk(tree.root, onerror=lambda error: _unreadable_folder(tree, error)):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if _is_searched(tree, here / name))
        yield from (here / name for name in files if name.endswith((".py", ".ipynb")))


def _unreadable_folder(tree: Tree, error: OSError) -> None:
    tree.problems.append(Problem(_name(tree, Path(error.filename)), error.strerror or "cannot be read"))


def _is_searched(tree: Tree, folder: Path) -> bool:
    if folder.name.startswith(".") or folder.name in _LEFT_OUT or (folder / "pyvenv.cfg").exists():
        return False
    if folder.is_symlink():
        tree.problems.append(Problem(_name(tree, folder), "a symbolic link: not followed"))
        return False
    return True


def _read(tree: Tree, path: Path) -> None:
    try:
        source = _source(tree, path)
    except _Unreadable as unreadable:
        tree.problems.append(Problem(_name(tree, path), str(unreadable), unreadable.line))
    else:
        tree.sources[source.name] = source


class _Unreadable(Exception):
    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.line = line


def _source(tree: Tree, path: Path) -> Source:
    if path.is_symlink():
        raise _Unreadable("a symbolic link: not followed")
    if path.suffix == ".ipynb":
        raise _Unreadable("a notebook: only .py files are read")
    source = Source(path, _name(tree, path), _bytes(path))
    _parsed(source.data, source.text)
    return source


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST:
            raise _Unreadable(f"larger than {_LARGEST:,} bytes: taken for generated code")
        return path.read_bytes()
    except OSError as error:
        raise _Unreadable(error.strerror or "cannot be read") from error


def _text(data: bytes) -> str:
    try:
        encoding, _ = tokenize.detect_encoding(BytesIO(data).readline)
        return data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise _Unreadable("cannot be decoded: save it as UTF-8") from error


def _parsed(data: bytes, text: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # their escapes are not our business
            return ast.parse(data)
    except SyntaxError as error:
        raise _Unreadable(_syntax(error, text), error.lineno) from error
    except (ValueError, RecursionError, MemoryError) as error:  # null bytes; nesting beyond the parser
        raise _Unreadable(f"cannot be parsed: {error}") from error


def _syntax(error: SyntaxError, text: str) -> str:
    if "Missing parentheses in call to 'print'" in (error.msg or "") or "except Exception, e" in text:
        return "Python 2: not supported"
    return f"a syntax error: {error.msg}"


def _name(tree: Tree, path: Path) -> str:
    try:
        return path.relative_to(tree.root).as_posix()
    except ValueError:
        return path.as_posix()
