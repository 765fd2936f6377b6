"""What can go wrong with a tree as a whole? A single file that cannot be read is a `Problem`, not an error."""

from __future__ import annotations

from phase1.exceptions import Phase1Error

__all__ = ["PatchkitError"]


class PatchkitError(Phase1Error):
    """The tree cannot be read, patched or reverted. The text names the file and says what to do."""
