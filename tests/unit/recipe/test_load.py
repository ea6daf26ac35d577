"""Recipes: defaults, profiles, overrides, plugins, and every fault at once in plain words."""

from __future__ import annotations

from pathlib import Path

import pytest
import written_files
from written_files import builtins

from fptkit.backbones.options import Gpt2Options, RandomOptions
from fptkit.errors import PluginError, RecipeError, UnknownNameError, UsageError
from fptkit.recipe.load import LoadedRecipe, load_recipe
from fptkit.recipe.models import TrainOptions
from fptkit.registry import Plugin, Registry
from fptkit.specs import ListenerSpec, RecipeFolderSpec
from fptkit.tasks.options import BitXorOptions

PLUGIN = """
from fptkit import Options, TaskSpec, hookimpl

class MyOptions(Options):
    size: int = 3

@hookimpl
def fptkit_tasks():
    return [TaskSpec(name="{name}", summary="in one file", target=MyOptions, options=MyOptions)]
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipes").mkdir()


def write(text: str, name: str = "recipes/x.yaml") -> str:
    return written_files.write(text, name)


def load(text: str, *overrides: str, profile: str | None = None) -> LoadedRecipe:
    return load_recipe(write(text), profile=profile, overrides=overrides, registry_loader=builtins)


def problems(text: str, *overrides: str, profile: str | None = None) -> list[tuple[str, str, str]]:
    with pytest.raises(RecipeError) as caught:
        load(text, *overrides, profile=profile)
    return [(problem.where, problem.path, problem.message) for problem in caught.value.problems]


XOR = "task: {name: bit_xor}\n"


def test_defaults() -> None:
    loaded = load(XOR)
    recipe = loaded.recipe
    assert recipe.task.name == "bit_xor"
    assert recipe.task.options == BitXorOptions()
    assert recipe.encoder is None
    assert (recipe.backbone.name, recipe.backbone.options) == ("gpt2", Gpt2Options())
    assert recipe.freezing.name == "fpt"
    assert recipe.train == TrainOptions()
    assert (recipe.precision, recipe.device, recipe.threads, recipe.listeners) == ("auto", "auto", None, ())
    assert (loaded.path, loaded.profile) == (Path("recipes/x.yaml"), None)


def test_a_complete_recipe() -> None:
    recipe = load(
        """
description: a try
task: {name: bit_memory, bits: 100, bits_per_token: 10}
encoder: {name: linear, hidden: [32, 16]}
backbone: {name: gpt2, weights: [random], size: nano, dropout: 0}
freezing: {name: full}
head: {readout: last_k, hidden: [64]}
train: {learning_rate: 1e-4, patience: null, clip_norm: 2}
precision: float32
threads: 2
pinned: {weights: random, precision: float32}
"""
    ).recipe
    assert recipe.encoder is not None
    assert recipe.encoder.options.model_dump()["hidden"] == (32, 16)
    assert recipe.backbone.options == Gpt2Options(weights=("random",), size="nano", dropout=0.0)
    assert (recipe.head.readout, recipe.head.hidden) == ("last_k", (64,))
    assert (recipe.train.learning_rate, recipe.train.patience, recipe.train.clip_norm) == (1e-4, None, 2.0)
    assert (recipe.threads, recipe.pinned.weights, recipe.pinned.precision) == (2, "random", "float32")


def test_a_recipe_cannot_be_changed() -> None:
    recipe = load(XOR).recipe
    with pytest.raises(ValueError, match="frozen"):
        recipe.train.seed = 3  # type: ignore[misc]


def test_all_problems_of_file_and_overrides_at_once() -> None:
    text = """# a recipe with a fault in every line
task: {name: bit_xr}
backbone:
  name: gpt2
  weights: [hubb:x/y, random]
  dropot: 0.1
  attention_dropout: no
train:
  learning_rate: fast
  max_steps: 2.5
  seed: 1
  adam_betas: [0.9]
  seed: 3
  clip_norm: .inf
  patience: true
  batch_size: "16"
tain: 3
precision: float16
head: {hidden: [3, 0]}
encoder: [linear]
"""
    found = problems(text, "train.log_every=fast", "device=no")
    assert [(where.removeprefix("recipes/x.yaml:"), path) for where, path, _ in found] == [
        ("2", "task.name"),
        ("5", "backbone.weights[0]"),
        ("6", "backbone"),
        ("7", "backbone.attention_dropout"),
        ("9", "train.learning_rate"),
        ("10", "train.max_steps"),
        ("12", "train.adam_betas"),
        ("13", "train.seed"),
        ("14", "train.clip_norm"),
        ("15", "train.patience"),
        ("16", "train.batch_size"),
        ("17", ""),
        ("18", "precision"),
        ("19", "head.hidden[1]"),
        ("20", "encoder"),
        ("--set train.log_every=fast", "train.log_every"),
        ("--set device=no", "device"),
    ]


def test_the_layout_of_the_complete_message() -> None:
    write("task: {name: bit_xor}\nbackbone:\n  name: gtp2\ntrain: {learning_rate: fast}\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe("recipes/x.yaml", overrides=["train.seed=-1"], registry_loader=builtins)
    assert str(caught.value).splitlines() == [
        "3 problems in recipes/x.yaml and elsewhere; nothing was run",
        "recipes/x.yaml:3     backbone.name: unknown backbone 'gtp2'. Did you mean 'gpt2'?",
        "                     known: attention_layer, bert, gpt2, huggingface, longformer, lstm, none, random, "
        "t5_encoder, vit (fptkit list backbones)",
        "recipes/x.yaml:4     train.learning_rate: expected a number > 0, got 'fast'",
        "--set train.seed=-1  train.seed: expected an integer >= 0 and < 9223372036854775808, got -1",
    ]
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "line", "path", "message"),
    [
        ("backbone: {name: gpt2}", 1, "task", "required: a section {name: ...}\nknown: arrays, audio"),
        ("task:\n  bits: 3", 1, "task.name", "required: the name of a task\nknown: arrays, audio"),
        ("task: {name: 3}", 1, "task.name", "required: the name of a task\nknown: arrays, audio"),
        ("task: [bit_xor]", 1, "task", "expected a section that names a task: {name: ...}"),
        ("task: null", 1, "task", "expected a section that names a task: {name: ...}"),
        (XOR + "freezing: 1", 2, "freezing", "expected a section that names a freezing policy: {name: ...}"),
        (XOR + "encoder: [linear]", 2, "encoder", "expected a section that names an encoder: {name: ...}"),
        (XOR + "freezing: {name: ftp}", 2, "freezing.name", "unknown freezing policy 'ftp'. Did you mean"),
        (XOR + "freezing: {name: fpt, rules: 3}", 2, "freezing", "unknown key 'rules'.\nallowed: name"),
        ("task: {name: bit_xor, protocl: clean}", 1, "task", "unknown key 'protocl'. Did you mean 'protocol'?\n"
         "allowed: name, protocol, bits, validation_size, test_size"),
        ("task: {name: bit_xor, protocol: paper}", 1, "task.protocol", "expected one of clean, fpt2021, got 'paper'"),
        ("task: {name: bit_xor, bits: true}", 1, "task.bits", "expected an integer >= 1, got true"),
        (XOR + "train:", 2, "train", "expected a mapping, got null"),
        (XOR + "train: {sed: 1}", 2, "train", "unknown key 'sed'. Did you mean 'seed'?\nallowed: learning_rate,"),
        (XOR + "train: {max_steps: 3.0}", 2, "train.max_steps", "expected an integer >= 1, got 3.0"),
        (XOR + "train: {clip_norm: 0}", 2, "train.clip_norm", "expected a number > 0 or null, got 0"),
        (XOR + "train: {adam_betas: [0.9, 1]}", 2, "train.adam_betas[1]", "expected a number >= 0 and < 1, got 1"),
        (XOR + "head: {readout: frist}", 2, "head.readout.name", "unknown head 'frist'. Did you mean 'first'?"),
        (XOR + "head: {hidden: 3}", 2, "head.hidden", "expected a list of integers >= 1, got 3"),
        (XOR + "threads: '2'", 2, "threads", "expected an integer >= 1 or null, got '2'"),
        (XOR + "description: [a]", 2, "description", "expected text, got [a]"),
        (XOR + "plugins: x.py", 2, "plugins", "expected a list of text, got 'x.py'"),
        (XOR + "listeners: {name: x}", 2, "listeners", "expected a list of names, or sections {name: ...}, each"),
        (XOR + "listeners: [{name: x}]", 2, "listeners[0].name", "unknown listener 'x'.\nknown: mlflow, tensorboard"),
        (XOR + "backbone: {name: random, heads: 5}", 2, "backbone", "width must be a multiple of heads, but 768"),
        (XOR + "backbone: {weights: []}", 2, "backbone.weights", "expected text or a list of text (at least 1)"),
        (XOR + "backbone: {weights: gpt2}", 2, "backbone.weights", "unknown source of weights 'gpt2'\nallowed: "),
        (XOR + "pinned: {precision: x}", 2, "pinned.precision", "expected text that matches ^(float32|bf"),
    ],
)  # fmt: skip
def test_one_problem(text: str, line: int, path: str, message: str) -> None:
    found = problems(text)
    assert len(found) == 1, found
    assert found[0][:2] == (f"recipes/x.yaml:{line}", path)
    assert found[0][2].startswith(message), found[0][2]


def test_an_integer_does_for_a_number() -> None:
    learning_rate = load(XOR + "train: {learning_rate: 1}").recipe.train.learning_rate
    assert learning_rate == 1.0
    assert isinstance(learning_rate, float)


def test_an_unknown_task_hides_no_other_problem() -> None:
    assert [path for _, path, _ in problems("task: {name: nope}\nencoder: {name: nope}\nthreads: 0")] == [
        "task.name",
        "encoder.name",
        "threads",
    ]


@pytest.mark.parametrize("text", ["", "a: [", "- x", "task: {name: bit_xor}\n---\n"])
def test_a_file_that_is_no_recipe_is_one_problem(text: str) -> None:
    assert len(problems(text)) == 1


def test_a_broken_file_hides_no_broken_override() -> None:
    assert [where for where, _, _ in problems("a: ]", "x")] == ["recipes/x.yaml:1", "--set x"]


def test_a_file_that_is_not_text() -> None:
    Path("recipes/x.yaml").write_bytes(b"task: \xff\xfe")
    with pytest.raises(RecipeError, match=r"recipes/x\.yaml +is not UTF-8 text: byte 6"):
        load_recipe("recipes/x.yaml", registry_loader=builtins)


def test_a_byte_order_mark_is_passed_over() -> None:
    Path("recipes/x.yaml").write_bytes(b"\xef\xbb\xbf" + XOR.encode())
    assert load_recipe("recipes/x.yaml", registry_loader=builtins).recipe.task.name == "bit_xor"


PROFILES = """
task: {name: bit_xor, bits: 7}
backbone: {name: gpt2, weights: [random], size: nano}
head: {hidden: [3, 4]}
train: {max_steps: 100, seed: 5}
profiles:
  smoke: {train: {max_steps: 2}, head: {hidden: [9]}}
  random: {backbone: {name: random, blocks: 2}}
  same: {backbone: {name: gpt2, dropout: 0}}
"""


def test_a_profile_is_merged_key_by_key_and_lists_are_replaced() -> None:
    loaded = load(PROFILES, profile="smoke")
    assert (loaded.recipe.train.max_steps, loaded.recipe.train.seed) == (2, 5)
    assert loaded.recipe.head.hidden == (9,)
    assert loaded.profile == "smoke"
    assert load(PROFILES).recipe.train.max_steps == 100


def test_another_component_starts_afresh() -> None:
    assert load(PROFILES, profile="random").recipe.backbone.options == RandomOptions(blocks=2)
    kept = load(PROFILES, profile="same").recipe.backbone.options
    assert kept == Gpt2Options(weights=("random",), size="nano", dropout=0.0)


def test_problems_of_a_profile_have_its_line() -> None:
    text = XOR + "train: {seed: 1}\nprofiles:\n  a: {train: {seed: x}}\n  b: {train: {sed: 1}}\n"
    assert [(where, path) for where, path, _ in problems(text, profile="a")] == [("recipes/x.yaml:4", "train.seed")]
    assert [(where, path) for where, path, _ in problems(text, profile="b")] == [("recipes/x.yaml:5", "train")]
    assert load(text).recipe.train.seed == 1


def test_an_unknown_profile() -> None:
    assert problems(PROFILES, profile="smok") == [
        ("--profile smok", "", "unknown profile 'smok'. Did you mean 'smoke'?\nknown: random, same, smoke")
    ]
    assert problems(XOR, profile="smoke") == [("--profile smoke", "", "unknown profile 'smoke'.\nknown: none")]


@pytest.mark.parametrize("profile", [None, "good"])
def test_the_shape_of_every_profile_is_checked(profile: str | None) -> None:
    text = XOR + "profiles:\n  good: {train: {seed: 1}}\n  bad: 3\n  empty:\n  nested: {profiles: {}}\n"
    assert [(where, path) for where, path, _ in problems(text, profile=profile)] == [
        ("recipes/x.yaml:4", "profiles.bad"),
        ("recipes/x.yaml:5", "profiles.empty"),
        ("recipes/x.yaml:6", "profiles.nested"),
    ]


def test_choosing_a_profile_without_shape_is_one_problem() -> None:
    assert len(problems(XOR + "profiles: {bad: 3}", profile="bad")) == 1
    assert len(problems(XOR + "profiles: {bad: no}", profile="bad")) == 1
    assert len(problems(XOR + "profiles: [bad]")) == 1


def test_overrides() -> None:
    recipe = load(
        PROFILES,
        "train.learning_rate=1e-3",
        "backbone.weights=[path:../x=y]",
        "description=a = b: c # d",
        "train={seed: 9}",
        "head.hidden=[]",
        "train.patience=null",
        profile="smoke",
    ).recipe
    assert (recipe.train.learning_rate, recipe.train.seed, recipe.train.max_steps) == (0.001, 9, 2)
    assert recipe.backbone.options == Gpt2Options(weights=("path:../x=y",), size="nano")
    assert recipe.description == "a = b: c # d"
    assert recipe.head.hidden == ()
    assert recipe.train.patience is None


def test_an_override_of_text_reaches_a_list_of_weights() -> None:
    assert load(XOR, "backbone.weights=path:../x").recipe.backbone.options == Gpt2Options(weights=("path:../x",))


def test_the_last_override_holds() -> None:
    assert load(XOR, "train.seed=1", "train.seed=2").recipe.train.seed == 2


@pytest.mark.parametrize("order", [1, -1])
def test_an_override_to_another_component_drops_the_old_options(order: int) -> None:
    overrides = ["backbone.name=random", "backbone.dropout=0"][::order]
    assert load(PROFILES, *overrides).recipe.backbone.options == RandomOptions(dropout=0.0)


@pytest.mark.parametrize("text", ["x", "=3", "a..b=1", ".a=1", "a.=1"])
def test_overrides_of_another_form(text: str) -> None:
    assert problems(XOR, text) == [(f"--set {text}", "", "expected KEY=VALUE with a dotted key, such as train.seed=1")]


@pytest.mark.parametrize(
    ("override", "path", "message"),
    [
        ("train.sed=1", "train", "unknown key 'sed'. Did you mean 'seed'?"),
        ("tain.seed=1", "", "unknown key 'tain'. Did you mean 'train'?"),
        ("train.seed.x=1", "train.seed", "expected an integer >= 0 and < 9223372036854775808, got a mapping"),
        ("train=3", "train", "expected a mapping, got 3"),
        ("task.name=bit_xr", "task.name", "unknown task 'bit_xr'. Did you mean 'bit_xor'?"),
        ("train.seed=010", "train.seed", "'010' can be read in base 8"),
        ("head.hidden=[1", "", "not valid YAML"),
    ],
)
def test_problems_of_overrides(override: str, path: str, message: str) -> None:
    ((where, at, text),) = problems(XOR, override)
    assert (where, at) == (f"--set {override}", path)
    assert text.startswith(message)


def folder_registry(*folders: Path) -> Registry:
    registry = builtins()
    for i, folder in enumerate(folders):
        spec = RecipeFolderSpec(name=f"folder_{i}", summary="recipes", folder=folder)
        registry.add([spec], Plugin(f"plugin_{i}", "file"))
    return registry


@pytest.mark.parametrize("name", ["mine", "mine.yaml"])
def test_found_by_bare_name(name: str, tmp_path: Path) -> None:
    write(XOR, "there/mine.yaml")
    registry = folder_registry(tmp_path / "there")
    loaded = load_recipe(name, registry_loader=lambda files: registry)
    assert loaded.path == tmp_path / "there" / "mine.yaml"
    assert loaded.registry is registry


@pytest.mark.parametrize("name", ["recipes/mine", "recipes/mine.yaml", "recipes/mine.yml"])
def test_found_by_path(name: str) -> None:
    write(XOR, "recipes/mine.yml" if name.endswith("yml") else "recipes/mine.yaml")
    assert load_recipe(name, registry_loader=builtins).recipe.task.name == "bit_xor"


def test_a_path_goes_before_a_bare_name(tmp_path: Path) -> None:
    write("task: {name: bit_memory}", "there/mine.yaml")
    write(XOR, "mine.yaml")
    registry = folder_registry(tmp_path / "there")
    assert load_recipe("mine", registry_loader=lambda files: registry).recipe.task.name == "bit_xor"


def test_two_folders_with_one_name(tmp_path: Path) -> None:
    write(XOR, "a/mine.yaml")
    write(XOR, "b/mine.yml")
    registry = folder_registry(tmp_path / "a", tmp_path / "b")
    with pytest.raises(UsageError) as caught:
        load_recipe("mine", registry_loader=lambda files: registry)
    assert str(tmp_path / "a" / "mine.yaml") in str(caught.value)
    assert str(tmp_path / "b" / "mine.yml") in str(caught.value)


def test_an_unknown_recipe(tmp_path: Path) -> None:
    write(XOR, "there/homology_gpt2.yaml")
    registry = folder_registry(tmp_path / "there", tmp_path / "no_folder")
    with pytest.raises(UnknownNameError) as caught:
        load_recipe("homology_gtp2.yaml", registry_loader=lambda files: registry)
    assert (caught.value.name, caught.value.suggestion) == ("homology_gtp2", "homology_gpt2")
    assert caught.value.note == "the file 'homology_gtp2.yaml' does not exist either"
    with pytest.raises(UnknownNameError, match="fptkit list recipes"):
        load_recipe("", registry_loader=lambda files: registry)


def test_plugins_of_a_recipe_are_loaded_first_and_relative_to_it() -> None:
    write(PLUGIN.format(name="mine"), "recipes/plugin_a.py")
    loaded = load("plugins: [plugin_a.py]\ntask: {name: mine, size: 4}\n")
    assert loaded.recipe.task.options.model_dump() == {"size": 4}
    assert loaded.recipe.plugins == (str(Path("recipes/plugin_a.py").resolve()),)
    assert [plugin.origin for plugin in loaded.registry.plugins] == ["builtin", "file"]


def test_plugins_of_the_call_and_of_the_recipe() -> None:
    write(PLUGIN.format(name="ours"), "ours.py")
    write(PLUGIN.format(name="mine"), "recipes/plugin_b.py")
    write("plugins: [plugin_b.py]\ntask: {name: mine}\n")
    loaded = load_recipe(
        "recipes/x.yaml", overrides=["task.name=ours"], plugin_files=["ours.py"], registry_loader=builtins
    )
    assert loaded.recipe.task.name == "ours"
    # Both are written down, so that the resolved recipe of a run loads without --plugin.
    assert {Path(file).name for file in loaded.recipe.plugins} == {"ours.py", "plugin_b.py"}
    assert all(Path(file).is_absolute() for file in loaded.recipe.plugins)


@pytest.mark.parametrize("broken", [False, True])
def test_a_plugin_of_the_recipe_that_does_not_load(broken: bool) -> None:
    if broken:
        write("raise RuntimeError('no')", "recipes/nothing.py")
    found = problems("threads: 0\nplugins:\n  - nothing.py\ntask: {name: mine}\n")
    assert [path for _, path, _ in found] == (["threads", "plugins"] if broken else ["threads", "plugins[0]"])
    assert found[1][0] == ("recipes/x.yaml:2" if broken else "recipes/x.yaml:3")
    expected = "RuntimeError: no" if broken else "plugin file recipes/nothing.py does not exist"
    assert expected in found[1][2], "unknown names then follow from it and are not reported"


def test_a_plugin_of_the_call_that_does_not_load() -> None:
    write("raise RuntimeError('no')", "broken.py")
    write(XOR)
    with pytest.raises(PluginError, match="RuntimeError: no"):
        load_recipe("recipes/x.yaml", plugin_files=["broken.py"], registry_loader=builtins)
    with pytest.raises(UsageError, match="does not exist"):
        load_recipe("recipes/x.yaml", plugin_files=["missing.py"], registry_loader=builtins)


def test_a_failed_plugin_is_quoted_at_an_unknown_name() -> None:
    def loader(files: object) -> Registry:
        registry = builtins()
        registry.plugins.append(Plugin("cifar", "distribution", status="failed", reason="ImportError: no"))
        return registry

    write("task: {name: imagenet}")
    with pytest.raises(RecipeError) as caught:
        load_recipe("recipes/x.yaml", registry_loader=loader)
    assert caught.value.problems[0].message.splitlines()[-1] == "plugin cifar did not load: ImportError: no"


def test_listeners() -> None:
    registry = builtins()
    listener = ListenerSpec(name="tracker", summary="follows", target="nowhere:build")
    registry.add([listener], Plugin("mine", "file"))
    write(XOR + "listeners: [{name: tracker}, {name: tracker, x: 1}, 3]")
    with pytest.raises(RecipeError) as caught:
        load_recipe("recipes/x.yaml", registry_loader=lambda files: registry)
    assert [problem.path for problem in caught.value.problems] == ["listeners[1]", "listeners[2]"]
    write(XOR + "listeners: [{name: tracker}]")
    recipe = load_recipe("recipes/x.yaml", registry_loader=lambda files: registry).recipe
    assert [found.name for found in recipe.listeners] == ["tracker"]


def test_options_whose_module_is_broken_are_a_problem_of_the_name(tmp_path: Path) -> None:
    text = PLUGIN.format(name="mine").replace("options=MyOptions", "options='nowhere_at_all:Options'")
    write(text, "recipes/plugin_c.py")
    ((_, path, message),) = problems("plugins: [plugin_c.py]\ntask: {name: mine}\n")
    assert path == "task.name"
    assert "cannot import 'nowhere_at_all:Options'" in message


def test_a_pretraining_recipe_says_which_command_takes_it() -> None:
    name = write("kind: language\ndata: {path: x}\ntrain: {max_steps: 1}\n")
    with pytest.raises(UsageError) as caught:
        load_recipe(name, overrides=["task.name=bit_xor"], registry_loader=builtins)
    assert str(caught.value) == ("recipes/x.yaml: this is a pretraining recipe; use: fptkit pretrain recipes/x.yaml")


@pytest.mark.parametrize("override", ["description=\udcff", "\udcff=1", 'description="\udcff"'])
def test_bytes_that_are_no_text_in_an_override(override: str) -> None:
    shown = override.replace("\udcff", "\\udcff")
    assert problems(XOR, override) == [(f"--set {shown}", "", "is not UTF-8 text")]


def test_profiles_are_not_set_by_an_override() -> None:
    text = XOR + "profiles: {smoke: {train: {seed: 1}}}\n"
    for override in ("profiles.smoke.x=1", "profiles={}"):
        ((where, _, message),) = problems(text, override, profile="smoke")
        assert where == f"--set {override}"
        assert message.startswith("profiles cannot be set by --set")


def test_an_override_with_very_many_dots_is_one_problem() -> None:
    ((_, _, message),) = problems(XOR, ".".join("a" * 2000) + "=1")
    assert message == "nested deeper than 50 levels"
