#!/usr/bin/env python
"""How do the numbers get into README.md? This runs `phase1 demo` and puts what it prints between the two markers.

    .venv/bin/python scripts/readme_demo.py

The upstream is always the mock. A demo that does not keep its promises changes nothing: the exit code is 1.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- demo:begin -->", "<!-- demo:end -->"


def main() -> int:
    """Run the demo and write the file."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    command = [sys.executable, "-m", "phase1.cli", "demo"]
    demo = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
    if demo.returncode:
        return 1
    text = with_output(README.read_text(encoding="utf-8"), demo.stdout, datetime.now(UTC).date().isoformat())
    README.write_text(text, encoding="utf-8")
    return 0


def with_output(readme: str, output: str, date: str) -> str:
    """`readme` with this output of the demo, of this day, between the markers."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = "\n".join(line.rstrip() for line in output.strip().splitlines())
    return f"{before}{BEGIN}\n```text\n$ make demo    # {date}\n{lines}\n```\n{END}{after}"


if __name__ == "__main__":
    sys.exit(main())
