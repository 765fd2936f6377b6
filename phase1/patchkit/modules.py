"""Which file does an `import` mean? Found as Python would, for any folder that may be on its path."""

from __future__ import annotations

import ast
import sys
from functools import cached_property
from pathlib import PurePosixPath
from typing import Final

from phase1.patchkit.libraries import mentions_llm
from phase1.patchkit.tree import Source, Tree

__all__ = ["Modules"]

# A local file of the same name is never what `import openai` means, in a folder that also has `openai.py`.
_LIBRARIES: Final = frozenset(
    {"aiohttp", "anthropic", "celery", "cohere", "django", "fastapi", "flask", "google", "groq", "httpx", "instructor"}
    | {"langchain", "langgraph", "litellm", "ollama", "openai", "phase1", "pydantic", "quart", "redis", "requests"}
    | {"sqlalchemy", "starlette", "tenacity", "uvicorn"}
) | frozenset(sys.stdlib_module_names)


class Modules:
    """The files of a tree, by the names under which they can be imported."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._found: dict[tuple[str, str], Source | None] = {}

    def resolve(self, importer: Source, dotted: str, level: int = 0) -> Source | None:
        """The module `dotted` as `importer` means it; `None` if it is not in the tree."""
        folder = PurePosixPath(importer.name).parent
        if level:
            for _ in range(level - 1):
                folder = folder.parent
            return self._below(folder, dotted)
        if dotted.partition(".")[0] in _LIBRARIES:
            return None
        key = (folder.as_posix(), dotted)
        if key not in self._found:
            self._found[key] = self._search(folder, dotted)
        return self._found[key]

    def is_package(self, source: Source) -> bool:
        """Whether it is the `__init__.py` of a folder."""
        return source.name.rpartition("/")[2] == "__init__.py"

    def inside(self, source: Source, name: str) -> Source | None:
        """The submodule `name` of a package."""
        return self._below(PurePosixPath(source.name).parent, name) if self.is_package(source) else None

    def _search(self, folder: PurePosixPath, dotted: str) -> Source | None:
        above = [folder, *folder.parents]
        roots = [base for base in above if not self._is_in_package(base)] or above
        for base in [*roots, *(base for base in above if base not in roots)]:
            for root in (base, base / "src"):
                if (found := self._below(root, dotted)) is not None:
                    return found
        return self._only(dotted)

    def _is_in_package(self, folder: PurePosixPath) -> bool:
        return (folder / "__init__.py").as_posix() in self._tree.sources

    def _below(self, folder: PurePosixPath, dotted: str) -> Source | None:
        path = folder.joinpath(*dotted.split(".")) if dotted else folder
        for name in (f"{path.as_posix()}.py", (path / "__init__.py").as_posix()):
            if (found := self._tree.sources.get(name)) is not None:
                return found
        return None

    def _only(self, dotted: str) -> Source | None:
        """The one file whose path ends like the name: the folder on the path may be any."""
        found = self._by_ending.get(dotted, []) if "." in dotted else []
        return found[0] if len(found) == 1 else None

    @cached_property
    def _by_ending(self) -> dict[str, list[Source]]:
        endings: dict[str, list[Source]] = {}
        for name, source in self._tree.sources.items():
            parts = name.removesuffix(".py").removesuffix("/__init__").split("/")
            for start in range(len(parts)):
                endings.setdefault(".".join(parts[start:]), []).append(source)
        return endings

    def related(self) -> list[Source]:
        """The files that can matter: those that import, over any way, an LLM library, and all that these import."""
        imports = self._imports
        importers: dict[str, set[str]] = {}
        for name, targets in imports.items():
            for target in targets:
                importers.setdefault(target, set()).add(name)
        asking = {name for name, source in self._tree.sources.items() if mentions_llm(source.text)}
        wanted = _closure(_closure(asking, importers), imports)
        return [source for name, source in self._tree.sources.items() if name in wanted]

    def reachable(self, source: Source) -> set[str]:
        """The names of the files that `source` imports, over any way, and its own."""
        return _closure({source.name}, self._imports)

    @cached_property
    def _imports(self) -> dict[str, set[str]]:
        return {name: self._imported(source) for name, source in self._tree.sources.items()}

    def _imported(self, source: Source) -> set[str]:
        found: set[str] = set()
        for node in ast.walk(source.module):
            match node:
                case ast.Import(names=aliases):
                    targets = [self.resolve(source, alias.name) for alias in aliases]
                case ast.ImportFrom(module=module, names=aliases, level=level):
                    base = self.resolve(source, module or "", level)
                    dotted = [f"{module}.{alias.name}" if module else alias.name for alias in aliases]
                    targets = [base, *(self.resolve(source, name, level) for name in dotted)]
                case _:
                    continue
            found.update(target.name for target in targets if target is not None)
        return found


def _closure(start: set[str], arrows: dict[str, set[str]]) -> set[str]:
    reached, todo = set(start), list(start)
    while todo:
        new = arrows.get(todo.pop(), set()) - reached
        reached |= new
        todo.extend(new)
    return reached
