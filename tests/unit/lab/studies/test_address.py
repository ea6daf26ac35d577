"""Addresses of runs: what changes them, what does not, and that they are quick to compute."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from calls import calls_of

from fptkit.engine.code_version import PACKAGE, code_version
from fptkit.lab.studies import address
from fptkit.lab.studies.address import address_of
from fptkit.recipe.load import load_recipe
from fptkit.recipe.models import Recipe
from fptkit.registry import Plugin, PluginHost, Registry, load_plugins

RECIPE = """
task: {name: bit_xor}
backbone: {name: random, size: nano, dropout: 0.0}
"""

ENCODER = """
import fptkit

@fptkit.hookimpl
def fptkit_encoders():
    return [
        fptkit.EncoderSpec(
            name="mine", summary="s", target="fptkit.encoders.linear:LinearEncoder", accepts=("vectors",), source="x"
        )
    ]
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FPTKIT_PLUGINS", "")


def recipe(text: str = RECIPE, *overrides: str) -> Recipe:
    Path("x.yaml").write_text(text, encoding="utf-8")
    return load_recipe("x.yaml", overrides=overrides).recipe


def test_an_address_is_the_same_in_another_process_and_folder(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom fptkit.recipe.load import load_recipe\n"
        "from fptkit.engine.code_version import code_version\nfrom fptkit.lab.studies.address import address_of\n"
        "print(address_of(load_recipe(sys.argv[1]).recipe, code_version()))\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)\n"
    )
    here = address_of(recipe(), code_version())
    (tmp_path / "other").mkdir()
    shutil.copy("x.yaml", "other/y.yaml")
    done = subprocess.run(
        [sys.executable, "-c", code, "y.yaml"], cwd="other", capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == here
    assert len(here) == 64
    assert int(here, 16) >= 0


@pytest.mark.parametrize(
    "override",
    [
        "description=other",
        "threads=1",
        "device=cpu",
        "train.log_every=7",
        "train.checkpoint_every=7",
        "train.feature_cache=never",
        "train.feature_cache_gib=1",
        "train.shard_frozen=always",
        "pinned.recipe=a",
        "pinned.profile=b",
    ],
)
def test_what_does_not_decide_the_result_leaves_the_address(override: str) -> None:
    assert address_of(recipe(RECIPE, override), "code") == address_of(recipe(), "code")


@pytest.mark.parametrize(
    "override",
    [
        "train.seed=1",
        "train.seeds.init=1",
        "train.seeds.order=1",
        "train.seeds.data=1",
        "train.learning_rate=1e-4",
        "train.max_steps=3",
        "train.patience=3",
        "train.accumulate=2",
        "train.evaluation_batch_size=32",
        "train.data_fraction=0.5",
        "task.bits=3",
        "task.name=bit_memory",
        "backbone.size=base",
        "freezing.name=full",
        "precision=float32",
        "pinned.precision=float32",
        "head.readout=mean",
    ],
)
def test_what_decides_the_result_changes_the_address(override: str) -> None:
    assert address_of(recipe(RECIPE, override), "code") != address_of(recipe(), "code")


def test_another_code_makes_another_address() -> None:
    assert address_of(recipe(), "code") != address_of(recipe(), "other")


def test_weights_in_the_package_count_where_a_recipe_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gpt2_nano", "vit_nano"):
        (tmp_path / "weights" / name).mkdir(parents=True)
        (tmp_path / "weights" / name / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(address, "PACKAGED", tmp_path / "weights")
    made = recipe("task: {name: bit_xor}\nbackbone: {name: gpt2, weights: [hub:someone/gpt2, builtin:gpt2_nano]}")
    before = address_of(made, "code")
    (tmp_path / "weights" / "vit_nano" / "model.safetensors").write_bytes(b"others")
    assert address_of(made, "code") == before
    (tmp_path / "weights" / "gpt2_nano" / "model.safetensors").write_bytes(b"trained longer")
    assert address_of(made, "code") != before


def test_a_plugin_in_a_file_counts_by_its_text_where_it_is_used(tmp_path: Path) -> None:
    Path("mine.py").write_text(ENCODER, encoding="utf-8")
    Path("there").mkdir()
    Path("there/mine.py").write_text(ENCODER, encoding="utf-8")
    Path("edited.py").write_text(ENCODER + "# edited\n", encoding="utf-8")
    plugged = {
        file: recipe(f"{RECIPE}plugins: [{file}]\nencoder: {{name: mine}}\n")
        for file in ("mine.py", "there/mine.py", "edited.py")
    }
    found = {file: address_of(made, "code") for file, made in plugged.items()}
    assert found["mine.py"] == found["there/mine.py"]
    assert found["mine.py"] != found["edited.py"]
    explicit = load_plugins(["edited.py"], selection="")
    assert address_of(plugged["edited.py"], "code", registry=explicit) == found["edited.py"]
    Path("mine.py").write_bytes(ENCODER.replace("\n", "\r\n").encode())
    assert address_of(plugged["mine.py"], "code") == found["mine.py"], "ends of lines do not count"
    # Loaded but not used, it does not matter.
    assert address_of(recipe(f"{RECIPE}plugins: [mine.py]\n"), "code") == address_of(recipe(), "code")


@pytest.mark.slow
def test_an_installed_plugin_counts_by_version_and_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(version: str, source: str, table: str = "1") -> str:
        folder = tmp_path / f"{version}-{len(source)}-{table}"
        (folder / f"fptkit_there-{version}.dist-info").mkdir(parents=True)
        info = folder / f"fptkit_there-{version}.dist-info"
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: fptkit-there\nVersion: {version}\n")
        (info / "entry_points.txt").write_text("[fptkit]\nthere = fptkit_there\n")
        (folder / "fptkit_there").mkdir()
        (folder / "fptkit_there" / "__init__.py").write_text(
            ENCODER.replace("fptkit.encoders.linear:", "fptkit_there.e:")
        )
        (folder / "fptkit_there" / "e.py").write_text(source)
        (folder / "fptkit_there" / "table.json").write_text(table)
        code = (
            "import sys\nfrom fptkit.recipe.load import load_recipe\n"
            "from fptkit.lab.studies.address import address_of\n"
            "print(address_of(load_recipe('x.yaml', overrides=sys.argv[1:]).recipe, 'code'))\n"
        )
        environment = {"PYTHONPATH": f"{folder}{os.pathsep}{PACKAGE.parent}", "FPTKIT_PLUGINS": "there", "PATH": ""}
        return subprocess.run(
            [sys.executable, "-c", code, "encoder.name=mine"],
            env=environment, capture_output=True, text=True, timeout=60, check=True,
        ).stdout  # fmt: skip

    recipe()
    options = "class LinearEncoder: pass\n"
    first = installed("1.0", options)
    others = (installed("1.1", options), installed("1.0", options + "# edited\n"), installed("1.0", options, table="2"))
    assert len({first, *others}) == 4


def test_addresses_are_little_work() -> None:
    """A study asks for hundreds of them at once."""
    made, version, registry = recipe(), code_version(), load_plugins(selection="")
    assert calls_of(code_version) < 500_000

    def addresses(count: int) -> None:
        for seed in range(count):
            train = made.train.model_copy(update={"seed": seed})
            address_of(made.model_copy(update={"train": train}), version, registry=registry)

    addresses(1)
    assert calls_of(lambda: addresses(10)) < 50_000


PACKAGED_POLICY = """
import fptkit

class Quiet:
    def __init__(self, options, *, folder):
        pass

    def handle(self, event):
        pass

@fptkit.hookimpl
def fptkit_freezing_policies():
    rules = (fptkit.FreezingRule(role="output"), fptkit.FreezingRule(role="input"))
    return [
        fptkit.FreezingPolicySpec(name="ends", summary="s", rules=rules),
        fptkit.FreezingPolicySpec(name="prepared", summary="s", rules=rules, prepare="packaged_policy:prepare"),
    ]

@fptkit.hookimpl
def fptkit_listeners():
    return [fptkit.ListenerSpec(name="bit_xor", summary="of the name of a task", target="packaged_policy:Quiet")]
"""


def packaged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The registry with a package that has policies and a listener, as an installed distribution."""
    (folder / "packaged_policy.py").write_text(PACKAGED_POLICY)
    monkeypatch.syspath_prepend(folder)
    host = PluginHost(load_plugins(selection=""))
    host.load(
        Plugin("packaged", "distribution", "packaged-policy", "1.0"), lambda: importlib.import_module("packaged_policy")
    )
    assert host.registry.plugins[-1].reason == ""
    return host.registry


@pytest.mark.parametrize("name", ["ends", "prepared"])
def test_a_packaged_policy_without_options_has_an_address(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = packaged(tmp_path, monkeypatch)
    text = f"{RECIPE}freezing: {{name: {name}}}\n"
    Path("y.yaml").write_text(text)
    made = load_recipe("y.yaml", registry_loader=lambda files: registry).recipe
    here = address_of(made, "code", registry=registry)
    assert here == address_of(made, "code", registry=registry)
    assert here != address_of(recipe(), "code", registry=registry)


def test_a_listener_leaves_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without = address_of(recipe(), "code", registry=load_plugins(selection=""))
    registry = packaged(tmp_path, monkeypatch)
    Path("y.yaml").write_text(f"{RECIPE}listeners: [{{name: bit_xor}}]\n")
    made = load_recipe("y.yaml", registry_loader=lambda files: registry).recipe
    assert len(made.listeners) == 1
    assert address_of(made, "code", registry=registry) == without
