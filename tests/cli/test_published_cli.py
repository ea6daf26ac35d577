"""``fptkit list published`` and ``fptkit show published``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def fptkit(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command, with a last line that names what of the heavy libraries it loaded."""
    code = (
        "import sys, fptkit.cli.main as m\n"
        "try: m.main(sys.argv[1:])\n"
        "finally: print('LOADED', *(n for n in ('torch', 'numpy', 'timm') if n in sys.modules), file=sys.stderr)"
    )
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60)


def test_the_papers_are_listed(tmp_path: Path) -> None:
    done = fptkit("list", "published", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "LOADED\n")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("rothermel2021")]
    assert "16 figures" in line
    assert "read in transcriptions that agree" in line
    rows = json.loads(fptkit("list", "published", "--json", cwd=tmp_path).stdout)
    assert {row["name"]: row["figures"] for row in rows} == {
        "fpt2021": 187,
        "lra2020": 4,
        "rothermel2021": 16,
        "tape2019": 4,
    }


def test_the_tables_of_a_paper_are_shown(tmp_path: Path) -> None:
    done = fptkit("show", "published", "fpt2021", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "LOADED\n")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["random", "75.8", "100.0", "34.3", "91.7", "61.7", "36.1", "9.3"] in lines
    assert "read in    transcriptions that agree (165), one transcription (22)" in done.stdout.splitlines()
    assert ["6", "blocks", "33", "–"] in lines
    assert "\nTables of the paper that are not here:\n  Table 3 (random LSTM against random transformer" in done.stdout
    assert "quoted from Tay et al. 2020" in done.stdout


def test_every_figure_is_there_as_json(tmp_path: Path) -> None:
    content = json.loads(fptkit("show", "published", "rothermel2021", "--json", cwd=tmp_path).stdout)
    (figure,) = [f for f in content["figures"] if (f["row"], f["column"]) == ("unfrozen, random", "mnist")]
    assert (figure["value"], figure["sem"], figure["seeds"], figure["blocks"]) == (98.7, 0.0, 3, 12)


def test_an_unknown_paper_ends_with_2(tmp_path: Path) -> None:
    done = fptkit("show", "published", "fpt2012", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Did you mean 'fpt2021'?" in done.stderr
