"""What can go wrong, as one tree.

    Phase1Error
    ├── ConfigurationError      a setting that cannot be honoured; the text names variable, value and what is allowed
    ├── MissingExtraError       an optional library is missing (also an ImportError); the text says how to install it
    ├── UnknownNode             no node has this name (also a LookupError); the text lists those that there are
    └── PoolError               the pool did not answer this request
        ├── Refused             nothing was sent upstream: it is free to ask somebody else
        │   ├── CircuitOpen     the pool is switched off by its breaker
        │   ├── QueueFull       the admission queue has no place left
        │   ├── QueueTimeout    no slot became free in time
        │   ├── NoNode          every node that could answer is drained
        │   └── PoolClosed      the pool is drained or closed
        ├── UpstreamError       no node gave an HTTP answer: no connection, silence, a broken or empty answer
        └── DeadlineExceeded    the request's one deadline ran out (also a TimeoutError)

At the SDK's doors callers never see these: they get the SDK's own exceptions (`openai.APITimeoutError`,
`openai.InternalServerError` …) with our error as `code`. They are what `engine` raises and `doors` map.
"""

from __future__ import annotations

__all__ = [
    "CircuitOpen",
    "ConfigurationError",
    "DeadlineExceeded",
    "MissingExtraError",
    "NoNode",
    "Phase1Error",
    "PoolClosed",
    "PoolError",
    "QueueFull",
    "QueueTimeout",
    "Refused",
    "UnknownNode",
    "UpstreamError",
]


class Phase1Error(Exception):
    """Root of everything that phase1 raises by itself."""


class ConfigurationError(Phase1Error):
    """A setting that cannot be honoured. The text names the variable, its value and what is allowed."""


class MissingExtraError(Phase1Error, ImportError):
    """An optional library is missing. The text says which extra brings it."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f'{feature} needs an optional library: pip install "phase1[{extra}]"')


class UnknownNode(Phase1Error, LookupError):
    """No node has this name. The text lists the names that there are."""


class PoolError(Phase1Error):
    """The pool did not answer this request.

    `code` is the machine-readable name at HTTP borders; `retry_after` is in seconds, `None` when unknown.
    """

    code = "phase1_pool_error"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Refused(PoolError):
    """A local refusal: nothing was sent upstream, so asking another node or the legacy client is free."""

    code = "phase1_refused"


class CircuitOpen(Refused):
    """The breaker has switched the pool off."""

    code = "phase1_circuit_open"


class QueueFull(Refused):
    """The admission queue has no place left (`LLM_QUEUE_SIZE`)."""

    code = "phase1_queue_full"


class QueueTimeout(Refused):
    """No slot became free in time (`LLM_QUEUE_TIMEOUT`, or the request's deadline)."""

    code = "phase1_queue_timeout"


class NoNode(Refused):
    """Every node that could answer is drained."""

    code = "phase1_no_node"


class PoolClosed(Refused):
    """The pool is drained or closed."""

    code = "phase1_pool_closed"


class UpstreamError(PoolError):
    """No node gave an HTTP answer: no connection, silence, a broken or empty answer.

    `kind` is the last attempt's, a value of `policy.classify.Kind`; `__cause__` is what the transport said.
    """

    code = "phase1_upstream_error"

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class DeadlineExceeded(PoolError, TimeoutError):
    """The request's one deadline ran out (`LLM_REQUEST_DEADLINE`)."""

    code = "phase1_deadline_exceeded"
