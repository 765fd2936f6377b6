"""What stands in a small JSON body? Read up to a kibibyte, and no further."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from phase1.exceptions import Phase1Error

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.types import Receive

__all__ = ["BadBody", "read_json"]

_LARGEST = 1024


class BadBody(Phase1Error):
    """A body that is not what it must be; `status` is the HTTP status that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def read_json(headers: Headers, receive: Receive | None) -> dict[str, object]:
    """The object in a request's body. Raises `BadBody`."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise BadBody(415, "the body must be JSON: send it with Content-Type: application/json")
    body = await _read(receive)
    try:
        document = json.loads(body)
    except ValueError:
        raise BadBody(400, 'the body is no JSON; an example of what is: {"percent": 10}') from None
    if not isinstance(document, dict):
        raise BadBody(400, 'the body must be a JSON object: {"percent": 10}')
    return document


async def _read(receive: Receive | None) -> bytes:
    body, more = b"", receive is not None
    while more and receive is not None:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadBody(400, "the body ended too early")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > _LARGEST:
            raise BadBody(413, f"the body must not be larger than {_LARGEST} bytes")
    return body
