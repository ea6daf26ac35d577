"""Raises while it is imported, with something other than ImportError."""

from __future__ import annotations

raise ZeroDivisionError("broken on purpose")
