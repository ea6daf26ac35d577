"""What a checkpoint's config.json may say: the architecture, but never which code runs or how numbers are stored."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from fptkit.errors import DataError, FptkitError

_CODE = re.compile(
    r".*implementation.*|_?attn_impl|_flash_attn_2_enabled|auto_map|custom_(code|pipelines)|trust_remote_code|"
    r"code_revision|use_(hub_)?kernels|kernel_(config|mapping)"
)
"""Keys that choose the code of a model: kernels of attention and experts, which the library may download, and classes
of a model repository.

Source: huggingface/transformers 5.24, ``configuration_utils.py``, ``modeling_utils.py``,
``integrations/hub_kernels.py`` and ``models/auto/auto_factory.py``.
"""

_OWN_CODE = ("eager", "sdpa", "torch")
"""Values of such keys that choose the library's own code."""

_STORAGE = frozenset(("dtype", "torch_dtype"))
"""The dtype is ignored: everything is float32 here until the engine chooses the precision."""

_QUANTISED = ("quantization_config", "compression_config")

_LABELS = frozenset(("id2label", "label2id", "task_specific_params"))
"""Mappings whose keys are not names of settings."""

_SPECIAL_FLOATS = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}


def refuse_quantised(config: Mapping[str, Any], where: str, fault: type[FptkitError] = DataError) -> None:
    """Refuse the config.json of quantised weights.

    Args:
        config: its keys and values.
        where: its name in the message.
        fault: class of the error.

    Raises:
        FptkitError: of class ``fault``.
    """
    if key := next((key for key in _QUANTISED if config.get(key)), None):
        raise fault(f"{where}: the weights are quantised ({key} in its config.json); use weights that are not")


def architecture_only(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config without the keys that choose code or dtypes; ``{"__float__": "Infinity"}`` becomes infinity.

    Source of the latter: huggingface/transformers, ``PretrainedConfig._encode_special_floats``.
    """
    kept = {key: value for key, value in config.items() if not _chooses_code(key, value) and key not in _STORAGE}
    return {key: value if key in _LABELS else _cleaned(value) for key, value in kept.items()}


def _cleaned(value: Any) -> Any:
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"__float__"} and isinstance(tag := value["__float__"], str) and tag in _SPECIAL_FLOATS:
        return _SPECIAL_FLOATS[tag]
    return architecture_only(value)


def keys_of_code(config: Mapping[str, Any], *, every: bool = False) -> tuple[str, ...]:
    """Return the keys of a config that choose code, sorted.

    Args:
        config: keys and values.
        every: include those that choose the library's own code, such as ``attn_implementation: sdpa``.
    """
    return tuple(sorted(set(_keys_of_code(config, every))))


def _keys_of_code(config: Mapping[str, Any], every: bool) -> Iterator[str]:
    for key, value in config.items():
        if _chooses_code(key, value):
            if every or not _is_own_code(value):
                yield key
        elif isinstance(value, dict) and key not in _LABELS:
            yield from _keys_of_code(value, every)


def notes_on_code(config: Mapping[str, Any], entry: str) -> tuple[str, ...]:
    """Return a note on the keys that choose other code than the library's own; none if there are none."""
    keys = keys_of_code(config)
    return (f"{entry}: its config.json chooses code ({', '.join(keys)}), which is ignored",) if keys else ()


def _is_own_code(value: Any) -> bool:
    """True for the library's own code and for switches: they need no note."""
    if isinstance(value, str):
        return value in _OWN_CODE or "native" in value  # "native" as in the kernels of xLSTM
    return value is None or isinstance(value, bool)


def _chooses_code(key: str, value: Any) -> bool:
    # Kernels of convolutions have sizes; xLSTM's have names.
    return bool(_CODE.fullmatch(key)) or (key.endswith("_kernel") and isinstance(value, (str, dict)))
