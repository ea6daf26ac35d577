"""Insertion of Hugging Face peft adapters into a backbone of fptkit, by roles."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping

from peft import IA3Config, LNTuningConfig, LoraConfig, PeftConfig, inject_adapter_in_model
from torch import nn
from transformers.pytorch_utils import Conv1D

from fptkit import Backbone, ParameterRole
from fptkit.errors import FreezingError
from fptkit.freezing.options import FreezingOptions
from fptkit_peft.backbone import AdaptedBackbone
from fptkit_peft.options import Ia3Options, LoraOptions
from fptkit_peft.targets import Target, as_known_class, find_matrices, find_norms


def add_lora(options: LoraOptions, *, backbone: Backbone, seed: int) -> AdaptedBackbone:
    """Add a LoRA update to every matrix W of the roles: ``x W + alpha / rank * (dropout(x) A) B``, initially B = 0.

    Args:
        options: recipe options.
        backbone: the backbone, changed in place.
        seed: not used; peft draws A from torch's global generator, which the caller has seeded.

    Raises:
        FreezingError: see `find_matrices`; or the backbone already has adapters.

    Source: Hu et al. 2022, section 4.1; huggingface/peft, ``tuners/lora``.
    """
    return _add_low_rank(options, backbone, by_columns=False)


def add_dora(options: LoraOptions, *, backbone: Backbone, seed: int) -> AdaptedBackbone:
    """Add DoRA updates: like `add_lora`, with the norm of every output's weights as a separate trained parameter.

    Args:
        options: recipe options.
        backbone: the backbone, changed in place.
        seed: not used, see `add_lora`.

    Raises:
        FreezingError: see `find_matrices`; or the backbone already has adapters.

    Source: Liu et al. 2024, arXiv 2402.09353; huggingface/peft, ``tuners/lora/dora.py``.
    """
    return _add_low_rank(options, backbone, by_columns=True)


def _add_low_rank(options: LoraOptions, backbone: Backbone, *, by_columns: bool) -> AdaptedBackbone:
    _check_bare(backbone)
    targets = find_matrices(backbone, options.roles)
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,  # type: ignore[arg-type]  # it is only divided by the rank
        lora_dropout=options.adapter_dropout,
        use_dora=by_columns,
        target_modules=_exactly(targets),
    )
    return _inject(backbone, targets, config)


def add_ia3(options: Ia3Options, *, backbone: Backbone, seed: int) -> AdaptedBackbone:
    """Add (IA)³: trained factors, initially 1, on attention outputs and hidden feed-forward activations.

    In feed-forward layers, the inputs of the matrices that map back to the backbone's width are scaled, which are the
    hidden activations. Liu et al. scale keys and values; roles do not distinguish these from queries and the output
    matrix of attention, so the outputs of all attention matrices are scaled.

    Args:
        options: recipe options.
        backbone: the backbone, changed in place.
        seed: not used; there is no randomness.

    Raises:
        FreezingError: see `find_matrices`; no feed-forward matrix maps from another width to the backbone's; or the
            backbone already has adapters.

    Source: Liu et al. 2022, section 3.3; huggingface/peft, ``tuners/ia3``.
    """
    _check_bare(backbone)
    found = find_matrices(backbone, options.roles)
    inner = {
        name: target
        for name, target in found.items()
        if target.role == "feed_forward" and target.outputs == backbone.width != target.inputs
    }
    if "feed_forward" in options.roles and not inner:
        raise FreezingError(
            "ia3: no feed-forward matrix of this backbone maps from another width to its own, "
            f"{backbone.width}, so its hidden activations cannot be identified; use roles: [attention]"
        )
    targets = {name: target for name, target in found.items() if target.role == "attention"} | inner
    return _inject(backbone, targets, IA3Config(target_modules=_exactly(targets), feedforward_modules=_exactly(inner)))


def add_ln_tuning(options: FreezingOptions, *, backbone: Backbone, seed: int) -> AdaptedBackbone:
    """Replace every norm by a copy that trains.

    Args:
        options: recipe options; none are specific to this policy.
        backbone: the backbone, changed in place.
        seed: not used; there is no randomness.

    Raises:
        FreezingError: see `find_norms`; or the backbone already has adapters.

    Source: Zhao et al. 2023, arXiv 2312.11420; huggingface/peft, ``tuners/ln_tuning``.
    """
    _check_bare(backbone)
    targets = find_norms(backbone)
    return _inject(backbone, targets, LNTuningConfig(target_modules=_exactly(targets)))


def _inject(backbone: Backbone, targets: Mapping[str, Target], config: PeftConfig) -> AdaptedBackbone:
    """Let peft replace the targets, and return the adapted backbone with the role of every parameter."""
    before = {id(backbone.get_parameter(name)): role for name, role in backbone.parameter_roles().items()}
    blocks = {name: target.block for name, target in targets.items()}
    _make_known(backbone, targets)
    with warnings.catch_warnings():
        # peft warns that it detected a Conv1D, and that it does not know the widths of a norm; both are expected.
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
        warnings.filterwarnings("ignore", message="Unsupported layer type")
        inject_adapter_in_model(config, backbone)
    roles: dict[str, ParameterRole] = {}
    for name, parameter in backbone.named_parameters():
        role = before.get(id(parameter))
        if role is None:
            owner = next(target for target in blocks if name.startswith(f"{target}."))
            role = ParameterRole("adapter", blocks[owner])
            parameter.data = (
                parameter.data.float()
            )  # a backbone loaded in another format trains in float32 all the same
        roles[name] = role
    return AdaptedBackbone(backbone, roles)


def _make_known(backbone: Backbone, targets: Mapping[str, Target]) -> None:
    """Replace linear maps of custom classes by those of a class that peft knows."""
    for name, target in targets.items():
        if target.role != "norm" and not isinstance(target.module, (nn.Linear, Conv1D)):
            known = as_known_class(target.module)
            assert known is not None  # otherwise it would not be a target
            backbone.set_submodule(name, known)


def _exactly(names: Iterable[str]) -> str:
    """Return a regular expression for exactly these modules; peft would match a list of names as suffixes."""
    return "|".join(map(re.escape, names)) or "(?!)"


def _check_bare(backbone: Backbone) -> None:
    if hasattr(backbone, "peft_config") or isinstance(backbone, AdaptedBackbone):
        raise FreezingError("the backbone already has adapters")
