#!/usr/bin/env python
"""How does the scorecard of faults get into README.md? From the JSON of `phase1 chaos`, between the two markers.

    .venv/bin/python scripts/readme_scorecard.py             plays every case, about fifteen minutes
    .venv/bin/python scripts/readme_scorecard.py run.json    takes the document of a run: phase1 chaos --json > run.json

A run in which the pool fails changes nothing: the exit code is 1.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phase1.lab.chaos.scorecard import scorecard_text, verdict_lines

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- scorecard:begin -->", "<!-- scorecard:end -->"


def main(arguments: list[str]) -> int:
    """Play every case, or read a run, and write the file."""
    card = json.loads(Path(arguments[0]).read_text(encoding="utf-8") if arguments else _run())
    if not card["passed"]:
        print(*verdict_lines(card), sep="\n", file=sys.stderr)
        return 1
    README.write_text(with_table(README.read_text(encoding="utf-8"), card), encoding="utf-8")
    return 0


def with_table(readme: str, card: Mapping[str, Any]) -> str:
    """`readme` with this scorecard between the markers."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{scorecard_text(card)}\n{END}{after}"


def _run() -> str:
    command = [sys.executable, "-m", "phase1.cli", "chaos", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
