"""How does the rollout get into an app? The manager gets somebody who moves it, the control page speaks for all."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from phase1.exceptions import ConfigurationError, MissingExtraError
from phase1.rollout.agent import Agent
from phase1.rollout.plan_file import plan_from_file
from phase1.rollout.store import store_of
from phase1.rollout.wishes import add_wishes

if TYPE_CHECKING:
    from phase1.asgi.control import Control
    from phase1.doors.manager import LLMManager
    from phase1.policy.rollout_plan import Plan
    from phase1.settings import Settings

__all__ = ["attach"]

_log = logging.getLogger("phase1")


def attach(manager: LLMManager, control: Control) -> Agent | None:
    """An agent that follows `LLM_STATE_URL` for `manager`; it begins with its first `watch`.

    Without the library that the store needs the app stays on legacy (or does not start: `LLM_STRICT_START`): it could
    not hear the kill switch. A rollout file that cannot be honoured is a problem of the rollout only.
    """
    settings = manager.settings
    try:
        store = store_of(settings)
    except MissingExtraError as exc:
        manager.give_up(ConfigurationError(str(exc)))
        return None
    plan, problem = _plan(settings)
    agent = Agent(manager, store, plan, problem=problem)
    manager.rollout = agent
    add_wishes(control, agent)
    return agent


def _plan(settings: Settings) -> tuple[Plan | None, str | None]:
    if not settings.llm_auto_rollout:
        return None, None
    try:
        return plan_from_file(settings.llm_rollout_file), None
    except ConfigurationError as exc:
        if settings.llm_strict_start:
            raise
        _log.error("%s; the percent stays as it is", exc)
        return None, str(exc)
