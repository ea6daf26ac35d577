"""Tasks: data, splits, losses and metrics."""
