"""The clients that are compared: one module per library, each with `opened(site, variant)`.

A client's module is imported in that client's process only, so that nobody pays for another one's imports.
"""

from __future__ import annotations
