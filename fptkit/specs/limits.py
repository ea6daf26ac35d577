"""Every upper limit on what a recipe, a study or an option may ask for, in one table. Imports nothing.

Limits are checked before the work that they bound, so that no file, whatever it holds, costs more than a moment to
refuse. They are far above every use that we know; `docs/limits.md` is generated from `LIMITS`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """One limit.

    Args:
        group: what it belongs to, a heading of the page of limits.
        value: the largest value that is allowed.
        what: what it bounds, with the unit.
    """

    group: str
    value: int
    what: str


LIMITS: list[Limit] = []
"""All limits, in the order of the page."""


def _limit(group: str, value: int, what: str) -> int:
    LIMITS.append(Limit(group, value, what))
    return value


_FILES = "Files"

FILE_BYTES = _limit(_FILES, 1_000_000, "bytes of a recipe or study together with all files that it extends")
FILE_VALUES = _limit(_FILES, 20_000, "values in them, aliases (`*name`) written out")
TEXT_CHARACTERS = _limit(_FILES, 2_000_000, "characters of the text in one of them, aliases written out")
KEY_CHARACTERS = _limit(_FILES, 1_000, "characters of a key")
NESTING = _limit(_FILES, 50, "levels of nesting")
BASES = _limit(_FILES, 100, "files that a recipe or study extends, directly or through others")
BASE_LEVELS = _limit(_FILES, 50, "levels of `extends`")
PROFILES = _limit(_FILES, 20, "profiles of a recipe or study, with those that it inherits")
OVERRIDES = _limit(_FILES, 1_000, "uses of `--set` in one command")
PLUGIN_FILES = _limit(_FILES, 100, "entries of `plugins`")
FAULTS = _limit(_FILES, 100, "problems that are reported together; the search for them ends there")
GIVEN = _limit(_FILES, 1_000_000, "entries of one list in a recipe that is given in Python")
INTEGER = _limit(_FILES, 2**63 - 1, "an integer; a larger one is read as a floating-point number")

_STUDIES = "Studies"

TASKS = _limit(_STUDIES, 100, "tasks")
ARMS = _limit(_STUDIES, 100, "arms")
RECIPES = _limit(_STUDIES, 400, "recipes: tasks times arms, without control arms")
COMPARISONS = _limit(_STUDIES, 1_000, "entries of `comparisons`")
FRACTIONS = _limit(_STUDIES, 100, "entries of `data_fractions`")
RATES = _limit(_STUDIES, 100, "entries of `learning_rates`; trials of a search")
SEEDS = _limit(_STUDIES, 1_000, "seeds")
RUNS = _limit(_STUDIES, 10_000, "runs that a study can need: cells times learning rates times seeds")
RUNGS = _limit(_STUDIES, 20, "rungs of a search by halving")

_TRAINING = "Training"

STEPS = _limit(_TRAINING, 10**9, "a number of steps or validations")
BATCH = _limit(_TRAINING, 1_000_000, "examples of a batch, and micro-batches")
BATCH_TOKENS = _limit(_TRAINING, 10**9, "tokens of a batch")
THREADS = _limit(_TRAINING, 1_024, "CPU threads")
WORKERS = _limit(_TRAINING, 1_024, "runs or processes at once")
LISTENERS = _limit(_TRAINING, 100, "entries of `listeners`")

_MODELS = "Models"

BLOCKS = _limit(_MODELS, 1_000, "blocks of a backbone, and layers of any other part")
HEADS = _limit(_MODELS, 1_000, "attention heads of a block")
WIDTH = _limit(_MODELS, 100_000, "width of a layer, a token or a patch")
WEIGHT_SOURCES = _limit(_MODELS, 100, "entries of `weights` and other lists of sources to try")
RULES = _limit(_MODELS, 1_000, "rules of a freezing policy")

_DATA = "Data"

LENGTH = _limit(_DATA, 1_000_000, "tokens, steps or symbols of one example, and rows of a position table")
EXAMPLES = _limit(_DATA, 10_000_000, "examples of a generated split, or of a sample")
CLASSES = _limit(_DATA, 1_000_000, "classes that a task distinguishes")
FAMILIES = _limit(_DATA, 10_000, "families, or members of one, of simulated proteins")
CORPUS = _limit(_DATA, 10**12, "tokens or bytes of a corpus that are looked at")
NUMBERS = _limit(_DATA, 4 * 10**9, "numbers of a generated split: examples times their length")


def refuse_large(numbers: int, what: str) -> None:
    """Refuse a generated split that holds more numbers than `NUMBERS`.

    Args:
        numbers: numbers of the split.
        what: the options that multiply to them, for the message.

    Raises:
        ValueError: there are more; options models turn it into a fault with file and line.
    """
    if numbers > NUMBERS:
        raise ValueError(f"{what} make {numbers:,} numbers; at most {NUMBERS:,} are allowed: lower one of them")
