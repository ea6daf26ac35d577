"""What is built on top of the engine: studies, reports, published figures, pretraining, benchmarks.

Only the command line imports it: a run needs nothing of it.
"""
