from pathlib import Path

from fptkit.sources import data_folder


def files(options, entry):
    """Light: called for every run of a study, before anything heavy is imported."""
    if entry == "generated":
        return ()
    folder = data_folder() / "mine" if entry == "mine" else Path(entry.removeprefix("path:")).expanduser()
    return sorted(folder.glob("*.csv"))
