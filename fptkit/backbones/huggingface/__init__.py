"""Sequence models of the library transformers, driven by token vectors."""
