"""Published input → output facts of other systems, each with its source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "resilience.json").read_text(encoding="utf-8")
)
