"""What a shell completes, asked for as bash asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DATA = Path(__file__).parent.parent / "plugins" / "data"


def completed(words: str, cwd: Path, **environment: str) -> list[str]:
    asked = {"_FPTKIT_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    code = (
        "import sys\nfrom fptkit.cli.main import main\ntry:\n    main()\n"
        "finally:\n    heavy = {'torch', 'numpy'} & set(sys.modules)\n    assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, "FPTKIT_PLUGINS": "", **asked, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line.startswith("plain,")]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("fptkit run homology_g", ["homology_gpt2"]),
        ("fptkit run pretrain_", []),
        ("fptkit pretrain pretrain_l", ["pretrain_language"]),
        ("fptkit validate pretrain_l", ["pretrain_language"]),
        ("fptkit copy bit_xor_v", ["bit_xor_vit"]),
        ("fptkit show task cifar", ["cifar10", "cifar10_lra"]),
        ("fptkit show policy output_n", ["output_norm", "output_norm_input"]),
        ("fptkit show recipe mnist_l", ["mnist_lstm"]),
        ("fptkit run bit_xor_gpt2 --profile s", ["smoke"]),
        ("fptkit run nothing_of_this_name --profile s", []),
        ("fptkit list tas", ["tasks"]),
        ("fptkit list stu", ["studies"]),
        ("fptkit study rq2_", ["rq2_pretraining_modality"]),
        ("fptkit study homology_g", ["homology_gpt2"]),
        ("fptkit study pretrain_", []),
        ("fptkit study rothermel --profile n", ["nano"]),
        ("fptkit validate rothermel --profile p", ["paper"]),
        ("fptkit show study rq3", ["rq3_architecture"]),
        ("fptkit run rq2_", []),
        ("fptkit run bit_xor_gpt2 --set train.le", ["train.learning_rate="]),
        ("fptkit show recipe bit_xor_gpt2 task.b", ["task.bits="]),
        ("fptkit run bit_xor_gpt2 backbone.size=me", ["backbone.size=medium"]),
        ("fptkit run bit_xor_gpt2 --set device = c", ["cpu", "cuda"]),  # as bash splits it
        ("fptkit study bit_xor_gpt2 freezing=output_n", ["freezing=output_norm", "freezing=output_norm_input"]),
        ("fptkit run nothing_of_this_name train.", []),
    ],
)
def test_names_complete(words: str, expected: list[str], tmp_path: Path) -> None:
    assert completed(words, tmp_path) == expected


def test_an_installed_plugin_completes_and_a_broken_one_is_silent(tmp_path: Path) -> None:
    path = os.pathsep.join(str(DATA / name) for name in ("good", "importerror"))
    assert completed("fptkit show task good", tmp_path, FPTKIT_PLUGINS="good,importerror", PYTHONPATH=path) == [
        "good_task"
    ]


def test_run_folders_complete(tmp_path: Path) -> None:
    for name in ("runs/birds-1", "runs/birds-2", "runs/broken", "other", "mine/deep"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("runs/birds-1", "runs/birds-2", "other", "mine/deep"):
        for file in ("model.json", "recipe.yaml"):
            (tmp_path / name / file).write_text("")
    assert completed("fptkit predict ", tmp_path) == ["other", "runs/birds-1", "runs/birds-2"]
    assert completed("fptkit evaluate runs/b", tmp_path) == ["runs/birds-1", "runs/birds-2"]
    assert completed("fptkit embed mine/", tmp_path) == ["mine/deep"]
    assert completed("fptkit predict nothing", tmp_path) == []
