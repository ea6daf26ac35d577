"""Bundles: a study with its runs in one zip file, readable without fptkit."""
