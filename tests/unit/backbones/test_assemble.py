"""The shared steps of building a backbone, with a family that writes down what it is asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fptkit.backbones.assemble import FAMILIES, Family, Request, assemble, family_named
from fptkit.backbones.gpt2_build import build_gpt2
from fptkit.backbones.lstm.build import build_lstm
from fptkit.backbones.lstm.options import LstmOptions
from fptkit.backbones.options import BlockOptions, Gpt2Options, Init, PositionOptions, RandomOptions
from fptkit.backbones.records import fptkit_backbones
from fptkit.errors import DataError, ShapeError, SourceError
from fptkit.interfaces import Backbone
from fptkit.sources.weights import WeightFolder


class Stack(Backbone):
    """Blocks that do nothing."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.width, self.blocks = 1, blocks
        self.listed = nn.ModuleList(nn.Identity() for _ in range(blocks))


class Recorder(Family[int, Stack]):
    """A family whose architecture is the number of blocks."""

    name = "recorder"
    advice = "Use another."
    block_list = "listed"

    def __init__(self) -> None:
        self.calls: list[Any] = []

    @classmethod
    def of(cls, options: Any, tokens: int) -> Recorder:
        return cls()

    def from_options(self) -> int:
        self.calls.append("from_options")
        return 3

    def from_config(self, config: Mapping[str, Any], entry: str) -> int:
        self.calls.append("from_config")
        return int(config["blocks"])

    def draw(self, architecture: int, seed: int, folder: WeightFolder | None) -> Stack:
        self.calls.append(("draw", seed, folder and folder.entry))
        return Stack(architecture)

    def load(self, folder: WeightFolder, architecture: int) -> Stack:
        self.calls.append(("load", folder.entry))
        return Stack(architecture)

    def keep_blocks(self, backbone: Stack, options: BlockOptions) -> None:
        self.calls.append("keep_blocks")
        super().keep_blocks(backbone, options)

    def examine(self, backbone: Stack, architecture: int) -> None:
        self.calls.append(("examine", backbone.blocks, architecture))

    def redraw(self, backbone: Stack, init: Init, seed: int) -> None:
        self.calls.append(("redraw", init, seed))

    def fit(self, backbone: Stack, tokens: int, options: PositionOptions) -> Sequence[str]:
        self.calls.append(("fit", tokens, options.length))
        return ["fitted"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps({"blocks": 5}))
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    return tmp_path


def test_the_steps_of_random_weights() -> None:
    family = Recorder()
    request = Request(7, 11, blocks=BlockOptions(keep="1:"), positions=PositionOptions(length=9))
    backbone = assemble(family, request)
    assert family.calls == [
        "from_options",
        ("draw", 11, None),
        "keep_blocks",
        ("examine", 2, 3),
        ("redraw", "pretrained", 11),
        ("fit", 7, 9),
    ]
    assert (len(backbone.listed), backbone.blocks) == (2, 2)
    assert (backbone.weights, backbone.stand_in, backbone.notes) == ("random", False, ("fitted",))


@pytest.mark.parametrize("init", get_args(Init))
def test_a_checkpoint_is_loaded_unless_init_replaces_all_weights(folder: Path, init: Init) -> None:
    family, entry = Recorder(), f"path:{folder}"
    backbone = assemble(family, Request(7, 11, (entry,), init))
    made = ("load", entry) if init in ("pretrained", "statistics") else ("draw", 11, entry)
    assert family.calls[:2] == ["from_config", made]
    assert family.calls[2:] == ["keep_blocks", ("examine", 5, 5), ("redraw", init, 11), ("fit", 7, None)]
    assert (backbone.weights, backbone.stand_in) == (entry, False)


def test_a_fallback_is_marked_and_the_reason_comes_first(folder: Path) -> None:
    backbone = assemble(Recorder(), Request(7, 11, ("path:/nowhere", f"path:{folder}")))
    assert (backbone.weights, backbone.stand_in) == (f"path:{folder}", True)
    assert backbone.notes == (
        "path:/nowhere: no config.json and no model.safetensors in /nowhere: there is no such folder",
        "fitted",
    )


def test_the_source_of_an_earlier_run_is_used_again(folder: Path) -> None:
    backbone = assemble(Recorder(), Request(7, 11, (f"path:{folder}", "random"), pinned="random"))
    assert (backbone.weights, backbone.stand_in) == ("random", True)


def test_what_cannot_be_built() -> None:
    with pytest.raises(ShapeError, match="'statistics' needs loaded weights, but the weights are 'random'"):
        assemble(Recorder(), Request(7, 11, init="statistics"))
    with pytest.raises(SourceError, match="weights of backbone recorder: no source is available") as raised:
        assemble(Recorder(), Request(7, 11, ("path:/nowhere",)))
    assert raised.value.advice == "Use another."
    with pytest.raises(ShapeError, match="asks for 9 blocks, but the model has 3"):
        assemble(Recorder(), Request(7, 11, blocks=BlockOptions(keep=9)))
    with pytest.raises(NotImplementedError, match="Recorder is not offered by the backbone random"):
        Recorder.random(None)  # type: ignore[arg-type]


def test_every_built_in_backbone_has_its_family() -> None:
    assert {*FAMILIES, "random"} == {spec.name for spec in fptkit_backbones()}
    for name in FAMILIES:
        family = family_named(name)
        assert family is not None
        assert family.name == name
    for like in get_args(RandomOptions.model_fields["like"].annotation):
        family = family_named(like)
        assert family is not None
        assert family.random.__func__ is not Family.random.__func__  # type: ignore[attr-defined]
    assert family_named("random") is family_named("somebody's own") is None


def test_a_config_that_is_too_large_is_refused_before_allocation(tmp_path: Path) -> None:
    """A number of blocks that no memory holds: the file is compared with it although none of its numbers are used."""
    save_file({"wpe.weight": torch.zeros(4, 8), "h.0.ln_1.bias": torch.zeros(8)}, tmp_path / "model.safetensors")
    config = {"model_type": "gpt2", "n_layer": 10**9, "n_embd": 8, "n_head": 2, "n_positions": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="says n_layer 1000000000, but it holds tensors of 1 blocks"):
        build_gpt2(Gpt2Options(weights=(f"path:{tmp_path}",), init="random"), positions=3, seed=0)
    config = {"model_type": "layer_norm_lstm", "layers": 10**9, "width": 8}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="says layers 1000000000, but it holds tensors of 0"):
        build_lstm(LstmOptions(weights=(f"path:{tmp_path}",), init="flat_0.02"), positions=3, seed=0)
