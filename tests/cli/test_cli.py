"""The command line as a user meets it: real processes, exit codes, what goes to which stream."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import TINY, fptkit, process

from fptkit.cli.main import main
from fptkit.errors import UsageError
from fptkit.files import find_json


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def test_version_and_help_name_every_command(tmp_path: Path) -> None:
    from fptkit import __version__
    from fptkit.cli.main import COMMANDS

    assert fptkit("--version", cwd=tmp_path).stdout == f"fptkit {__version__}\n"
    text = fptkit("--help", cwd=tmp_path).stdout
    for name, (_, summary) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(summary[:20])}", text, re.MULTILINE), name


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "backbones"],
        ["list", "tasks", "--json"],
        ["list", "policies"],
        ["--help"],
        ["run", "--help"],
        ["plugins"],
    ],
    ids=" ".join,
)
def test_listings_load_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    code = (
        "import sys, fptkit.cli.main as m\n"
        "try: m.main(sys.argv[1:])\n"
        "finally: print('LOADED', *(n for n in ('torch', 'numpy', 'transformers', 'timm') if n in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED"


def test_listing_as_json(tmp_path: Path) -> None:
    rows = json.loads(fptkit("list", "backbones", "--json", cwd=tmp_path).stdout)
    assert {row["name"] for row in rows} >= {"gpt2", "random"}
    assert all(row["summary"] and row["plugin"] == "builtin" for row in rows)
    for kind in ("tasks", "encoders", "policies", "weights", "recipes"):
        assert json.loads(fptkit("list", kind, "--json", cwd=tmp_path).stdout), kind


def test_a_misspelt_command_gets_a_suggestion(tmp_path: Path) -> None:
    done = fptkit("lst", cwd=tmp_path)
    assert done.returncode == 2
    assert "Did you mean 'list'?" in done.stderr


def test_show_prints_every_option(tmp_path: Path) -> None:
    from fptkit.tasks.options import BitMemoryOptions

    card = json.loads(fptkit("show", "task", "bit_memory", "--json", cwd=tmp_path).stdout)
    assert [row["name"] for row in card["options"]] == list(BitMemoryOptions.model_fields)
    assert "[hub:openai-community/gpt2, builtin:gpt2_nano]" in fptkit("show", "backbone", "gpt2", cwd=tmp_path).stdout
    text = fptkit("show", "policy", "fpt", cwd=tmp_path).stdout
    assert re.search(r"norm +all", text)
    done = fptkit("show", "backbone", "gpt3", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Did you mean 'gpt2'?" in done.stderr


def test_a_recipe_is_shown_as_it_would_run(tmp_path: Path) -> None:
    shown = fptkit("show", "recipe", "mnist_gpt2", "--profile", "paper", "--set", "task.image_size=32", cwd=tmp_path)
    assert shown.stdout.startswith("# mnist_gpt2, profile paper, task.image_size=32\n# protocol clean; ")
    assert "\n#   D19 training leaves out the last incomplete batch of each epoch\n" in shown.stdout
    assert "\nprecision: float32\n" in shown.stdout
    (tmp_path / "shown.yaml").write_text(shown.stdout)
    assert fptkit("validate", "shown.yaml", cwd=tmp_path).returncode == 0
    done = fptkit("show", "recipe", "mnist_gpt2", "--set", "task.protocol=fpt2021", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["task"]["protocol"] == "fpt2021"
    done = fptkit("show", "recipe", "mnist_gpt2", "--set", "task.protocol=fpt2021", cwd=tmp_path)
    assert "\n# protocol fpt2021 does:\n#   D5 " in done.stdout
    for words, message in (
        (("recipe", "mnist_gpt2", "--profile", "papr"), "Did you mean 'paper'?"),
        (("study", "rothermel", "--profile", "paper"), "for a study: fptkit study rothermel --dry-run"),
        (("task", "mnist", "--set", "patch_size=2"), "show task: --profile and --set are for recipes"),
    ):
        done = fptkit("show", *words, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr


def test_copy_and_validate(tmp_path: Path) -> None:
    assert fptkit("copy", "bit_xor_gpt2", cwd=tmp_path).returncode == 0
    assert (tmp_path / "bit_xor_gpt2.yaml").read_text().startswith("# Bit XOR")
    again = fptkit("copy", "bit_xor_gpt2", cwd=tmp_path)
    assert again.returncode == 2
    assert "--force" in again.stderr
    good = fptkit("validate", "bit_xor_gpt2.yaml", cwd=tmp_path)
    assert (good.returncode, good.stdout) == (0, "bit_xor_gpt2.yaml: ok, with profiles smoke, nano, paper\n")


def test_five_faults_are_five_located_errors(tmp_path: Path) -> None:
    (tmp_path / "faulty.yaml").write_text(
        "task: {name: bit_xr}\n"
        "backbone:\n"
        "  name: gpt2\n"
        "  weigths: random\n"
        "train:\n"
        "  learning_rate: fast\n"
        "  max_steps: 010\n"
        "  batch_size: 0\n"
    )
    done = fptkit("run", "faulty.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    for line, words in {
        1: "task.name: unknown task 'bit_xr'. Did you mean 'bit_xor'?",
        4: "Did you mean 'weights'?",
        6: "train.learning_rate: expected a number > 0, got 'fast'",
        7: "train.max_steps:",
        8: "train.batch_size:",
    }.items():
        assert re.search(rf"^faulty\.yaml:{line} +.*{re.escape(words)}", done.stderr, re.MULTILINE), done.stderr
    assert done.stderr.splitlines()[0] == "error: 5 problems in faulty.yaml; nothing was run"
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_hub_entry_alone_without_a_hub(tmp_path: Path) -> None:
    hub = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf")}
    arguments = ("run", "bit_xor_gpt2", "--set", "backbone.weights=hub:openai-community/gpt2")
    done = process(*arguments, cwd=tmp_path, environment={**os.environ, **hub})
    assert done.returncode == 3
    assert "cannot be reached" in done.stderr
    assert "builtin:gpt2_nano" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_run_in_a_pipe_is_plain_text(tiny: Path, tmp_path: Path) -> None:
    done = process("run", tiny, "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for stream in (done.stdout, done.stderr):
        assert "\x1b" not in stream
        assert "\r" not in stream
        assert not re.search("[━╸╺█▏▎▍]", stream)
    assert re.search(r"^split +loss +accuracy +chance$", done.stdout, re.MULTILINE)
    assert re.search(r"^test +\d\.\d{4} +\d+\.\d% +50\.0%$", done.stdout, re.MULTILINE)
    assert "validation: accuracy" in done.stderr


def test_run_as_json_prints_the_summary_only(tiny: Path, tmp_path: Path) -> None:
    done = fptkit("run", tiny, "--output", "out", "--json", "--quiet", cwd=tmp_path)
    assert json.loads(done.stdout) == find_json(tmp_path / "out" / "summary.json")
    assert done.stderr == ""


def test_runs_get_folders_of_their_own(tiny: Path, tmp_path: Path) -> None:
    fptkit("run", tiny, "--set", "train.max_steps=1", cwd=tmp_path)
    (folder,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"tiny-\d{8}-\d{6}", folder.name)


def test_resume_needs_a_folder(tiny: Path, tmp_path: Path) -> None:
    done = fptkit("run", tiny, "--resume", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "error: --resume needs --output, the folder of the run to continue\n",
    )


def test_debug_shows_the_traceback(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        main(["--debug", "run", str(tiny), "--resume"])


def test_data_status_says_what_is_missing(tmp_path: Path) -> None:
    done = fptkit("data", "status", cwd=tmp_path)
    assert done.returncode == 0
    assert "remote_homology_test_fold_holdout" in done.stdout
    assert fptkit("data", "fetch", "homologie", cwd=tmp_path).returncode == 2


KILLED = """
task: {name: bit_xor, bits: 3, validation_size: 40, test_size: 50}
backbone: {name: random, size: nano, blocks: 2, width: 32, heads: 2, dropout: 0.1}
train: {batch_size: 8, max_steps: 400, validate_every: 40, log_every: 15, checkpoint_every: 25, patience: null}
threads: 1
"""


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    recipe = tmp_path / "killed.yaml"
    recipe.write_text(KILLED.replace("max_steps: 400", "max_steps: 100000"))
    command = [sys.executable, "-m", "fptkit", "run", str(recipe), "--output", "run"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (tmp_path / "run" / "checkpoints" / "step-00000025").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "Traceback" not in told
    assert told.splitlines()[-1] == "  fptkit run run/recipe.yaml --output run --resume"


README = (Path(__file__).parent.parent.parent / "README.md").read_text()
PARITY = README[README.index("# parity.py") :].partition("```")[0]
"""The task README shows."""

BROKEN = Path(__file__).parent.parent / "plugins" / "data" / "importerror"


@pytest.mark.slow
def test_a_task_in_one_file_runs_beside_a_broken_installed_plugin(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "parity.py").write_text(PARITY)
    arguments = ["run", tiny, "--plugin", "parity.py", "--set", "task.name=parity", "--output", "run", "--quiet"]
    done = process(*arguments, cwd=tmp_path, environment={**os.environ, "PYTHONPATH": str(BROKEN)})
    assert done.returncode == 0, done.stderr
    (warning,) = done.stderr.splitlines()
    assert warning.startswith("warning: plugin ")
    assert "fptkit_importerror 0.3" in warning.replace("-", "_")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["task"]["name"] == "parity"
    again = fptkit("run", tmp_path / "run" / "recipe.yaml", "--output", "again", "--quiet", cwd=tmp_path)
    assert again.returncode == 0, again.stderr  # the resolved recipe names the file


def test_readmes_task_has_ten_lines() -> None:
    assert len([line for line in PARITY.splitlines() if line and not line.startswith("#")]) == 10


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("def __init__(self): pass", "it is called with (options, *, seed, pinned)"),
        ("max_tokens = 4", "split train, step 0: 6 tokens exceed max_tokens 4"),
        ("input = Symbols(1)", "split train, step 0: a symbol is not below 1"),
        ("output = Classes(1)", "count must be at least 2"),
        ("output = Classes(2, tokens=3)", "split train, step 0: targets are (8,), expected (8, 3)"),
    ],
)
def test_a_task_that_breaks_its_contract_is_reported(tiny: Path, tmp_path: Path, change: str, said: str) -> None:
    (tmp_path / "parity.py").write_text(PARITY.replace("    def draw", f"    {change}\n\n    def draw"))
    done = fptkit("run", tiny, "--plugin", "parity.py", "--set", "task.name=parity", "--output", "run", cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert said in done.stderr
