"""Studies in the commands that list, show, check and copy files, and their JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

from fptkit.cli.main import cli, main
from fptkit.lab.studies.load import load_study
from fptkit.recipe.find import list_studies
from fptkit.registry import load_plugins

STUDY = """\
description: two arms
tasks: {xor: {extends: base/bit_xor}}
arms:
  frozen: {extends: base/gpt2, backbone: {weights: builtin:gpt2_nano}}
  random: {extends: base/random}
seeds: 2
profiles: {smoke: {recipe_profile: smoke}}
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FPTKIT_PLUGINS", "")
    Path("mine.yaml").write_text(STUDY, encoding="utf-8")


def called(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


def test_studies_are_listed() -> None:
    rows = json.loads(called("list", "studies", "--json").stdout)
    assert {"name", "summary", "profiles", "path", "plugin"} == set(rows[0])
    study = next(row for row in rows if row["name"] == "rothermel")
    assert (study["plugin"], "smoke" in study["profiles"], bool(study["summary"])) == ("builtin", True, True)
    assert "rothermel" in called("list", "studies").stdout
    assert "rothermel" not in called("list", "recipes").stdout


def test_a_study_is_shown_and_copied() -> None:
    text = called("show", "study", "rothermel").stdout
    assert "arms:" in text
    assert called("copy", "rothermel").exit_code == 0
    copied = Path("rothermel.yaml").read_text(encoding="utf-8")
    assert text.startswith(copied)
    assert text.count("\n# ---- extends ") == 1, "the study it extends follows"
    assert "rothermel.yaml: ok" in called("validate", "rothermel.yaml").stdout, "a copy finds the shipped bases"


def test_a_study_is_checked_with_all_its_profiles(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("validate", "mine.yaml").stdout == "mine.yaml: ok, with profiles smoke\n"
    Path("mine.yaml").write_text(STUDY.replace("smoke}}", "smok}}") + "sedes: 3\n", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["validate", "mine.yaml"])
    assert ended.value.code == 2
    first, second, *_ = capsys.readouterr().err.splitlines()
    assert first == "error: 1 problem in mine.yaml; nothing was run"
    assert second == "mine.yaml:8  unknown key 'sedes'. Did you mean 'seeds'?"
    Path("mine.yaml").write_text(STUDY.replace("smoke}}", "smok}}"), encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["validate", "mine.yaml"])
    assert "recipe_profile: unknown profile 'smok'" in capsys.readouterr().err


def test_run_sends_a_study_to_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "mine.yaml"])
    assert ended.value.code == 2
    reading, error = capsys.readouterr().err.splitlines()
    assert reading == "reading recipe mine.yaml"
    assert error == "error: mine.yaml: this is a study; use: fptkit study mine.yaml"


def unknown(schema: dict[str, Any], value: Any) -> set[str]:
    """Keys of a file that the schema does not know."""
    found = set()
    for error in Draft202012Validator(schema).iter_errors(value):
        if error.validator == "additionalProperties":
            extra = [key for key in error.instance if key not in error.schema["properties"]]
            found |= {".".join([*map(str, error.absolute_path), key]) for key in extra}
    return found


def test_the_schema_of_studies_knows_every_key_of_the_shipped_ones() -> None:
    schema = json.loads(called("schema", "--study").stdout)
    for study in list_studies(load_plugins(selection="")):
        assert unknown(schema, yaml.safe_load(study.path.read_text(encoding="utf-8"))) == set(), study.name
    wrong = {"arms": {"a": {"sedes": 1, "summary": "s"}}, "profiles": {"p": {"arms": {"a": {"trian": {}}}}}, "task": {}}
    assert unknown(schema, wrong) == {"arms.a.sedes", "profiles.p.arms.a.trian", "task"}
    option = {"arms": {"a": {"backbone": {"name": "gpt2", "dropot": 0.1}}}}
    assert unknown(schema, option) == {"arms.a.backbone.dropot"}
    assert json.loads(called("schema").stdout)["title"] == "fptkit recipe"


@pytest.mark.parametrize("name", [study.name for study in list_studies(load_plugins(selection=""))])
def test_every_shipped_study_loads_in_every_profile(name: str) -> None:
    study = next(study for study in list_studies(load_plugins(selection="")) if study.name == name)
    assert study.profiles
    for profile in (None, *study.profiles):
        assert load_study(name, profile=profile, registry_loader=lambda files: load_plugins(files, selection="")).cells
