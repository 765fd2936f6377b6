"""What does the SDK send with every call of one resource, whatever is asked?

It is learnt, not known: the first call of a client goes the ordinary way, and the request that comes out of it is
noted. So headers, credentials, path and query are the SDK's own, of whatever version, and a client that is changed
afterwards is learnt anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from operator import attrgetter, is_
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phase1.engine.call import Call
    from phase1.engine.homes import Homes
    from phase1.engine.manager import Manager

__all__ = ["NOT_YET", "Learnt", "learn", "note", "recall"]

_STATE = attrgetter(
    "api_key",
    "organization",
    "project",
    "timeout",
    "max_retries",
    "_base_url",
    "_custom_headers",
    "_custom_query",
    "_client",
    "_strict_response_validation",
)

_KEY_GIVERS = ("_api_key_provider", "_workload_identity_auth", "workload_identity")  # asked before each request

_notes: ContextVar[list[tuple[str, Call]] | None] = ContextVar("phase1_learning", default=None)


@dataclass(slots=True)
class Learnt:
    """All of a call but its body. `url` is the address that the SDK names in its errors.

    `home`: whose nodes serve it, found once for `homes`. `other_key`: whether the client's own key is none of theirs.
    """

    url: str
    headers: Sequence[tuple[str, str]]
    credentials: Sequence[tuple[str, str]]
    path: str
    timeout: float | None
    state: tuple[object, ...]
    homes: Homes | None = None
    home: Manager | None = None
    other_key: Callable[[], bool] = bool


NOT_YET = Learnt("", (), (), "", None, ())
"""Nothing has been learnt, or it does not hold any more."""


def recall(client: Any, what: tuple[str, bool]) -> Learnt:  # noqa: ANN401 - an SDK client
    """What has been learnt of `client` for one resource, streamed or not; `NOT_YET` if nothing that still holds."""
    learnt: Learnt = (client._phase1_learnt or {}).get(what, NOT_YET)  # noqa: SLF001
    return learnt if all(map(is_, learnt.state, _STATE(client))) else NOT_YET


@contextlib.contextmanager
def learn(client: Any, what: tuple[str, bool]) -> Iterator[None]:  # noqa: ANN401 - an SDK client
    """Inside, one call of `client` goes the ordinary way: remember what it is made of."""
    notes: list[tuple[str, Call]] = []
    token = _notes.set(notes)
    state = _STATE(client)
    try:
        yield
    finally:
        _notes.reset(token)
        if len(notes) == 1 and not any(getattr(client, name, None) for name in _KEY_GIVERS):
            url, call = notes[0]
            if client._phase1_learnt is None:  # noqa: SLF001
                client._phase1_learnt = {}  # noqa: SLF001
            client._phase1_learnt[what] = Learnt(  # noqa: SLF001
                url, call.headers, call.credentials, call.path, call.timeout, state
            )


def note(url: str, call: Call) -> None:
    """Told by the transport of each request that goes to the engine."""
    if (notes := _notes.get()) is not None:
        notes.append((url, call))
