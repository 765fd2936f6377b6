#!/usr/bin/env python
"""How does the table of faults get into README.md? From the JSON of `phase1 chaos`, between the two markers.

    .venv/bin/python scripts/readme_chaos.py             runs the suite, about three minutes
    .venv/bin/python scripts/readme_chaos.py run.json    takes the document of a run: phase1 chaos --json > run.json

A run that does not keep its promises changes nothing: the exit code is 1.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from phase1.lab.chaos.report import text

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- chaos:begin -->", "<!-- chaos:end -->"


def main(arguments: list[str]) -> int:
    """Run the suite, or read a run, and write the file."""
    result = json.loads(Path(arguments[0]).read_text(encoding="utf-8") if arguments else _run())
    if not result["kept"]:
        print(*result["broken"], sep="\n", file=sys.stderr)
        return 1
    date = datetime.now(UTC).date().isoformat()
    README.write_text(with_table(README.read_text(encoding="utf-8"), result, date), encoding="utf-8")
    return 0


def with_table(readme: str, result: dict[str, object], date: str) -> str:
    """`readme` with the table of this run, of this day, between the markers."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    intro, _, rest = text(result).partition("\n")
    return f"{before}{BEGIN}\n{intro} ({date}).\n{rest}\n{END}{after}"


def _run() -> str:
    command = [sys.executable, "-m", "phase1.cli", "chaos", "--suite", "nodes", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
