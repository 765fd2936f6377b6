"""What is `llm.chat`? The SDK's client on one request's route; the app's own SDK client, if any, is its legacy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import openai

from phase1.doors.guard import PoolGuard
from phase1.doors.http import async_engine_client
from phase1.doors.lean.learnt import Learnt
from phase1.doors.lean.resources import AsyncLean
from phase1.doors.lean.short import Way, falling_back
from phase1.doors.sdk import timeout_of
from phase1.doors.sdk_legacy import SdkLegacy
from phase1.doors.shadow.watch import beside, question_in
from phase1.engine.homes import DEFAULT_BASE_URL, PLACEHOLDER_KEY
from phase1.policy.selection import Route
from phase1.validation import public_url

if TYPE_CHECKING:
    from phase1.doors.manager import LLMManager
    from phase1.doors.unit import Unit

__all__ = ["FacadeOpenAI", "facade_template"]


class FacadeOpenAI(AsyncLean, openai.AsyncOpenAI):
    """The SDK's client on the pool. The template is made once; each unit of work gets a cheap view of it."""

    _unit: Unit
    _legacy: SdkLegacy | None
    _phase1_lean = True
    _phase1_learnt: dict[tuple[str, bool], Learnt]

    def view(self, unit: Unit, legacy: SdkLegacy | None) -> FacadeOpenAI:
        """The same client for one unit; shares everything but the route."""
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        view._unit = unit
        view._legacy = legacy
        return view

    async def request(
        self,
        cast_to: Any,  # noqa: ANN401 - the SDK's own signature
        options: Any,  # noqa: ANN401
        *,
        stream: bool = False,
        stream_cls: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Send one request of any resource."""
        legacy = self._legacy
        if legacy is not None and self._unit.selection.route is Route.LEGACY:
            asking = legacy.request(cast_to, options, stream=stream, stream_cls=stream_cls)
            if self._unit.manager.shadow is None or stream:
                return await asking
            return await beside(self._unit, question_in(options), asking)
        if (guard := falling_back.get()) is None:
            guard = self._guard(timeout_of(self, options))
            with guard:
                options_of_pool = options.model_copy()  # the SDK takes something out of them; legacy needs them whole
                return await super().request(cast_to, options_of_pool, stream=stream, stream_cls=stream_cls)
        falling_back.set(None)
        async with guard.time_left():
            return await legacy.request(  # type: ignore[union-attr]  # the guard swallows nothing without one
                cast_to, options, stream=stream, stream_cls=stream_cls
            )

    def _guard(self, timeout: float | None) -> PoolGuard:
        legacy = self._legacy
        return PoolGuard(
            self._unit,
            has_legacy=legacy is not None,
            other_credentials=lambda: legacy is not None and legacy.other_credentials,
            timeout=timeout,
        )

    def _phase1_way(self, learnt: Learnt) -> Way | None:
        """Where a call like the one `learnt` goes; `None` = `request` decides."""
        unit = self._unit
        if unit.selection.route is Route.LEGACY:
            return None
        return unit.manager, self._guard(learnt.timeout)


def facade_template(manager: LLMManager) -> FacadeOpenAI:
    """The client that `manager`'s units get views of. Its key is a placeholder: each node brings its own."""
    base_url = public_url(manager.nodes[0].base_url) if manager.nodes else DEFAULT_BASE_URL
    template = FacadeOpenAI(
        api_key=PLACEHOLDER_KEY,
        base_url=base_url,
        max_retries=0,
        timeout=openai.DEFAULT_TIMEOUT,  # else the SDK takes the HTTP client's for the app's wish
        http_client=async_engine_client(manager, base_url),
    )
    template._phase1_learnt = {}  # noqa: SLF001 - one for all views
    return template
