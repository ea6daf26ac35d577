"""fptkit's own published figures, and its own parts of studies: controls, searches, launchers."""

from __future__ import annotations

from pathlib import Path

from fptkit.hookspecs import hookimpl
from fptkit.specs import ControlSpec, LauncherSpec, PublishedSpec, SearchSpec

_PAPERS = {
    "fpt2021": "Lu, Grover, Abbeel, Mordatch 2021: Pretrained Transformers as Universal Computation Engines",
    "lra2020": "Tay et al. 2020: Long Range Arena: A Benchmark for Efficient Transformers",
    "rothermel2021": "Rothermel, Li, Rocktäschel, Foerster 2021: Don't Sweep your Learning Rate under the Rug",
    "tape2019": "Rao et al. 2019: Evaluating Protein Transfer Learning with TAPE",
}

CONTROLS = {
    "frozen_random": "the same model with random weights, frozen",
    "unfrozen_random": "the same model with random weights, all trained",
    "statistics_only": "the same model, each tensor redrawn with the mean and standard deviation of the pretrained one",
    "no_backbone": "no sequence model: each token goes to the head separately; all trained",
    "one_attention_layer": "one attention layer of the model's width, all trained",
    "one_block": "one block of the same model with random weights, all trained",
    "shuffled_tokens": "the reference with the tokens of each example in random order",
    "output_only": "only the output layer trains",
    "synthetic_pretrained": "the same architecture pretrained on symbols without meaning",
}
"""fptkit's own control arms with a line for tables, in the order of tables; ``docs/controls.md`` explains them."""


@hookimpl
def fptkit_published() -> list[PublishedSpec]:
    folder = Path(__file__).parent / "published"
    return [PublishedSpec(name=name, summary=text, file=folder / f"{name}.yaml") for name, text in _PAPERS.items()]


@hookimpl
def fptkit_controls() -> list[ControlSpec]:
    home = "fptkit.lab.studies.controls"
    return [ControlSpec(name=name, summary=text, target=f"{home}:{name}") for name, text in CONTROLS.items()]


@hookimpl
def fptkit_searches() -> list[SearchSpec]:
    home, options = "fptkit.lab.studies.search", "fptkit.lab.studies.options"
    return [
        SearchSpec(
            name="grid",
            summary="train every rate to the end",
            target=f"{home}.grid:grid",
            options=f"{options}:SearchOptions",
        ),
        SearchSpec(
            name="halving",
            summary="start all rates, continue only the better ones after each rung",
            target=f"{home}.halving:halving",
            options=f"{options}:SearchOptions",
            reference="Jamieson and Talwalkar 2016",
        ),
        SearchSpec(
            name="optuna",
            summary="propose rates one by one between the grid's ends",
            target=f"{home}.optuna:propose",
            options=f"{options}:SearchOptions",
            runs_per_seed=f"{home}.optuna:runs_per_seed",
            one_by_one=True,
            reference="Bergstra et al. 2011 (TPE)",
            extra="optuna",
        ),
    ]


@hookimpl
def fptkit_launchers() -> list[LauncherSpec]:
    home = "fptkit.lab.studies.launchers"
    return [
        LauncherSpec(name="local", summary="processes on this machine", target=f"{home}.local:LocalLauncher"),
        LauncherSpec(name="ray", summary="tasks of a Ray cluster", target=f"{home}.ray:RayLauncher", extra="ray"),
        LauncherSpec(name="slurm", summary="jobs of Slurm", target=f"{home}.slurm:SlurmLauncher", extra="slurm"),
    ]
