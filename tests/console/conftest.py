"""The fixtures of `tests/doors/fixtures.py`."""

from __future__ import annotations

from tests.doors.fixtures import clean_environment, env, log_level_restored

__all__ = ["clean_environment", "env", "log_level_restored"]
