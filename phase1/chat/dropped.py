"""Was it only the connection? Then a read may be asked once more; any other failure is the app's to know.

Libraries are recognised by the names of their classes, so that none has to be imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

__all__ = ["is_dropped_connection"]

_CLASSES: Final = frozenset(
    {
        "httpx.NetworkError",  # supabase, postgrest
        "httpx.RemoteProtocolError",
        "httpx2.NetworkError",
        "httpx2.RemoteProtocolError",
        "asyncpg.exceptions.ConnectionDoesNotExistError",
        "asyncpg.exceptions.ConnectionFailureError",
    }
)
_GOING_DOWN: Final = frozenset({"57P01", "57P02", "57P03"})  # PostgreSQL: shut down, crashed, not up yet
_DRIVERS: Final = frozenset({"psycopg", "psycopg2"})
_DEEPEST: Final = 10


def is_dropped_connection(error: BaseException) -> bool:
    """Whether `error`, or what it was raised from, says that the connection is gone or could not be made."""
    return any(_says_so(exc) for exc in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    for _ in range(_DEEPEST):
        if found is None:
            return
        yield found
        found = found.__cause__


def _says_so(exc: BaseException) -> bool:
    if isinstance(exc, ConnectionError) or getattr(exc, "connection_invalidated", False) is True:  # SQLAlchemy's
        return True
    state = getattr(exc, "sqlstate", None) or getattr(exc, "pgcode", None)
    if isinstance(state, str):
        return state.startswith("08") or state in _GOING_DOWN
    return any(_is_connection_class(kind) for kind in type(exc).__mro__)


def _is_connection_class(kind: type) -> bool:
    if f"{kind.__module__}.{kind.__qualname__}" in _CLASSES:
        return True
    # Without a state it did not come from the server: the driver has lost it, or never had it.
    return kind.__qualname__ == "OperationalError" and kind.__module__.partition(".")[0] in _DRIVERS
