#!/usr/bin/env python
"""How does the table of speeds get into README.md? From the JSON of `make bench`, between the two markers.

.venv/bin/python scripts/readme_bench.py                                  benchmarks/results/latest.json
.venv/bin/python scripts/readme_bench.py benchmarks/results/other.json
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.document import Results  # noqa: E402 - the repository's own package, beside this directory
from benchmarks.report import summary  # noqa: E402

README = ROOT / "README.md"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


def main(arguments: list[str]) -> int:
    """Write the file."""
    results = Results.load(Path(arguments[0]) if arguments else ROOT / "benchmarks" / "results" / "latest.json")
    README.write_text(with_table(README.read_text(encoding="utf-8"), results), encoding="utf-8")
    return 0


def with_table(readme: str, results: Results) -> str:
    """`readme` with the tables of this run between the markers."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{summary(results)}\n{END}{after}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
