"""What is known about a model's answers over a split, beyond its metrics: confusion, per class, calibration, errors."""
