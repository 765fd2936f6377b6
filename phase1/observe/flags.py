"""How does OpenTelemetry learn which way a request went, and why? As its event `feature_flag.evaluation`.

Names are those of the semantic conventions (https://opentelemetry.io/docs/specs/semconv/feature-flags/): a log record
with this event name, in the trace of the app request. An app without a logger provider gets it as an event of its
current span instead, as OpenFeature's tracing hook does. Once per app request; an app that has not imported
OpenTelemetry pays nothing.

`feature_flag.context.id`, which would be the user's key, is left out: a digest of it would name the user just as well.
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any, Final

from phase1.events import Event, Routed
from phase1.policy.selection import FLAG, Reason

if TYPE_CHECKING:
    from opentelemetry._logs import Logger, LoggerProvider

__all__ = ["EVENT", "FlagEvents"]

EVENT: Final = "feature_flag.evaluation"
_LOGS: Final = "opentelemetry._logs"


class FlagEvents:
    """An observer that tells every route as an evaluation of the flag `llm-pool` by the provider `phase1`."""

    hears: Final = frozenset({Routed})

    def __init__(self) -> None:
        self._provider: LoggerProvider | None = None
        self._logger: Logger | None = None

    def on_event(self, event: Event, /) -> None:
        """Tell it, where somebody listens."""
        if type(event) is not Routed:
            return
        logger = self._found_logger()
        if logger is None:
            _to_span(event)
        else:
            _to_log(logger, event)

    def _found_logger(self) -> Logger | None:
        """The logger of the app's provider; `None` = it has none, or one that knows no events."""
        logs = sys.modules.get(_LOGS)
        provider = logs.get_logger_provider() if logs is not None else None
        if provider is None or type(provider).__module__.startswith(_LOGS):  # the API's own does nothing
            return None
        if provider is not self._provider:
            self._provider = provider
            self._logger = provider.get_logger("phase1") if _knows_events(logs) else None
        return self._logger


def _knows_events(logs: Any) -> bool:  # noqa: ANN401 - a module
    return "event_name" in inspect.signature(logs.LogRecord.__init__).parameters


def _to_log(logger: Logger, event: Routed) -> None:
    from opentelemetry._logs import LogRecord, SeverityNumber  # noqa: PLC0415 - imported already, by the app

    logger.emit(LogRecord(event_name=EVENT, severity_number=SeverityNumber.INFO, attributes=_attributes(event)))


def _to_span(event: Routed) -> None:
    from opentelemetry import trace  # noqa: PLC0415 - imported already, by the app

    span = trace.get_current_span()
    if span.is_recording():
        span.add_event(EVENT, _attributes(event))


def _attributes(event: Routed) -> dict[str, str]:
    attributes = {
        "feature_flag.key": FLAG,
        "feature_flag.provider.name": "phase1",
        "feature_flag.result.variant": str(event.route),
        "feature_flag.result.reason": str(event.reason),
    }
    if event.reason == Reason.ERROR:
        attributes["error.type"] = "provider_not_ready"
    return attributes
