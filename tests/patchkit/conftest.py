"""The fixtures of `tests/doors/fixtures.py`: no setting of anybody's is there, and the working directory is empty."""

from __future__ import annotations

from tests.doors.fixtures import clean_environment, env, log_level_restored

__all__ = ["clean_environment", "env", "log_level_restored"]
