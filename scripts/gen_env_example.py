#!/usr/bin/env python
"""Writes `.env.phase1.example`, which a test compares with the settings.

python scripts/gen_env_example.py
"""

from __future__ import annotations

from pathlib import Path

from phase1.envfile import GROUPS, render

__all__ = ["EXAMPLE", "GROUPS", "main", "render"]

EXAMPLE = Path(__file__).parent.parent / ".env.phase1.example"


def main() -> int:
    """Write the file."""
    EXAMPLE.write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
