"""Which steps does the rollout file name? TOML, read whole or not at all.

interval = "1m"                 # all but [[steps]] may be left out
alpha = 0.05
max_throttled = 0.1
max_tokens = 4000
silence = "10m"
margins = { failed = 0.05, seconds = 0.05, empty = 0.05 }
tolerances = { seconds = 0.01 }

[[steps]]
name = "first users"
percent = 1
min_duration = "1d"             # seconds, or a number with s, m, h, d or w
min_samples = 100
max_duration = "3d"
approval = false
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from phase1.exceptions import ConfigurationError
from phase1.policy.rollout_plan import WEEKS, Metric, Plan, Step
from phase1.validation import in_hundredths, reason, shown

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["duration", "plan_from_file"]

_UNITS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw]?)")


def duration(value: object) -> object:
    """`"7d"` → seconds. Raises `ValueError`."""
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise ValueError("must be seconds, or a number with s, m, h, d or w")
    return float(match[1]) * _UNITS[match[2]]


_Duration: TypeAlias = Annotated[float, BeforeValidator(duration), Field(ge=0, allow_inf_nan=False)]
_Share: TypeAlias = Annotated[float, Field(ge=0, le=0.5, allow_inf_nan=False)]
_Shares: TypeAlias = dict[Metric, _Share]


class _Step(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    percent: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False), AfterValidator(in_hundredths)]
    name: str = Field(default="", max_length=80)
    min_duration: _Duration = 0.0
    min_samples: int = Field(default=0, ge=0)
    max_duration: _Duration | None = None
    approval: bool = False


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: list[_Step] = Field(min_length=1)
    interval: Annotated[float, BeforeValidator(duration), Field(ge=1, allow_inf_nan=False)] = WEEKS.interval
    alpha: Annotated[float, Field(ge=0.0001, le=0.5, allow_inf_nan=False)] = WEEKS.alpha
    margins: _Shares = Field(default_factory=dict)
    tolerances: _Shares = Field(default_factory=dict)
    max_throttled: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = WEEKS.max_throttled
    max_tokens: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    silence: Annotated[float, BeforeValidator(duration), Field(ge=1, allow_inf_nan=False)] = WEEKS.silence


def plan_from_file(path: Path | None) -> Plan:
    """The plan of `LLM_ROLLOUT_FILE`; without one, the guide's weeks. Raises `ConfigurationError`."""
    if path is None:
        return WEEKS
    variable = f"LLM_ROLLOUT_FILE={shown(path)}"
    try:
        return _plan(_File.model_validate(_toml(variable, path)))
    except ValidationError as error:
        problems = "; ".join(_problem(found) for found in error.errors(include_url=False))
        raise ConfigurationError(f"{variable}: {problems}") from None
    except ValueError as error:
        raise ConfigurationError(f"{variable}: {error}") from None


def _plan(read: _File) -> Plan:
    return Plan(
        steps=tuple(Step(**step.model_dump()) for step in read.steps),
        interval=read.interval,
        alpha=read.alpha,
        margins={**WEEKS.margins, **read.margins},
        tolerances={**WEEKS.tolerances, **read.tolerances},
        max_throttled=read.max_throttled,
        max_tokens=read.max_tokens,
        silence=read.silence,
    )


def _toml(variable: str, path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{variable}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError:
        raise ConfigurationError(f"{variable}: is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{variable}: is not valid TOML ({error})") from None


def _problem(found: ErrorDetails) -> str:
    where = [f"#{part + 1}" if isinstance(part, int) else str(part) for part in found["loc"]]
    name = " ".join(where).replace("steps #", "step #")
    given = "" if isinstance(found["input"], dict | list) else f"={shown(found['input'])}"
    field = next((each.model_fields.get(where[-1]) for each in (_Step, _File) if where[-1] in each.model_fields), None)
    return f"{name}{given}: {reason(found, field)}"
