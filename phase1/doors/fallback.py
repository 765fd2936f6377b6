"""May the legacy client answer instead of the pool?"""

from __future__ import annotations

from collections.abc import Callable

from phase1.policy.classify import Fallback, Outcome, judge

__all__ = ["may_fall_back"]


def may_fall_back(outcome: Outcome, *, other_credentials: Callable[[], bool], remaining: float) -> bool:
    """Whether, after `outcome` and before any content reached the caller, legacy may be asked.

    `other_credentials()`: legacy does not use a key that the pool has just found throttled. `remaining`: seconds to the
    deadline.
    """
    if remaining <= 0:
        return False
    permission = judge(outcome.kind).fallback
    if permission is Fallback.OTHER_CREDENTIALS:
        return other_credentials()
    return permission in {Fallback.ALWAYS, Fallback.IN_TIME}
