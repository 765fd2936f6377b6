"""What does the doctor say about an app? Findings: a rule, a place, how requests get there, and what to do."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from enum import Enum

from phase1.patchkit.edits import Edit
from phase1.patchkit.tree import Source

__all__ = ["Chain", "Finding", "Rule", "Safety"]


class Safety(Enum):
    """Whether `phase1 patch` makes the edit."""

    SAFE = "safe"  # by default
    UNSAFE = "unsafe"  # with --unsafe
    REPORT = "report"  # never: a person decides


@dataclass(frozen=True, slots=True)
class Rule:
    """What is looked for. `anchor`: the section of INTEGRATION.md that explains it."""

    id: str
    name: str
    anchor: str
    safety: Safety  # of its edit at best; a finding can be less safe
    summary: str


@dataclass(frozen=True, slots=True)
class Chain:
    """How a request gets to a call: its route, then each function, then the call."""

    route: str
    steps: tuple[tuple[str, str, int], ...]  # (what, file, line)

    def __str__(self) -> str:
        return " → ".join((self.route, *(what for what, _, _ in self.steps)))


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found. `blocks`: requests wait for it; else it is an opportunity."""

    rule: Rule
    safety: Safety
    source: Source
    node: ast.expr | ast.stmt
    message: str
    advice: str
    blocks: bool = False
    reasons: tuple[str, ...] = ()  # why it is not safe
    chains: tuple[Chain, ...] = ()
    edits: tuple[tuple[Source, Edit], ...] = field(default=(), repr=False)

    @property
    def line(self) -> int:
        """1-based."""
        return self.node.lineno

    @property
    def column(self) -> int:
        """1-based, in characters."""
        lines = self.source.data.splitlines() or [b""]
        return len(lines[self.line - 1][: self.node.col_offset].decode("utf-8", "replace")) + 1

    @property
    def place(self) -> str:
        """file:line."""
        return f"{self.source.name}:{self.line}"
