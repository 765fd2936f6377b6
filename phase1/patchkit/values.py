"""What may a name stand for? A few kinds of values, followed through assignments, calls and returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from phase1.patchkit.scopes import Class, Function, Scope

__all__ = ["External", "Generator", "Instance", "Made", "ModuleValue", "Origin", "Value", "Values"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a client is constructed."""

    file: str
    line: int
    column: int  # in bytes, as `ast` counts


@dataclass(frozen=True, slots=True)
class External:
    """Something of a library, as the path from its import. `origin`: the client that it comes from."""

    path: str
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class ModuleValue:
    """A module of the tree."""

    scope: Scope


@dataclass(frozen=True, slots=True)
class Instance:
    """An object of a class of the tree."""

    of: Class


@dataclass(frozen=True, slots=True)
class Made:
    """A class of the tree, or a function of the tree, perhaps with the object that it is a method of."""

    of: Class | Function
    bound: Instance | Made | None = None


@dataclass(frozen=True, slots=True)
class Generator:
    """What a generator function returns."""

    of: Function


Value: TypeAlias = External | ModuleValue | Instance | Made | Generator
Values: TypeAlias = frozenset[Value]
