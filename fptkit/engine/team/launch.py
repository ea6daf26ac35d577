"""What a launcher such as torchrun says to each process it starts. Read without loading torch."""

from __future__ import annotations

import os


def process_count() -> int:
    """Processes that carry out this command together; 1 where no launcher started it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def process_rank() -> int:
    """Which of them this one is, from 0."""
    return int(os.environ["RANK"]) if process_count() > 1 else 0


def local_rank() -> int:
    """Which of those on this machine this one is, from 0."""
    return int(os.environ.get("LOCAL_RANK", process_rank()))
