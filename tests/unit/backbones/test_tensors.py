"""One loader for one kind of file: every kind of stored tensors behaves alike in every backbone that loads weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fptkit.backbones.gpt2_build import build_gpt2
from fptkit.backbones.huggingface.build import build_huggingface
from fptkit.backbones.huggingface.load import make_config
from fptkit.backbones.huggingface.options import HuggingFaceOptions
from fptkit.backbones.options import Gpt2Options
from fptkit.backbones.vit.build import build_vit
from fptkit.backbones.vit.options import VitOptions
from fptkit.errors import DataError, UsageError
from fptkit.interfaces import Backbone

TOKENS, WIDTH = 9, 32
Tensors = dict[str, Tensor]
Change = Callable[[Tensors, "Model"], Any]


@dataclass(frozen=True)
class Model:
    """A library's model and the backbone that loads its files.

    Args:
        build: builds the backbone from a folder.
        make: makes the library's model.
        config: content of config.json.
        run: the library's output for token vectors.
        matrix: name of a matrix in a block.
        norm: name of the scale of a norm in a block.
        words: name of the word embedding; empty: none.
    """

    build: Callable[[Path], Backbone]
    make: Callable[[], nn.Module]
    config: dict[str, Any]
    run: Callable[[nn.Module, Tensor], Tensor]
    matrix: str
    norm: str
    words: str = ""


def _entry(folder: Path) -> tuple[str, ...]:
    return (f"path:{folder}",)


def _gpt2(folder: Path) -> Backbone:
    return build_gpt2(Gpt2Options(weights=_entry(folder), dropout=0.0), positions=TOKENS, seed=0)


def _huggingface(folder: Path) -> Backbone:
    return build_huggingface(HuggingFaceOptions(weights=_entry(folder), dropout=0.0), positions=TOKENS, seed=0)


def _vit(folder: Path) -> Backbone:
    options = VitOptions(weights=_entry(folder), dropout=0.0, position_init="pretrained")
    return build_vit(options, positions=TOKENS, seed=0)


def _hidden(model: nn.Module, tokens: Tensor) -> Tensor:
    return model(inputs_embeds=tokens).last_hidden_state


def _timm_hidden(model: Any, tokens: Tensor) -> Tensor:
    return model.norm(model.blocks(model.norm_pre(tokens + model.pos_embed[0, 1 : 1 + TOKENS])))


GPT2 = {"model_type": "gpt2", "n_layer": 2, "n_embd": WIDTH, "n_head": 4, "n_positions": 24, "vocab_size": 11}
GPT2 |= {"bos_token_id": 0, "eos_token_id": 0}
BERT = {"model_type": "bert", "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4}
BERT |= {"intermediate_size": 64, "vocab_size": 11, "max_position_embeddings": 24}
TIMM = {"embed_dim": WIDTH, "depth": 2, "num_heads": 4, "img_size": 64}


def _transformers_model(content: dict[str, Any]) -> nn.Module:
    return transformers.AutoModel.from_config(transformers.CONFIG_MAPPING[content["model_type"]].from_dict(content))


MODELS = {
    "gpt2": Model(
        _gpt2, lambda: _transformers_model(GPT2), GPT2, _hidden, "h.1.mlp.c_fc.weight", "h.1.ln_1.weight", "wte.weight"
    ),
    "huggingface, a gpt2": Model(
        _huggingface,
        lambda: _transformers_model(GPT2),
        GPT2,
        _hidden,
        "h.1.mlp.c_fc.weight",
        "h.1.ln_1.weight",
        "wte.weight",
    ),
    "huggingface, a bert": Model(
        _huggingface,
        lambda: _transformers_model(BERT),
        BERT,
        _hidden,
        "encoder.layer.1.intermediate.dense.weight",
        "encoder.layer.1.output.LayerNorm.weight",
        "embeddings.word_embeddings.weight",
    ),
    "vit of timm": Model(
        _vit,
        lambda: timm.create_model("vit_base_patch16_224", pretrained=False, num_classes=5, **TIMM),
        {"architecture": "vit_base_patch16_224", "num_classes": 5, "model_args": TIMM},
        _timm_hidden,
        "blocks.1.mlp.fc1.weight",
        "blocks.1.norm1.weight",
    ),
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Model:
    return MODELS[request.param]


@pytest.fixture(scope="module")
def originals() -> dict[str, nn.Module]:
    """The library's models; no tensor has a value that would hide a mix-up."""
    made = {}
    for name, model in MODELS.items():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            made[name] = model.make().eval()
            for parameter in made[name].parameters():
                parameter.data += 0.1 * torch.randn_like(parameter)
    return made


@pytest.fixture
def original(originals: dict[str, nn.Module], model: Model) -> nn.Module:
    return next(originals[name] for name, known in MODELS.items() if known is model)


def written(folder: Path, model: Model, tensors: Tensors, **config: Any) -> Path:
    (folder / "config.json").write_text(json.dumps({**model.config, **config}))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder


def stored(original: nn.Module) -> Tensors:
    return {name: tensor.detach().clone() for name, tensor in original.state_dict().items()}


@torch.no_grad()
def assert_same(folder: Path, model: Model, original: nn.Module, values: Tensors | None = None) -> Backbone:
    """The backbone gives the library's output with these values, in float32."""
    reference = model.make().eval()
    reference.load_state_dict({name: tensor.float() for name, tensor in (values or stored(original)).items()})
    backbone = model.build(folder).eval()
    tokens = torch.randn(2, TOKENS, WIDTH, generator=torch.Generator().manual_seed(1))
    expected = model.run(reference, tokens)
    assert float(expected.std()) > 0.01
    torch.testing.assert_close(backbone(tokens), expected, atol=1e-5, rtol=0)
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32}
    return backbone


DTYPES = ["float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_floating_point_dtype_is_loaded_as_float32(
    model: Model, original: nn.Module, tmp_path: Path, dtype: str
) -> None:
    kept = {name: tensor.to(getattr(torch, dtype)) for name, tensor in stored(original).items()}
    backbone = assert_same(written(tmp_path, model, kept), model, original, kept)
    assert len(backbone.notes) == any(name.startswith("head.") for name in kept)


def test_float8_is_read_as_the_format_defines_it(model: Model, original: nn.Module, tmp_path: Path) -> None:
    """Independent of torch: e4m3fn has 1 sign bit, 4 of the exponent (bias 7) and 3 of the fraction."""
    tensors = stored(original)
    tensors[model.matrix] = tensors[model.matrix].to(torch.float8_e4m3fn)
    bits = tensors[model.matrix].view(torch.uint8).numpy().astype(np.int64)
    exponent, fraction = bits >> 3 & 15, bits & 7
    size = np.where(exponent == 0, fraction / 8 * 2.0**-6, (1 + fraction / 8) * 2.0 ** (exponent - 7.0))
    expected = torch.tensor(np.where(bits >> 7, -size, size), dtype=torch.float32)
    held = [p for p in model.build(written(tmp_path, model, tensors)).parameters() if p.shape == expected.shape]
    assert any(torch.equal(parameter, expected) for parameter in held)


def _prefixed(prefix: str) -> Change:
    def change(tensors: Tensors, _: Model) -> None:
        tensors.update({f"{prefix}{name}": tensors.pop(name) for name in list(tensors)})

    return change


def _old_norms(tensors: Tensors, model: Model) -> None:
    last = model.norm.split(".")[-2]
    for name in [name for name in tensors if name.split(".")[-2:-1] == [last]]:
        tensors[name.replace(f"{last}.weight", f"{last}.gamma").replace(f"{last}.bias", f"{last}.beta")] = tensors.pop(
            name
        )


def _added(**tensors: Tensor) -> Change:
    return lambda held, _: held.update({name.replace("__", "."): tensor for name, tensor in tensors.items()})


def _beside(suffix: str, tensor: Tensor) -> Change:
    """Add a tensor in the block of the matrix."""
    return lambda held, model: held.update({model.norm.rpartition(".")[0].rpartition(".")[0] + "." + suffix: tensor})


SAME: dict[str, Change] = {
    "as saved": lambda tensors, model: None,
    "DataParallel": _prefixed("module."),
    "torch.compile": _prefixed("_orig_mod."),
    "both": _prefixed("_orig_mod.module."),
    "a model inside another": _prefixed("student.backbone."),
    "old names of norms": _old_norms,
    "old names in DataParallel": lambda tensors, model: (
        _old_norms(tensors, model),
        _prefixed("module.")(tensors, model),
    ),
    "position ids": _added(position_ids=torch.arange(24)[None]),
    "a mask of numbers": _beside("attn.bias", torch.ones(1, 1, 24, 24)),
    "a mask of bytes": _beside("attn.mask", torch.ones(1, 1, 24, 24, dtype=torch.uint8)),
    "a mask of booleans": _beside("attn.seen", torch.ones(3, dtype=torch.bool)),
    "one number": _beside("attn.masked_bias", torch.tensor(-1e4)),
    "counts of a norm": _beside("num_batches_tracked", torch.tensor(3)),
}


@pytest.mark.parametrize("kind", SAME)
def test_files_that_hold_the_same_model(model: Model, original: nn.Module, tmp_path: Path, kind: str) -> None:
    tensors = stored(original)
    SAME[kind](tensors, model)
    notes = assert_same(written(tmp_path, model, tensors), model, original).notes
    assert all(note.endswith((": head", "student.backbone.head")) for note in notes), notes


HEADS: dict[str, tuple[Change, str]] = {
    "classification": (_added(score__weight=torch.ones(5, WIDTH)), "score"),
    "of several layers": (
        _added(classifier__dense__weight=torch.ones(3, WIDTH), classifier__out__bias=torch.ones(3)),
        "classifier.*",
    ),
    "value": (
        _added(v_head__summary__weight=torch.ones(1, WIDTH), v_head__summary__bias=torch.ones(1)),
        "v_head.summary",
    ),
    "language": (_added(lm_head__weight=torch.ones(12, WIDTH)), "lm_head"),
    "damaged": (_added(score__weight=torch.full((5, WIDTH), float("nan"))), "score"),
    "float8": (_added(score__weight=torch.ones(5, WIDTH).to(torch.float8_e4m3fn)), "score"),
    "half": (_added(score__weight=torch.ones(5, WIDTH).half()), "score"),
    "a decoder": (_added(decoder__block__0__bias=torch.ones(2), decoder__norm__bias=torch.ones(2)), "decoder.*"),
    "wrapped": (
        lambda tensors, model: (
            _added(score__bias=torch.ones(5))(tensors, model),
            _prefixed("module.")(tensors, model),
        ),
        "score",
    ),
    "with its model wrapped": (
        lambda tensors, model: (_prefixed("pretrained_model.")(tensors, model), tensors.update(v=torch.ones(2))),
        "v",
    ),
}


@pytest.mark.parametrize("kind", HEADS)
def test_the_head_of_another_task_is_not_used_and_a_note_says_so(
    model: Model, original: nn.Module, tmp_path: Path, kind: str
) -> None:
    change, said = HEADS[kind]
    tensors = stored(original)
    change(tensors, model)
    (note,) = assert_same(written(tmp_path, model, tensors), model, original).notes
    start = f"path:{tmp_path}: not used, since they are no part of the backbone: "
    assert note.startswith(start)
    assert said in note.removeprefix(start).split(", ")


def _numbers(change: Callable[[Tensor], Tensor]) -> Change:
    return lambda tensors, model: tensors.update({model.matrix: change(tensors[model.matrix])})


REFUSED: dict[str, tuple[Change, str]] = {
    "NaN": (_numbers(lambda t: t.fill_(float("nan"))), "tensor MATRIX holds NaN or infinity; the file is damaged"),
    "infinity in half": (_numbers(lambda t: t.fill_(1e9).half()), "tensor MATRIX holds NaN or infinity"),
    "NaN in float8": (_numbers(lambda t: t.fill_(float("nan")).to(torch.float8_e5m2)), "tensor MATRIX holds NaN"),
    "too large": (_numbers(lambda t: t.double() * 1e300), "tensor MATRIX holds numbers that are too large for float32"),
    "bytes": (
        _numbers(lambda t: t.to(torch.uint8)),
        "tensor MATRIX is of torch.uint8, expected floating-point numbers",
    ),
    "integers": (_numbers(lambda t: t.to(torch.int8)), "tensor MATRIX is of torch.int8, .* use weights that are not"),
    "complex": (_numbers(lambda t: t.to(torch.complex64)), "tensor MATRIX is of torch.complex64"),
    "float8 with scales": (
        lambda tensors, model: tensors.update(
            {
                model.matrix: tensors[model.matrix].to(torch.float8_e4m3fn),
                model.matrix + "_scale_inv": torch.ones(1, 1),
            }
        ),
        "tensor MATRIX is quantised: float8_e4m3fn with the scale MATRIX_scale_inv; use weights that are not quantised",
    ),
    "missing": (lambda tensors, model: tensors.pop(model.norm), "1 tensors are missing, the first is NORM"),
    "another shape": (
        _numbers(lambda t: t[:, :-1]),
        r"1 tensors do not fit its config.json, the first is MATRIX: expected shape \(\d+, \d+\), found \(\d+, \d+\)",
    ),
    "more blocks": (
        lambda tensors, model: tensors.update({model.norm.replace(".1.", ".2."): torch.ones(WIDTH)}),
        "1 tensors do not belong to the model of its config.json, the first is ",
    ),
    "an adapter inside": (
        lambda tensors, model: tensors.update({model.matrix.replace("weight", "lora_A.weight"): torch.ones(2, WIDTH)}),
        r"1 tensors do not belong to the model of its config.json, the first is .*lora_A",
    ),
    "two models": (
        lambda tensors, model: tensors.update(
            {f"{part}.{name}": tensors[name].clone() for name in list(tensors) for part in ("a", "b")}
        ),
        r"the file contains two models \(.*\); save one of them alone",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_files_that_are_refused(model: Model, original: nn.Module, tmp_path: Path, kind: str) -> None:
    change, said = REFUSED[kind]
    tensors = stored(original)
    change(tensors, model)
    for word, name in (("MATRIX", model.matrix), ("NORM", model.norm)):
        said = said.replace(word, name.replace(".", r"\."))
    with pytest.raises(DataError, match=said) as raised:
        model.build(written(tmp_path, model, tensors))
    assert str(raised.value).startswith(f"path:{tmp_path}: ")


def split(folder: Path) -> dict[str, Any]:
    """Split a file into two and an index; return the index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {name: f"model-0000{1 + number % 2}-of-00002.safetensors" for number, name in enumerate(tensors)}
    for place in set(places.values()):
        save_file({name: tensor for name, tensor in tensors.items() if places[name] == place}, folder / place)
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return index


def test_a_split_file_and_damage_to_it(model: Model, original: nn.Module, tmp_path: Path) -> None:
    folder = written(tmp_path, model, stored(original))
    index = split(folder)
    assert_same(folder, model, original)
    place = index["weight_map"][model.matrix]
    index["weight_map"]["h.9.extra"] = place
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match=rf"{place} lacks 1 tensors that .*, the first is h\.9\.extra; replace both"):
        model.build(folder)
    (folder / place).write_bytes((folder / place).read_bytes()[:-5])
    with pytest.raises(DataError, match=f"{place}: not readable as a safetensors file"):
        model.build(folder)
    (folder / place).unlink()
    with pytest.raises(DataError, match=f"{place} is missing, but model.safetensors.index.json names it"):
        model.build(folder)


def test_tied_tensors_may_be_stored_under_the_other_name(model: Model, original: nn.Module, tmp_path: Path) -> None:
    """safetensors.torch.save_model keeps one of several names, and the others as metadata."""
    folder = written(tmp_path, model, stored(original))
    tensors = stored(original)
    kept = tensors.pop(model.norm)
    save_file({**tensors, "another.name": kept}, folder / "model.safetensors", metadata={model.norm: "another.name"})
    assert_same(folder, model, original)


@pytest.mark.parametrize("name", ["gpt2", "huggingface, a gpt2", "huggingface, a bert"])
def test_the_norm_of_word_embeddings(name: str, originals: dict[str, nn.Module], tmp_path: Path) -> None:
    """From the language head if only it is stored and tied to them; unknown if there is neither."""
    model, tensors = MODELS[name], stored(originals[name])
    words = tensors.pop(model.words)
    expected = float(np.linalg.norm(words.numpy().astype(np.float64), axis=1).mean())
    assert model.build(written(tmp_path, model, tensors)).embedding_norm is None
    head = {"lm_head.weight": words.half()}
    norm = model.build(written(tmp_path, model, {**tensors, **head})).embedding_norm
    assert norm == pytest.approx(expected, rel=1e-3)
    untied = written(tmp_path, model, {**tensors, **head}, tie_word_embeddings=False)
    assert model.build(untied).embedding_norm is None
    norm = model.build(written(tmp_path, model, {**tensors, model.words: words})).embedding_norm
    assert norm == pytest.approx(expected, rel=1e-6)


LIBRARY_LOADS = {
    "half": lambda tensors: {name: tensor.half() for name, tensor in tensors.items()},
    "float64": lambda tensors: {name: tensor.double() for name, tensor in tensors.items()},
    "a head": lambda tensors: {**tensors, "classifier.weight": torch.ones(3, WIDTH)},
    "old names": lambda tensors: {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in tensors.items()
    },
    "split": lambda tensors: tensors,
}


@pytest.mark.parametrize("kind", LIBRARY_LOADS)
@pytest.mark.parametrize("name", ["gpt2", "huggingface, a gpt2", "huggingface, a bert"])
@torch.no_grad()
def test_what_the_library_loads_gives_its_output(
    name: str, kind: str, originals: dict[str, nn.Module], tmp_path: Path
) -> None:
    model = MODELS[name]
    folder = written(tmp_path, model, LIBRARY_LOADS[kind](stored(originals[name])))
    if kind == "split":
        split(folder)
    reference = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokens = torch.randn(2, TOKENS, WIDTH)
    torch.testing.assert_close(model.build(folder).eval()(tokens), _hidden(reference, tokens), atol=1e-5, rtol=0)


# config.json


@pytest.mark.parametrize("key", ["quantization_config", "compression_config"])
def test_quantised_weights_are_refused_by_the_config(
    model: Model, original: nn.Module, tmp_path: Path, key: str
) -> None:
    folder = written(tmp_path, model, stored(original), **{key: {"quant_method": "fp8"}})
    with pytest.raises(DataError, match=rf"the weights are quantised \({key} in its config.json\)"):
        model.build(folder)


CODE: dict[str, Any] = {
    "attn_implementation": "some-org/kernel@main",
    "_attn_implementation": {"": "some-org/kernel"},
    "_attn_implementation_internal": "some-org/kernel",
    "experts_implementation": "some-org/kernel",
    "_experts_implementation": "some-org/kernel",
    "auto_map": {"AutoModel": "modeling.M", "AutoConfig": "modeling.C"},
    "kernel_config": {"RMSNorm": "some-org/kernel:RMSNorm"},
    "custom_pipelines": {"x": {"impl": "code.P"}},
    "chunkwise_kernel": "chunkwise--triton",
}


@pytest.mark.parametrize("key", CODE)
def test_a_config_never_chooses_code(
    model: Model, original: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    for place in ("transformers.integrations.hub_kernels", "transformers.modeling_utils"):
        for name in ("load_and_register_attn_kernel", "get_kernel"):
            monkeypatch.setattr(
                f"{place}.{name}", lambda *args, **options: pytest.fail("code was asked"), raising=False
            )
    (tmp_path / "modeling.py").write_text("raise SystemExit('this was run')\n")
    folder = written(tmp_path, model, stored(original), **{key: CODE[key]})
    notes = assert_same(folder, model, original).notes
    assert notes[0] == f"path:{folder}: its config.json chooses code ({key}), which is ignored"


@pytest.mark.parametrize(
    "harmless",
    [
        {"attn_implementation": "eager"},
        {"_attn_implementation_autoset": True},
        {"trust_remote_code": True},
        {"torch_dtype": "float16", "dtype": "bfloat16"},
        {"id2label": {"0": "implementation"}, "label2id": {"implementation": 0}},
    ],
)
def test_settings_without_effect_need_no_note(
    model: Model, original: nn.Module, tmp_path: Path, harmless: dict[str, Any]
) -> None:
    tensors = {name: tensor for name, tensor in stored(original).items() if not name.startswith("head.")}
    assert model.build(written(tmp_path, model, tensors, **harmless)).notes == ()


def test_code_in_a_recipe_is_refused_by_name() -> None:
    options = HuggingFaceOptions(weights=("random",), config={**GPT2, "attn_implementation": "eager"})
    with pytest.raises(UsageError, match=r"backbone\.config: attn_implementation chooses code"):
        build_huggingface(options, positions=TOKENS, seed=0)


def test_infinity_in_a_config_is_what_the_library_writes(tmp_path: Path) -> None:
    """transformers writes ``{"__float__": "Infinity"}``, since JSON has no infinity."""
    config = transformers.Mamba2Config(num_hidden_layers=1, hidden_size=64, num_heads=8, head_dim=16)
    config.save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    read = make_config(content, "here")
    assert tuple(read.time_step_limit) == tuple(config.time_step_limit)
    assert tuple(read.time_step_limit) == (0.0, float("inf"))
    for tag, number in (("-Infinity", float("-inf")), ("Infinity", float("inf"))):
        assert make_config({**GPT2, "scale": [{"__float__": tag}]}, "here").scale == [number]
