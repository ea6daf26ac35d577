"""Folders of weights in other formats: each is named as what it is, and the command given converts it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from fptkit.sources import Unavailable
from fptkit.sources.formats import Place, found_instead, notes_on_adapter
from fptkit.sources.weights import open_config, open_weights

GPT2 = {"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2, "n_positions": 8, "vocab_size": 5}
GPT2 |= {"bos_token_id": 0, "eos_token_id": 0}


def reason(folder: Path) -> str:
    with pytest.raises(Unavailable) as raised:
        open_weights(f"path:{folder}")
    text = str(raised.value)
    assert "\n" not in text
    return text


def run_command(text: str) -> None:
    """Run the Python code of the command in a message, split as a shell splits it."""
    program, option, code = shlex.split(re.findall(r"`(.*?)`", text)[0])
    assert (program, option) == ("python", "-c")
    exec(code, {})


@pytest.mark.parametrize(
    ("names", "config", "said"),
    [
        (
            ["pytorch_model.bin"],
            GPT2,
            "pytorch_model.bin, a pickle file, .*AutoModel.from_pretrained.*safe_serialization",
        ),
        (["pytorch_model.bin", "tf_model.h5", "model.gguf"], GPT2, "pytorch_model.bin, a pickle"),
        (["pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"], GPT2, "pytorch_model-00001.*AutoModel"),
        (["weights.pt"], {"architecture": "vit_base"}, "weights.pt, a pickle file, .*torch.load"),
        (["last.ckpt"], {}, "last.ckpt, a pickle file, .*state_dict"),
        (["tf_model.h5"], GPT2, "tf_model.h5, weights of tensorflow; .*transformers 4 and tensorflow .*from_tf=True"),
        (["model.ckpt.index"], GPT2, "model.ckpt.index, weights of tensorflow"),
        (["flax_model.msgpack"], GPT2, "flax_model.msgpack, weights of flax; .*from_flax=True"),
        (["tiny.Q4_0.gguf"], {}, "tiny.Q4_0.gguf, a GGUF file; .*path:.*/tiny.Q4_0.gguf"),
        (["model.onnx"], GPT2, "model.onnx, a graph .*cannot be converted back; use the checkpoint"),
        (["openvino_model.bin", "openvino_model.xml"], GPT2, "openvino_model.bin, a graph"),
        (["ViT-B_16.npz"], {}, "ViT-B_16.npz, arrays"),
        (["adapter_model.safetensors"], {}, "a PEFT adapter .*merge_and_unload"),
        (["adapter_model.bin", "adapter_config.json"], {}, "a PEFT adapter .*merge_and_unload"),
        (["model-00001-of-00002.safetensors"], GPT2, "part of a split checkpoint, but not its index"),
        (["model.fp16.safetensors"], GPT2, "model.fp16.safetensors; if these are the weights, rename it"),
        (["training_args.bin", "optimizer.pt", "rng_state_0.pth", "scheduler.pt", "README.md"], GPT2, ""),
        (["config.json", "tokenizer.json", "vocab.txt", "merges.txt"], GPT2, ""),
    ],
)
def test_each_format_is_named(tmp_path: Path, names: list[str], config: dict, said: str) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "config.json").write_text(json.dumps(config))
    text = reason(tmp_path)
    assert text.startswith(f"no model.safetensors in {tmp_path}")
    assert re.search(f"; it holds .*{said}" if said else rf"{re.escape(str(tmp_path))}$", text), text


def test_a_pickle_of_transformers_is_converted_by_the_command(tmp_path: Path) -> None:
    folder = tmp_path / "it's a [b] $HOME"
    model = transformers.AutoModel.from_config(transformers.GPT2Config.from_dict(GPT2))
    model.save_pretrained(folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    text = reason(folder)
    run_command(text)
    target = text.rpartition("and use ")[2]
    assert torch.equal(open_weights(target).tensors()["wte.weight"], model.wte.weight)


@pytest.mark.parametrize("key", ["state_dict", "model", None])
def test_another_pickle_is_converted_by_the_command(tmp_path: Path, key: str | None) -> None:
    shared = torch.randn(4, 4)
    held = {"a.weight": shared, "b.weight": shared, "half": shared.t().half()}
    torch.save({key: held, "epoch": 3} if key else held, tmp_path / 'a "b" c.pt')
    (tmp_path / "config.json").write_text("{}")
    run_command(reason(tmp_path))
    tensors = open_weights(f"path:{tmp_path}").tensors()
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {n: t.tolist() for n, t in held.items()}


@pytest.mark.slow
@pytest.mark.parametrize("task", ["CAUSAL_LM", "SEQ_CLS", None])
@pytest.mark.filterwarnings("ignore")
def test_an_adapter_is_merged_by_the_command(tmp_path: Path, task: str | None) -> None:
    peft = pytest.importorskip("peft")
    kind = {"CAUSAL_LM": "GPT2LMHeadModel", "SEQ_CLS": "GPT2ForSequenceClassification", None: "GPT2Model"}[task]
    config = transformers.GPT2Config.from_dict({**GPT2, "pad_token_id": 0})
    getattr(transformers, kind)(config).save_pretrained(tmp_path / "base")
    base = getattr(transformers, kind).from_pretrained(tmp_path / "base")
    before = base.get_input_embeddings().weight.clone()
    matrix = next(
        parameter for name, parameter in base.named_parameters() if name.endswith("attn.c_attn.weight")
    ).clone()
    options = peft.LoraConfig(task_type=task, r=2, target_modules=["c_attn"], fan_in_fan_out=True)
    adapted = peft.get_peft_model(base, options)
    state = {n: p for n, p in adapted.named_parameters() if "lora_" in n}
    for parameter in state.values():
        torch.nn.init.normal_(parameter)
    up, down = (next(p for n, p in state.items() if f"lora_{side}" in n) for side in ("B", "A"))
    adapted.save_pretrained(tmp_path / "adapter")
    text = reason(tmp_path / "adapter")
    assert f"a PEFT adapter (adapter_config.json) for the model {tmp_path / 'base'}, not a whole model" in text
    run_command(text)
    tensors = open_weights(text.rpartition("and use ")[2]).tensors()
    merged = next(tensor for name, tensor in tensors.items() if name.endswith("h.0.attn.c_attn.weight"))
    torch.testing.assert_close(merged, matrix + (up @ down).t() * options.lora_alpha / options.r, atol=1e-5, rtol=0)
    assert torch.equal(next(tensor for name, tensor in tensors.items() if name.endswith("wte.weight")), before)


def test_an_adapter_beside_whole_weights_is_noted(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    assert notes_on_adapter(tmp_path / "model.safetensors", "path:x") == ()
    (tmp_path / "adapter_config.json").write_text("{}")
    (note,) = notes_on_adapter(tmp_path / "model.safetensors", "path:x")
    assert note.startswith("path:x: the PEFT adapter in this folder is not used; merge it")


def test_a_file_instead_of_its_folder(tmp_path: Path) -> None:
    for name, said in (
        ("model.onnx", "it holds model.onnx, a graph"),
        ("model.safetensors", f"use path:{tmp_path}"),
    ):
        (tmp_path / name).write_bytes(b"x")
        text = reason(tmp_path / name)
        assert text.startswith(f"{tmp_path / name} is a file, not a folder with config.json and model.safetensors; ")
        assert said in text


@pytest.mark.parametrize("inner", ["checkpoint-500", "snapshots/0123abcd"])
def test_weights_in_a_folder_inside(tmp_path: Path, inner: str) -> None:
    folder = tmp_path / inner
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    save_file({"a": torch.ones(1)}, folder / "model.safetensors")
    assert reason(tmp_path).endswith(f"; its folder {inner} has them: use path:{folder}")


def test_only_the_config_is_missing(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    assert reason(tmp_path) == f"no config.json in {tmp_path}"
    with pytest.raises(Unavailable, match=r"no config\.json in"):
        open_config(f"path:{tmp_path}")


def test_the_config_of_an_adapter_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"task_type": "CAUSAL_LM", "base_model_name_or_path": "org/name"}')
    with pytest.raises(Unavailable, match=r"a PEFT adapter .* for the model org/name"):
        open_config(f"path:{tmp_path}")


def test_a_repository_of_the_hub(tmp_path: Path) -> None:
    place = Place("org/name", ["pytorch_model.bin", "config.json"], GPT2, {}, local=False)
    assert 'from_pretrained("org/name").save_pretrained("name-safetensors"' in found_instead(place)
    text = found_instead(Place("org/name", ["weights.pth"], {}, {}, local=False))
    assert "download weights.pth and config.json into a folder" in text
