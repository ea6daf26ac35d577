"""A plugin that leaves the program at import, as a script without a guard does."""

from __future__ import annotations

import sys

sys.exit("I am a script")
