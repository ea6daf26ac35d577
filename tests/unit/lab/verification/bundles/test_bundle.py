"""Bundles of a study: what is in them, the same bytes, and one changed digit in any file is found."""

from __future__ import annotations

import csv
import hashlib
import json
import random
import shutil
import zipfile
from pathlib import Path

import pytest
from finished_studies import TWO_ARMS, change_digit, finished, load

from fptkit.errors import DataError, UsageError
from fptkit.lab.studies.locking.content import plan_of
from fptkit.lab.studies.locking.lock import lock
from fptkit.lab.verification.bundles.bundle import study_in, verify_bundle, write_bundle
from fptkit.lab.verification.bundles.layout import OF_BUNDLE, OF_RUN, OF_STUDY

SMALL = TWO_ARMS.replace("[1e-3, 1e-2]", "[1e-3]").replace("seeds: 3", "seeds: 1")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study that was locked."""
    place = tmp_path_factory.mktemp("made")
    lock(plan_of(load(place, SMALL)), place / "studies" / "mine", runs=0, late=False)
    return finished(place, SMALL)


def unpack(path: Path, into: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(into)
    return into


@pytest.fixture(scope="module", params=[False, True], ids=["texts", "checkpoints"])
def bundle(request: pytest.FixtureRequest, made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked bundle, without and with checkpoints."""
    place = tmp_path_factory.mktemp("bundle")
    write_bundle(made, place / "b.zip", checkpoints=request.param)
    return unpack(place / "b.zip", place / "un")


def files_of(bundle: Path) -> list[str]:
    return sorted(path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file())


def test_a_bundle_holds_the_study_and_its_runs(made: Path, tmp_path: Path) -> None:
    names = write_bundle(made, tmp_path / "b.zip")
    bundle = unpack(tmp_path / "b.zip", tmp_path / "un")
    assert names == files_of(bundle)
    runs = [path.name for path in (made.parent / "runs").iterdir()]
    assert set(names) == {
        *OF_BUNDLE,
        *(f"mine/{name}" for name in OF_STUDY),
        *(f"runs/{run}/{name}" for run in runs for name in OF_RUN),
    }
    assert (bundle / "mine" / "report.md").read_bytes() == (made / "report.md").read_bytes()


def test_checkpoints_are_in_it_on_request(made: Path, tmp_path: Path) -> None:
    names = write_bundle(made, tmp_path / "b.zip", checkpoints=True)
    assert sum(name.endswith(".safetensors") for name in names) == 2 * 3
    assert not any(name.endswith(("log.txt", "request.yaml", ".state")) for name in names)


def test_two_bundles_have_the_same_bytes(made: Path, tmp_path: Path) -> None:
    write_bundle(made, tmp_path / "a.zip")
    copy = tmp_path / "elsewhere" / "studies"
    shutil.copytree(made.parent, copy)
    write_bundle(copy / "mine", tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_an_untouched_bundle_agrees(bundle: Path) -> None:
    findings = verify_bundle(bundle)
    assert [str(one) for one in findings.differences] == []
    assert findings.runs == 2


def test_one_changed_digit_in_any_file_is_found(bundle: Path) -> None:
    for name in files_of(bundle):
        path = bundle / name
        intact = path.read_bytes()
        count = sum(48 <= byte <= 57 for byte in intact)
        assert count, name
        for place in sorted({random.Random(name).randrange(count), count - 1}):
            change_digit(path, place)
            differing = {difference.file for difference in verify_bundle(bundle).differences}
            # A digit of the list of digests itself makes the file it names differ.
            assert differing >= {name} or (name == "sha256sums.txt" and differing), (name, place)
            path.write_bytes(intact)
    assert verify_bundle(bundle).differences == []


def test_removed_and_added_files_are_found(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    run = min((copy / "runs").iterdir()).name
    for name in ("README.md", "mine/report.html", f"runs/{run}/summary.json", f"runs/{run}/address"):
        intact = (copy / name).read_bytes()
        (copy / name).unlink()
        assert f"{name}: is missing, but listed in sha256sums.txt" in map(str, verify_bundle(copy).differences)
        (copy / name).write_bytes(intact)
    (copy / "more.txt").write_text("1", encoding="utf-8")
    assert [str(one) for one in verify_bundle(copy).differences] == ["more.txt: is not listed in sha256sums.txt"]


def test_a_whole_run_that_was_removed_is_found(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    run = min((copy / "runs").iterdir())
    shutil.rmtree(run)
    sums = (copy / "sha256sums.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    (copy / "sha256sums.txt").write_text("".join(line for line in sums if run.name not in line), encoding="utf-8")
    assert f"runs/{run.name}: the run folder is missing" in map(str, verify_bundle(copy).differences)


def test_the_digests_are_those_that_sha256sum_checks(bundle: Path) -> None:
    for line in (bundle / "sha256sums.txt").read_text(encoding="utf-8").splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((bundle / name).read_bytes()).hexdigest() == digest


def test_every_file_is_readable_without_fptkit(bundle: Path) -> None:
    for name in files_of(bundle):
        path = bundle / name
        match path.suffix:
            case ".json":
                json.loads(path.read_text(encoding="utf-8"))
            case ".jsonl":
                assert all(map(json.loads, path.read_text(encoding="utf-8").splitlines()))
            case ".csv":
                with path.open(encoding="utf-8", newline="") as file:
                    assert len({len(row) for row in csv.reader(file)}) == 1
            case ".safetensors":
                pass
            case _:
                path.read_text(encoding="utf-8")


def test_the_readme_explains_every_kind_of_file(bundle: Path) -> None:
    text = (bundle / "README.md").read_text(encoding="utf-8")
    for name in files_of(bundle):
        assert f"`{name.rpartition('/')[2]}`: " in text, name
    assert "Does language help?" in text
    assert "sha256sum -c sha256sums.txt" in text
    tensors = "model.safetensors" in text
    assert tensors == any(name.endswith("model.safetensors") for name in files_of(bundle))


def test_links_of_the_report_lead_to_runs_in_the_bundle(bundle: Path) -> None:
    text = (bundle / "mine" / "report.html").read_text(encoding="utf-8")
    for run in (bundle / "runs").iterdir():
        assert f'href="../runs/{run.name}/"' in text


def test_a_study_in_disorder_is_not_bundled(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made.parent, tmp_path / "studies")
    folder = tmp_path / "studies" / "mine"
    change_digit(folder / "results.csv", -1)
    with pytest.raises(UsageError, match=r"does not agree with its runs.*fptkit verify"):
        write_bundle(folder, tmp_path / "b.zip")
    assert not (tmp_path / "b.zip").exists()


def test_runs_that_were_continued_are_not_bundled(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fptkit.lab.verification.bundles import bundle as module
    from fptkit.lab.verification.differences import Findings

    monkeypatch.setattr(module, "verify_study", lambda folder, tensors: Findings(continued=1))
    with pytest.raises(UsageError, match="run its fptkit study command again, then bundle it"):
        write_bundle(made, tmp_path / "b.zip")


def test_damaged_checkpoints_matter_only_to_a_bundle_with_them(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made.parent, tmp_path / "studies")
    folder = tmp_path / "studies" / "mine"
    change_digit(next((tmp_path / "studies").rglob("model.safetensors")))
    write_bundle(folder, tmp_path / "a.zip")
    with pytest.raises(UsageError, match="does not agree"):
        write_bundle(folder, tmp_path / "b.zip", checkpoints=True)


def test_a_bundle_holds_one_study(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"it has 0 folders with a manifest\.json"):
        study_in(tmp_path)
