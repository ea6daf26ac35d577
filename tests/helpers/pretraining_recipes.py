"""What the recipes of tiny pretrainings have in common."""

from __future__ import annotations

import signal
from typing import Any

TRAIN: dict[str, Any] = {
    "batch_tokens": 128,
    "sequence_lengths": {"tokens": [16, 32], "weights": [1, 1]},
    "cooldown_sequence_lengths": {"tokens": [32], "weights": [1]},
    "max_steps": 12,
    "warmup_steps": 2,
    "validate_every": 4,
    "validation_tokens": 200,
    "checkpoint_every": 100,
    "log_every": 4,
    "precision": "float32",
}
"""A training of about a second."""


def silent(_line: str) -> None:
    """A log that drops its lines."""


def interrupt_at_step_4(line: str) -> None:
    """A log that sends SIGINT after four steps."""
    if line.startswith("step 4"):
        signal.raise_signal(signal.SIGINT)
