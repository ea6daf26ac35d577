"""The search and the budget of a study in words, for its results file and its reports."""

from __future__ import annotations

from fptkit.lab.studies.plan import Study


def search_words(study: Study) -> str:
    """How the learning rate is chosen."""
    settings = study.settings
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
    }[search.name]
    few = search.seeds is not None and search.seeds < len(settings.seeds)
    return words + (f" with {search.seeds} of {len(settings.seeds)} seeds" if few else "")


def budget_words(study: Study) -> str:
    """How long each run trains."""
    budget = study.settings.budget
    if budget.steps is not None:
        return f"{budget.steps:,} steps each"
    if budget.seconds is not None:
        return f"{budget.seconds:g} seconds of training each"
    if budget.flops is not None:
        return f"{budget.flops:.3g} floating-point operations of training each"
    return "each recipe's own length"
