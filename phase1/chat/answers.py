"""What do the optimised endpoints answer? The fields of the legacy responses, and `performance_metrics`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from starlette.responses import JSONResponse

from phase1.chat.timing import PerformanceMetrics

__all__ = ["Answer", "OptimizedAgentResponse", "OptimizedChatResponse"]


class Answer(BaseModel):
    """What both have. `warning`: what had to be done without."""

    response: str
    timestamp: str
    support_type: str | None = None
    selected_acts: list[str] = []
    state_snapshot: dict[str, Any] = {}
    project_plan: dict[str, Any] | None = None
    decision_metadata: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    warning: str | None = None
    performance_metrics: PerformanceMetrics | None = None

    def as_legacy(self, model: type[BaseModel]) -> JSONResponse:
        """The same as the app's own response model has it, plus `performance_metrics`.

        A response of its own, since FastAPI leaves out of an answer what `response_model` does not name. Raises
        `pydantic.ValidationError` when a field that `model` needs is missing.
        """
        legacy = model.model_validate(self.model_dump(include=set(model.model_fields)))
        return JSONResponse({**legacy.model_dump(mode="json"), "performance_metrics": self.performance_metrics})


class OptimizedChatResponse(Answer):
    """The answer of `optimized_chat_with_ai`. `token_usage` is an estimate: four characters are about one token."""

    token_usage: dict[str, int] = {}
    context_metadata: dict[str, Any] = {}


class OptimizedAgentResponse(Answer):
    """The answer of `optimized_chat_with_conversation_agent`."""

    conversation_id: str | None = None
    history_count: int = 0
    debug_info: dict[str, Any] = {}
    error: str | None = None
