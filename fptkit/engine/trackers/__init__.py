"""Trackers: listeners that copy the figures of a run into TensorBoard, MLflow, Weights & Biases or trackio."""
