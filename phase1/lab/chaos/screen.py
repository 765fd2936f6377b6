"""Where does one see how far it is? A bar on a terminal, a line per case elsewhere; on standard error."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from phase1.lab.chaos.cases import Case
from phase1.lab.chaos.play import Played, Result

__all__ = ["Screen"]

_SIDES: Final = (("pool off", "legacy app"), ("pool on", "pooled app"))


class Screen:
    """Shows `total` cases, one after the other."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._phases: dict[str, str] = {}
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self._task = self._bar.add_task("", total=total)
        self._name = ""

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)

    def begin(self, case: Case) -> None:
        """The next one."""
        self._name = case.name
        self._phases.clear()
        self._bar.update(self._task, description=f"{case.suite}: {case.name}")

    def tell(self, app: str, phase: str) -> None:
        """Where an app is in it."""
        self._phases[app] = phase
        sides = (f"{side} {self._phases.get(name, 'starts')}" for side, name in _SIDES)
        self._bar.update(self._task, description=f"{self._name}: {', '.join(sides)}")

    def end(self, played: Played) -> None:
        """What came of it."""
        self._bar.update(self._task, advance=1)
        self.say(f"{played.case.name}: pool off {_verdict(played.legacy)}; pool on {_verdict(played.pooled)}")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._bar.stop()


def _verdict(result: Result) -> str:
    return "passed" if result.passed else f"failed ({'; '.join(problem.text for problem in result.problems)})"
