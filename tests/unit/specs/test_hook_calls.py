"""pluggy's options work as it describes them: wrappers, their order, other names, hooks that may be unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from fptkit.errors import PluginError
from fptkit.registry import Registry, load_plugins
from fptkit.specs import EncoderSpec

RECORD = "fptkit.EncoderSpec(name='mine', summary='mine', target='a:b', accepts=('vectors',))"


def loaded(folder: Path, *codes: str) -> Registry:
    files = []
    for number, code in enumerate(codes):
        file = folder / f"plugin_{number}.py"
        file.write_text("import dataclasses, fptkit\nfrom fptkit import hookimpl\n" + code)
        files.append(file)
    return load_plugins(files, selection="")


def marking(word: str, options: str = "") -> str:
    """A wrapper that appends a word to every summary."""
    return (
        f"@hookimpl(wrapper=True{options})\n"
        "def fptkit_encoders():\n"
        "    results = yield\n"
        f"    return [[dataclasses.replace(r, summary=r.summary + ' {word}') for r in one] for one in results]\n"
    )


def test_a_wrapper_sees_all_records_and_each_keeps_its_plugin(tmp_path: Path) -> None:
    own = f"@hookimpl\ndef fptkit_encoders():\n    return [{RECORD}]\n"
    found = loaded(tmp_path, marking("ours"), own)
    assert all(entry.spec.summary.endswith(" ours") for entry in found.entries(EncoderSpec))
    assert found.entry(EncoderSpec, "linear").owner.origin == "builtin"
    assert found.entry(EncoderSpec, "mine").owner.name.endswith("plugin_1.py")


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("", "", "mine 0 1"),  # the last one that was registered is outermost
        (", tryfirst=True", "", "mine 1 0"),
        ("", ", trylast=True", "mine 1 0"),
    ],
)
def test_the_order_of_wrappers(first: str, second: str, expected: str, tmp_path: Path) -> None:
    own = f"@hookimpl\ndef fptkit_encoders():\n    return [{RECORD}]\n"
    found = loaded(tmp_path, own, marking("0", first), marking("1", second))
    assert found.get(EncoderSpec, "mine").summary == expected


def test_a_wrapper_may_add_and_leave_out_records(tmp_path: Path) -> None:
    code = (
        "@hookimpl(wrapper=True)\ndef fptkit_encoders():\n    results = yield\n"
        f"    return [[r for one in results for r in one if r.name == 'linear'], [{RECORD}]]\n"
    )
    found = loaded(tmp_path, code)
    assert found.names(EncoderSpec) == ["linear", "mine"]
    assert found.entry(EncoderSpec, "mine").owner.name.endswith("plugin_0.py")
    assert len(load_plugins(selection="").names(EncoderSpec)) > 2, "another registry is not touched"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("    yield\n    raise ValueError('bad')\n", "ValueError: bad"),
        ("    yield\n    return None\n", "a wrapper of fptkit_encoders returned NoneType"),
        ("    results = yield\n    return [*results, [3]]\n", "returned a int, expected EncoderSpec"),
        ("    results = yield\n    return [*results, results[0]]\n", "is given twice after the wrapper"),
    ],
)
def test_a_wrapper_that_fails_is_named(body: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=message) as caught:
        loaded(tmp_path, f"@hookimpl(wrapper=True)\ndef fptkit_encoders():\n{body}")
    assert "plugin_0.py" in str(caught.value)


def test_another_name_and_an_unknown_hook(tmp_path: Path) -> None:
    code = (
        f"@hookimpl(specname='fptkit_encoders')\ndef mine():\n    return [{RECORD}]\n"
        "@hookimpl(optionalhook=True)\ndef fptkit_of_the_future():\n    return []\n"
    )
    assert "mine" in loaded(tmp_path, code).names(EncoderSpec)
    with pytest.raises(PluginError, match="fptkit_of_the_future"):
        loaded(tmp_path, "@hookimpl\ndef fptkit_of_the_future():\n    return []\n")
