"""Somebody's app that wants a library that is not installed."""

from __future__ import annotations

import a_library_that_is_not_installed  # noqa: F401
