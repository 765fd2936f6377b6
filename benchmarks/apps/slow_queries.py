"""The example app with a database whose every query takes `QUERY_SECONDS`."""

from __future__ import annotations

import os
import time
from typing import Any

import examples.legacy_main as example

QUERY = float(os.environ["QUERY_SECONDS"])

app = example.app
_query = example.database.query


def _slow(sql: str, *parameters: object) -> list[dict[str, Any]]:
    time.sleep(QUERY)
    return _query(sql, *parameters)


example.database.query = _slow  # type: ignore[method-assign]
