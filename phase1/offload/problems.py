"""How does a route say no? One JSON shape, a code, a sentence that names the thing, and when to come back."""

from __future__ import annotations

import math
from collections.abc import Mapping

from starlette.responses import JSONResponse

__all__ = ["Problem", "gone", "not_found", "unavailable"]


class Problem(Exception):
    """`{"error": {"code", "message", "param"}}` under an HTTP status."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["retry-after"] = str(max(1, math.ceil(retry_after)))

    def response(self) -> JSONResponse:
        """The answer."""
        error = {"code": self.code, "message": str(self), "param": self.param}
        return JSONResponse({"error": error}, self.status, {"cache-control": "no-store", **self.headers})


def not_found(code: str = "unknown_task") -> Problem:
    """Unknown and not yours look the same."""
    return Problem(404, code, "there is no such task")


def gone() -> Problem:
    """It has been there."""
    return Problem(410, "task_expired", "this task is over and no longer kept")


def unavailable(code: str, message: str, *, retry_after: float = 2) -> Problem:
    """Not now."""
    return Problem(503, code, message, retry_after=retry_after)
