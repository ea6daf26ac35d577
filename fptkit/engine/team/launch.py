"""The environment variables a launcher such as torchrun sets for each process. Read without loading torch."""

from __future__ import annotations

import os


def process_count() -> int:
    """Processes that carry out this command together; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def process_rank() -> int:
    """Rank of this process, from 0."""
    return int(os.environ["RANK"]) if process_count() > 1 else 0


def local_rank() -> int:
    """Rank of this process among those on this machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", process_rank()))
