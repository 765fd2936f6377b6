"""What does the outcome of a request mean for the node, the pool and the next step?

Two steps. What the upstream said becomes a `Kind`: its `error.code` is judged before its `error.type`, and both before
the HTTP status, because providers agree on the former more than on the latter (an empty wallet is a 429 here and a 402
there). Then a table turns the `Kind` into verdicts and permissions.

Choices where providers leave room:

* An interim status (1xx), a redirect (3xx; the SDK has followed those worth following) and a number that is no status
  are no answer of an LLM endpoint: `SERVER_ERROR`, so that a captive portal or a broken proxy counts as what it is.
* A plain 404 is the caller's (a wrong path, an unknown file id); one that names model or deployment is the node's.
* A numeric `error.code` (gateways repeat or correct the status there) is judged like a status.
* The pool always has a verdict, so that a permit can always be given back: a local refusal is `NEUTRAL` there.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import Final

from phase1.policy.codes import kind_in_band, kind_of_code, kind_of_type
from phase1.policy.kinds import Failover, Fallback, Judgement, Kind, Outcome, Verdict
from phase1.policy.retry_after import retry_after_seconds

__all__ = [
    "Failover",
    "Fallback",
    "Judgement",
    "Kind",
    "Outcome",
    "Verdict",
    "answered",
    "judge",
    "judge_after_content",
    "outcome_of_error",
    "outcome_of_status",
    "retry_after_seconds",
]

_SILENCE: Final = Judgement(Verdict.FAILURE, Verdict.FAILURE, Failover.ONCE, Fallback.IN_TIME)
_UPSTREAM_FAILED: Final = Judgement(Verdict.FAILURE, Verdict.FAILURE, Failover.BUDGETED, Fallback.ALWAYS)
_NOT_OUR_FAULT: Final = Judgement(Verdict.NEUTRAL, Verdict.NEUTRAL, Failover.NEVER, Fallback.NEVER)

_JUDGEMENTS: Final[dict[Kind, Judgement]] = {
    Kind.OK: Judgement(Verdict.SUCCESS, Verdict.SUCCESS, Failover.NEVER, Fallback.NEVER),
    Kind.CONNECT: Judgement(Verdict.FAILURE, Verdict.FAILURE, Failover.FREE, Fallback.ALWAYS),
    Kind.FIRST_TOKEN_TIMEOUT: _SILENCE,
    Kind.STALL: _SILENCE,
    Kind.TRUNCATED: _SILENCE,
    Kind.EMPTY: _SILENCE,
    Kind.TIMEOUT: _SILENCE,
    Kind.SERVER_ERROR: _UPSTREAM_FAILED,
    Kind.BROKEN: _UPSTREAM_FAILED,
    Kind.RATE_LIMIT: Judgement(Verdict.THROTTLED, Verdict.THROTTLED, Failover.OTHER_DOMAIN, Fallback.OTHER_CREDENTIALS),
    # Free: the node is off from now on, so there is at most one such attempt per node.
    Kind.NODE_REFUSED: Judgement(None, Verdict.FAILURE, Failover.FREE, Fallback.ALWAYS, node_off=True),
    Kind.CALLER_ERROR: _NOT_OUR_FAULT,
    Kind.CONTENT_FILTER: _NOT_OUR_FAULT,
    Kind.CONTEXT_LENGTH: replace(_NOT_OUR_FAULT, failover=Failover.LARGER_CONTEXT),
    Kind.CANCELLED: _NOT_OUR_FAULT,
    Kind.BROKEN_AFTER_TOKEN: Judgement(Verdict.FAILURE, Verdict.FAILURE, Failover.NEVER, Fallback.NEVER),
    Kind.REFUSED: Judgement(None, Verdict.NEUTRAL, Failover.NEVER, Fallback.ALWAYS),
    Kind.BUG: Judgement(Verdict.FAILURE, Verdict.FAILURE, Failover.NEVER, Fallback.ALWAYS),
}

_AFTER_CONTENT: Final[dict[Kind, Judgement]] = {
    kind: replace(judgement, failover=Failover.NEVER, fallback=Fallback.NEVER)
    for kind, judgement in _JUDGEMENTS.items()
}


def judge(kind: Kind) -> Judgement:
    """What `kind` means, as long as no content has reached the caller."""
    return _JUDGEMENTS[kind]


def judge_after_content(kind: Kind) -> Judgement:
    """What `kind` means once content has reached the caller: the same verdicts, but nobody else may be asked."""
    return _AFTER_CONTENT[kind]


_STATUSES: Final[dict[int, Kind]] = {
    401: Kind.NODE_REFUSED,
    402: Kind.NODE_REFUSED,
    403: Kind.NODE_REFUSED,
    408: Kind.SERVER_ERROR,
    429: Kind.RATE_LIMIT,
}
_CLASSES: Final[dict[int, Kind]] = {2: Kind.OK, 4: Kind.CALLER_ERROR}


@cache
def answered(status: int) -> Outcome:
    """A whole answer with this status of success: always the same object."""
    return Outcome(Kind.OK, status)


def outcome_of_status(
    status: int, *, code: str | None = None, type_: str | None = None, retry_after: float | None = None
) -> Outcome:
    """Judge an HTTP answer by `error.code`, then `error.type`, then its status.

    A 2xx whose body carries an error (`code` or `type_` is given) is judged like an error inside a stream.
    """
    kind = _kind_of_words(code, type_) or _kind_of_status(status)
    if kind is Kind.OK and (code or type_):
        kind = kind_in_band(code, type_)
    return Outcome(kind, status, code, retry_after)


def outcome_of_error(*, code: str | None = None, type_: str | None = None, retry_after: float | None = None) -> Outcome:
    """Judge an error inside a stream, which has no status: one that says nothing we know is the server's."""
    kind = _kind_of_words(code, type_) or kind_in_band(code, type_)
    return Outcome(kind, None, code, retry_after)


def _kind_of_words(code: str | None, type_: str | None) -> Kind | None:
    return kind_of_code(code) or _kind_of_numeric(code) or kind_of_type(type_)


def _kind_of_numeric(code: str | None) -> Kind | None:
    match = re.fullmatch("[45][0-9]{2}", str(code))
    return _kind_of_status(int(match[0])) if match else None


def _kind_of_status(status: int) -> Kind:
    return _STATUSES.get(status) or _CLASSES.get(status // 100, Kind.SERVER_ERROR)
