"""GGUF files: the same numbers as the library's own, the same model as transformers', and every fault in one line."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

gguf = pytest.importorskip("gguf", reason="the package gguf is not installed")

import gguf_files  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from fptkit.backbones.huggingface.build import build_huggingface  # noqa: E402
from fptkit.backbones.huggingface.options import HuggingFaceOptions  # noqa: E402
from fptkit.errors import DataError, FptkitError, SourceError, UsageError  # noqa: E402
from fptkit.sources import Unavailable  # noqa: E402
from fptkit.sources.gguf import convert  # noqa: E402
from fptkit.sources.gguf.convert import converted  # noqa: E402
from fptkit.sources.gguf.llama import ARCHITECTURES, IN_BLOCK, OUTSIDE  # noqa: E402
from fptkit.sources.gguf.reader import open_gguf  # noqa: E402
from fptkit.sources.gguf.tokenizer import make_tokenizer  # noqa: E402
from fptkit.sources.weights import open_config, open_weights  # noqa: E402

LLAMA_3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA_3 |= {"original_max_position_embeddings": 32, "rope_theta": 10000.0}


@pytest.fixture(autouse=True)
def _forgotten() -> None:
    """A process remembers what it verified."""
    convert._converted.cache_clear()


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return gguf_files.write(tmp_path / "tiny.gguf", gguf_files.draw("llama"), "llama")


def backbone_of(path: Path, tokens: int = 12, **options: Any) -> Any:
    return build_huggingface(HuggingFaceOptions(weights=f"path:{path}", **options), positions=tokens, seed=0).eval()


def outputs(backbone: Any, model: Any, tokens: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """What the backbone and the model that was written compute from the same vectors."""
    vectors = torch.randn(2, tokens, model.config.hidden_size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return backbone(vectors), model.model(inputs_embeds=vectors).last_hidden_state


@pytest.mark.parametrize(
    ("architecture", "model_type", "further"),
    [
        ("llama", "llama", {}),
        ("llama", "llama", {"tie_word_embeddings": True}),
        ("llama", "llama", {"num_key_value_heads": 4, "rope_theta": 5e5}),
        ("llama", "llama", {"attention_bias": True, "mlp_bias": True}),
        ("llama", "mistral", {"sliding_window": None}),
        ("qwen2", "qwen2", {}),
        ("qwen3", "qwen3", {"head_dim": 24}),
    ],
)
def test_the_model_is_the_one_that_was_written(
    architecture: str, model_type: str, further: dict[str, Any], tmp_path: Path
) -> None:
    model = gguf_files.draw(model_type, **further)
    backbone = backbone_of(gguf_files.write(tmp_path / "tiny.gguf", model, architecture))
    found, expected = outputs(backbone, model)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert backbone.causal
    words = model.get_input_embeddings().weight.detach()
    assert backbone.embedding_norm == pytest.approx(float(words.norm(dim=1).mean()), rel=1e-6)


def test_a_sliding_window_is_kept(tmp_path: Path) -> None:
    model = gguf_files.draw("mistral", sliding_window=4)
    path = gguf_files.write(tmp_path / "tiny.gguf", model, "llama", metadata={"llama.attention.sliding_window": 4})
    found, expected = outputs(backbone_of(path), model)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    without = backbone_of(gguf_files.write(tmp_path / "wide.gguf", model, "llama"))
    assert not torch.allclose(outputs(without, model)[0], expected, atol=1e-2)


@pytest.mark.parametrize("tokens", [12, 60])
def test_frequencies_of_llama_3_are_kept(tokens: int, tmp_path: Path) -> None:
    """llama.cpp stores what the library computes from four numbers: a divisor for each frequency."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    try:
        model = gguf_files.draw("llama", rope_parameters=LLAMA_3)
    except TypeError:
        pytest.skip("this transformers has rope_scaling")
    if not getattr(model.config, "rope_parameters", None):
        pytest.skip("this transformers has rope_scaling")
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](model.config, "cpu")
    plain = 10000.0 ** -(torch.arange(0, 16, 2) / 16)
    divisors = (plain / scaled).numpy().astype(numpy.float32)
    assert divisors.max() > 3
    path = gguf_files.write(tmp_path / "tiny.gguf", model, "llama", extra={"rope_freqs.weight": divisors})
    found, expected = outputs(backbone_of(path, tokens), model, tokens)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_positions_stretched_linearly(tmp_path: Path) -> None:
    scaling = {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
    model = gguf_files.draw("llama", rope_parameters=scaling)
    if not getattr(model.config, "rope_parameters", None):
        pytest.skip("this transformers has rope_scaling")
    metadata = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    found, expected = outputs(
        backbone_of(gguf_files.write(tmp_path / "tiny.gguf", model, "llama", metadata=metadata)), model
    )
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_it_is_what_transformers_itself_loads(tmp_path: Path) -> None:
    """A second reader of such files, with a quantised one."""
    from transformers import AutoModel

    tokens = {"tokenizer.ggml.tokens": [f"t{number}" for number in range(60)]}
    path = gguf_files.write(tmp_path / "tiny.gguf", gguf_files.draw("llama"), "llama", kind="Q8_0", metadata=tokens)
    theirs = AutoModel.from_pretrained(tmp_path, gguf_file="tiny.gguf", dtype=torch.float32).state_dict()
    ours = load_file(converted(path, entry="tiny").folder / "model.safetensors")
    assert len(theirs) == len(ours) - 1  # AutoModel has no language head
    for name, tensor in theirs.items():
        expected = tensor.to(torch.bfloat16) if tensor.ndim == 2 else tensor
        assert torch.equal(ours[f"model.{name}"], expected), name


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_1"])
def test_numbers_are_those_of_the_library_to_the_bit(kind: str, tmp_path: Path) -> None:
    path = gguf_files.write(tmp_path / "tiny.gguf", gguf_files.draw("qwen2"), "qwen2", kind=kind)
    file = open_gguf(path)
    folder = converted(path, entry="tiny").folder
    written = load_file(folder / "model.safetensors")
    kept = {"F32": torch.float32, "F16": torch.float16}.get(kind, torch.bfloat16)
    for held in gguf.GGUFReader(path).tensors:
        expected = torch.from_numpy(numpy.array(gguf.dequantize(held.data, held.tensor_type)))
        assert torch.equal(file.tensor(held.name), expected), held.name
        owner, _, last = held.name.rpartition(".")
        _, block, part = (*owner.split("."), "", "")[:3] if owner.startswith("blk.") else ("", "", "")
        name = f"model.layers.{block}.{IN_BLOCK[part]}.{last}" if block else f"{OUTSIDE[owner]}.{last}"
        stored = kept if expected.ndim == 2 else torch.float32
        assert torch.equal(written[name], expected.to(stored)), name
        assert written[name].dtype == stored


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_names_are_those_of_the_library(architecture: str) -> None:
    architectures = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(architectures[architecture], 4)
    for ours, theirs in OUTSIDE.items():
        assert names.get_name(theirs) == ours
    norms = ("attn_q_norm", "attn_k_norm")
    for ours, theirs in IN_BLOCK.items():
        if ours not in norms or architecture == "qwen3":
            assert names.get_name(f"model.layers.3.{theirs}") == f"blk.3.{ours}"


# What is refused


def refused(path: Path, fault: type[FptkitError] = DataError) -> str:
    with pytest.raises(fault) as raised:
        backbone_of(path)
    said = str(raised.value)
    assert len(said.splitlines()) == 1
    return said


@pytest.mark.parametrize("part", [0, 3, 8, 20, 40, 200, 900, 5000, -4000, -1])
def test_a_truncated_file(part: int, llama: Path) -> None:
    content = llama.read_bytes()
    llama.write_bytes(content[:part])
    assert "tiny.gguf" in refused(llama)
    if part > 24 or part < 0:
        assert "incomplete" in refused(llama)


def test_bytes_that_are_something_else(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"PK\x03\x04" + bytes(500))
    assert "not readable as a GGUF file" in refused(path)


def test_damage_anywhere_in_the_head_is_an_error_or_harmless(llama: Path) -> None:
    """Single bytes of the metadata and of the table of tensors: never another kind of exception, never endless."""
    content = llama.read_bytes()
    for place in range(4, 2000, 37):
        llama.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        with contextlib.suppress(DataError):
            open_gguf(llama)


@pytest.mark.parametrize("architecture", ["bert", "gemma2", "phi3"])
def test_another_architecture(architecture: str, tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "other.gguf", architecture)
    writer.add_tensor("token_embd.weight", numpy.zeros((4, 8), numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    said = refused(tmp_path / "other.gguf")
    assert f"architecture '{architecture}'" in said
    assert "llama, qwen2, qwen3" in said


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"llama.expert_count": 8}, "mixture of experts"),
        ({"llama.logit_scale": 0.5}, "its metadata has llama.logit_scale, which could change"),
        ({"llama.attention.causal": False}, "not causal"),
        ({"llama.rope.dimension_count": 8}, "heads of 16 numbers, but llama.rope.dimension_count is 8"),
        ({"llama.attention.head_count": [4, 4, 2]}, "llama.attention.head_count is .*expected a whole number"),
        ({"llama.block_count": None}, "llama.block_count is missing"),
        ({"llama.block_count": 4}, "describes a model of 123,456 parameters, but the file contains 100,288"),
        ({"llama.block_count": 2}, "do not belong to the model"),
        ({"llama.feed_forward_length": 48}, "do not fit"),
        ({"llama.rope.scaling.type": "su"}, "stretched by 'su'"),
        ({"split.count": 3, "split.no": 1}, "part 2 of 3 files; merge them"),
    ],
)
def test_metadata_that_is_not_understood(metadata: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = gguf_files.write(tmp_path / "tiny.gguf", gguf_files.draw("llama"), "llama", metadata=metadata)
    assert re.search(said, refused(path))


@pytest.mark.parametrize("name", ["blk.1.attn_q.weight", "token_embd.weight", "output_norm.weight"])
def test_a_missing_tensor(name: str, tmp_path: Path) -> None:
    path = gguf_files.write(tmp_path / "tiny.gguf", gguf_files.draw("llama"), "llama", leave_out=[name])
    assert "missing" in refused(path)


def test_a_tensor_too_many(tmp_path: Path) -> None:
    extra = {"blk.0.ffn_gate_inp.weight": numpy.zeros((4, 64), numpy.float32)}
    path = gguf_files.write(tmp_path / "tiny.gguf", gguf_files.draw("llama"), "llama", extra=extra)
    assert "blk.0.ffn_gate_inp.weight is no part" in refused(path)


def test_a_format_that_the_library_cannot_read(tmp_path: Path) -> None:
    name = "blk.1.ffn_up.weight"
    extra = {name: numpy.ones((96, 64), numpy.int32)}
    path = gguf_files.write(tmp_path / "tiny.gguf", gguf_files.draw("llama"), "llama", extra=extra, leave_out=[name])
    assert f"not readable as tensor {name} in the format I32" in refused(path)


def test_numbers_that_are_none(tmp_path: Path) -> None:
    model = gguf_files.draw("llama")
    with torch.no_grad():
        model.model.norm.weight[3] = float("nan")
    assert "NaN" in refused(gguf_files.write(tmp_path / "tiny.gguf", model, "llama"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"absent\.gguf"):
        backbone_of(tmp_path / "absent.gguf")


def test_a_missing_library_says_how_to_install_it(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(SourceError) as raised:
        backbone_of(llama)
    assert "pip install gguf" in str(raised.value)
    assert raised.value.exit_code == 3


# The copy


def test_the_second_time_the_copy_is_used(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_weights(f"path:{llama}")
    convert._converted.cache_clear()
    monkeypatch.setattr(convert, "open_gguf", lambda path: pytest.fail("converted again"))
    second = open_weights(f"path:{llama}")
    assert (second.config, second.file, second.notes) == (first.config, first.file, ())


def test_the_config_alone_needs_no_copy(llama: Path) -> None:
    config = open_config(f"path:{llama}")
    assert not (convert.data_folder() / "gguf").exists()
    assert config == json.loads((converted(llama, entry="tiny").folder / "config.json").read_text())


def test_an_estimate_may_be_the_first_to_open_it(llama: Path) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        folder = converted(llama, entry="tiny").folder
    convert._converted.cache_clear()
    assert open_weights(f"path:{llama}").notes == ()
    words = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
    assert float(words.std()) == pytest.approx(0.3, rel=0.1)


def test_a_file_of_other_content_has_another_copy(llama: Path) -> None:
    before = open_weights(f"path:{llama}")
    gguf_files.write(llama, gguf_files.draw("llama", num_hidden_layers=2), "llama")
    after = open_weights(f"path:{llama}")
    assert after.file != before.file
    assert after.config["num_hidden_layers"] == 2


@pytest.mark.parametrize("damage", ["changed", "cut", "removed", "manifest", "config"])
def test_a_damaged_copy_is_made_again_with_a_note(damage: str, llama: Path) -> None:
    file = open_weights(f"path:{llama}").file
    content = file.read_bytes()
    if damage == "changed":
        file.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    elif damage == "cut":
        file.write_bytes(content[:-5])
    elif damage == "removed":
        file.unlink()
    else:
        (file.parent / {"manifest": "manifest.json", "config": "config.json"}[damage]).write_text("{}")
    convert._converted.cache_clear()
    backbone = backbone_of(llama)
    assert any("was damaged and has been made again" in note for note in backbone.notes)
    assert file.read_bytes() == content
    convert._converted.cache_clear()
    assert not any("made again" in note for note in backbone_of(llama).notes)
    assert [path.name for path in file.parent.parent.iterdir() if path.suffix == ".part"] == []


def test_a_conversion_that_fails_leaves_nothing(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "_write_tokenizer", lambda *args: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(UsageError, match=r"cannot be written to .*: No space left; set FPTKIT_DATA"):
        open_weights(f"path:{llama}")
    assert [path for path in (convert.data_folder() / "gguf").iterdir() if path.is_dir()] == []


def test_processes_that_start_together_make_one_copy(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    make = convert._make
    monkeypatch.setattr(convert, "_make", lambda *args: made.append("copy") or make(*args))
    store = convert.data_folder() / "gguf"
    store.mkdir(parents=True)
    digest = convert.file_sha256(llama)
    threads = [
        threading.Thread(target=convert._find_or_make, args=(llama, store / "copy", digest, "tiny")) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == ["copy"]


def test_another_digest_is_refused(llama: Path) -> None:
    digest = convert.file_sha256(llama)
    assert converted(llama, entry="tiny", sha256=digest).folder.is_dir()
    content = llama.read_bytes()
    llama.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    with pytest.raises(DataError, match=f"is not the published file.*expected {digest}"):
        converted(llama, entry="tiny", sha256=digest)


# The tokenizer

LETTERS = ["<s>", "<extra>", *[chr(number) for number in range(33, 127)], "Ġ", "ab", "Ġab", "abc"]


def with_tokenizer(path: Path, **values: Any) -> Path:
    given = {
        "model": "gpt2",
        "pre": "smollm",
        "tokens": LETTERS,
        "token_type": [3, 4, *[1] * (len(LETTERS) - 2)],
        "merges": ["a b", "Ġ ab", "ab c"],
        "bos_token_id": 0,
        **values,
    }
    metadata = {f"tokenizer.ggml.{key}": value for key, value in given.items()}
    return gguf_files.write(path, gguf_files.draw("llama", vocab_size=len(LETTERS)), "llama", metadata=metadata)


def test_tokens_are_merged_and_cut_by_the_rule(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(open_gguf(with_tokenizer(tmp_path / "tiny.gguf")))
    assert tokenizer.encode("abc ab 12<s>x<extra>").tokens == ["abc", "Ġab", "Ġ", "1", "2", "<s>", "x", "<extra>"]
    assert tokenizer.decode(tokenizer.encode("abc ab").ids) == "abc ab"
    assert [token.special for token in tokenizer.get_added_tokens_decoder().values()] == [True, False]


def test_a_text_begins_with_bos_if_the_file_says_so(tmp_path: Path) -> None:
    plain = make_tokenizer(open_gguf(with_tokenizer(tmp_path / "a.gguf")))
    begun = make_tokenizer(open_gguf(with_tokenizer(tmp_path / "b.gguf", add_bos_token=True)))
    assert begun.encode("ab").ids == [0, *plain.encode("ab").ids]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model": "llama"}, r"tokenizer \(llama\) is not converted"),
        ({"pre": "unheard"}, "with the rule 'unheard'"),
        ({"model": None}, "no tokenizer"),
        ({"merges": None}, "incomplete or damaged"),
        ({"merges": ["a b", "zz q"]}, "damaged"),
    ],
)
def test_a_tokenizer_of_another_kind_leaves_the_weights_usable(
    values: dict[str, Any], said: str, tmp_path: Path
) -> None:
    from fptkit.sources.tokenizers import find_tokenizer

    path = with_tokenizer(tmp_path / "tiny.gguf", **values)
    assert backbone_of(path).blocks == 3
    with pytest.raises(Unavailable, match=said):
        find_tokenizer(f"path:{path}")
    assert not (converted(path, entry="tiny").folder / "tokenizer.json").exists()
