"""How does an app that uses OpenFeature ask which way a request goes? By a provider of one flag, `llm-pool`.

    from openfeature import api
    from phase1.openfeature import Phase1Provider

    api.set_provider(Phase1Provider(), "phase1")
    api.get_client("phase1").get_string_value("llm-pool", "legacy")

As a boolean the flag is whether the pool answers, as a string it is `pool` or `legacy`; the variant is that string in
both cases, the reason phase1's in OpenFeature's spelling (`SPLIT`, `TARGETING_MATCH` … and, of our own, `KILL_SWITCH`,
`CIRCUIT_OPEN`, `RAMPING`).

Inside an app request, and without a targeting key or with the request's own, the answer is the route of that request,
which is chosen now if it was not before: what the flag says is what its calls do. With another targeting key the answer
is where that key would go; nothing is counted or chosen by the question.

A pool that could not start is no failure of the evaluation: the answer is `legacy` with the reason `ERROR`, whatever
the caller's default is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from phase1.doors.background import default_manager
from phase1.doors.unit import current_unit
from phase1.exceptions import MissingExtraError
from phase1.policy.selection import FLAG, Route

try:
    from openfeature.exception import FlagNotFoundError, TypeMismatchError
    from openfeature.flag_evaluation import FlagResolutionDetails
    from openfeature.provider import AbstractProvider, Metadata
except ImportError as exc:
    raise MissingExtraError("phase1.openfeature", "openfeature") from exc

if TYPE_CHECKING:
    from openfeature.evaluation_context import EvaluationContext
    from openfeature.flag_evaluation import FlagValueType

    from phase1.doors.manager import LLMManager
    from phase1.policy.selection import Selection

__all__ = ["FLAG", "Phase1Provider"]

T = TypeVar("T")

_NAME: Final = "phase1"


class Phase1Provider(AbstractProvider):
    """`manager`: whose routes; default = the app request's, and outside of one the process's default manager."""

    def __init__(self, manager: LLMManager | None = None) -> None:
        super().__init__()
        self._manager = manager

    def get_metadata(self) -> Metadata:
        """The provider's name."""
        return Metadata(name=_NAME)

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,  # noqa: ARG002, FBT001 - OpenFeature's signature
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        """Whether the pool answers. Raises `FlagNotFoundError` for every flag but `llm-pool`."""
        selection = self._selection(flag_key, evaluation_context)
        return _details(selection, selection.route is Route.POOL)

    def resolve_string_details(
        self,
        flag_key: str,
        default_value: str,  # noqa: ARG002
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[str]:
        """`pool` or `legacy`. Raises `FlagNotFoundError` for every flag but `llm-pool`."""
        selection = self._selection(flag_key, evaluation_context)
        return _details(selection, selection.route.value)

    def resolve_integer_details(
        self,
        flag_key: str,
        default_value: int,  # noqa: ARG002
        evaluation_context: EvaluationContext | None = None,  # noqa: ARG002
    ) -> FlagResolutionDetails[int]:
        """Raises `TypeMismatchError`, or `FlagNotFoundError`."""
        _mismatch(flag_key)

    def resolve_float_details(
        self,
        flag_key: str,
        default_value: float,  # noqa: ARG002
        evaluation_context: EvaluationContext | None = None,  # noqa: ARG002
    ) -> FlagResolutionDetails[float]:
        """Raises `TypeMismatchError`, or `FlagNotFoundError`."""
        _mismatch(flag_key)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],  # noqa: ARG002
        evaluation_context: EvaluationContext | None = None,  # noqa: ARG002
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """Raises `TypeMismatchError`, or `FlagNotFoundError`."""
        _mismatch(flag_key)

    def _selection(self, flag: str, context: EvaluationContext | None) -> Selection:
        _require(flag)
        key = context.targeting_key if context is not None else None
        unit = current_unit.get()
        ours = unit is not None and (self._manager is None or unit.manager is self._manager)
        if unit is not None and ours and (not key or key == unit.key):
            return unit.selection
        manager = self._manager or (unit.manager if unit is not None else default_manager())
        return manager.look(key)

    def __repr__(self) -> str:
        return f"<Phase1Provider of {self._manager or 'the request in hand'}>"


def _details(selection: Selection, value: T) -> FlagResolutionDetails[T]:
    bucket = {} if selection.bucket is None else {"bucket": selection.bucket}
    return FlagResolutionDetails(
        value=value, reason=selection.reason.upper(), variant=selection.route.value, flag_metadata=bucket
    )


def _require(flag: str) -> None:
    if flag != FLAG:
        raise FlagNotFoundError(f"flag {flag!r}: unknown; phase1 has one, {FLAG}")


def _mismatch(flag: str) -> NoReturn:
    _require(flag)
    raise TypeMismatchError(f"flag {FLAG}: ask for it as a boolean or as a string (pool, legacy)")
