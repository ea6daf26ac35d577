"""Shipped studies that reproduce a table find its figures: their arms are of the published kinds."""

from __future__ import annotations

import pytest

from fptkit.lab.published import Pair, arm_kind, compare, load_published
from fptkit.lab.studies.load import load_study
from fptkit.lab.studies.results import CellResult, Estimate, RateResult, StudyResults
from fptkit.recipe.models import Recipe

SEEDS = Estimate(values=(0.5, 0.5), mean=0.5, sem=0.0)


def as_if_run(task: str, arm: str, recipe: Recipe) -> CellResult:
    """The result of a cell, with the facts that its recipe decides."""
    options = recipe.backbone.options.model_dump(mode="json")
    entries = options.get("weights", "random")
    weights = entries if isinstance(entries, str) else entries[0]
    drawn = recipe.backbone.name in ("lstm", "random")
    return CellResult(
        task=task,
        arm=arm,
        complete=True,
        metric="accuracy",
        rates=(RateResult(learning_rate=1e-3, validation=SEEDS, runs=()),),
        chosen_rate=1e-3,
        test_split="test",
        test={"test": SEEDS},
        train=SEEDS if recipe.train.training_sample else None,
        steps=(400_000,) * 2,
        best_steps=(1,) * 2,
        task_name=recipe.task.name,
        protocol=recipe.task.options.protocol,  # type: ignore[attr-defined]
        source="generated",
        task_options=recipe.task.options.model_dump(mode="json"),
        backbone=recipe.backbone.name,
        backbone_options=options,
        weights="random" if drawn else weights,
        init="random" if drawn else options.get("init", ""),
        blocks=(options.get("blocks") or {}).get("keep") or (3 if recipe.backbone.name == "lstm" else 12),
        width=768,
        freezing=recipe.freezing.name,
        freezing_options=recipe.freezing.options.model_dump(mode="json", exclude_defaults=True),
        precision="float32",
    )


def pairs_of(name: str, *overrides: str, paper: str = "fpt2021") -> list[Pair]:
    study = load_study(name, overrides=overrides, profile="paper")
    cells = tuple(
        as_if_run(cell.name.task, cell.name.arm, cell.loaded.recipe)
        for cell in study.cells
        if cell.name.data_fraction == 1
    )
    results = StudyResults(
        name=name,
        code_version="0",
        tasks=study.tasks,
        arms=study.arms,
        reference=study.arms[0],
        seeds=(0, 1),
        learning_rates=(1e-3,),
        search="",
        budget="",
        confidence=0.95,
        cells=cells,
        comparisons=(),
    )
    return [pair for pair in compare(results, load_published(paper)) if pair.arm]


@pytest.mark.parametrize(
    ("study", "figures"),
    [
        (
            "rq3_architecture",
            {
                ("transformer", "Tables 2 and 9", 75.8),
                ("transformer", "Tables 2 and 9", 9.3),
                ("lstm_trained", "Table 1", 60.9),
                ("lstm_trained", "Table 1", 73.6),
            },
        ),
        (
            "underfitting",
            {
                ("frozen_language", "Tables 2 and 9", 38.6),
                ("frozen_language", "Table 7", 38.5),
                ("full_random", "Table 1", 42),
                ("full_random", "Table 7", 70),
            },
        ),
        (
            "depth_and_mixing",
            {
                ("two_blocks", "Table 11", 36),
                ("one_block", "Table 11", 17),
                ("random_two_blocks", "Table 11", 16),
                ("random_one_block", "Table 11", 17),
                ("output_one_block", "Table 12", 12),
                ("output_three_blocks", "Table 12", 18),
                ("output_all_blocks", "Table 12", 33),
                ("output_all_blocks", "Table 10, section 3.9", 32.8),
                ("random_output_all_blocks", "Table 21", 17),
            },
        ),
        (
            "unfreezing",
            {
                ("fpt", "Tables 2 and 9", 68.2),
                ("feed_forward", "Table 13", 76.6),
                ("attention", "Table 13", 47.7),
                ("feed_forward_attention", "Table 13", 32.9),
                ("feed_forward_last_attention", "Table 14", 80.0),
            },
        ),
        (
            "frozen_norm",
            {
                ("norms_trained", "Tables 2 and 9", 68.2),
                ("random_norms_trained", "Tables 2 and 9", 61.7),
                ("input_output", "Table 16", 61.5),
                ("random_input_output", "Table 16", 55.0),
            },
        ),
    ],
)
def test_a_shipped_study_finds_the_figures_of_its_table(study: str, figures: set[tuple[str, str, float]]) -> None:
    pairs = pairs_of(study)
    found = {(pair.arm, pair.theirs.place, pair.theirs.value) for pair in pairs if pair.theirs}
    assert figures <= found
    for pair in pairs:
        assert not pair.comparable, "the shipped studies follow clean, the paper its own protocol"
        assert pair.reasons
        if pair.theirs:
            assert any(reason.startswith("protocol: ours clean, theirs fpt2021") for reason in pair.reasons)


def test_unfreezing_on_all_tasks_finds_all_of_table_13() -> None:
    pairs = pairs_of("unfreezing", "use_tasks=[]")
    found = {(pair.arm, pair.theirs.task) for pair in pairs if pair.theirs and pair.theirs.place == "Table 13"}
    assert len(found) == 21  # three rows, seven tasks


def test_the_frozen_lstm_of_the_third_question_names_the_table_that_is_missing() -> None:
    alone = [pair for pair in pairs_of("rq3_architecture") if pair.arm == "lstm"]
    assert len(alone) == 7
    assert all(pair.theirs is None and pair.reasons[0].startswith("Table 3 of the paper") for pair in alone)


def test_arms_without_a_counterpart_say_so() -> None:
    (norms,) = [pair for pair in pairs_of("frozen_norm") if pair.arm == "norms_frozen"]
    assert norms.theirs is None
    assert norms.reasons == ("the paper does not have this arm on this task",)


def test_the_study_of_rothermel_finds_every_figure_of_theirs() -> None:
    pairs = pairs_of("rothermel", paper="rothermel2021")
    assert len({(pair.theirs.row, pair.theirs.task) for pair in pairs if pair.theirs}) == 16
    listops = [pair for pair in pairs if pair.task == "listops"]
    assert len(listops) == 4
    for pair in listops:
        assert any("D1 and D2 are fixed" in note for note in pair.notes)
        # The study is run with a search; the cells above have a single rate.
        assert pair.reasons == (
            "learning rate: ours a fixed one, without a search, theirs the best of several on validation",
        )


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        ({"backbone": "gpt2", "pretrained_on": "bit_memory"}, "frozen/bit_memory"),
        ({"backbone": "gpt2", "pretrained_on": "listops"}, "frozen/listops"),
        ({"backbone": "vit", "pretrained_on": "bit_memory"}, "frozen/vit_bit_memory"),
        ({"backbone": "gpt2", "pretrained_on": "bit_memory", "init": "statistics"}, "frozen/statistics_bit_memory"),
        ({"backbone": "gpt2", "pretrained_on": "bit_memory", "init": "random"}, "frozen/random"),
    ],
)
def test_weights_of_a_folder_have_the_kind_of_the_task_that_made_them(facts: dict[str, str], kind: str) -> None:
    cell = CellResult(task="mnist", arm="a", complete=True, freezing="fpt", weights="path:models/bits", **facts)  # type: ignore[arg-type]
    assert str(arm_kind(cell)[0]) == kind
    unknown = cell.model_copy(update={"pretrained_on": "", "init": "pretrained"})
    assert arm_kind(unknown) == (None, "the pretraining of the weights in path:models/bits is not known")
