"""Recipes: one YAML file that says what to build and how to train it, checked in full before anything is built.

Import from the modules: `models` (what a recipe holds), `load`, `dump`, `find`, `schema`. Nothing is imported here, so
that listing recipes does not wait for pydantic.
"""
