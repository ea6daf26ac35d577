"""Tools built on the engine: studies, reports, published figures, pretraining, benchmarks.

Only the command line and the Python interface import this package; a single run does not need it.
"""
