"""A result as a run writes it, with figures made up for the tests."""

from __future__ import annotations

from typing import Any

from benchmarks.document import SCHEMA, Results


def sample(cpu_us: float, p50: float = 0.2) -> dict[str, Any]:
    """One measurement."""
    return {"calls": 10, "units": 10, "cpu_us": cpu_us, "p50": p50, "per_second": 100.0, "notes": {}}


def results(samples: dict[str, dict[str, list[dict[str, Any]]]], *, plan: str = "quick", **more: object) -> Results:
    """A whole run with `samples`: by scenario, by client, one per round."""
    names = {name for found in samples.values() for name in found}
    return Results(
        {
            "schema": SCHEMA,
            "when": "2026-01-02T03:04:05+00:00",
            "plan": plan,
            "rounds": 3,
            "seconds": 12.0,
            "machine": {
                "system": "Linux",
                "processor": "a processor",
                "cores": 2,
                "python": "3.11.7",
                "pinned": True,
                "load_before": 0.1,
                "load_after": 0.2,
            },
            "rows": {name: {"title": f"title of {name}", "versions": {}} for name in sorted(names)},
            "samples": samples,
            "skipped": {},
            **more,
        }
    )
