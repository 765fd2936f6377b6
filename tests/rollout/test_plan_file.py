"""Is the rollout file read whole, and is what is wrong with one said in one line?"""

from __future__ import annotations

from pathlib import Path

import pytest

from phase1.exceptions import ConfigurationError
from phase1.policy.rollout_plan import WEEKS, Metric, Plan, Step
from phase1.rollout.plan_file import plan_from_file

STEP = "[[steps]]\npercent = 5\n"


def read(tmp_path: Path, text: str) -> Plan:
    """The plan in a file."""
    (tmp_path / "rollout.toml").write_text(text)
    return plan_from_file(Path("rollout.toml"))  # of the working directory: a long path would be cut in the error


def test_without_a_file_there_are_the_weeks() -> None:
    """Of the migration guide."""
    assert plan_from_file(None) is WEEKS


def test_everything_can_be_said(tmp_path: Path) -> None:
    """The example of the module's docstring, and it is the whole vocabulary."""
    from phase1.rollout import plan_file

    text = "\n".join(line.removeprefix("    ") for line in str(plan_file.__doc__).split("\n\n", 1)[1].splitlines())
    plan = read(tmp_path, text)
    assert plan == Plan(
        steps=(Step(name="first users", percent=1, min_duration=86_400, min_samples=100, max_duration=3 * 86_400),),
        max_tokens=4000,
    )


@pytest.mark.parametrize(
    ("written", "seconds"), [("90", 90), ('"90"', 90), ('"1.5h"', 5400), ('"2 w"', 1_209_600), ('"0s"', 0)]
)
def test_durations(tmp_path: Path, written: str, seconds: float) -> None:
    """Seconds, or with a unit."""
    assert read(tmp_path, f"{STEP}min_duration = {written}").steps[0].min_duration == seconds


def test_what_is_left_out_is_the_default(tmp_path: Path) -> None:
    """Also of the tables."""
    plan = read(tmp_path, f"margins = {{ failed = 0.02 }}\n{STEP}")
    assert plan.margins == {**WEEKS.margins, Metric.FAILED: 0.02}
    assert plan.tolerances == WEEKS.tolerances


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "steps: is missing"),
        ("steps = []", "steps: must not be empty"),
        ("steps = 3", "steps=3: is not allowed"),
        ("[[steps]]\npercent = 250", "step #1 percent=250: must be between 0 and 100"),
        ("[[steps]]\npercent = 0.001", "step #1 percent=0.001: must be in steps of 0.01"),
        ('[[steps]]\npercent = "5"', "step #1 percent=5: must be a number between 0 and 100"),
        ("[[steps]]\npercent = 10\n[[steps]]\npercent = 5", "step 5 % comes after 10 %: each must be higher"),
        (
            f'{STEP}min_duration = "soon"',
            "step #1 min_duration=soon: must be seconds, or a number with s, m, h, d or w",
        ),
        (f"{STEP}min_duration = -1", "step #1 min_duration=-1: must be at least 0"),
        (f"{STEP}approvel = true", "step #1 approvel=true: unknown field"),
        (f'{STEP}approval = "yes"', "step #1 approval=yes: must be true or false"),
        (f"interval = 0\n{STEP}", "interval=0: must be at least 1"),
        (f"alpha = 2\n{STEP}", "alpha=2: must be between 0.0001 and 0.5"),
        (f"margins = {{ speed = 0.1 }}\n{STEP}", "margins speed"),
        ("[[steps]\n", "is not valid TOML"),
    ],
)
def test_bad_file_is_one_line(tmp_path: Path, text: str, problem: str) -> None:
    """It names the file, the place, the value and what is allowed."""
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith("LLM_ROLLOUT_FILE=rollout.toml: ")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    """It is not there, or no text."""
    with pytest.raises(ConfigurationError, match=r"cannot be read \(No such file or directory\)"):
        plan_from_file(tmp_path / "none.toml")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="is not UTF-8 text"):
        plan_from_file(tmp_path / "bytes")
