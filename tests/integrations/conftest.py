"""The same clean environment as the doors' tests."""

from __future__ import annotations

from tests.doors.fixtures import clean_environment, env, log_level_restored, pytest_collection_modifyitems

__all__ = ["clean_environment", "env", "log_level_restored", "pytest_collection_modifyitems"]
