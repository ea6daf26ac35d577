"""The learning rate search of a cell, as a pure function of the outcomes of its runs.

It keeps no state between calls: a study that was killed, or is run again, makes the same requests and the same choices
from the same runs, in whatever order they ended.
"""

from __future__ import annotations

from fptkit.lab.studies.search.chosen import most_runs, search_of
from fptkit.lab.studies.search.step import Step, next_step, varied_seeds, varied_trials

__all__ = ["Step", "most_runs", "next_step", "search_of", "varied_seeds", "varied_trials"]
