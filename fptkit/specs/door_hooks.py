"""The hooks of what surrounds runs; `fptkit.hookspecs` offers them together with all others.

Every example is a complete plugin: copy it into a file, and load it with ``--plugin FILE.py``.
"""

from __future__ import annotations

import pluggy

from fptkit.specs.doors import (
    CommandSpec,
    ControlSpec,
    DataSetSpec,
    LauncherSpec,
    PublishedSpec,
    ReportSectionSpec,
    SearchSpec,
    WeightSourceSpec,
)

hookspec = pluggy.HookspecMarker("fptkit")


@hookspec
def fptkit_weight_sources() -> list[WeightSourceSpec]:  # type: ignore[empty-body]
    """Sources of weights: what an entry of ``weights`` may begin with.

    Example::

        import os
        from pathlib import Path

        from fptkit import WeightSourceSpec, hookimpl
        from fptkit.sources import Unavailable


        def open_shared(place):
            \"\"\"The checkpoint PLACE of the group's folder; a bucket or a server would download it here.\"\"\"
            folder = Path(os.environ.get("GROUP_WEIGHTS", "/srv/weights")) / place
            if not folder.is_dir():
                raise Unavailable(f"{folder} is not a folder; set GROUP_WEIGHTS")
            return folder


        def check_shared(place):
            if ".." in Path(place).parts:
                raise ValueError(f"'{place}' leads out of the group's folder; write shared:NAME")


        @hookimpl
        def fptkit_weight_sources():
            return [
                WeightSourceSpec(
                    name="shared",
                    summary="checkpoints of our group",
                    target=open_shared,
                    forms=("shared:NAME",),
                    check=check_shared,
                )
            ]
    """


@hookspec
def fptkit_data_sets() -> list[DataSetSpec]:  # type: ignore[empty-body]
    """Data sets: what ``fptkit data fetch`` downloads, checks and installs.

    Example::

        from fptkit import DataSetSpec, hookimpl
        from fptkit.sources import Unavailable


        def install(unpacked, destination):
            \"\"\"Check the unpacked file, and write the one that the task reads.\"\"\"
            lines = (unpacked / "iris.data").read_text().split()
            if any(line.count(",") != 4 for line in lines):
                raise Unavailable("iris.data does not have five columns; its address may have changed")
            (destination / "iris.csv").write_text("\\n".join(["a,b,c,d,label", *lines]))
            return {"iris": len(lines)}


        @hookimpl
        def fptkit_data_sets():
            return [
                DataSetSpec(
                    name="iris",
                    summary="150 flowers of three kinds",
                    url="https://example.org/iris.tar.gz",
                    records={"iris": 150},
                    extensions=(".csv",),
                    installer=install,
                    reference="Fisher 1936",
                    licence="CC BY 4.0",
                )
            ]
    """


@hookspec
def fptkit_commands() -> list[CommandSpec]:  # type: ignore[empty-body]
    """Commands: what ``fptkit NAME`` carries out. A command must come from an installed package.

    Example::

        import click

        from fptkit import CommandSpec, hookimpl
        from fptkit.errors import UsageError


        @click.command()
        @click.argument("run")
        def best(run):
            \"\"\"Print the best step of a RUN.\"\"\"
            import json
            from pathlib import Path

            file = Path(run) / "summary.json"
            if not file.is_file():
                raise UsageError(f"{run} is not the folder of a run: it has no summary.json")
            click.echo(json.loads(file.read_text())["best_step"])


        @hookimpl
        def fptkit_commands():
            return [CommandSpec(name="best", summary="Print the best step of a run.", target=best)]
    """


@hookspec
def fptkit_published() -> list[PublishedSpec]:  # type: ignore[empty-body]
    """Published figures: tables of papers, to compare a study with.

    Example::

        import tempfile
        from pathlib import Path

        from fptkit import PublishedSpec, hookimpl

        TEXT = \"\"\"
        name: smith2030
        title: A frozen model of our own
        authors: Smith et al.
        year: 2030
        source: doi 10.0000/example
        checked_against: paper
        protocol: clean
        protocol_words: validation split, whole test set
        learning_rates: one
        learning_rate_words: one for all tasks
        seeds: 3
        tasks:
          bit_xor: {source: generated, options: {bits: 5}}
        arms:
          FPT: {words: "frozen GPT-2", body: gpt2, freezing: fpt, blocks: 12, width: 768}
        tables:
          table_1:
            place: Table 1
            title: test accuracy
            columns: [bit_xor]
            rows:
              FPT: [100]
        \"\"\"


        @hookimpl
        def fptkit_published():
            file = Path(tempfile.gettempdir()) / "smith2030.yaml"  # a package would ship the file
            file.write_text(TEXT)
            return [PublishedSpec(name="smith2030", summary="Smith 2030: a model of our own", file=file)]
    """


@hookspec
def fptkit_controls() -> list[ControlSpec]:  # type: ignore[empty-body]
    """Controls: arms of a study that are derived from its reference.

    Example::

        from fptkit import ControlSpec, hookimpl


        def no_dropout(recipe):
            if not getattr(recipe.backbone.options, "dropout", 0):
                return "the reference has no dropout"
            return {"backbone": {"dropout": 0.0}}


        @hookimpl
        def fptkit_controls():
            return [ControlSpec(name="no_dropout", summary="the same model without dropout", target=no_dropout)]
    """


@hookspec
def fptkit_searches() -> list[SearchSpec]:  # type: ignore[empty-body]
    """Searches: how a study finds the learning rate of a cell.

    Example::

        from fptkit import SearchSpec, hookimpl


        def middle(settings, cell, group, outcomes):
            \"\"\"Train only the middle rate of the grid.\"\"\"
            from fptkit.lab.studies.search.choice import choose, searching, train_all
            from fptkit.lab.studies.plan import Trial

            rates = sorted(settings.learning_rates)
            rate = rates[len(rates) // 2]
            if requests := train_all(cell, [Trial(rate, seed) for seed in group], outcomes):
                return searching(requests, len(group))
            return choose(cell, group, outcomes, [rate])


        def one(settings, rates):
            return 1


        @hookimpl
        def fptkit_searches():
            summary = "the middle of the grid"
            return [SearchSpec(name="middle", summary=summary, target=middle, runs_per_seed=one)]
    """


@hookspec
def fptkit_launchers() -> list[LauncherSpec]:  # type: ignore[empty-body]
    """Launchers: where the runs of a study are carried out.

    Example::

        from fptkit import LauncherSpec, hookimpl
        from fptkit.lab.studies.launchers.base import Ended


        class InTurn:
            \"\"\"Carries out each run in a new Python process, one after the other.\"\"\"

            slots, description = 1, "one process after the other"

            def __init__(self, options, folder, *, preload):
                self.threads, self.job = options.threads or 1, None

            def start(self, job):
                self.job = job

            def wait(self, timeout_s):
                import concurrent.futures
                import multiprocessing

                from fptkit.lab.studies.job import carry_out

                job, self.job = self.job, None
                if job is None:
                    return []
                context = multiprocessing.get_context("spawn")
                with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
                    return [Ended(job, pool.submit(carry_out, job).result())]

            def stop(self):
                pass

            def close(self):
                self.job = None


        @hookimpl
        def fptkit_launchers():
            return [LauncherSpec(name="in_turn", summary="one process after the other", target=InTurn)]
    """


@hookspec
def fptkit_report_sections() -> list[ReportSectionSpec]:  # type: ignore[empty-body]
    """Report sections: what a plugin adds to the reports of studies and runs.

    Example::

        from fptkit import ReportSection, ReportSectionSpec, ReportTable, hookimpl


        def hardware(summary):
            \"\"\"What a run took.\"\"\"
            rows = [["training", f"{summary['seconds']:.0f} s"], ["memory", f"{summary['peak_memory_mib']:.0f} MiB"]]
            table = ReportTable(columns=["what", "used"], rows=rows)
            return ReportSection(title="Hardware", text=["Measured by fptkit."], tables=[table])


        @hookimpl
        def fptkit_report_sections():
            return [ReportSectionSpec(name="hardware", summary="what it took", target=hardware, reports=("run",))]
    """
