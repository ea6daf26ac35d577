"""The search and the budget of a study in words, for its results file and its reports."""

from __future__ import annotations

from fptkit.lab.studies.options import StudySettings


def search_words(settings: StudySettings) -> str:
    """How the learning rate is chosen, and by whom."""
    if not settings.learning_rates:
        return "each recipe's own learning rate"
    search, count = settings.search, len(settings.learning_rates)
    ends = f"{min(settings.learning_rates):g} to {max(settings.learning_rates):g}"
    words = {
        "grid": f"grid of {count} rate{'s' if count != 1 else ''}, {ends}, chosen on validation"
        if count > 1
        else f"the rate {settings.learning_rates[0]:g}",
        "halving": f"successive halving of {count} rates, {ends}, one in {search.keep} continues after each of "
        f"{search.rungs} rungs, chosen on validation",
        "optuna": f"optuna (TPE), {search.trials} rates between {ends}, chosen on validation",
    }.get(search.name, f"search '{search.name}' of {count} rates, {ends}, chosen on validation")
    if count == 1:
        return words
    if settings.choose == "per_seed":
        return f"{words} by each seed for itself"
    few = search.seeds is not None and search.seeds < len(settings.first_seeds)
    return f"{words} for all seeds together" + (f", with {search.seeds} of {len(settings.first_seeds)}" if few else "")


def until_words(settings: StudySettings) -> str:
    """How seeds are added until decided; empty for a fixed number."""
    until = settings.until
    if until is None:
        return ""
    return f"{until.at_least} seeds, then more where a comparison is undecided, at most {until.at_most}"


def budget_words(settings: StudySettings) -> str:
    """How long each run trains."""
    budget = settings.budget
    if budget.steps is not None:
        return f"{budget.steps:,} steps each"
    if budget.seconds is not None:
        return f"{budget.seconds:g} seconds of training each"
    if budget.flops is not None:
        return f"{budget.flops:.3g} floating-point operations of training each"
    return "each recipe's own length"
