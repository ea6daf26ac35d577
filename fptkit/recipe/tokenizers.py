"""The tokenizer of a task with text: by default that of the recipe's backbone."""

from __future__ import annotations

from fptkit.options import Options
from fptkit.recipe.models import Recipe


def with_tokenizer(options: Options, recipe: Recipe) -> Options:
    """Give a task the weights of the backbone as the source of its tokenizer, if it has an option for it that is null.

    Args:
        options: the task's.
        recipe: the recipe.

    Returns:
        The options with ``tokenizer`` set; unchanged if it is set, or if the backbone loads no weights.
    """
    if "tokenizer" not in type(options).model_fields or getattr(options, "tokenizer", None) is not None:
        return options
    weights = recipe.pinned.weights or getattr(recipe.backbone.options, "weights", None)
    entries = (weights,) if isinstance(weights, str) else tuple(weights or ())
    entries = tuple(entry for entry in entries if entry != "random")
    return options.model_copy(update={"tokenizer": entries}) if entries else options
