"""Draw the terminal of a finished run as SVG, for README.

fptkit run homology_gpt2 --output runs/picture
python docs/picture.py runs/picture docs/terminal.svg
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

from rich.console import Console

from fptkit.cli.console import print_header, print_summary
from fptkit.engine.events import RunStarted


def main(folder: Path, picture: Path) -> None:
    """Write the header and the final table of a run, as the terminal shows them, to ``picture``."""
    summary = json.loads((folder / "summary.json").read_text())
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True, highlight=False, markup=False)
    console.print(f"$ fptkit run {summary['recipe']}")
    print_header(
        console,
        RunStarted(
            summary["recipe"], folder, summary, tuple(summary["notes"]), 0, summary["max_steps"], summary["batch_size"]
        ),
    )
    console.print()
    print_summary(summary, folder, console)
    console.save_svg(str(picture), title="fptkit")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
