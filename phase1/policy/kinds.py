"""Which words are there for what happened, and for what it means?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Failover", "Fallback", "Judgement", "Kind", "Outcome", "Verdict"]


class Verdict(StrEnum):
    """What an outcome says about the health of who answered."""

    SUCCESS = "success"
    """Resets a streak of failures."""
    FAILURE = "failure"
    """Advances a streak of failures."""
    THROTTLED = "throttled"
    """Leaves a streak alone, but fails a probe and counts as no success in windowed rates."""
    NEUTRAL = "neutral"
    """Counts nowhere."""


class Kind(StrEnum):
    """What happened to one attempt, or to one request."""

    OK = "ok"
    """A full 2xx, or a stream that ended with `finish_reason` or `[DONE]`."""
    CONNECT = "connect"
    """Connect, DNS, TLS or pool-acquire error: nothing was sent."""
    FIRST_TOKEN_TIMEOUT = "first_token_timeout"  # noqa: S105 - tokens of a language model
    """No content token came in time."""
    STALL = "stall"
    """The stream fell silent."""
    TRUNCATED = "truncated"
    """A clean end of the stream without `finish_reason`."""
    EMPTY = "empty"
    """A stream that ended without any content."""
    SERVER_ERROR = "server_error"
    """5xx, 408, or something that is no HTTP answer of an LLM endpoint."""
    RATE_LIMIT = "rate_limit"
    """Too many requests or tokens: come back later."""
    NODE_REFUSED = "node_refused"
    """This node's key, wallet or model is no good: waiting does not help."""
    CALLER_ERROR = "caller_error"
    """Any other 4xx: the request itself is at fault."""
    CONTEXT_LENGTH = "context_length"
    """The prompt is too long for this model."""
    CONTENT_FILTER = "content_filter"
    """The provider's filter said no."""
    BROKEN_AFTER_TOKEN = "broken_after_token"  # noqa: S105 - tokens of a language model
    """The stream broke after content had reached the caller."""
    CANCELLED = "cancelled"
    """The caller went away, a hedge lost, or we shut down."""
    TIMEOUT = "timeout"
    """Our own clock ran out."""
    BROKEN = "broken"
    """The connection broke while we waited; the request had been sent."""
    REFUSED = "refused"
    """A local refusal (limiter full, queue timeout, breaker open): nothing was sent."""
    BUG = "bug"
    """An error of ours."""


class Failover(StrEnum):
    """May another node of the pool be asked?"""

    NEVER = "never"
    FREE = "free"
    """Yes, and it costs no retry budget."""
    BUDGETED = "budgeted"
    """Yes, within the retry budget."""
    ONCE = "once"
    """Once, before the first token, within the retry budget."""
    OTHER_DOMAIN = "other_domain"
    """Only a node of another quota domain."""
    LARGER_CONTEXT = "larger_context"
    """Only a node that is declared to take longer prompts."""


class Fallback(StrEnum):
    """May the legacy client be asked?"""

    NEVER = "never"
    ALWAYS = "always"
    IN_TIME = "in_time"
    """Before the first token, if the deadline allows."""
    OTHER_CREDENTIALS = "other_credentials"
    """Only if legacy's credentials are not those that were throttled; else the caller gets the 429."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened, with what the upstream said about it. `retry_after` is in seconds."""

    kind: Kind
    status: int | None = None
    code: str | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an outcome means.

    `node` is `None` when no node has answered, or when `node_off` says more than a verdict could: take the node out
    of use and raise an alarm. `pool` is the verdict if the request ends here, after failover.
    """

    node: Verdict | None
    pool: Verdict
    failover: Failover
    fallback: Fallback
    node_off: bool = False
