"""The fixtures of `tests/doors/fixtures.py`, and a portal around each asynchronous test."""

from __future__ import annotations

from .fixtures import clean_environment, env, log_level_restored, pytest_collection_modifyitems

__all__ = ["clean_environment", "env", "log_level_restored", "pytest_collection_modifyitems"]
