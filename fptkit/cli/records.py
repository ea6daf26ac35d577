"""fptkit's own commands."""

from __future__ import annotations

from fptkit.hookspecs import hookimpl
from fptkit.specs import CommandSpec

COMMANDS = {
    "run": ("fptkit.cli.run:run", "Train and evaluate a recipe."),
    "study": ("fptkit.cli.study:study", "Compare arms over tasks, learning rates and seeds."),
    "watch": ("fptkit.cli.watch:watch", "Follow a run or a study that runs elsewhere."),
    "predict": ("fptkit.cli.predict:predict", "Predict for new files with what a run trained."),
    "evaluate": ("fptkit.cli.evaluate:evaluate", "Evaluate a trained run on a split, or on other labelled files."),
    "embed": ("fptkit.cli.embed:embed", "Write what a run's model makes of new files, as vectors."),
    "export": ("fptkit.cli.export:export", "Export what a run trained: torch.export, ONNX, or a delta file."),
    "push": ("fptkit.cli.push:push", "Push a run to a hub, with a model card."),
    "pull": ("fptkit.cli.pull:pull", "Pull a run from a hub."),
    "list": ("fptkit.cli.listing:list_", "List components, weights, recipes, studies or published results."),
    "show": ("fptkit.cli.show:show", "Show a component with its options, or a recipe."),
    "validate": ("fptkit.cli.validate:validate", "Check recipes without running them."),
    "report": ("fptkit.cli.report:report", "Report the results of a study, also next to published figures."),
    "verify": ("fptkit.cli.verify:verify", "Check that the figures of a study follow from its runs."),
    "bundle": ("fptkit.cli.bundle:bundle", "Write a study with its runs as one file to publish."),
    "bench": ("fptkit.cli.bench:bench", "Measure the training throughput of a recipe."),
    "copy": ("fptkit.cli.copy:copy", "Copy a shipped recipe to edit it."),
    "new": ("fptkit.cli.new:new", "Create a recipe for your own data, or a plugin package."),
    "plugins": ("fptkit.cli.plugins:plugins", "List the plugins, and why one failed to load."),
    "pretrain": ("fptkit.cli.pretrain:pretrain", "Pretrain a small sequence model."),
    "data": ("fptkit.cli.data:data", "Show and download data sets."),
    "doctor": ("fptkit.cli.doctor:doctor", "Check this machine, or whether a recipe can run on it."),
    "prefetch": ("fptkit.cli.prefetch:prefetch", "Fetch what a recipe or study needs, for a machine without network."),
    "clean": ("fptkit.cli.clean:clean", "Show the caches and their sizes, and empty them."),
    "schema": ("fptkit.cli.schema:schema", "Print the JSON Schema of recipes."),
}
"""Command -> its location and its one-line help, in the order users need them; ``--help`` imports none of them."""


@hookimpl
def fptkit_commands() -> list[CommandSpec]:
    return [CommandSpec(name=name, summary=summary, target=target) for name, (target, summary) in COMMANDS.items()]
