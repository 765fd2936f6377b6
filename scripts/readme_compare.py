#!/usr/bin/env python
"""How do the tables of the comparison get into README.md? From the JSON of `phase1 compare`, between the two markers.

.venv/bin/python scripts/readme_compare.py --run     phase1 compare examples.legacy_main:app, then the tables
.venv/bin/python scripts/readme_compare.py           only the tables, of benchmarks/results/compare.json

The run takes about ten minutes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from phase1.lab.figures import markdown

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "compare.json"
README = ROOT / "README.md"
BEGIN, END = "<!-- compare:begin -->", "<!-- compare:end -->"


def main(arguments: list[str]) -> int:
    """Run it if that is wanted, and write the file. A run whose promises are not kept changes README all the same."""
    code = _run() if arguments == ["--run"] else 0
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    README.write_text(with_tables(README.read_text(encoding="utf-8"), result), encoding="utf-8")
    return code


def with_tables(readme: str, result: dict[str, Any]) -> str:
    """`readme` with the tables of this run between the markers."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{markdown(result)}\n{END}{after}"


def _run() -> int:
    command = [sys.executable, "-m", "phase1.cli", "compare", "examples.legacy_main:app", "--out", str(RESULT)]
    return subprocess.run(command, cwd=ROOT, check=False).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
