"""Locked plans of studies: what a study will do, written down before its first run, and how a call deviates from it."""
