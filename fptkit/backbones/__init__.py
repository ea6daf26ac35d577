"""Sequence models that stand between encoder and head."""
