"""Checks that a study's figures follow from its runs, and that no file was changed since they were written."""
