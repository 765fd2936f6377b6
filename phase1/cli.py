"""How does the command `phase1` begin? With its libraries, or with one line that says how to get them."""

from __future__ import annotations

import sys
from typing import Final

__all__ = ["main"]

_LIBRARIES: Final = frozenset({"rich", "typer"})


def main() -> int:
    """Run the command line of `phase1.commands`. Exit codes: 0 fine, 1 findings or failure, 2 wrong usage."""
    try:
        from phase1.commands import app  # noqa: PLC0415 - needs the extra
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in _LIBRARIES:
            raise
        print('phase1\'s command line needs: pip install "phase1[cli]"', file=sys.stderr)
        return 2
    app(prog_name="phase1")
    return 0


if __name__ == "__main__":
    sys.exit(main())
