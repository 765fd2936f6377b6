"""What stands in a page of documentation? Its blocks of code by name, its tables, its headings, and its links.

A block is named by the comment above it, invisible to readers of the rendered page:

    <!-- python: two-lines -->

The comment stands right above the block's first line, indented as the block is.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CHANGELOG", "INTEGRATION", "README", "ROOT", "Block", "Page"]

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(
    r"^(?P<indent> *)(?:<!-- (?P<kind>[a-z]+): (?P<name>[a-z0-9-]+) -->\n *)?```(?P<language>\w+)\n"
    r"(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True, slots=True)
class Block:
    """One block of code. `kind` and `name` are those of the comment above it."""

    kind: str | None
    name: str | None
    language: str
    text: str


class Page:
    """One Markdown file of the repository."""

    def __init__(self, name: str) -> None:
        self.path = ROOT / name
        self.text = self.path.read_text(encoding="utf-8")

    @property
    def blocks(self) -> list[Block]:
        """Every block of code."""
        return [
            Block(found["kind"], found["name"], found["language"], textwrap.dedent(found["text"]))
            for found in _BLOCK.finditer(self.text)
        ]

    def named(self, kind: str) -> dict[str, str]:
        """The texts of all blocks of one kind."""
        return {block.name: block.text for block in self.blocks if block.kind == kind and block.name}

    @property
    def prose(self) -> str:
        """The page without its blocks of code and its comments."""
        return re.sub(r"<!--.*?-->", "", _BLOCK.sub("", self.text), flags=re.DOTALL)

    @property
    def codes(self) -> list[str]:
        """What stands in backticks."""
        return _CODE.findall(self.prose)

    @property
    def links(self) -> list[str]:
        """Where its links go."""
        return _LINK.findall(self.prose)

    @property
    def anchors(self) -> set[str]:
        """The fragments of its headings, as GitHub makes them."""
        slugs = [_slug(heading) for heading in _HEADING.findall(self.prose)]
        seen: Counter[str] = Counter()
        anchors = set()
        for slug in slugs:
            anchors.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
        return anchors

    def table(self, first_heading: str) -> list[list[str]]:
        """The rows of the table whose first column has this heading, without backslashes and edges."""
        lines = iter(self.prose.splitlines())
        for line in lines:
            if line.startswith(f"| {first_heading} |"):
                next(lines)
                break
        rows = []
        for line in lines:
            if not line.startswith("|"):
                break
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        assert rows, f"no table {first_heading!r}"
        return rows


def _slug(heading: str) -> str:
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


README, INTEGRATION, CHANGELOG = Page("README.md"), Page("INTEGRATION.md"), Page("CHANGELOG.md")
