"""Every upper limit on what a recipe, a study or an option may ask for, in one table. Imports nothing.

Limits are checked before the work that they bound, so that no file, whatever it holds, costs more than a moment to
refuse. They are far above every use that we know; the table in ``docs/limits.md`` is generated from `LIMITS`.
"""

from __future__ import annotations


class Limit(int):
    """A limit: the largest value that is allowed.

    A number of its own type, so that messages can tell it from a bound that says what an option means.

    Attributes:
        group: what it belongs to, a heading of the page of limits.
        what: what it bounds, with the unit.
    """

    group: str
    what: str

    def __new__(cls, group: str, value: int, what: str) -> Limit:
        """Make one, and add it to `LIMITS`."""
        limit = super().__new__(cls, value)
        limit.group, limit.what = group, what
        LIMITS.append(limit)
        return limit

    def __neg__(self) -> Limit:
        """The same limit for negative numbers, such as those that count from the end."""
        other = super().__new__(type(self), -int(self))
        other.group, other.what = self.group, self.what
        return other

    def __deepcopy__(self, memo: object) -> Limit:
        """Itself: copies of a JSON Schema keep it."""
        return self

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        """As a plain number, for another process."""
        return int, (int(self),)


LIMITS: list[Limit] = []
"""All limits, in the order of the page."""

_FILES = "Files"

FILE_BYTES = Limit(_FILES, 1_000_000, "bytes of a recipe or study together with all files that it extends")
FILE_VALUES = Limit(_FILES, 20_000, "values in them, aliases (`*name`) written out")
TEXT_CHARACTERS = Limit(_FILES, 2_000_000, "characters of the text in one of them, aliases written out")
KEY_CHARACTERS = Limit(_FILES, 1_000, "characters of a key")
NESTING = Limit(_FILES, 50, "levels of nesting")
BASES = Limit(_FILES, 100, "files that a recipe or study extends, directly or through others")
BASE_LEVELS = Limit(_FILES, 50, "levels of `extends`")
PROFILES = Limit(_FILES, 20, "profiles of a recipe or study, with those that it inherits")
OVERRIDES = Limit(_FILES, 1_000, "uses of `--set` in one command")
PLUGIN_FILES = Limit(_FILES, 100, "entries of `plugins`")
FAULTS = Limit(_FILES, 100, "problems that are reported together; the search for them ends there")
GIVEN = Limit(_FILES, 1_000_000, "entries of one list in a recipe that is given in Python")

_STUDIES = "Studies"

TASKS = Limit(_STUDIES, 100, "tasks")
ARMS = Limit(_STUDIES, 100, "arms")
RECIPES = Limit(_STUDIES, 400, "recipes: tasks times arms, without control arms")
RECIPE_VALUES = Limit(_STUDIES, 50_000, "values in all these recipes together")
COMPARISONS = Limit(_STUDIES, 1_000, "entries of `comparisons`")
FRACTIONS = Limit(_STUDIES, 100, "entries of `data_fractions`")
RATES = Limit(_STUDIES, 100, "entries of `learning_rates`; trials of a search")
SEEDS = Limit(_STUDIES, 1_000, "seeds")
RUNS = Limit(_STUDIES, 5_000, "runs that a study can need: cells times learning rates times seeds")
RUNGS = Limit(_STUDIES, 20, "rungs of a search by halving")

_TRAINING = "Training"

STEPS = Limit(_TRAINING, 10**9, "a number of steps or validations")
BATCH = Limit(_TRAINING, 1_000_000, "examples of a batch, and micro-batches")
BATCH_TOKENS = Limit(_TRAINING, 10**9, "tokens of a batch")
THREADS = Limit(_TRAINING, 1_024, "CPU threads")
WORKERS = Limit(_TRAINING, 1_024, "runs or processes at once")
REPEATS = Limit(_TRAINING, 10_000, "measurements of `fptkit bench`")
LISTENERS = Limit(_TRAINING, 100, "entries of `listeners`")

_MODELS = "Models"

BLOCKS = Limit(_MODELS, 1_000, "blocks of a backbone, and layers of any other part")
HEADS = Limit(_MODELS, 1_000, "attention heads of a block")
WIDTH = Limit(_MODELS, 100_000, "width of a layer, a token or a patch")
WEIGHT_SOURCES = Limit(_MODELS, 100, "entries of `weights` and other lists of sources to try")
RULES = Limit(_MODELS, 1_000, "rules of a freezing policy")

_DATA = "Data"

LENGTH = Limit(_DATA, 1_000_000, "tokens, steps or symbols of one example, and rows of a position table")
EXAMPLES = Limit(_DATA, 10_000_000, "examples of a generated split, or of a sample")
CLASSES = Limit(_DATA, 1_000_000, "classes that a task distinguishes")
FAMILIES = Limit(_DATA, 10_000, "families, or members of one, of simulated proteins")
SEED = Limit(_DATA, 2**63 - 1, "a seed")
CORPUS = Limit(_DATA, 10**12, "tokens or bytes of a corpus that are looked at")
NUMBERS = Limit(_DATA, 4 * 10**9, "numbers of a generated split: examples times their length")


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
