"""What is a model called at this node, and does the node have it?

A map from the app's names to the node's. A name that ends in `*` stands for all that begin like it, and a `*` in what
it maps to for the rest: `{"gemini/*": "*"}` takes `gemini/flash` as `flash`. The exact name wins, then the longest
prefix.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ModelMap"]


class ModelMap:
    """The names of one node. Without any it has every model, under the app's names."""

    __slots__ = ("_exact", "_prefixes")

    def __init__(self, models: Mapping[str, str]) -> None:
        self._exact = {name: there for name, there in models.items() if not name.endswith("*")}
        prefixes = [(name[:-1], there) for name, there in models.items() if name.endswith("*")]
        self._prefixes = sorted(prefixes, key=lambda pair: -len(pair[0]))

    def __bool__(self) -> bool:
        return bool(self._exact or self._prefixes)

    def declares(self, model: str) -> bool:
        """Whether the map names it."""
        return self.translated(model) is not None

    def translated(self, model: str) -> str | None:
        """Its name there; `None` when the map does not name it."""
        if (there := self._exact.get(model)) is not None:
            return there
        for prefix, pattern in self._prefixes:
            if model.startswith(prefix):
                return pattern.replace("*", model[len(prefix) :], 1)
        return None
