"""Compiling at run time: which compiler is used, what is cached, and which cached files are trusted."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fptkit.errors import UsageError
from fptkit.numerics import compiler, library_cache
from fptkit.numerics.compiler import Source, Unavailable, load

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")

SHELL = "/bin/sh"


@pytest.fixture
def source(tmp_path: Path) -> Source:
    path = tmp_path / "answer.c"
    path.write_text("int answer(void) { return 42; }\n")
    return Source(path, "C", ("-O1", "-fPIC"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the cache, on a machine that never compiled anything."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("CC", "CXX", "FPTKIT_KERNELS"):
        monkeypatch.delenv(name, raising=False)
    new_process()
    yield tmp_path / "cache" / "fptkit" / "kernels"
    new_process()


def new_process() -> None:
    """Forget what this process tried."""
    compiler._library_or_reason.cache_clear()
    compiler._version.cache_clear()


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the libraries that were compiled since."""
    names: list[str] = []
    compile_anew = compiler._compiled

    def watched(source: Source, command: tuple[str, ...], options: tuple[str, ...], name: str) -> object:
        names.append(name)
        return compile_anew(source, command, options, name)

    monkeypatch.setattr(compiler, "_compiled", watched)
    return names


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{SHELL}\n{script}\n")
    path.chmod(0o755)
    return path


def reason_for(source: Source) -> str:
    with pytest.raises(Unavailable) as caught:
        load(source)
    return str(caught.value)


# Compiling


def test_it_is_compiled_once_and_cached(source: Source, cache: Path, compiled: list[str]) -> None:
    assert load(source).answer() == 42
    (name,) = compiled
    assert name.startswith("answer-")
    assert {path.name for path in cache.iterdir()} == {name, f"{name}.sha256"}
    new_process()
    assert load(source).answer() == 42
    assert load(source) is load(source)
    assert compiled == [name]


def test_only_the_user_can_access_files_and_folder(source: Source, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    before = os.umask(0)
    try:
        load(source)
    finally:
        os.umask(before)
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in cache.iterdir()} == {0o600}


def test_all_that_decides_the_library_is_in_its_name(
    source: Source, cache: Path, compiled: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(source)
    load(replace(source, options=("-O0", "-fPIC")))
    load(replace(source, libraries=("-lm",)))
    load(replace(source, tunings=("",)))
    wrapper = program(tmp_path / "my cc", f'exec {shutil.which("cc")} "$@"')
    monkeypatch.setenv("CC", f"'{wrapper}' -DEXTRA")
    new_process()
    load(source)
    monkeypatch.setattr(compiler, "_processor", lambda: "another processor")
    new_process()
    load(source)
    source.path.write_text("int answer(void) { return 43; }\n")
    new_process()
    assert load(source).answer() == 43
    assert len(compiled) == len(set(compiled)) == 7


def test_another_version_of_a_compiler_compiles_again(
    source: Source, cache: Path, compiled: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1.0", "1.1"):
        text = f'[ "$1" = --version ] && echo {version} && exit; exec {shutil.which("cc")} "$@"'
        monkeypatch.setenv("CC", str(program(tmp_path / "mine", text)))
        new_process()
        load(source)
    assert len(set(compiled)) == 2


def test_c_plus_plus(cache: Path, tmp_path: Path) -> None:
    if not compiler.commands("C++"):
        pytest.skip("no C++ compiler here")
    path = tmp_path / "sum.cpp"
    path.write_text('#include <vector>\nextern "C" int sum() { std::vector<int> v{1, 2}; return v[0] + v[1]; }\n')
    assert load(Source(path, "C++", ("-std=c++17", "-fPIC"))).sum() == 3


def test_the_compiler_of_the_environment_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = program(tmp_path / "my-c++", "exit 0")
    monkeypatch.setenv("CXX", f"{mine} -pipe")
    assert compiler.commands("C++")[0] == (str(mine), "-pipe")
    for nonsense in ("'", "", "  ", "/no/such/compiler"):
        monkeypatch.setenv("CXX", nonsense)
        assert str(mine) not in compiler.commands("C++")[0][0]


def test_a_tuning_that_the_compiler_does_not_know_is_left_out(source: Source, cache: Path) -> None:
    assert load(replace(source, tunings=("-mno-such-processor", ""))).answer() == 42


def test_another_compiler_does_what_one_cannot(
    source: Source, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin" / "cc", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    assert load(source).answer() == 42


# What is unavailable says why


def test_no_compiler(source: Source, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert reason_for(source) == "no C compiler was found ($CC, cc, gcc, clang)"
    assert not cache.exists()


VERSION = '[ "$1" = --version ] && exit; '


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ('echo "warning: odd" >&2; echo "answer.c:1: error: unknown option" >&2; exit 1', "error: unknown option"),
        (VERSION + 'echo "first line" >&2; echo "last line" >&2; exit 1', "last line"),
        (VERSION + "exit 3", "exit status 3"),
        (VERSION + "exit 0", "cannot be written or loaded"),
        (VERSION + 'while [ "$1" != -o ]; do shift; done; echo rubbish > "$2"', "cannot be written or loaded"),
        ("printf '\\377\\376 compiler'; exit 1", "exit status 1"),
        (VERSION + "printf '\\377\\376 compiler' >&2; exit 1", "\ufffd\ufffd compiler"),
    ],
)
def test_a_compiler_that_fails(
    script: str, said: str, source: Source, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin" / "cc", script)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    reason = reason_for(source)
    assert said in reason
    assert str(tmp_path / "bin" / "cc") in reason


def test_a_failure_is_remembered(source: Source, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin" / "cc", f"echo run >> {tmp_path}/runs; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    first = reason_for(source)
    tried = (tmp_path / "runs").read_text()
    assert reason_for(source) == first
    assert (tmp_path / "runs").read_text() == tried


def test_a_library_that_does_not_run_here(source: Source, cache: Path) -> None:
    reason = reason_for(replace(source, problem_of=lambda library: f"answers {library.answer()}"))
    assert reason.endswith("answers 42")


@pytest.mark.parametrize("value", ["off", "OFF", "0", "false", "no", " off "])
def test_the_switch_turns_it_off(
    value: str, source: Source, cache: Path, monkeypatch: pytest.MonkeyPatch, compiled: list[str]
) -> None:
    monkeypatch.setenv("FPTKIT_KERNELS", value)
    assert reason_for(source) == f"FPTKIT_KERNELS={value.strip()} turns compiled kernels off"
    assert compiled == []


@pytest.mark.parametrize("value", ["", "on", "1", "True", "yes"])
def test_the_switch_leaves_it_on(value: str, source: Source, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPTKIT_KERNELS", value)
    assert load(source).answer() == 42


@pytest.mark.parametrize("value", ["of", "2", "none"])
def test_another_value_of_the_switch_is_an_error(
    value: str, source: Source, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FPTKIT_KERNELS", value)
    with pytest.raises(UsageError, match=f"FPTKIT_KERNELS: unknown value '{value}'. Set it to off"):
        load(source)


# What is in the cache is not trusted blindly

PLANTED = "int answer(void) { return 666; }\n"


def plant(library: Path, folder: Path, *, record: bool = True) -> None:
    """Put another library in place of a cached one, with a digest that fits."""
    (folder / "planted.c").write_text(PLANTED)
    subprocess.run(["cc", "-shared", "-fPIC", str(folder / "planted.c"), "-o", str(folder / "planted.so")], check=True)
    data = (folder / "planted.so").read_bytes()
    library.unlink(missing_ok=True)
    library.write_bytes(data)
    if record:
        library.with_name(f"{library.name}.sha256").write_text(hashlib.sha256(data).hexdigest())


def loaded_elsewhere(source: Source) -> tuple[int, str]:
    """What the library answers in a new process, and where it was loaded from: a loaded file is never read again."""
    code = (
        "import sys; from pathlib import Path; from fptkit.numerics.compiler import Source, load\n"
        "library = load(Source(Path(sys.argv[1]), 'C', ('-O1', '-fPIC')))\n"
        "print(library.answer(), library._name)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(source.path)], capture_output=True, text=True, check=True)
    answer, name = done.stdout.split(maxsplit=1)
    return int(answer), name.strip()


@pytest.fixture
def library(source: Source, cache: Path) -> Path:
    """A library that is cached, and not loaded in this process."""
    answer, name = loaded_elsewhere(source)
    assert answer == 42
    assert Path(name).parent == cache
    return Path(name)


@pytest.mark.parametrize("size", [0, 64, 1000, 8000])
def test_a_truncated_library_is_compiled_again(size: int, source: Source, library: Path) -> None:
    """Loading one would end the process by SIGBUS."""
    whole = library.stat().st_size
    os.truncate(library, size)
    assert loaded_elsewhere(source) == (42, str(library))
    assert library.stat().st_size == whole


def test_a_flipped_byte_is_seen(source: Source, library: Path) -> None:
    data = bytearray(library.read_bytes())
    data[len(data) // 2] ^= 1
    library.write_bytes(data)
    assert loaded_elsewhere(source) == (42, str(library))


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"0" * 64])
def test_a_library_without_its_digest_is_compiled_again(content: bytes | None, source: Source, library: Path) -> None:
    record = library.with_name(f"{library.name}.sha256")
    expected = record.read_bytes()
    record.unlink()
    if content is not None:
        record.write_bytes(content)
    plant(library, source.path.parent, record=False)
    assert loaded_elsewhere(source) == (42, str(library))
    assert len(record.read_bytes()) == len(expected)


def test_a_file_that_others_can_write_is_not_loaded(source: Source, library: Path) -> None:
    for mode in (0o620, 0o602, 0o666):
        plant(library, source.path.parent)
        library.chmod(mode)
        assert loaded_elsewhere(source) == (42, str(library))
        assert stat.S_IMODE(library.stat().st_mode) == 0o600


def test_a_link_is_not_followed(source: Source, library: Path) -> None:
    target = source.path.parent / "elsewhere.so"
    plant(library, source.path.parent)
    library.rename(target)
    library.symlink_to(target)
    assert loaded_elsewhere(source) == (42, str(library))
    assert not library.is_symlink()


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o703])
def test_a_folder_that_others_could_write_is_emptied_and_closed(mode: int, source: Source, library: Path) -> None:
    plant(library, source.path.parent)
    library.parent.chmod(mode)
    assert loaded_elsewhere(source) == (42, str(library))
    assert stat.S_IMODE(library.parent.stat().st_mode) == 0o700


def test_a_folder_that_is_a_link_is_not_used(source: Source, library: Path) -> None:
    plant(library, source.path.parent)
    moved = library.parent.rename(source.path.parent / "moved")
    library.parent.symlink_to(moved)
    answer, name = loaded_elsewhere(source)
    assert (answer, Path(name).parent.exists()) == (42, False)  # compiled for that process alone
    assert loaded_elsewhere(source)[0] == 42


@pytest.mark.parametrize("above", [1, 2])
def test_a_folder_above_that_everyone_can_write_is_not_used(above: int, source: Source, library: Path) -> None:
    plant(library, source.path.parent)
    folder = library.parents[above]
    folder.chmod(0o777)
    answer, name = loaded_elsewhere(source)
    assert (answer, Path(name).parent.exists()) == (42, False)
    folder.chmod(0o1777)  # as /tmp: there, nobody can replace what belongs to another
    assert loaded_elsewhere(source) == (666, str(library))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("what", ["library", "record", "folder", "above"])
def test_what_belongs_to_another_user_is_not_loaded(what: str, source: Source, library: Path) -> None:
    plant(library, source.path.parent)
    places = {
        "library": library,
        "record": library.with_name(f"{library.name}.sha256"),
        "folder": library.parent,
        "above": library.parent.parent,
    }
    os.chown(places[what], 65534, 65534)
    assert loaded_elsewhere(source)[0] == 42


def test_the_users_own_group_may_write_above(source: Source, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every user has their own group and the umask is 002; a group with other members is not safe."""
    library.parent.parent.chmod(0o775)
    for is_own in (True, False):
        monkeypatch.setattr(library_cache, "is_own_group", lambda number, is_own=is_own: is_own)
        assert (library_cache.find(library.name) is not None) == is_own


def test_without_a_cache_each_process_compiles(
    source: Source, cache: Path, tmp_path: Path, compiled: list[str]
) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert load(source).answer() == 42
    new_process()
    assert load(source).answer() == 42
    assert len(compiled) == 2


def test_a_disk_that_is_full(source: Source, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(library_cache, "write_bytes", fail)
    assert load(source).answer() == 42
    assert list(cache.iterdir()) == []


def test_no_home_folder(source: Source, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr("platformdirs.user_cache_dir", unknown)
    assert load(source).answer() == 42
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: "~/.cache/fptkit")
    assert library_cache.find("x") is None
    assert not Path("~").exists()


@pytest.mark.slow
def test_several_processes_at_once(source: Source, cache: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fptkit.numerics.compiler import Source, load\n"
        "print(load(Source(Path(sys.argv[1]), 'C', ('-O1', '-fPIC'))).answer())"
    )
    command = [sys.executable, "-c", code, str(source.path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    assert [process.communicate()[0] for process in running] == ["42\n"] * 6
    assert len(list(cache.iterdir())) == 2
