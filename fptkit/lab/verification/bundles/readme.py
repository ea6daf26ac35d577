"""``README.md`` of a bundle: what it is, what every file holds, how to check it with and without fptkit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fptkit.lab.verification.bundles.layout import OF_BUNDLE, OF_RUN, OF_STUDY, TENSORS, is_tensors
from fptkit.lab.verification.manifest import PICTURES, Manifest


def readme(manifest: Manifest, folder_name: str, paths: Sequence[str], *, checkpoints: bool) -> str:
    """The text of the file.

    Args:
        manifest: manifest of the study.
        folder_name: the study's folder in the bundle.
        paths: paths of the files of study and runs in the bundle.
        checkpoints: whether tensor files are among them.
    """
    plan = manifest.plan
    own = {path.partition("/")[2] for path in paths if path.startswith(f"{folder_name}/")}
    of_runs = {path.split("/", 2)[2] for path in paths if path.startswith("runs/")}
    profile = f", profile {plan.profile}" if plan.profile else ""
    lines = [
        f"# Study {plan.study}{profile}",
        "",
        *_about(plan.settings),
        f"Made with fptkit {plan.fptkit} (code {plan.code[:16]}); results of {manifest.made}.",
        "",
        f"Arms: {', '.join(plan.arms)}. Tasks: {', '.join(plan.tasks)}. Runs: {len(manifest.runs)}.",
        "",
        f"Begin with `{folder_name}/report.md`, or `{folder_name}/report.html` in a browser.",
        "",
        "## Files",
        "",
        *_listed(OF_BUNDLE),
        "",
        f"In `{folder_name}/`:",
        "",
        *_listed({name: text for name, text in OF_STUDY.items() if name in own}),
        *([f"- `{PICTURES}/`: the charts of report.md"] if any(name.startswith(PICTURES) for name in own) else []),
        "",
        "In `runs/`, one folder for each run, named after the first 16 digits of its address; `manifest.json` says",
        "which arm, task, learning rate and seed each address is:",
        "",
        *_listed({name: text for name, text in OF_RUN.items() if name in of_runs}),
        *(_listed(TENSORS) if checkpoints and any(map(is_tensors, of_runs)) else []),
        "",
        "Left out: what the runs printed" + ("." if checkpoints else ", and their checkpoints and trained tensors."),
        "",
        "All texts are UTF-8. JSON: RFC 8259, with NaN for values that are not numbers. CSV: RFC 4180.",
        "",
        "## Checking",
        "",
        "- Without fptkit: `sha256sum -c sha256sums.txt` finds every changed file.",
        "- `fptkit verify` on this folder or on the packed file also derives every figure from the runs again.",
        f"- `fptkit verify --rerun 3` repeats three runs. It needs fptkit {plan.fptkit} for equal bits.",
        "",
        "Both show that the files agree with each other, not that they were made honestly.",
        "",
    ]
    return "\n".join(lines)


def _about(settings: Mapping[str, object]) -> Iterable[str]:
    for key in ("question", "description"):
        if text := settings.get(key):
            yield str(text)
            yield ""


def _listed(files: Mapping[str, str]) -> list[str]:
    return [f"- `{name}`: {text}" for name, text in files.items()]
