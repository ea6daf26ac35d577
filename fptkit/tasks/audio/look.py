"""A first look at recordings: the options of the task ``audio``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fptkit.errors import FptkitError
from fptkit.tasks.audio.options import SOUND
from fptkit.tasks.audio.reader import class_folder
from fptkit.tasks.reading.look import CERTAIN, Choice, Look, classes_seen, files_at, files_seen, range_seen
from fptkit.tasks.reading.look_tables import Listing, find_listing, guess_target, reading_options
from fptkit.tasks.reading.numbers import short
from fptkit.tasks.reading.paths import SourceFiles

_SAMPLE = 60
_HEAD = {"head": {"readout": "mean"}}
_RATE, _SECONDS = 16_000, 4.0


def look(place: Path, labels: Sequence[str] = ()) -> Look | None:
    """Look at class folders of recordings, or at a table that lists them.

    Args:
        place: a file or folder.
        labels: columns to predict, if the user names them.

    Raises:
        DataError: a table cannot be read.
    """
    if place.is_file() and place.suffix.lower() in SOUND:
        return Look(
            "audio", CERTAIN, "a recording", lacking=f"{place} is one recording; name the folder of all of them"
        )
    found = files_at(place, SOUND) if place.is_dir() else None
    folders = _in_folders(place, found) if found and any(class_folder(found, path) for path in found.files) else None
    if folders and not folders.lacking:
        return folders
    if listing := find_listing(place, SOUND):
        return _listed(listing, labels)
    if folders:
        return folders
    return Look("audio", CERTAIN, "recordings", lacking=_no_labels(place, found)) if found else None


def _in_folders(place: Path, found: SourceFiles) -> Look:
    classes = [class_folder(found, path) for path in found.files]
    lines, options = _sounds(found.files)
    seen = (*files_seen(found), classes_seen([name for name in classes if name]), *lines)
    lacking = ""
    if None in classes:
        lost = found.files[classes.index(None)]
        lacking = f"{lost} and {classes.count(None) - 1:,} others are in no class folder; move or remove them"
    elif len(set(classes)) < 2:
        lacking = f"{place}: all recordings are in one class folder, {classes[0]}; classification needs two or more"
    return Look("audio", CERTAIN, "recordings in class folders", seen, options, lacking, sections=_HEAD)


def _listed(listing: Listing, labels: Sequence[str]) -> Look:
    seen, column = listing.seen, listing.column
    guess = guess_target(seen, labels, (column,))
    lines = [f"table {listing.path.name}: {seen.rows:,} rows, paths in column '{column}'", *guess.seen]
    cells, lacking = seen.filled(column), guess.lacking
    options = {"path": Choice(column), **({"target": guess.choice} if guess.choice else {}), **reading_options(seen)}
    if listing.root != listing.path.parent:
        lacking = (
            f"{listing.path}: there is no file {short(cells[0])} next to the table; paths in column '{column}' are "
            f"relative to the table{f': move it to {listing.root}' if listing.root else ''}"
        )
    else:
        some, further = _sounds([listing.path.parent / cell for cell in cells])
        lines, options = [*lines, *some], {**options, **further}
    why = "a table that lists recordings"
    return Look("audio", CERTAIN, why, tuple(lines), options, lacking, source=listing.path, sections=_HEAD)


def _sounds(files: Sequence[Path]) -> tuple[list[str], dict[str, Choice]]:
    """Lines and options about rates and lengths of some recordings; damaged ones are reported when all are read."""
    from fptkit.tasks.audio.sound import read_sound

    some = list(files[:: max(1, len(files) // _SAMPLE)])[:_SAMPLE]
    rates: Counter[int] = Counter()
    seconds: list[float] = []
    for path in some:
        try:
            samples, rate = read_sound(path)
        except FptkitError:
            continue
        rates[rate] += 1
        seconds.append(round(len(samples) / rate, 2))
    if not seconds:
        return [], {}
    shown = ", ".join(f"{rate:,} per second ({count})" for rate, count in rates.most_common())
    lines = [f"rates (of {len(some)}): {shown}", f"lengths (of {len(some)}): {range_seen(seconds, 'seconds')}"]
    options = {}
    if max(rates) < _RATE:
        options["rate"] = Choice(max(rates), "the highest rate of the recordings")
    if max(seconds) > _SECONDS:
        options["max_seconds"] = Choice(_SECONDS, f"longer ones are cut; the longest has {max(seconds):g}", True)
    return lines, options


def _no_labels(place: Path, found: SourceFiles) -> str:
    return (
        f"{place}: {len(found.files):,} recordings without classes; put them into a folder for each class, or add a "
        "table with the columns path and label"
    )
