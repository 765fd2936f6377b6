"""What was measured, as it is written down and read again: `benchmarks/results/latest.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.figures import Spread, spread

__all__ = ["SCHEMA", "Results"]

SCHEMA = "phase1.benchmarks/v1"


class Results:
    """The document of one run, and how to look things up in it."""

    def __init__(self, document: dict[str, Any]) -> None:
        if document.get("schema") != SCHEMA:
            raise ValueError(f"not a result of ours: schema is {document.get('schema')!r}, not {SCHEMA!r}")
        self.document = document

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read a file. Raises `ValueError` for another kind of file, `OSError` for none."""
        return cls(json.loads(path.read_text(encoding="utf-8")))

    def save(self, path: Path) -> None:
        """Write it, for people too."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.document, indent=1) + "\n", encoding="utf-8")

    def rounds(self, scenario: str, row: str, metric: str) -> list[float]:
        """`metric` of each round; empty where nothing was measured."""
        samples = self.document["samples"].get(scenario, {}).get(row, [])
        return [float(sample[metric]) for sample in samples]

    def spread(self, scenario: str, row: str, metric: str) -> Spread | None:
        """The same, summed up."""
        return spread(self.rounds(scenario, row, metric))

    def notes(self, row: str) -> dict[str, str]:
        """What the client said about itself."""
        found: dict[str, str] = {}
        for samples in self.document["samples"].values():
            for sample in samples.get(row, []):
                found |= sample.get("notes", {})
        return found
