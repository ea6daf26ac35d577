"""Models of transformers without ``inputs_embeds``, against the library's own forward pass with the same vectors."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_bodies import BLOCKS, CONFIGS, TOKENS, VARIANTS, WIDTH, no_biases, reference
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoModel

from fptkit.backbones.grid import square_side
from fptkit.backbones.huggingface.bodies import BODIES, PARTS, REFUSED
from fptkit.backbones.huggingface.build import build_huggingface
from fptkit.backbones.huggingface.model import HuggingFaceBackbone
from fptkit.backbones.huggingface.options import HuggingFaceOptions
from fptkit.backbones.options import BlockOptions, PositionOptions
from fptkit.errors import DataError, ShapeError, UsageError
from fptkit.numerics.recompute import recompute_blocks
from fptkit.testing import check_backbone

CASES: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    **{kind: (kind, None, CONFIGS[kind]) for kind in BODIES},
    **{f"{kind}, {part}": (kind, part, CONFIGS[kind]) for kind, parts in PARTS.items() for part in parts},
    **{name: (kind, None, content) for name, (kind, content) in VARIANTS.items()},
}
"""Model type, part and config of each case, by its name."""

CAUSAL = {"clip_text_model", "clip, text", "clipseg, text", "metaclip_2, text", "owlvit, text", "timesfm", "timesfm2_5"}


class Made:
    """A saved tiny model of the library."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.kind, self.part, content = CASES[name]
        torch.manual_seed(0)
        self.whole: Any = AutoModel.from_config(CONFIG_MAPPING[self.kind](**content)).eval()
        for parameter in self.whole.parameters():  # norms and scales must differ from their defaults
            parameter.data += 0.02 * torch.randn_like(parameter)
        no_biases(self.whole)
        self.folder = folder
        self.whole.save_pretrained(folder)

    def loaded(self, positions: int = TOKENS, **options: Any) -> HuggingFaceBackbone:
        entry = HuggingFaceOptions(weights=f"path:{self.folder}", part=self.part, **options)
        return build_huggingface(entry, positions=positions, seed=0).eval()

    @property
    def own(self) -> Any:
        """The library's model of the part, with fresh methods."""
        model = AutoModel.from_pretrained(self.folder).eval()
        return model if self.part is None else getattr(model, f"{self.part}_model")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    cache: dict[str, Made] = {}

    def make(name: str) -> Made:
        if name not in cache:
            cache[name] = Made(name, tmp_path_factory.mktemp("body"))
        return cache[name]

    return make


def vectors(batch: int = 2, tokens: int = TOKENS) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn((batch, tokens, WIDTH), generator=generator).abs() * 0.5 - 0.1


@pytest.mark.parametrize("name", CASES)
def test_the_output_is_that_of_the_library_with_the_same_vectors(made: Callable[[str], Made], name: str) -> None:
    case = made(name)
    tokens = vectors()
    with torch.no_grad():
        expected = reference(name, case.kind, case.own, tokens)
        found = case.loaded()(tokens)
    assert found.shape == (2, TOKENS, WIDTH)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert (found - tokens).abs().max() > 1e-2  # it is not the identity


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_contract(made: Callable[[str], Made], name: str) -> None:
    """Among others: padding changes nothing, zero tokens give no NaN, a causal model ignores later tokens."""
    check_backbone(made(name).loaded)


@pytest.mark.parametrize("name", CASES)
def test_causality_is_what_a_perturbation_shows(made: Callable[[str], Made], name: str) -> None:
    backbone = made(name).loaded()
    tokens = vectors()
    changed = tokens.clone()
    changed[:, 9:] += 1.0
    with torch.no_grad():
        difference = (backbone(changed) - backbone(tokens))[:, :9].abs().max()
    assert (difference == 0) == (name in CAUSAL) == backbone.causal


@pytest.mark.parametrize("name", CASES)
def test_padding_is_not_seen(made: Callable[[str], Made], name: str) -> None:
    backbone = made(name).loaded()
    tokens, lengths = vectors(3), torch.tensor([TOKENS, 5, 11])
    padded = tokens.masked_fill((torch.arange(TOKENS) >= lengths[:, None])[:, :, None], 1e3)
    with torch.no_grad():
        found = backbone(padded, lengths)
        for row, length in enumerate(lengths.tolist()):
            alone = backbone(tokens[row : row + 1, :length])
            torch.testing.assert_close(found[row, :length], alone[0], atol=1e-5, rtol=1e-5)


ROLES = (
    (r"conv_module\.|(^|\.)(self_)?att(entio)?n(\.|_)|^self_attention", "attention"),
    (r"lambda_?\d|layer_scale", "other"),
    (r"relative_position_bias|distance_embedding|rel_attn_embed", "position"),
    (r"norm|(^|\.)ln_?\d", "norm"),
)
"""Roles of a block's parameters by their names: the last pattern that matches counts; otherwise it is feed-forward."""


def expected_role(name: str) -> str:
    if re.search(r"layer_?norm|(^|\.)norm\d?\.|_norm\.|norm_sublayer|batch_norm|rms_norm|ffn_norm", name):
        return "norm"
    matching = [role for pattern, role in ROLES[:3] if re.search(pattern, name)]
    return matching[-1] if matching else "feed_forward"


@pytest.mark.parametrize("name", CASES)
def test_roles_of_the_blocks_follow_from_the_names_that_the_library_uses(
    made: Callable[[str], Made], name: str
) -> None:
    case = made(name)
    body = PARTS[case.kind][case.part] if case.part else BODIES[case.kind]
    whole = case.whole.get_submodule(body.part)
    roles = case.loaded().parameter_roles()
    named = {
        (index, inner): expected_role(inner)
        for index, block in enumerate(whole.get_submodule(body.blocks))
        for inner, _ in block.named_parameters()
    }
    found = {}
    for parameter, role in roles.items():
        if role.block is not None:
            inner = parameter.removeprefix(f"model.blocks.{role.block}.")
            found[role.block, inner.replace("relative_position_bias.table", _OLD_BIAS)] = role.role
    assert found == named
    outside = {role.role for role in roles.values() if role.block is None}
    assert outside <= {"norm", "position", "other"}


_OLD_BIAS = "relative_position_bias.relative_position_bias_table"


@pytest.mark.parametrize("name", CASES)
def test_blocks_can_be_computed_again_in_the_backward_pass(made: Callable[[str], Made], name: str) -> None:
    gradients = []
    for again in (False, True):
        backbone = made(name).loaded().train()
        assert len(backbone.block_modules()) == BLOCKS
        if again:
            recompute_blocks(backbone)
        tokens = vectors().requires_grad_()
        torch.manual_seed(3)
        backbone(tokens, torch.tensor([TOKENS, 7])).square().mean().backward()
        gradients.append(tokens.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("name", CASES)
def test_frozen_matrices_in_bfloat16_are_within_two_percent(made: Callable[[str], Made], name: str) -> None:
    backbone = made(name).loaded()
    tokens, lengths = vectors(), torch.tensor([TOKENS, 7])
    with torch.no_grad():
        exact = backbone(tokens, lengths)[:, :7]
        for parameter, role in backbone.parameter_roles().items():
            if role.role in ("attention", "feed_forward"):
                tensor = backbone.get_parameter(parameter)
                tensor.data = tensor.data.bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            found = backbone(tokens, lengths)[:, :7].float()
    assert (found - exact).norm() < 0.02 * exact.norm()
