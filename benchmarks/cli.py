"""What does one type?

python -m benchmarks                  everything, in less than ten minutes
python -m benchmarks --quick          the important rows, in less than one
python -m benchmarks --profile phase1-full --scenario unary-100
python -m benchmarks table benchmarks/results/latest.json
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from benchmarks.document import Results
from benchmarks.plan import FULL, QUICK
from benchmarks.processes import ROOT, Broken, Refused
from benchmarks.profiles import profile
from benchmarks.report import markdown
from benchmarks.rows import ROWS
from benchmarks.session import run_plan
from benchmarks.targets import Verdict, judge_all

__all__ = ["main"]

_LATEST = ROOT / "benchmarks" / "results" / "latest.json"


def main(argv: Sequence[str] | None = None) -> int:
    """0 = measured; 1 = `--check` and a target is not met; 2 = it could not be measured; 130 = interrupted."""
    args = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _table(args) if args.command == "table" else _profile(args) if args.profile else _measure(args)
    except KeyboardInterrupt:
        return 130
    except (Refused, Broken, OSError, ValueError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2


def _interrupt(_signum: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", choices=("run", "table"), default="run")
    parser.add_argument("file", nargs="?", type=Path, default=_LATEST, help="for `table`")
    parser.add_argument("--quick", action="store_true", help="the important rows, in less than a minute")
    parser.add_argument("--rounds", type=int, default=None, help="how often each is measured")
    parser.add_argument("--only", default="", help=f"clients, by comma: {', '.join(row.name for row in ROWS)}")
    parser.add_argument("--scenario", default="", help="scenarios, by comma; one for --profile")
    parser.add_argument("--out", type=Path, default=None, help="write the JSON there as well")
    parser.add_argument("--check", action="store_true", help="status 1 if a target is not met")
    parser.add_argument("--profile", metavar="CLIENT", default="", help="where one client's time goes")
    return parser


def _table(args: argparse.Namespace) -> int:
    print(markdown(Results.load(args.file)), end="")
    return 0


def _profile(args: argparse.Namespace) -> int:
    print(profile(args.profile, args.scenario or "unary-100"))
    return 0


def _measure(args: argparse.Namespace) -> int:
    plan = (QUICK if args.quick else FULL).reduced(
        rounds=args.rounds, rows=_names(args.only), scenarios=_names(args.scenario)
    )
    results = run_plan(plan, _say)
    whole = not (args.only or args.scenario)
    for path in [_LATEST] * whole + [args.out] * (args.out is not None):
        results.save(path)
    print(markdown(results), end="")
    return 1 if args.check and not _passed(results) else 0


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _passed(results: Results) -> bool:
    """The quick plan leaves some out; the full one must have measured all that is measured here."""
    verdicts = {judged.verdict for judged in judge_all(results)}
    return Verdict.UNMET not in verdicts and (results.document["plan"] == QUICK.name or Verdict.UNKNOWN not in verdicts)
