"""Bundles: a study with its runs in one file, readable without fptkit."""
