"""In which words does a task fail? A code and a sentence of ours: what a provider says may hold keys and prompts."""

from __future__ import annotations

import openai

from phase1.exceptions import ConfigurationError, DeadlineExceeded, Refused

__all__ = ["failure"]

_SENTENCES = {
    "llm_not_configured": "no language model is configured",
    "overloaded": "the language model has no room now; try again",
    "upstream_timeout": "the language model did not answer in time",
    "rate_limited": "the language model is rate limited; try again",
    "upstream_refused": "the language model refused the request",
    "upstream_error": "the language model failed",
    "internal_error": "the task failed",
}


def failure(error: BaseException) -> tuple[str, str]:
    """Code and sentence."""
    code = _code(error)
    return code, _SENTENCES[code]


def _code(error: BaseException) -> str:  # noqa: PLR0911 - a table with an order
    if isinstance(error, ConfigurationError):
        return "llm_not_configured"
    if isinstance(error, Refused):
        return "overloaded"
    if isinstance(error, (openai.APITimeoutError, DeadlineExceeded)):
        return "upstream_timeout"
    if isinstance(error, openai.RateLimitError):
        return "rate_limited"
    if isinstance(error, openai.APIStatusError):
        return "upstream_refused" if error.status_code < 500 else _of_ours(error)  # noqa: PLR2004
    if isinstance(error, openai.APIError):
        return "upstream_error"
    return "internal_error"


def _of_ours(error: openai.APIStatusError) -> str:
    """The pool's own refusals reach the SDK as a 503 with our code."""
    code = str(getattr(error, "code", "") or "")
    return "overloaded" if code.startswith("phase1_") and error.status_code == 503 else "upstream_error"  # noqa: PLR2004
