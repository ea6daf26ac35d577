"""Files that would cost minutes or gigabytes are refused at once, with file and line."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest

from fptkit.errors import RecipeError, UsageError
from fptkit.lab.studies.launchers.base import LauncherOptions
from fptkit.lab.studies.load import load_study
from fptkit.recipe import extends
from fptkit.recipe.extends import Bases, files_of, read_with_bases
from fptkit.recipe.load import load_installed, load_recipe
from fptkit.recipe.tree import Fault, Faults, Place, read_tree
from fptkit.registry import Registry
from fptkit.specs import limits

HEAD = "task: {name: bit_xor}\nbackbone: {name: random}\nfreezing: {name: fpt}\n"

STUDY = "question: x\ntasks: {t: {extends: bit_xor_gpt2}}\n"


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_installed([])


def fault_of(path: Path, registry: Registry, *, study: bool = False, **given: object) -> str:
    load = load_study if study else load_recipe
    with pytest.raises(RecipeError) as caught:
        load(str(path), registry_loader=lambda _: registry, **given)  # type: ignore[operator]
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (HEAD + "plugins: [" + "a," * 500_000 + "]\n", "larger than 1,000,000 bytes"),
        (HEAD + "plugins: [" + "a," * 60_000 + "]\n", ":4  more than 20,000 values"),
        (HEAD + "plugins: [" + "!x a," * 60_000 + "]\n", ":4  more than 20,000 values"),
        (HEAD + "".join(f"k{i}: 1\n" for i in range(30_000)), "more than 20,000 values"),
        (HEAD + "x:\n " + "- " * 200_000 + "a\n", ":5  not usable: nested deeper than 50 levels"),
        (HEAD + "x: " + "{a: " * 60_000 + "\n", ":4  not usable: nested deeper than 50 levels"),
        (HEAD + "x: &x '" + "y" * 90_000 + "'\nz: [" + "*x, " * 9_000 + "]\n", "more than 2,000,000 characters"),
        (HEAD + "? " + "k" * 2_000 + "\n: 1\n", ":4  a key has 2,000 characters; at most 1,000"),
        (HEAD + "".join(f"k{i}: 1\n" for i in range(9_000)), "more than 100 problems in x.yaml"),
        (HEAD + "listeners: [" + "{name: x}, " * 200 + "]\n", ":4  listeners: expected at most 100 sections"),
        (HEAD + "threads: 1000000000\n", ":4  threads: at most 1,024 is allowed, got 1000000000"),
        (HEAD + "plugins: [" + "a.py, " * 101 + "]\n", "plugins: at most 100 entries are allowed, got a list of 101"),
        (HEAD + "profiles:\n" + "".join(f"  p{i}: {{}}\n" for i in range(21)), ":4  profiles: more than 20 profiles"),
        (HEAD + "train: {learning_rate: 1e400}\n", ":4  train.learning_rate: '1e400' is too large for a number"),
        (HEAD + "train: {max_steps: 18446744073709551616}\n", "train.max_steps: at most 1,000,000,000 is allowed"),
        (HEAD + "train: {clip_norm: .nan}\n", "train.clip_norm: expected a finite number"),
        ("task: {name: " + "q" * 90_000 + "}\nbackbone: {name: random}\n", "task.name: unknown task 'qqq"),
    ],
)
def test_a_recipe_that_is_too_large(
    text: str, fault: str, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(text)
    found = fault_of(Path("x.yaml"), registry)
    assert fault in found
    assert len(found) < 60_000
    assert len(found.splitlines()) < 5 * limits.FAULTS


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("arms: {a: {}}\nseeds: 1001\n", ":4  seeds: at most 1,000 seeds, got 1,001"),
        ("arms: {a: {}}\nseeds: 9223372036854775808\n", ":4  seeds: at most 1,000 seeds"),
        ("arms: {a: {}}\nseeds: [" + ", ".join(map(str, range(3_000))) + "]\n", "seeds: at most 1,000 entries"),
        ("arms: {a: {}}\nlearning_rates: [" + "1e-3, " * 9_000 + "]\n", "learning_rates: at most 100 entries"),
        ("arms:\n" + "".join(f"  a{i}: {{}}\n" for i in range(101)), ":3  arms: 101 arms; at most 100"),
        ("arms: {a: {}}\nseeds: {until: decided, at_most: 1e9}\n", "seeds.at_most: expected an integer >= 3"),
        ("arms: {a: {}}\nsearch: {name: halving, rungs: 99999}\n", "search.rungs: at most 20 is allowed"),
        (
            "arms: {a: {}, b: {}}\ncomparisons: [" + ", ".join(f"[v{i}, w{i}]" for i in range(900)) + "]\n",
            "more than 100 problems",
        ),
        (
            "arms: {a: {}, b: {}, c: {}, d: {}}\nseeds: 1000\nlearning_rates: [1e-3, 1e-4]\n",
            ":4  seeds: 4 cells, 2 learning rates and 1,000 seeds make 8,000 runs; at most 5,000: split the study",
        ),
    ],
)
def test_a_study_that_is_too_large(text: str, fault: str, registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(STUDY + text)
    assert fault in fault_of(tmp_path / "s.yaml", registry, study=True)


def test_more_recipes_than_a_study_may_have(registry: Registry, tmp_path: Path) -> None:
    tasks = "".join(f"  t{i}: {{extends: bit_xor_gpt2}}\n" for i in range(30))
    arms = "".join(f"  a{i}: {{}}\n" for i in range(30))
    (tmp_path / "s.yaml").write_text(f"question: x\ntasks:\n{tasks}arms:\n{arms}")
    found = fault_of(tmp_path / "s.yaml", registry, study=True)
    assert "30 tasks and 30 arms make more than 400 recipes" in found


def test_more_values_than_the_recipes_of_a_study_may_have(registry: Registry, tmp_path: Path) -> None:
    files = ", ".join(f"path:f{i}.csv" for i in range(5_000))
    (tmp_path / "big.yaml").write_text(HEAD.replace("bit_xor", f"table, target: label, source: [{files}]"))
    arms = "".join(f"  a{i}: {{extends: big}}\n" for i in range(20))
    (tmp_path / "s.yaml").write_text(f"question: x\narms:\n{arms}")
    found = fault_of(tmp_path / "s.yaml", registry, study=True)
    assert ":2  arms: the recipes of all cells have more than 50,000 values; split the study" in found


def test_each_base_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(20):
        below = f"extends: [l{i + 1}a, l{i + 1}b]\n" if i < 19 else ""
        for side in "ab":
            (tmp_path / f"l{i}{side}.yaml").write_text(f"{below}train: {{seed: {i}}}\n")
    (tmp_path / "top.yaml").write_text("extends: [l0a, l0b]\n" + HEAD)
    opened: Counter[str] = Counter()
    read = extends.read_file
    monkeypatch.setattr(extends, "read_file", lambda path, *rest: (opened.update([path.name]), read(path, *rest))[1])
    faults: list[Fault] = Faults()
    tree = read_with_bases(tmp_path / "top.yaml", "top.yaml", faults)
    assert tree is not None
    assert tree.mapping["train"].mapping["seed"].value == 0
    assert faults == []
    assert set(opened.values()) == {1}
    assert len(opened) == 41
    assert len(files_of(tmp_path / "top.yaml")) == 41


@pytest.mark.parametrize("length", [60, 3_000])
def test_a_long_chain_of_bases(length: int, registry: Registry, tmp_path: Path) -> None:
    for i in range(length):
        (tmp_path / f"c{i}.yaml").write_text((f"extends: c{i + 1}\n" if i < length - 1 else "") + "threads: 1\n")
    (tmp_path / "top.yaml").write_text("extends: c0\n" + HEAD)
    assert "c49.yaml:1  extends: more than 50 levels" in fault_of(tmp_path / "top.yaml", registry)
    assert len(files_of(tmp_path / "top.yaml")) <= limits.BASES + 1


def test_a_chain_as_long_as_is_allowed(registry: Registry, tmp_path: Path) -> None:
    for i in range(limits.BASE_LEVELS):
        last = i == limits.BASE_LEVELS - 1
        (tmp_path / f"c{i}.yaml").write_text(("" if last else f"extends: c{i + 1}\n") + "threads: 1\n")
    (tmp_path / "top.yaml").write_text("extends: c0\n" + HEAD)
    assert load_recipe(str(tmp_path / "top.yaml"), registry_loader=lambda _: registry).recipe.threads == 1


def test_many_bases(registry: Registry, tmp_path: Path) -> None:
    for i in range(150):
        (tmp_path / f"w{i}.yaml").write_text("threads: 1\n")
    (tmp_path / "top.yaml").write_text(f"extends: [{', '.join(f'w{i}' for i in range(150))}]\n{HEAD}")
    assert ":1  extends: more than 100 files are extended" in fault_of(tmp_path / "top.yaml", registry)


def test_large_bases(registry: Registry, tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"w{i}.yaml").write_text(f"# {'x' * 400_000}\nthreads: 1\n")
    (tmp_path / "top.yaml").write_text(f"extends: [w0, w1, w2]\n{HEAD}")
    found = fault_of(tmp_path / "top.yaml", registry)
    assert "extends: together with the files it extends, larger than 1,000,000 bytes" in found


def test_files_of_one_listing_are_counted_for_each_recipe(tmp_path: Path) -> None:
    shared = Bases()
    for i in range(120):
        (tmp_path / f"w{i}.yaml").write_text("threads: 1\n")
        (tmp_path / f"r{i}.yaml").write_text(f"extends: w{i}\n{HEAD}")
        faults: list[Fault] = Faults()
        read_with_bases(tmp_path / f"r{i}.yaml", "r", faults, read=Bases(shared.read))
        assert faults == []
    assert len(shared.read) == 120


def test_overrides_are_counted(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(HEAD)
    overrides = [f"train.seed={i}" for i in range(1_001)]
    found = fault_of(tmp_path / "x.yaml", registry, overrides=overrides)
    assert "--set  given 1,001 times; at most 1,000 are allowed" in found
    done = load_recipe(str(tmp_path / "x.yaml"), overrides=overrides[:1_000], registry_loader=lambda _: registry)
    assert done.recipe.train.seed == 999


def test_a_long_range_given_in_python(registry: Registry) -> None:
    content = {"task": {"name": "bit_xor"}, "backbone": {"name": "random"}, "plugins": range(2**80)}
    with pytest.raises(RecipeError, match="plugins: more than 1,000,000 entries"):
        load_recipe(content, registry_loader=lambda _: registry)
    with pytest.raises(RecipeError, match="threads: an integer of more than 100 digits"):
        load_recipe({**content, "plugins": [], "threads": 10**5_000}, registry_loader=lambda _: registry)


def test_what_is_beside_the_first_faults_is_not_looked_at() -> None:
    faults = Faults()
    faults.extend(Fault(Place("x", 1), "", "same") for _ in range(1_000))
    assert len(faults) == 1
    with pytest.raises(RecipeError, match="more than 100 problems in x; nothing was run; the first 100") as caught:
        faults.extend(Fault(Place("x", i), "", "another") for i in itertools.count())
    assert len(caught.value.problems) == limits.FAULTS
    assert len(faults) == limits.FAULTS + 1


def test_a_text_given_directly() -> None:
    faults: list[Fault] = []
    assert read_tree("a: [" + "x, " * 2_000_000 + "]", "x", faults) is None
    assert "longer than 1,000,000 characters" in faults[0].message


@pytest.mark.parametrize("given", [{"workers": 10**9}, {"threads": 5_000}, {"workers": 0}])
def test_workers_and_threads(given: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"expected a number from 1 to 1,024, got \d+"):
        LauncherOptions(**given)  # type: ignore[arg-type]
