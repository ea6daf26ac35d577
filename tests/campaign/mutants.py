"""Writes the figures of a mutation test, after ``mutmut run``, for the documentation.

    mutmut run --max-children 2
    python tests/campaign/mutants.py docs/results/mutants.json

Reasons why a change is not noticed are kept from the file if it exists; a new one gets an empty reason, which a test of
the documentation refuses.
"""

from __future__ import annotations

import datetime
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ALIVE = (0, 5, 33)
"""Exit codes in mutmut's files of mutants that survived, or that no test reaches."""

NOT_TRIED = (None, 2, 34)
"""Those of mutants that were not tried, or not to the end. All others are noticed: by a failure, or no end in time."""


def main(target: Path) -> None:
    """Read mutmut's folder ``mutants`` in the working folder, and write ``target``."""
    before = json.loads(target.read_text()) if target.exists() else {"living": []}
    reasons = {(one["where"], one["change"]): one["why"] for one in before["living"]}
    files: dict[str, dict[str, int]] = {}
    living = []
    for path in sorted(Path("mutants").rglob("*.meta")):
        codes = json.loads(path.read_text())["exit_code_by_key"]
        tried = {key: code for key, code in codes.items() if code not in NOT_TRIED}
        if not tried:
            continue
        alive = [key for key, code in tried.items() if code in ALIVE]
        file = str(path.relative_to("mutants")).removesuffix(".meta")
        files[file] = {"killed": len(tried) - len(alive), "alive": len(alive), "not tried": len(codes) - len(tried)}
        living += [_described(key, reasons) for key in alive]
    tool = subprocess.run(["mutmut", "--version"], capture_output=True, text=True).stdout.strip()
    content = {"date": datetime.date.today().isoformat(), "tool": tool, "files": files, "living": living}
    target.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _described(key: str, reasons: dict[tuple[str, str], str]) -> dict[str, Any]:
    """Place and change of a mutant, and the reason that was given for it."""
    shown = subprocess.run(["mutmut", "show", key], capture_output=True, text=True).stdout
    lines = [line for line in shown.splitlines() if re.match(r"[-+](?![-+])", line)]
    change = " → ".join(" ".join(line[1:].split()) for line in lines)
    where = re.sub(r"\.x(_|ǁ)", ".", key.rpartition("__mutmut_")[0]).replace("ǁ", ".").removeprefix("fptkit.")
    return {"where": where, "change": change, "why": reasons.get((where, change), "")}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
