"""Which file does an `import` mean? Found as Python would, for any folder that may be on its path."""

from __future__ import annotations

import re
import sys
from functools import cached_property
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
        self._names = {part.removesuffix(".py") for name in tree.sources for part in name.split("/")}

    def resolve(self, importer: Source, dotted: str, level: int = 0) -> Source | None:
        """The module `dotted` as `importer` means it; `None` if it is not in the tree."""
        folder = _parent(importer.name)
        if level:
            for _ in range(level - 1):
                folder = _parent(folder)
            return self._below(folder, dotted)
        top = dotted.partition(".")[0]
        if top in _LIBRARIES or top not in self._names:
            return None
        key = (folder, dotted)
        if key not in self._found:
            self._found[key] = self._search(folder, dotted)
        return self._found[key]

    def is_package(self, source: Source) -> bool:
        """Whether it is the `__init__.py` of a folder."""
        return source.name.rpartition("/")[2] == "__init__.py"

    def inside(self, source: Source, name: str) -> Source | None:
        """The submodule `name` of a package."""
        return self._below(_parent(source.name), name) if self.is_package(source) else None

    def _search(self, folder: str, dotted: str) -> Source | None:
        above = [folder]
        while above[-1]:
            above.append(_parent(above[-1]))
        roots = [base for base in above if _join(base, "__init__.py") not in self._tree.sources] or above
        for base in [*roots, *(base for base in above if base not in roots)]:
            for root in (base, _join(base, "src")):
                if (found := self._below(root, dotted)) is not None:
                    return found
        return self._only(dotted)

    def _below(self, folder: str, dotted: str) -> Source | None:
        path = _join(folder, dotted.replace(".", "/")) if dotted else folder
        return self._tree.sources.get(f"{path}.py") or self._tree.sources.get(_join(path, "__init__.py"))

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
        """The files that a file may import, told by its lines: a few too many do no harm."""
        found: set[str] = set()
        for statement in _IMPORT.finditer(source.text):
            base, names, whole = statement["base"], statement["names"], statement["whole"]
            if whole is not None:
                targets = [self.resolve(source, one) for dotted in _names_in(whole) for one in _packages(dotted)]
            else:
                module = base.lstrip(".")
                level = len(base) - len(module)
                dotted = [f"{module}.{name}" if module else name for name in _names_in(names)]
                wanted = (*_packages(module), *dotted)
                targets = [self.resolve(source, one, level) for one in wanted if one or level]
            found.update(target.name for target in targets if target is not None)
        return found


_IMPORT: Final = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<base>[.\w]+)[ \t]+import[ \t]+(?P<names>\([^)]*\)|(?:[^\n\\]|\\\r?\n)*)"
    r"|import[ \t]+(?P<whole>(?:[^\n\\]|\\\r?\n)*))",
    re.MULTILINE,
)


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _packages(dotted: str) -> list[str]:
    """`a.b.c` runs `a` and `a.b` too."""
    parts = dotted.split(".")
    return [".".join(parts[: count + 1]) for count in range(len(parts))]


def _names_in(names: str) -> list[str]:
    """`a.b as c, d` as `a.b`, `d`."""
    parts = re.sub(r"#[^\n]*|[()\\]", " ", names).split(",")
    return [part.split()[0] for part in parts if part.split()]


def _closure(start: set[str], arrows: dict[str, set[str]]) -> set[str]:
    reached, todo = set(start), list(start)
    while todo:
        new = arrows.get(todo.pop(), set()) - reached
        reached |= new
        todo.extend(new)
    return reached
