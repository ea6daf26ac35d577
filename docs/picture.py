"""Draw the terminal output of a finished run as SVG, for README.

fptkit run homology_gpt2 --output runs/picture
python docs/picture.py runs/picture docs/terminal.svg
"""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

from rich.console import Console

from fptkit.cli.console import print_header, print_summary
from fptkit.engine.events import RunStarted


def main(folder: Path, picture: Path) -> None:
    """Write the header and the final table of a run, as the terminal shows them, to ``picture``."""
    summary = json.loads((folder / "summary.json").read_text())
    shown = Path("runs", summary["recipe"])  # not the actual folder on this machine
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True, highlight=False, markup=False)
    console.print(f"$ fptkit run {summary['recipe']}")
    print_header(
        console,
        RunStarted(
            summary["recipe"], shown, summary, tuple(summary["notes"]), 0, summary["max_steps"], summary["batch_size"]
        ),
    )
    console.print()
    print_summary(summary, shown, console)
    svg = console.export_svg(title="fptkit")
    # No web font, so that pages with the picture do not load one.
    svg = re.sub(r"@font-face\s*\{.*?\}", "", svg, flags=re.DOTALL).replace("Fira Code", "DejaVu Sans Mono, Menlo")
    picture.write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
