"""Recipes and studies that tests write into the current folder, and plugins without those that are installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fptkit.registry import Registry, load_plugins

TWO_ARMS = """
arms:
  language: {extends: [base/bit_xor, base/gpt2], backbone: {weights: builtin:gpt2_nano}}
  random: {extends: [base/bit_xor, base/random]}
recipe_profile: smoke
learning_rates: [1e-3, 1e-2]
seeds: 2
"""
"""A study."""


def builtins(files: Sequence[Path] = ()) -> Registry:
    """What fptkit brings itself, and these files."""
    return load_plugins(files, selection="")


def write(text: str, name: str) -> str:
    """Write a text, with the folders above it, and return its name."""
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text, encoding="utf-8")
    return name
