"""A plugin that needs a package which is not installed."""

from __future__ import annotations

import fptkit_needs_this_and_it_is_not_here  # noqa: F401
