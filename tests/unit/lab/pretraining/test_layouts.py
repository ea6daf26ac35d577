"""Which backbones a pretraining can export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fptkit.errors import UsageError
from fptkit.lab.pretraining.layouts import check_exportable


def weights(folder: Path, architecture: str) -> str:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architecture": architecture}))
    return f"path:{folder}"


@pytest.mark.parametrize("name", ["vit_base_patch16_224.orig_in21k", "deit_base_patch16_224", "mine"])
def test_vision_transformers_can_be_exported(name: str, tmp_path: Path) -> None:
    check_exportable((weights(tmp_path / "weights", name),))


@pytest.mark.parametrize("name", ["vit_base_patch16_dinov3", "beit_base_patch16_224", "cait_s24_224"])
def test_others_are_refused_before_training(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"weights of {name} can be used but not exported"):
        check_exportable(("path:nowhere", weights(tmp_path / "weights", name)))


def test_only_the_first_available_weights_count(tmp_path: Path) -> None:
    check_exportable(("random", weights(tmp_path / "weights", "vit_base_patch16_dinov3")))
