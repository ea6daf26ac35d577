"""Every family of transformers that takes ``inputs_embeds``, as a tiny model, beside the library's own model.

The families, and what is expected of each, are in ``architectures.yaml``. Roles are found here by running parts of the
model, without the names that `fptkit.backbones.huggingface.roles` looks at: what changes other tokens mixes tokens.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml
from built_in_turn import in_turn
from torch import Tensor, nn
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from fptkit.backbones.huggingface.build import build_huggingface
from fptkit.backbones.huggingface.families import KNOWN, REFUSED
from fptkit.backbones.huggingface.load import make_config
from fptkit.backbones.huggingface.model import HuggingFaceBackbone
from fptkit.backbones.huggingface.options import HuggingFaceOptions
from fptkit.errors import DataError
from fptkit.seeds import generator_for
from fptkit.testing import check_backbone

TABLE: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("architectures.yaml").read_text(encoding="utf-8"))
GROUPS = ("decoders", "mixers", "encoders", "encoder_decoders")
FAMILIES: dict[str, dict[str, Any]] = {
    kind: {**entry, "group": group} for group in GROUPS for kind, entry in TABLE[group].items()
}
TOKENS, SHORT = 12, 7

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the library, for its own models


def tiny_config(kind: str) -> Any:
    """The config of a family with the sizes of the table."""
    config_class = CONFIG_MAPPING[kind]
    fields = set(inspect.signature(config_class.__init__).parameters) | set(config_class.attribute_map)
    if dataclasses.is_dataclass(config_class):
        fields |= {field.name for field in dataclasses.fields(config_class)}
    common = {key: value for key, value in TABLE["common"].items() if key in fields}
    renamed = {key for key, name in config_class.attribute_map.items() if key in common and name in common}
    sizes = {key: value for key, value in common.items() if key not in renamed}
    return config_class(**{**sizes, **FAMILIES[kind].get("config", {})})


def own_class(config: Any) -> Any:
    found = MODEL_MAPPING[type(config)]
    return found[0] if isinstance(found, (tuple, list)) else found


@dataclasses.dataclass
class Family:
    """A tiny checkpoint, the backbone loaded from it, and the library's own model."""

    kind: str
    place: Path
    backbone: HuggingFaceBackbone
    own: Any
    inputs: Tensor

    @property
    def entry(self) -> dict[str, Any]:
        return FAMILIES[self.kind]

    def by_library(self, vectors: Tensor) -> Tensor:
        """The last hidden state of the library's own model, without padding, where token vectors enter."""
        enter, leave = self.entry.get("enter"), self.entry.get("leave")
        hooks = []
        if enter:
            hooks.append(self.own.get_submodule(enter).register_forward_hook(lambda *_: vectors))
            narrow = self.own.get_input_embeddings().weight.shape[1]
            given = vectors.new_zeros((*vectors.shape[:2], narrow))
        else:
            given = vectors.clone()
        if leave:
            hooks.append(self.own.get_submodule(leave).register_forward_hook(lambda _, given, __: given[0]))
        further = {"use_cache": False} if "use_cache" in inspect.signature(self.own.forward).parameters else {}
        try:
            hidden: Tensor = self.own(inputs_embeds=given, **further).last_hidden_state
        finally:
            for hook in hooks:
                hook.remove()
        return hidden


def in_the_table() -> Iterator[Any]:
    """The families as parameters of a fixture."""
    for kind, entry in FAMILIES.items():
        marks = [] if entry.get("fast") else [pytest.mark.slow]
        if kind not in CONFIG_MAPPING:
            marks.append(pytest.mark.skip("this version of transformers does not have it"))
        yield pytest.param(kind, marks=marks)


@pytest.fixture(scope="module", params=in_the_table())
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    """A family's checkpoint, with numbers other than those of a fresh initialisation, loaded by both."""
    kind: str = request.param
    config = tiny_config(kind)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        whole = own_class(config)._from_config(config)
        with torch.no_grad():
            for parameter in whole.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    place = tmp_path_factory.mktemp("architectures") / kind
    whole.save_pretrained(place)
    own = own_class(config).from_pretrained(place, dtype=torch.float32).eval()
    if getattr(config, "is_encoder_decoder", False):
        own = own.get_encoder()
    if kind == "dpr":
        own = own.question_encoder.bert_model
    backbone = load(place, TOKENS)
    inputs = torch.randn((2, TOKENS, backbone.width), generator=generator_for(0, "inputs"))
    return Family(kind, place, backbone, own, inputs)


def load(place: Path, positions: int, **options: Any) -> HuggingFaceBackbone:
    chosen = HuggingFaceOptions(weights=(f"path:{place}",), **options)
    return build_huggingface(chosen, positions=positions, seed=0).eval()


@torch.no_grad()
def test_outputs_are_those_of_the_library(made: Family) -> None:
    """Whole sequences, and a padded batch beside each of its sequences alone."""
    expected = made.by_library(made.inputs)
    assert float(expected.std()) > 0.01
    torch.testing.assert_close(made.backbone(made.inputs), expected, atol=1e-5, rtol=1e-5)
    short = made.by_library(made.inputs[1:, :SHORT])
    padded = made.backbone(made.inputs, torch.tensor([TOKENS, SHORT]))
    torch.testing.assert_close(padded[1:, :SHORT], short, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(padded[:1], expected[:1], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_causality_and_padding_by_perturbation(made: Family) -> None:
    causal = made.entry.get("causal", made.entry["group"] in ("decoders", "mixers"))
    assert made.backbone.causal == causal
    assert made.backbone.apart == made.entry.get("apart", False)
    before = made.backbone(made.inputs)
    disturbed = made.inputs.clone()
    disturbed[:, 5] += torch.randn(made.backbone.width, generator=generator_for(0, "noise"))
    changed = (made.backbone(disturbed) - before).abs().amax((0, 2)) > 1e-4
    assert bool(changed[5:].any())
    assert bool(changed[6:].any()), "no later token sees it"
    assert bool(changed[:5].any()) != causal
    lengths = torch.tensor([TOKENS, SHORT])
    noise = made.inputs.clone()
    noise[1, SHORT:] = torch.randn((TOKENS - SHORT, made.backbone.width), generator=generator_for(0, "padding"))
    given, other = made.backbone(made.inputs, lengths), made.backbone(noise, lengths)
    torch.testing.assert_close(other[1, :SHORT], given[1, :SHORT], atol=1e-5, rtol=1e-5)
    # An example of a batch does not depend on the others.
    torch.testing.assert_close(other[0], given[0], atol=1e-5, rtol=1e-5)


# Roles, by running parts of the model


def token_axis(tensor: Any) -> int | None:
    """The axis of the tokens in a tensor of a batch of one sequence; a few models have tokens first, or last."""
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        return None
    axes = (1, 0, 2) if tensor.ndim > 2 else (0,)
    return next((axis for axis in axes if tensor.ndim > axis and tensor.shape[axis] == 8), None)


def first_with_tokens(value: Any) -> Tensor | None:
    if token_axis(value) is not None:
        return value  # type: ignore[no-any-return]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    found = (first_with_tokens(part) for part in parts)
    return next((part for part in found if part is not None), None)


def mixes(module: nn.Module, call: tuple[tuple[Any, ...], dict[str, Any]]) -> bool | None:
    """Whether a module's output for one token depends on another; None if its input or output has no tokens."""
    given, named = call
    named = {name: value for name, value in named.items() if name not in ("cache", "past_key_values")}
    tensors = [value for value in (*given, *named.values()) if token_axis(value) is not None]
    if not tensors:
        return None
    # Queries, keys and values may be given apart.
    altered = {id(value): disturbed(value) for value in tensors if value.ndim == tensors[0].ndim}
    first = first_with_tokens(module(*given, **named))
    second = first_with_tokens(
        module(
            *(altered.get(id(value), value) for value in given),
            **{name: altered.get(id(value), value) for name, value in named.items()},
        )
    )
    if first is None or second is None:
        return None
    difference = (second - first).abs().transpose(0, token_axis(first) or 0).flatten(1).amax(1)
    difference[3] = 0
    return bool(difference.max() > 1e-4 * first.abs().max())


def disturbed(tensor: Tensor) -> Tensor:
    """The same numbers but for one token."""
    axis = token_axis(tensor)
    assert axis is not None
    noise = torch.randn(tensor.shape, generator=generator_for(0, "one token"))
    return tensor + torch.zeros_like(tensor).index_fill_(axis, torch.tensor([3]), 1.0) * noise


def looks_like_a_norm(module: nn.Module) -> bool:
    """A module with "norm" in its class that holds vectors of scales and shifts, and nothing else."""
    own = list(module.parameters(recurse=False))
    return bool(own) and "norm" in type(module).__name__.lower() and all(p.ndim == 1 for p in own)


def walk(
    module: nn.Module, name: str, role: str, calls: dict[nn.Module, Any], inside: list[str]
) -> Iterator[tuple[str, str]]:
    """Every parameter of a part of a block with its role."""
    for own, _ in module.named_parameters(recurse=False):
        if looks_like_a_norm(module):
            yield f"{name}.{own}", "norm"
        else:
            yield f"{name}.{own}", "position" if isinstance(module, nn.Embedding) else role
    for own, child in module.named_children():
        child_role = role
        if role == "unknown" and type(child).__name__ not in inside and child in calls:
            mixing = mixes(child, calls[child])
            if mixing is not None:
                child_role = "attention" if mixing else "feed_forward"
        yield from walk(child, f"{name}.{own}", child_role, calls, inside)


@torch.no_grad()
def test_roles_are_those_of_what_the_modules_do(made: Family) -> None:
    model = made.backbone.model
    calls: dict[nn.Module, Any] = {}

    def record(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        calls.setdefault(module, (given, named))

    lists = [made.backbone.block_list, *made.backbone.parts_of_blocks()]
    parts = [module for name in lists for module in model.get_submodule(name).modules()]
    hooks = [module.register_forward_pre_hook(record, with_kwargs=True) for module in parts]
    made.backbone(made.inputs[:1, :8])
    for hook in hooks:
        hook.remove()
    expected: dict[str, tuple[str, int | None]] = {}
    for name in lists:
        for number, block in model.get_submodule(name).named_children():
            place = f"{name}.{number}"
            role = "unknown" if len(lists) == 1 else "attention" if mixes(block, calls[block]) else "feed_forward"
            for own, found in walk(block, place, role, calls, made.entry.get("inside", [])):
                expected[own] = found, int(number)
    names = [name for name, _ in model.named_parameters()]  # blocks that share weights have one name
    expected = {name: expected[name] for name in names if name in expected}
    for own in names:
        if own not in expected:
            owner = model.get_submodule(own.rpartition(".")[0])
            table = "position" if any(part in own for part in ("pos", "wpe", "rel")) else "embedding"
            found = table if isinstance(owner, nn.Embedding) else "norm" if looks_like_a_norm(owner) else "other"
            expected[own] = found, None
        for pattern, role in made.entry.get("roles", {}).items():
            if fnmatchcase(own, pattern):
                expected[own] = role, expected[own][1]
    given = {
        name.removeprefix("model."): (role.role, role.block) for name, role in made.backbone.parameter_roles().items()
    }
    different = {name: (given[name], expected[name]) for name in expected if given[name] != expected[name]}
    assert not different, f"given and expected: {different}"
    assert given.keys() == expected.keys()
    assert ("norm" in {role for role, _ in given.values()}) == made.entry.get("norms", True)


def test_contract_and_tokens_of_zeros(made: Family) -> None:
    """The checks of `check_backbone`: among them zeros, recomputed blocks, finite gradients in bfloat16."""
    places = 0.02 * torch.randn((TOKENS, made.backbone.width), generator=generator_for(0, "positions"))

    @in_turn
    def build(positions: int) -> HuggingFaceBackbone:
        backbone = load(made.place, positions)
        if not made.entry.get("zeros", True):  # as in a run, with trained positions added to the tokens
            backbone.register_forward_pre_hook(lambda _, given: (given[0] + places[: given[0].shape[1]], *given[1:]))
        return backbone

    check_backbone(build)


@torch.no_grad()
def test_features_can_be_cached(made: Family) -> None:
    """Without dropout, training gives the output of evaluation, draws nothing and changes no buffer."""
    backbone = made.backbone
    chances = {id(module): module for module in backbone.modules() if isinstance(module, nn.Dropout)}
    before = {name: buffer.clone() for name, buffer in backbone.named_buffers()}
    frozen = {name: parameter.clone() for name, parameter in backbone.named_parameters()}
    evaluated = backbone(made.inputs)
    saved = {key: module.p for key, module in chances.items()}
    without_dropout = load(made.place, TOKENS, **made.entry.get("dropouts", dropouts(made)))
    state = torch.get_rng_state()
    trained = without_dropout.train()(made.inputs)
    assert saved.keys() == chances.keys()
    drawn = not torch.equal(torch.get_rng_state(), state)
    assert drawn == made.entry.get("draws", False)
    if not drawn:
        torch.testing.assert_close(trained, evaluated, atol=1e-6, rtol=1e-6)
    assert all(torch.equal(buffer, before[name]) for name, buffer in backbone.named_buffers())
    assert all(torch.equal(parameter, frozen[name]) for name, parameter in backbone.named_parameters())


def dropouts(made: Family) -> dict[str, float]:
    """Both dropouts 0, as far as a family has them."""
    for options in ({"dropout": 0.0, "attention_dropout": 0.0}, {"dropout": 0.0}, {"attention_dropout": 0.0}):
        try:
            load(made.place, TOKENS, **options)
        except Exception:
            continue
        return options
    return {}


@torch.no_grad()
def test_bfloat16_is_close(made: Family) -> None:
    """Matrices in bfloat16, vectors in float32, as a run stores them."""
    expected = made.backbone(made.inputs)
    backbone = load(made.place, TOKENS)
    roles = backbone.parameter_roles()
    for name, parameter in backbone.named_parameters():
        if roles[name].role in ("attention", "feed_forward") and parameter.ndim > 1:
            parameter.data = parameter.data.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        given = backbone(made.inputs).float()
    error = float((given - expected).norm() / expected.norm())
    assert 0 < error < made.entry.get("bfloat16", 0.02)


# What is refused


@pytest.mark.parametrize("kind", [kind for kind in REFUSED if kind in CONFIG_MAPPING])
def test_a_refused_family_is_named_with_what_would_work(kind: str) -> None:
    with pytest.raises(DataError, match=f"a model of type {kind} cannot be a backbone: .*; use ") as raised:
        make_config({"model_type": kind}, "here")
    advice = str(raised.value).rpartition("; use ")[2]
    assert any(name in advice for name in (*FAMILIES, "vit"))


def test_no_family_is_both_refused_and_tried() -> None:
    assert not FAMILIES.keys() & REFUSED.keys()
    assert KNOWN.keys() <= FAMILIES.keys()


@pytest.mark.slow
@pytest.mark.skipif(not transformers.__version__.startswith(TABLE["version"]), reason="the table is of another version")
def test_every_family_that_takes_token_vectors_is_in_the_table() -> None:
    missing = []
    for kind, config_class in CONFIG_MAPPING.items():
        if kind in FAMILIES or kind in REFUSED or config_class not in MODEL_MAPPING:
            continue
        try:
            config = config_class()
            combined = config.get_text_config() is not config
            arguments = inspect.signature(own_class(config).forward).parameters
        except Exception:  # some configs have no defaults: they combine other models; some models need other packages
            continue
        if not combined and "inputs_embeds" in arguments:
            missing.append(kind)
    assert not missing
