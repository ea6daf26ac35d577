"""Fetching what recipes need before they run, and checking on another machine that it is there."""
