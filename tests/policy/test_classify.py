"""Does every outcome mean what the table says?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.classify import (
    Failover,
    Fallback,
    Judgement,
    Kind,
    Outcome,
    Verdict,
    judge,
    judge_after_content,
    outcome_of_error,
    outcome_of_status,
)

S, F, T, N = Verdict.SUCCESS, Verdict.FAILURE, Verdict.THROTTLED, Verdict.NEUTRAL

TABLE = {
    Kind.OK: (S, S, "never", "never"),
    Kind.CONNECT: (F, F, "free", "always"),
    Kind.FIRST_TOKEN_TIMEOUT: (F, F, "once", "in_time"),
    Kind.STALL: (F, F, "once", "in_time"),
    Kind.TRUNCATED: (F, F, "once", "in_time"),
    Kind.EMPTY: (F, F, "once", "in_time"),
    Kind.SERVER_ERROR: (F, F, "budgeted", "always"),
    Kind.RATE_LIMIT: (T, T, "other_domain", "other_credentials"),
    Kind.NODE_REFUSED: (None, F, "free", "always"),
    Kind.CALLER_ERROR: (N, N, "never", "never"),
    Kind.CONTEXT_LENGTH: (N, N, "larger_context", "never"),
    Kind.CONTENT_FILTER: (N, N, "never", "never"),
    Kind.BROKEN_AFTER_TOKEN: (F, F, "never", "never"),
    Kind.CANCELLED: (N, N, "never", "never"),
    Kind.TIMEOUT: (F, F, "once", "in_time"),
    Kind.BROKEN: (F, F, "budgeted", "always"),
    Kind.REFUSED: (None, N, "never", "always"),
    Kind.BUG: (F, F, "never", "always"),
}


@pytest.mark.parametrize("kind", list(Kind))
def test_judgement_is_the_row_of_the_table(kind: Kind) -> None:
    """Verdict at the node, verdict at the pool, failover, fallback; and only a refused node goes off."""
    node, pool, failover, fallback = TABLE[kind]
    expected = Judgement(node, pool, Failover(failover), Fallback(fallback), node_off=kind is Kind.NODE_REFUSED)
    assert judge(kind) == expected


@pytest.mark.parametrize("kind", list(Kind))
def test_after_content_nobody_else_is_asked(kind: Kind) -> None:
    """The verdicts stay; a break in the middle is never covered up by somebody else's words."""
    before, after = judge(kind), judge_after_content(kind)
    assert (after.node, after.pool, after.node_off) == (before.node, before.pool, before.node_off)
    assert (after.failover, after.fallback) == (Failover.NEVER, Fallback.NEVER)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *[(status, Kind.OK) for status in (200, 201, 202, 204, 299)],
        *[(status, Kind.SERVER_ERROR) for status in (408, 500, 502, 503, 504, 520, 529, 599)],
        (429, Kind.RATE_LIMIT),
        *[(status, Kind.NODE_REFUSED) for status in (401, 402, 403)],
        *[(status, Kind.CALLER_ERROR) for status in (400, 404, 405, 409, 410, 413, 415, 422, 425, 451, 499)],
        *[(status, Kind.SERVER_ERROR) for status in (-1, 0, 99, 100, 101, 199, 301, 302, 304, 307, 399, 600, 999)],
    ],
)
def test_status_without_a_word(status: int, kind: Kind) -> None:
    """2xx is fine, 4xx is the caller's but for those with a meaning, and all else is not an LLM endpoint at work."""
    assert outcome_of_status(status) == Outcome(kind, status)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (429, "insufficient_quota", Kind.NODE_REFUSED),
        (429, "billing_hard_limit_reached", Kind.NODE_REFUSED),
        (400, "billing_hard_limit_reached", Kind.NODE_REFUSED),
        (400, "invalid_api_key", Kind.NODE_REFUSED),
        (400, "model_not_found", Kind.NODE_REFUSED),
        (404, "model_not_found", Kind.NODE_REFUSED),
        (404, "DeploymentNotFound", Kind.NODE_REFUSED),
        (500, "PermissionDenied", Kind.NODE_REFUSED),
        (400, "context_length_exceeded", Kind.CONTEXT_LENGTH),
        (413, "context-length-exceeded", Kind.CONTEXT_LENGTH),
        (400, "content_filter", Kind.CONTENT_FILTER),
        (403, "content_policy_violation", Kind.CONTENT_FILTER),
        (400, "ResponsibleAIPolicyViolation", Kind.CONTENT_FILTER),
        (429, "rate_limit_exceeded", Kind.RATE_LIMIT),
        (403, "RateLimitExceeded", Kind.RATE_LIMIT),
        (503, "rate_limit_exceeded", Kind.RATE_LIMIT),
        (400, "server_error", Kind.SERVER_ERROR),
        (200, "rate_limit_exceeded", Kind.RATE_LIMIT),
        (500, "429", Kind.RATE_LIMIT),
        (200, "502", Kind.SERVER_ERROR),
        (400, "401", Kind.NODE_REFUSED),
    ],
)
def test_code_is_judged_before_the_status(status: int, code: str, kind: Kind) -> None:
    """The provider's word is more exact than its number."""
    assert outcome_of_status(status, code=code) == Outcome(kind, status, code)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "not_found", Kind.CALLER_ERROR),
        (400, "unknown_parameter", Kind.CALLER_ERROR),
        (429, "something_new", Kind.RATE_LIMIT),
        (500, "something_new", Kind.SERVER_ERROR),
        (400, "40303", Kind.CALLER_ERROR),
        (400, "200", Kind.CALLER_ERROR),
        (400, "٤٢٩", Kind.CALLER_ERROR),
        (400, "", Kind.CALLER_ERROR),
        (400, "...", Kind.CALLER_ERROR),
        (400, "None", Kind.CALLER_ERROR),
    ],
)
def test_unknown_code_leaves_the_status_alone(status: int, code: str, kind: Kind) -> None:
    """A word we do not know says nothing."""
    assert outcome_of_status(status, code=code).kind is kind


@pytest.mark.parametrize(
    ("status", "type_", "kind"),
    [
        (429, "insufficient_quota", Kind.NODE_REFUSED),
        (400, "authentication_error", Kind.NODE_REFUSED),
        (429, "tokens", Kind.RATE_LIMIT),
        (529, "overloaded_error", Kind.SERVER_ERROR),
        (400, "api_error", Kind.CALLER_ERROR),
        (429, "server_error", Kind.RATE_LIMIT),
        (404, "invalid_request_error", Kind.CALLER_ERROR),
        (500, "invalid_request_error", Kind.SERVER_ERROR),
    ],
)
def test_type_is_judged_when_it_tells_more_than_the_status(status: int, type_: str, kind: Kind) -> None:
    """Words that stand beside any status leave it alone."""
    assert outcome_of_status(status, type_=type_).kind is kind


def test_code_is_judged_before_the_type() -> None:
    """OpenAI calls a missing model an `invalid_request_error`, and an empty wallet may be called both."""
    assert outcome_of_status(404, code="model_not_found", type_="invalid_request_error").kind is Kind.NODE_REFUSED
    assert outcome_of_status(429, code="rate_limit_exceeded", type_="insufficient_quota").kind is Kind.RATE_LIMIT


@pytest.mark.parametrize(
    ("code", "type_", "kind"),
    [
        (None, None, Kind.SERVER_ERROR),
        ("something_new", "something_else", Kind.SERVER_ERROR),
        (None, "overloaded_error", Kind.SERVER_ERROR),
        ("rate_limit_exceeded", None, Kind.RATE_LIMIT),
        ("429", None, Kind.RATE_LIMIT),
        (None, "insufficient_quota", Kind.NODE_REFUSED),
        ("content_filter", None, Kind.CONTENT_FILTER),
        (None, "invalid_request_error", Kind.CALLER_ERROR),
        ("invalid_prompt", None, Kind.CALLER_ERROR),
    ],
)
def test_error_inside_a_stream_is_judged_by_its_words(code: str | None, type_: str | None, kind: Kind) -> None:
    """Without a status the server is at fault, unless it says otherwise."""
    assert outcome_of_error(code=code, type_=type_, retry_after=2.0) == Outcome(kind, None, code, 2.0)


@pytest.mark.parametrize(("code", "type_"), [("something_new", None), (None, "something_new")])
def test_2xx_that_carries_an_error_is_no_success(code: str | None, type_: str | None) -> None:
    """A gateway that says 200 and means an error."""
    assert outcome_of_status(200, code=code, type_=type_).kind is Kind.SERVER_ERROR


def test_outcome_keeps_what_was_said() -> None:
    """Status, code and time to wait go on with it."""
    outcome = outcome_of_status(429, code="rate_limit_exceeded", retry_after=3.0)
    assert outcome == Outcome(Kind.RATE_LIMIT, 429, "rate_limit_exceeded", 3.0)


@given(st.integers(-1000, 10_000), st.none() | st.text(), st.none() | st.text())
def test_every_answer_has_a_judgement(status: int, code: str | None, type_: str | None) -> None:
    """The classifier does not raise, whatever an upstream invents."""
    assert judge(outcome_of_status(status, code=code, type_=type_).kind).pool in Verdict
    assert judge(outcome_of_error(code=code, type_=type_).kind).pool in Verdict
