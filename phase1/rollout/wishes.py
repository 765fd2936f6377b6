"""What may an operator wish of all workers? The control page's keys, granted by writing into the store.

`percent` and `force_legacy` have the meaning that they have for one worker; `rollout` takes the verbs of
`policy.rollout_acts`, `breaker_mode` forces the breakers, `new_epoch` draws the canary's keys anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from phase1.asgi.control import BadWish, Change, Wish, asking
from phase1.policy.breaker import BreakerMode
from phase1.policy.rollout import Desired
from phase1.policy.rollout_acts import ACTS, NotAllowed, force_breaker, new_epoch, set_percent
from phase1.rollout.operator import Operator

if TYPE_CHECKING:
    from phase1.asgi.control import Control
    from phase1.doors.manager import LLMManager
    from phase1.rollout.agent import Agent

__all__ = ["add_wishes"]

Granting = Callable[[Operator], tuple[Desired, Desired]]
Shown = Callable[[Desired], object]

_SHARED: Final = ("percent", "force_legacy")


def add_wishes(control: Control, agent: Agent) -> None:
    """Let `control` speak for all workers that follow `agent`'s store."""
    own = dict(control.wishes)
    shared: dict[str, Wish] = {
        "percent": lambda manager, value: _percent(agent, own["percent"], manager, value),
        "force_legacy": lambda manager, value: _kill(agent, own["force_legacy"], manager, value),
        "rollout": lambda _, value: _rollout(agent, value),
        "breaker_mode": lambda _, value: _breaker(agent, value),
        "new_epoch": lambda _, value: _epoch(agent, value),
    }
    control.wishes |= shared
    control.waiting |= shared.keys()


def _granted(agent: Agent, grant: Granting, shown: Shown) -> Change:
    def change() -> tuple[object, object]:
        known = agent.known if agent.has_read else None
        before, after = grant(Operator(agent.store, by=asking.get(), known=known))
        agent.wake()
        return shown(before), shown(after)

    return change


def _percent(agent: Agent, own: Wish, manager: LLMManager, value: object) -> Change:
    own(manager, value)  # checks it
    percent = float(value)  # type: ignore[arg-type]
    return _granted(
        agent,
        lambda operator: operator.change(lambda state: set_percent(state, percent), reason="the percent was set"),
        lambda state: state.percent,
    )


def _kill(agent: Agent, own: Wish, manager: LLMManager, value: object) -> Change:
    own(manager, value)
    on = value is True
    everywhere = _granted(agent, lambda operator: operator.kill(on=on), lambda state: state.kill)

    def change() -> tuple[object, object]:
        agent.kill_here(on=on)  # whatever the store says
        return everywhere()

    return change


def _rollout(agent: Agent, value: object) -> Change:
    if value not in list(ACTS):
        raise BadWish(f"rollout={value!r:.40}: must be one of {', '.join(ACTS)}")
    verb, plan = str(value), agent.plan
    if plan is None:
        raise NotAllowed(agent.problem or "LLM_AUTO_ROLLOUT is not true in this app")
    return _granted(agent, lambda operator: operator.act(verb, plan), _place)


def _breaker(agent: Agent, value: object) -> Change:
    if value not in list(BreakerMode):
        raise BadWish(f"breaker_mode={value!r:.40}: must be one of {', '.join(BreakerMode)}")
    mode = BreakerMode(str(value))
    return _granted(
        agent,
        lambda operator: operator.change(lambda state: force_breaker(state, mode), reason="the breaker's mode was set"),
        lambda state: state.breaker,
    )


def _epoch(agent: Agent, value: object) -> Change:
    if value is not True:
        raise BadWish(f"new_epoch={value!r:.40}: must be true")
    return _granted(
        agent,
        lambda operator: operator.change(new_epoch, reason="the canary's keys were drawn anew"),
        lambda state: state.epoch,
    )


def _place(state: Desired) -> str:
    percent = "the settings' percent" if state.percent is None else f"{state.percent:g} %"
    return f"{state.phase}, {percent}"
