"""How much CPU, time and memory does one LLM call cost, through which client? `python -m benchmarks`; see README.md."""

from __future__ import annotations
