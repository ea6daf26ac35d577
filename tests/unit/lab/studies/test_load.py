"""Study files: precedence of settings in a cell, what a budget changes, and faults of all files together."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import written_files
from calls import calls_of
from written_files import builtins

from fptkit.errors import RecipeError, UnknownNameError, UsageError
from fptkit.lab.studies.cells import ENDLESS_STEPS, rates_of, recipe_for_trial
from fptkit.lab.studies.load import load_study
from fptkit.lab.studies.options import CONTROLS
from fptkit.lab.studies.plan import Study, Trial
from fptkit.recipe.load import load_recipe
from fptkit.recipe.models import Recipe

TASK = """
task: {name: bit_xor, bits: 7}
train: {batch_size: 8, max_steps: 50, validate_every: 10, patience: 3, learning_rate: 2e-3}
profiles:
  small: {task: {bits: 3}, train: {max_steps: 20}}
"""
ARM = """
backbone: {name: random, size: nano, dropout: 0.0}
train: {batch_size: 4, clip_norm: 2.0}
profiles:
  small: {backbone: {blocks: 1}, train: {max_steps: 30}}
"""
STUDY = """
description: two arms on two tasks
tasks:
  xor: {extends: base/task}
  memory: {extends: base/task, task: {name: bit_memory, bits: 100}}
arms:
  frozen: {extends: base/arm, summary: nothing trains but norms}
  full: {extends: base/arm, freezing: {name: full}, train: {clip_norm: null}}
learning_rates: [1e-3, 1e-2]
seeds: 2
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(TASK, "base/task.yaml")
    write(ARM, "base/arm.yaml")


def write(text: str, name: str = "s.yaml") -> str:
    return written_files.write(text, name)


def load(text: str, *overrides: str, profile: str | None = None, controls: tuple[str, ...] | None = None) -> Study:
    return load_study(write(text), profile=profile, overrides=overrides, controls=controls, registry_loader=builtins)


def recipe_of(study: Study, task: str, arm: str, fraction: float = 1.0) -> Recipe:
    return next(
        cell.loaded.recipe
        for cell in study.cells
        if (cell.name.task, cell.name.arm, cell.name.data_fraction) == (task, arm, fraction)
    )


def problems(text: str, *overrides: str, controls: tuple[str, ...] | None = None) -> list[tuple[str, str, str]]:
    with pytest.raises(RecipeError) as caught:
        load(text, *overrides, controls=controls)
    return [(problem.where, problem.path, problem.message.splitlines()[0]) for problem in caught.value.problems]


def test_a_study_is_every_arm_on_every_task() -> None:
    study = load(STUDY)
    assert [str(cell.name) for cell in study.cells] == [
        "frozen on xor",
        "full on xor",
        "frozen on memory",
        "full on memory",
    ]
    assert (study.name, study.tasks, study.arms, study.reference) == (
        "s",
        ("xor", "memory"),
        ("frozen", "full"),
        "frozen",
    )
    assert study.arm_summaries == {"frozen": "nothing trains but norms", "full": ""}
    assert study.settings.seeds == (0, 1)
    assert len(study.code_version) == 64


def test_own_keys_lie_over_bases_and_the_arm_over_the_task() -> None:
    study = load(STUDY.replace("{extends: base/task}", "{extends: base/task, train: {batch_size: 16}}"))
    frozen, full = recipe_of(study, "xor", "frozen"), recipe_of(study, "xor", "full")
    # The arm's base lies over the task's; the task's own keys over both.
    assert (frozen.train.batch_size, recipe_of(study, "memory", "frozen").train.batch_size) == (16, 4)
    assert (frozen.freezing.name, full.freezing.name) == ("fpt", "full")
    assert (frozen.train.clip_norm, full.train.clip_norm) == (2.0, None)
    assert recipe_of(study, "memory", "full").task.name == "bit_memory"
    over = STUDY.replace("base/task}", "base/task, train: {clip_norm: 7.0}}", 1)
    assert recipe_of(load(over), "xor", "frozen").train.clip_norm == 7.0
    assert recipe_of(load(over), "xor", "full").train.clip_norm is None


def test_the_profile_of_the_recipes_lies_between_bases_and_own_keys() -> None:
    text = STUDY + "profiles: {tiny: {recipe_profile: small, seeds: [5]}}\n"
    study = load(text, profile="tiny")
    recipe = recipe_of(study, "xor", "frozen")
    assert recipe.task.options.bits == 3  # type: ignore[attr-defined]
    assert recipe.backbone.options.blocks == 1  # type: ignore[attr-defined]
    assert recipe.train.max_steps == 30  # the arm's profile over the task's
    assert recipe_of(study, "memory", "frozen").task.options.bits == 100  # type: ignore[attr-defined]  # own key
    assert (study.settings.seeds, study.profile, study.cells[0].loaded.profile) == ((5,), "tiny", "small")


def test_a_cell_is_the_recipe_that_extends_the_same_files() -> None:
    """Composing agrees with the recipe loader: the same layers written as one recipe give the same recipe."""
    whole = write("extends: [base/task, base/arm]\nfreezing: {name: full}\ntrain: {clip_norm: null}\n", "whole.yaml")
    for profile in (None, "small"):
        written = load_recipe(whole, profile=profile, registry_loader=builtins).recipe
        study = load(STUDY, *([f"recipe_profile={profile}"] if profile else []))
        assert recipe_of(study, "xor", "full") == written.model_copy(update={"precision": "auto_float"})


def test_arms_have_one_precision_unless_the_study_says_otherwise() -> None:
    """Some weights could be multiplied in 8 bits, others not; arms would differ in more than what they name."""
    study = load(STUDY)
    assert {cell.loaded.recipe.precision for cell in study.cells} == {"auto_float"}
    study = load(STUDY, "arms.full.precision=int8")
    assert recipe_of(study, "xor", "full").precision == "int8"
    assert recipe_of(study, "xor", "frozen").precision == "auto_float"


def test_overrides_reach_settings_and_fragments() -> None:
    study = load(STUDY, "seeds=[3]", "arms.full.freezing.name=output_norm", "arms.third.extends=base/arm")
    assert study.settings.seeds == (3,)
    assert recipe_of(study, "xor", "full").freezing.name == "output_norm"
    assert study.arms == ("frozen", "full", "third")


def test_a_profile_may_take_fewer_of_the_tasks() -> None:
    fewer = "targets: {xor: 0.9}\nprofiles:\n  fewer: {use_tasks: [memory]}\n"
    study = load(STUDY + fewer, profile="fewer")
    assert study.tasks == ("memory",)
    assert [str(cell.name) for cell in study.cells] == ["frozen on memory", "full on memory"]
    assert load(STUDY + fewer).tasks == ("xor", "memory")


def test_an_unknown_task_among_those_used_is_a_fault() -> None:
    assert problems(STUDY, "use_tasks=[memry]") == [
        ("--set use_tasks=[memry]", "use_tasks[0]", "unknown task 'memry'. Did you mean 'memory'?")
    ]


def test_tasks_may_be_left_out_where_arms_are_whole_recipes() -> None:
    write("extends: [task, arm]\ntask: {name: bit_memory}", "base/other.yaml")
    study = load("arms: {a: {extends: [base/task, base/arm]}, b: {extends: base/other}, c: {extends: base/other}}")
    assert study.tasks == ("bit_xor", "bit_memory")
    assert [str(cell.name) for cell in study.cells] == ["a on bit_xor", "b on bit_memory", "c on bit_memory"]


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ("{steps: 7}", (7, None, None, 7, None)),
        ("{steps: 200}", (200, None, None, 10, None)),
        ("{seconds: 1.5}", (ENDLESS_STEPS, 1.5, None, 10, None)),
        ("{flops: 1e9}", (ENDLESS_STEPS, None, 1e9, 10, None)),
    ],
)
def test_a_budget_is_the_same_for_every_arm(budget: str, expected: tuple[object, ...]) -> None:
    study = load(STUDY + f"budget: {budget}\n")
    for cell in study.cells:
        train = cell.loaded.recipe.train
        found = (train.max_steps, train.max_seconds, train.max_flops, train.validate_every, train.patience)
        assert found == expected


def test_an_own_patience_survives_a_budget() -> None:
    study = load(STUDY.replace("{clip_norm: null}", "{patience: 4}") + "budget: {steps: 30}\n")
    assert recipe_of(study, "xor", "full").train.patience == 4
    assert recipe_of(study, "xor", "frozen").train.patience is None
    assert recipe_of(load(STUDY), "xor", "frozen").train.patience == 3


def test_shares_of_the_data_are_cells_of_their_own() -> None:
    study = load(STUDY + "data_fractions: [0.1, 1]\n")
    assert [(c.name.task, c.name.data_fraction, c.name.arm) for c in study.cells][:5] == [
        ("xor", 0.1, "frozen"),
        ("xor", 0.1, "full"),
        ("xor", 1.0, "frozen"),
        ("xor", 1.0, "full"),
        ("memory", 0.1, "frozen"),
    ]
    assert recipe_of(study, "xor", "full", 0.1).train.data_fraction == 0.1
    assert recipe_of(study, "xor", "full") == recipe_of(load(STUDY), "xor", "full")


def test_a_trial_replaces_rate_and_seed_and_nothing_else() -> None:
    study = load(STUDY)
    cell = study.cells[0]
    assert rates_of(study.settings, cell) == (1e-3, 1e-2)
    recipe = recipe_for_trial(cell, Trial(1e-2, 1)).recipe
    assert (recipe.train.learning_rate, recipe.train.seed) == (1e-2, 1)
    back = recipe.train.model_copy(update={"learning_rate": 2e-3, "seed": 0})
    assert recipe.model_copy(update={"train": back}) == cell.loaded.recipe
    own = load(STUDY.replace("learning_rates: [1e-3, 1e-2]", ""))
    assert rates_of(own.settings, own.cells[0]) == (2e-3,)


def test_plugins_of_study_and_bases_serve_every_cell() -> None:
    plugin = (
        "import fptkit\n@fptkit.hookimpl\ndef fptkit_recipes():\n"
        "    return [fptkit.RecipeFolderSpec(name='{name}', summary='s', folder='.')]\n"
    )
    write(plugin.replace("{name}", "one"), "one.py")
    write(plugin.replace("{name}", "two"), "base/two.py")
    write(ARM + "plugins: [two.py]\n", "base/arm.yaml")
    study = load(STUDY + "plugins: [one.py]\n")
    files = tuple(str(Path(name).resolve()) for name in ("one.py", "base/two.py"))
    assert {cell.loaded.recipe.plugins for cell in study.cells} == {files}
    missing = problems(STUDY + "plugins: [three.py]\n")
    assert missing == [("s.yaml:11", "plugins[0]", "plugin file three.py does not exist")]


def test_a_recipe_is_a_study_of_one_arm() -> None:
    name = write("extends: [base/task, base/arm]\n", "mine.yaml")
    study = load_study(
        name,
        profile="small",
        overrides=["seeds=2", "learning_rates=[1e-3, 3e-3]", "train.batch_size=2", "budget.steps=40"],
        registry_loader=builtins,
    )
    assert (study.name, study.tasks, study.arms, study.profile) == ("mine", ("bit_xor",), ("mine",), "small")
    recipe = study.cells[0].loaded.recipe
    assert recipe.task.options.bits == 3  # type: ignore[attr-defined]
    assert (recipe.train.batch_size, recipe.train.max_steps) == (2, 40)
    assert (study.settings.seeds, study.settings.learning_rates) == ((0, 1), (1e-3, 3e-3))
    with pytest.raises(RecipeError) as caught:
        load_study(name, overrides=["train.seed=3", "sedes=2"], registry_loader=builtins)
    assert [(p.where, p.path) for p in caught.value.problems] == [
        ("--set train.seed=3", "train.seed"),
        ("--set sedes=2", ""),
    ]


def test_controls_are_made_from_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    from fptkit.lab.studies import controls

    def fragment(name: str, recipe: Recipe) -> object:
        assert recipe.freezing.name == "full", "controls are made from the reference, here the second arm"
        if name == "one_block":
            return {"backbone": {"blocks": 1}}
        return "there is none" if recipe.task.name == "bit_memory" else {"freezing": {"name": "output_only"}}

    monkeypatch.setattr(controls, "control_fragment", fragment)
    study = load(
        STUDY + "reference: full\ncontrols: true\ndata_fractions: [0.5, 1]", controls=("one_block", "output_only")
    )
    assert study.arms == ("frozen", "full", "one_block", "output_only")
    assert study.settings.controls == ("one_block", "output_only")
    block = recipe_of(study, "xor", "one_block", 0.5)
    assert (block.backbone.options.blocks, block.train.data_fraction) == (1, 0.5)  # type: ignore[attr-defined]
    assert recipe_of(study, "xor", "output_only").freezing.name == "output_only"
    assert {str(name): reason for name, reason in study.skipped.items()} == {
        "output_only on memory, 0.5 of the data": "there is none",
        "output_only on memory": "there is none",
    }
    assert study.arm_summaries["one_block"]


def test_every_control_of_a_shipped_recipe_passes_the_checks() -> None:
    study = load_study("bit_xor_gpt2", controls=CONTROLS, registry_loader=builtins)
    assert {cell.name.arm for cell in study.cells} | {name.arm for name in study.skipped} == {"bit_xor_gpt2", *CONTROLS}
    assert load_study("bit_xor_gpt2", controls=(), registry_loader=builtins).arms == ("bit_xor_gpt2",)


def test_all_faults_are_reported_at_once_with_file_and_line() -> None:
    write(ARM.replace("clip_norm: 2.0", "clip_nrm: 2.0"), "base/arm.yaml")
    text = """\
tasks:
  xor: {extends: base/task, task: {bits: many}}
arms:
  frozen: {extends: base/arm}
  "a b": {extends: base/arm}
  other: {extends: base/gone, freezing: {name: fup}}
  text: word
learning_rates: [fast]
refrence: frozen
"""
    assert problems(text) == [
        ("s.yaml:2", "task.bits", "expected an integer >= 1, got 'many'"),
        (
            "s.yaml:5",
            "arms.a b",
            "expected a name of letters, digits, '_', '.' and '-' that does not begin with '.' or '-' (not 'name')",
        ),
        ("s.yaml:6", "extends", "recipe 'base/gone' was not found next to this file or in a recipe folder"),
        ("s.yaml:6", "freezing.name", "unknown freezing policy 'fup'. Did you mean 'fpt'?"),
        ("s.yaml:7", "arms.text", "expected keys of a recipe, such as {extends: base/gpt2}"),
        ("s.yaml:8", "learning_rates[0]", "expected a number > 0, got 'fast'"),
        ("s.yaml:9", "", "unknown key 'refrence'. Did you mean 'reference'?"),
        ("base/arm.yaml:3", "train", "unknown key 'clip_nrm'. Did you mean 'clip_norm'?"),
    ]


@pytest.mark.parametrize(
    ("line", "path", "message"),
    [
        ("reference: ful", "reference", "unknown arm 'ful'. Did you mean 'full'?"),
        ("comparisons: [[full, frozn]]", "comparisons[0]", "unknown arm 'frozn'. Did you mean 'frozen'?"),
        ("comparisons: [[full, full]]", "comparisons[0]", "compares 'full' with itself"),
        ("targets: {xr: 0.9}", "targets.xr", "unknown task 'xr'. Did you mean 'xor'?"),
        ("budget: {steps: 5, flops: 1e9}", "budget", "give one of steps, seconds and flops, not steps and flops"),
        ("choose: common\nsearch: {seeds: 3}", "search.seeds", "more than the study's 2 seeds; lower it"),
        (
            "search: {seeds: 1}",
            "search.seeds",
            "needs choose: common; with choose: per_seed every seed searches for itself",
        ),
        (
            "seeds: {until: decided}\nchoose: common",
            "choose",
            "seeds that are added until decided need choose: per_seed; or give a number of seeds",
        ),
        ("seeds: {until: decided, at_least: 2}", "seeds.at_least", "expected an integer >= 3, got 2"),
        (
            "seeds: {until: decided, at_least: 5, at_most: 4}",
            "seeds",
            "at_most (4) must not be below at_least (5)",
        ),
        ("seeds: [1, x]", "seeds[1]", "expected an integer, got 'x'"),
        ("choose: each", "choose", "expected one of per_seed, common, got 'each'"),
        ("margin: 0", "margin", "expected a number > 0 or a mapping or null, got 0"),
        ("margin: {xr: 2}", "margin.xr", "unknown task 'xr'. Did you mean 'xor'?"),
        (
            "search: {name: halving}\nbudget: {flops: 1e9}",
            "search.name",
            "halving divides training by steps; give the budget in steps",
        ),
        ("recipe_profile: smal", "recipe_profile", "unknown profile 'smal'. Did you mean 'small'?"),
        ("seeds: [1, 1]", "seeds", "1 is listed twice; remove one"),
    ],
)
def test_settings_that_name_something_unknown_are_faults(line: str, path: str, message: str) -> None:
    base = STUDY.replace("seeds: 2\n", "") if line.startswith("seeds") else STUDY
    found = problems(base + line)
    assert [(p, m) for _, p, m in found] == [(path, message)]
    assert all(where.startswith("s.yaml:1") for where, _, _ in found)


@pytest.mark.parametrize(
    ("lines", "first", "until"),
    [
        ("seeds: 4", (0, 1, 2, 3), None),
        ("seeds: [7, 2]", (7, 2), None),
        ("", (0, 1, 2, 3, 4), None),
        ("seeds: {until: decided}", (0, 1, 2), (3, 20)),
        ("seeds: {until: decided, at_least: 4, at_most: 9}", (0, 1, 2, 3), (4, 9)),
    ],
)
def test_seeds_are_listed_counted_or_added(lines: str, first: tuple[int, ...], until: tuple[int, int] | None) -> None:
    settings = load(STUDY.replace("seeds: 2\n", "") + lines).settings
    assert settings.first_seeds == first
    assert (settings.until and (settings.until.at_least, settings.until.at_most)) == until
    assert settings.choose == "per_seed"


def test_a_margin_is_in_points_for_fractions_and_else_in_the_metrics_unit() -> None:
    def margins(line: str) -> list[float | None]:
        settings = load(STUDY + line).settings
        return [settings.margin_on(task, fraction=fraction) for task in ("xor", "memory") for fraction in (True, False)]

    assert margins("") == [0.01, None, 0.01, None]
    assert margins("margin: 2") == [0.02, 2, 0.02, 2]
    assert margins("margin: {memory: 0.5}") == [0.01, None, 0.005, 0.5]


@pytest.mark.parametrize(("profile", "smoke"), [(None, False), ("smoke", True), ("small", False), ("tiny", True)])
def test_a_smoke_profile_of_study_or_recipes_is_one(profile: str | None, smoke: bool) -> None:
    write(ARM.replace("profiles:", "profiles:\n  smoke: {}"), "base/arm.yaml")
    profiles = "profiles: {smoke: {seeds: 3}, small: {seeds: 1}, tiny: {recipe_profile: smoke}}\n"
    assert load(STUDY + profiles, profile=profile).facts.smoke == smoke


def test_a_reference_that_is_a_control_is_refused_with_the_reason() -> None:
    found = problems(STUDY + "reference: one_block", controls=("one_block",))
    assert found == [("s.yaml:11", "reference", "'one_block' is a control, derived from the reference; name an arm")]


def test_a_control_that_has_the_name_of_an_arm_is_refused() -> None:
    found = problems(STUDY.replace("  full:", "  one_block:"), controls=("one_block",))
    message = "control 'one_block' has the name of an arm; rename the arm or drop the control"
    assert found == [("--controls", "controls", message)]
    assert problems(STUDY, controls=("one_blok",))[0][:2] == ("--controls", "controls[0]")


@pytest.mark.parametrize(
    ("key", "setting", "refused"),
    [
        ("seed: 3", "", True),
        ("learning_rate: 1e-4", "", True),
        ("learning_rate: 1e-4", "learning_rates: []", False),
        ("max_steps: 9", "budget: {steps: 10}", True),
        ("max_steps: 9", "", False),
        ("data_fraction: 0.5", "data_fractions: [0.5, 1]", True),
        ("data_fraction: 0.5", "", False),
    ],
)
def test_a_key_that_the_study_replaces_is_refused_in_a_fragment(key: str, setting: str, refused: bool) -> None:
    text = STUDY.replace("clip_norm: null", key)
    if setting.startswith("learning_rates"):
        text = text.replace("learning_rates: [1e-3, 1e-2]", setting)
    elif setting:
        text += setting
    if refused:
        (fault,) = problems(text)
        assert fault[:2] == ("s.yaml:8", f"train.{key.partition(':')[0]}")
        assert re.search("replaces? this", fault[2])
    else:
        name, _, value = key.partition(": ")
        assert getattr(recipe_of(load(text), "xor", "full").train, name) == float(value)


def test_a_fragment_holds_no_keys_of_the_study() -> None:
    found = problems(STUDY.replace("{extends: base/task}", "{extends: base/task, seeds: 3, profiles: {}, summary: x}"))
    assert [(where, path) for where, path, _ in found] == [
        ("s.yaml:4", "tasks.xor.seeds"),
        ("s.yaml:4", "tasks.xor.profiles"),
        ("s.yaml:4", ""),
    ]
    assert found[0][2] == "'seeds' is the same for all cells of the study; write it at the top level of the file"
    assert found[2][2].startswith("unknown key 'summary'")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("tasks: {xor: {extends: base/task}}", "arms"),
        ("tasks: {xor: {extends: base/task}}\narms: {}", "arms"),
        ("tasks: {}\narms: {a: {extends: [base/task, base/arm]}}", "tasks"),
        ("arms: {a: {extends: base/arm}}", "task"),
        ("arms: [a, b]", "arms"),
    ],
)
def test_a_study_without_arms_or_tasks(text: str, path: str) -> None:
    assert [p for _, p, _ in problems(text)] == [path]


@pytest.mark.parametrize("name", ["halving", "optuna"])
def test_a_search_needs_rates_to_look_among(name: str) -> None:
    for rates in ("", "learning_rates: [1e-3]"):
        text = STUDY.replace("learning_rates: [1e-3, 1e-2]", rates) + f"search: {{name: {name}}}\n"
        assert [p for _, p, _ in problems(text)] == ["search.name"]


def test_a_schedule_that_needs_its_last_step_and_a_budget_of_seconds() -> None:
    text = STUDY.replace("clip_norm: null", "schedule: {name: cosine}")
    assert recipe_of(load(text + "budget: {steps: 10}"), "xor", "full").train.schedule.name == "cosine"
    (fault,) = problems(text + "budget: {seconds: 10}")
    assert fault[:2] == ("s.yaml:8", "train.schedule")


def test_names_are_looked_up_beside_studies_then_recipes(tmp_path: Path) -> None:
    study = load_study("bit_xor_gpt2", registry_loader=builtins)
    assert study.tasks == ("bit_xor",)
    with pytest.raises(UnknownNameError) as caught:
        load_study("bit_xor_gtp2", registry_loader=builtins)
    assert (caught.value.kind, caught.value.suggestion) == ("study or recipe", "bit_xor_gpt2")
    (tmp_path / "bit_xor_gpt2").mkdir()  # a folder of that name, such as a study's own, is in nobody's way
    assert load_study("bit_xor_gpt2", registry_loader=builtins).arms == ("bit_xor_gpt2",)
    with pytest.raises(UsageError, match="is a pretraining recipe; use: fptkit pretrain"):
        load_study("pretrain_language", registry_loader=builtins)
    with pytest.raises(UsageError, match=r"s\.yaml: this is a study; use: fptkit study"):
        load_recipe(write(STUDY), registry_loader=builtins)


def test_a_study_extends_a_study() -> None:
    write(STUDY, "lower.yaml")
    study = load("extends: lower\narms: {third: {extends: base/arm}}\nseeds: 1")
    assert (study.arms, study.settings.seeds, study.settings.learning_rates) == (
        ("frozen", "full", "third"),
        (0,),
        (1e-3, 1e-2),
    )


def test_loading_a_large_study_is_little_work() -> None:
    tasks = "\n".join(f"  task{i}: {{extends: base/task, task: {{bits: {i + 1}}}}}" for i in range(7))
    arms = "\n".join(f"  arm{i}: {{extends: base/arm, train: {{clip_norm: {i + 1}}}}}" for i in range(9))
    text = f"tasks:\n{tasks}\narms:\n{arms}\nseeds: 3\n"
    assert len(load(text).cells) == 63  # imports are not counted
    assert calls_of(lambda: load(text)) < 1_000_000
