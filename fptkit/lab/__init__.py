"""Tools built on the engine: studies, reports, published figures, pretraining, benchmarks.

Only the command line imports this package; a single run does not need it.
"""
