"""Backbones: the sequence models between encoder and head."""
