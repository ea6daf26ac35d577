"""Tiny checkpoints and data sets in the layouts of those that the paper used, for a hub on this machine."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

GPT2, VIT_TIMM, VIT_GOOGLE = (
    "openai-community/gpt2",
    "timm/vit_base_patch16_224.orig_in21k_ft_in1k",
    "google/vit-base-patch16-224-in21k",
)
WIDTH, BLOCKS, POSITIONS = 16, 2, 64


def gpt2_tensors(seed: int = 0) -> dict[str, Tensor]:
    """A GPT-2 under the names of openai-community/gpt2: no prefix, and the causal masks as tensors."""
    from transformers import GPT2Config, GPT2Model

    torch.manual_seed(seed)
    sizes = {"n_layer": BLOCKS, "n_embd": WIDTH, "n_head": 2, "n_positions": POSITIONS, "vocab_size": 99}
    model = GPT2Model(GPT2Config(**sizes, bos_token_id=98, eos_token_id=98))
    masks = {f"h.{n}.attn.bias": torch.ones(POSITIONS, POSITIONS).tril()[None, None] for n in range(BLOCKS)}
    return {**{name: tensor.clone() for name, tensor in model.state_dict().items()}, **masks}


GPT2_CONFIG = {
    "activation_function": "gelu_new",
    "architectures": ["GPT2LMHeadModel"],
    "attn_pdrop": 0.1,
    "bos_token_id": 98,
    "embd_pdrop": 0.1,
    "eos_token_id": 98,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05,
    "model_type": "gpt2",
    "n_ctx": POSITIONS,
    "n_embd": WIDTH,
    "n_head": 2,
    "n_layer": BLOCKS,
    "n_positions": POSITIONS,
    "resid_pdrop": 0.1,
    "summary_activation": None,
    "summary_first_dropout": 0.1,
    "summary_proj_to_labels": True,
    "summary_type": "cls_index",
    "summary_use_proj": True,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
    "vocab_size": 99,
}


def gpt2(seed: int = 0) -> dict[str, bytes]:
    """The files of openai-community/gpt2 that matter, and some that do not."""
    return {
        ".gitattributes": b"*.safetensors filter=lfs\n",
        "README.md": b"# GPT-2\n",
        "config.json": json.dumps(GPT2_CONFIG).encode(),
        "model.safetensors": save(gpt2_tensors(seed)),
        "vocab.json": b"{}",
    }


def gpt2_in_parts(seed: int = 0) -> dict[str, bytes]:
    """The same in two files with an index, as transformers saves large models."""
    tensors = gpt2_tensors(seed)
    names = sorted(tensors)
    parts = {f"model-0000{n + 1}-of-00002.safetensors": names[n::2] for n in range(2)}
    index = {"metadata": {"total_size": 0}, "weight_map": {name: part for part, some in parts.items() for name in some}}
    return {
        "config.json": json.dumps(GPT2_CONFIG).encode(),
        "model.safetensors.index.json": json.dumps(index).encode(),
        **{part: save({name: tensors[name] for name in some}) for part, some in parts.items()},
    }


def gpt2_pickled(seed: int = 0) -> dict[str, bytes]:
    """The same as pytorch_model.bin only, as older repositories are."""
    target = io.BytesIO()
    torch.save(gpt2_tensors(seed), target)
    return {"config.json": json.dumps(GPT2_CONFIG).encode(), "pytorch_model.bin": target.getvalue()}


def vit_of_timm() -> dict[str, bytes]:
    """A vision transformer in the layout of timm's repositories."""
    import timm

    sizes = {"embed_dim": WIDTH, "depth": BLOCKS, "num_heads": 2}
    torch.manual_seed(0)
    model = timm.create_model("vit_base_patch16_224", pretrained=False, num_classes=10, img_size=64, **sizes)
    config = {
        "architecture": "vit_base_patch16_224",
        "num_classes": 10,
        "num_features": WIDTH,
        "global_pool": "token",
        "model_args": {**sizes, "img_size": 64},
        "pretrained_cfg": {"tag": "orig_in21k_ft_in1k", "input_size": [3, 64, 64], "mean": [0.5] * 3, "std": [0.5] * 3},
    }
    return {"config.json": json.dumps(config).encode(), "model.safetensors": save(model.state_dict())}


def vit_of_transformers() -> dict[str, bytes]:
    """A vision transformer in the layout of google/vit-base-patch16-224-in21k."""
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=WIDTH, num_hidden_layers=BLOCKS, num_attention_heads=2, intermediate_size=32, image_size=32,
        patch_size=4,
    )  # fmt: skip
    content = {**config.to_dict(), "architectures": ["ViTModel"]}
    return {
        "config.json": json.dumps(content).encode(),
        "model.safetensors": save({name: tensor.clone() for name, tensor in ViTModel(config).state_dict().items()}),
        "preprocessor_config.json": b"{}",
    }


def packed(files: Mapping[str, bytes]) -> bytes:
    """A tar.gz archive."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz", compresslevel=1) as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def protein(number: int) -> dict[str, Any]:
    """A record with all fields of TAPE's; the label is that of the residue that is most frequent."""
    fold = number % 3
    primary = "MKV"[fold] * 5 + "ACDEFGHILN"[number % 10] + "WY"
    return {
        "primary": primary,
        "protein_length": len(primary),
        "class_label": 0,
        "fold_label": fold,
        "superfamily_label": fold,
        "family_label": fold,
        "id": f"d{number}__".encode(),
        "evolutionary": np.zeros((len(primary), 20), np.float32),
        "secondary_structure": np.zeros((len(primary), 3), np.float32),
        "solvent_accessibility": np.zeros(len(primary), np.float32),
    }


def tape_archive(counts: Mapping[str, int], folder: Path) -> bytes:
    """TAPE's archive in the LMDB form: ``remote_homology/NAME.lmdb/data.mdb``, its records pickled.

    Args:
        counts: number of records of each file.
        folder: an empty folder to work in.
    """
    import lmdb

    files = {}
    for stem, count in counts.items():
        place = folder / f"{stem}.lmdb"
        with lmdb.open(str(place), map_size=1 << 22) as environment, environment.begin(write=True) as transaction:
            for number in range(count):
                transaction.put(str(number).encode(), pickle.dumps(protein(number)))
            transaction.put(b"num_examples", pickle.dumps(count))
        files.update(
            {f"remote_homology/{stem}.lmdb/{path.name}": path.read_bytes() for path in sorted(place.iterdir())}
        )
    return packed(files)


def lra_archive(counts: Mapping[str, int]) -> bytes:
    """Long Range Arena's archive: ListOps with round brackets as TSV among the folders of other tasks.

    Args:
        counts: number of expressions of each file.
    """
    rows = [
        ("( ( ( [MAX 4 ) 3 ) ] )", 4),
        ("( ( ( [MIN 4 ) 3 ) ] )", 3),
        ("( ( ( [SM 7 ) ( ( ( [MED 1 ) 5 ) ] ) ) ] )", 0),
        ("( ( ( [MED 9 ) 1 ) ] )", 5),
    ]
    content = {
        f"lra_release/lra_release/listops-1000/{stem}.tsv": "Source\tTarget\n"
        + "".join(f"{rows[n % 4][0]}\t{rows[n % 4][1]}\n" for n in range(count))
        for stem, count in counts.items()
    }
    others = {"lra_release/lra_release/tsv_data/new_aan_pairs.test.tsv": b"0\t1\ta\tb\n", "lra_release/README": b"LRA"}
    return packed({**others, **{path: text.encode() for path, text in content.items()}})
