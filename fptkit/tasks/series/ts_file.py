"""Reader of ``.ts`` files, the text format of the UCR and UEA archives.

A header of lines ``@key value`` up to ``@data``, then one series per line: channels separated by colons, values by
commas, ``?`` for a missing value, the class or number last. Lines that start with ``#`` or ``%`` are
comments.

Source: the format's description at timeseriesclassification.com, "File formats"; Middlehurst et al. 2024 (aeon). Not
supported: time stamps, and channels of different lengths within one series.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fptkit.errors import DataError
from fptkit.tasks.reading import numbers
from fptkit.tasks.reading.labels import same_label
from fptkit.tasks.reading.text import lines_of
from fptkit.tasks.series.values import Series, SeriesFile, without_missing_end

_FLAGS = ("timestamps", "missing", "univariate", "equallength")
_COUNTS = ("dimension", "dimensions", "serieslength")
_KEYS = ("problemname", *_FLAGS, *_COUNTS, "classlabel", "targetlabel", "data")


@dataclass
class Header:
    """Content of the lines before ``@data``; keys in lower case."""

    flags: dict[str, bool] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    target: bool = False

    @property
    def channels(self) -> int | None:
        """Channels of every series; None if the header does not declare them."""
        stated = self.counts.get("dimensions", self.counts.get("dimension"))
        return 1 if stated is None and self.flags.get("univariate") else stated


def read_ts(path: Path) -> SeriesFile:
    """Read a ``.ts`` file.

    Raises:
        DataError: the file is malformed, contradicts its own header, or has unsupported content; with line number.
    """
    header = Header()
    series: list[Series] = []
    labels: list[str] = []
    lines: list[int] = []
    in_data = False
    # Comments of the archives have authors' names in several encodings; the data are plain ASCII.
    for number, line in lines_of(path, errors="replace"):
        line, where = line.strip(), f"{path}:{number}"
        if not line or line.startswith(("#", "%")):
            continue
        if not in_data:
            in_data = _read_header_line(header, line, where)
            continue
        values, label = _read_series(header, line, where)
        if series:
            _compare(header, series[0], values, lines[0], where)
        elif header.flags.get("equallength") and len(values) != header.counts.get("serieslength", len(values)):
            stated = header.counts["serieslength"]
            raise DataError(f"{where}: {len(values)} steps, but the header declares '@seriesLength {stated}'")
        series.append(values)
        labels.append(label)
        lines.append(number)
    if not in_data:
        raise DataError(f"{path}: no line '@data'; check that it is a .ts file")
    if not series:
        raise DataError(f"{path}: no series follows '@data'")
    kept = tuple(map(without_missing_end, series))
    for values, number in zip(kept, lines, strict=True):
        if not len(values):
            raise DataError(f"{path}:{number}: every value of the series is missing")
    labelled = bool(header.classes) or header.target
    return SeriesFile(kept, tuple(labels) if labelled else (), tuple(lines), header.classes)


def _read_header_line(header: Header, line: str, where: str) -> bool:
    """Parse a line of the header; return true for the last one."""
    if not line.startswith("@") or not line[1:].strip():
        raise DataError(f"{where}: expected a header line '@key value' before '@data', got {_short(line)}")
    key, *words = line[1:].split()
    name = key.lower()
    if name not in _KEYS:
        near = difflib.get_close_matches(name, _KEYS, n=1)
        raise DataError(f"{where}: unknown header key '@{key}'." + (f" Did you mean '@{near[0]}'?" if near else ""))
    if name == "data":
        return True
    if name in _FLAGS:
        header.flags[name] = _flag(key, words, where)
        if name == "timestamps" and header.flags[name]:
            raise DataError(f"{where}: time stamps are not supported; resample the series to equal steps")
    elif name in _COUNTS:
        header.counts[name] = _count(key, words, where)
    elif name == "classlabel":
        if _flag(key, words, where):
            header.classes = tuple(map(same_label, words[1:]))
            if len(set(header.classes)) != len(header.classes) or len(header.classes) < 2:
                raise DataError(f"{where}: '@{key} true' must be followed by two or more different classes")
    elif name == "targetlabel":
        header.target = _flag(key, words, where)
    return False


def _flag(key: str, words: list[str], where: str) -> bool:
    if not words or words[0].lower() not in ("true", "false"):
        raise DataError(f"{where}: '@{key}' must be followed by true or false, got {_short(' '.join(words))}")
    return words[0].lower() == "true"


def _count(key: str, words: list[str], where: str) -> int:
    if len(words) != 1 or not words[0].isdecimal() or len(words[0]) > 18 or int(words[0]) < 1:
        raise DataError(f"{where}: '@{key}' must be followed by a whole number >= 1, got {_short(' '.join(words))}")
    return int(words[0])


def _read_series(header: Header, line: str, where: str) -> tuple[Series, str]:
    """Return the values (T, C) and the class of one line."""
    channels = line.split(":")
    label = ""
    if header.classes or header.target:
        *channels, label = channels
        label = same_label(label)
        if header.target:
            numbers.read_number(label, f"{where}, target", allow_missing=False)
        elif label not in header.classes:
            raise DataError(f"{where}: unknown class {_short(label)}; the header declares {', '.join(header.classes)}")
    if not channels:
        raise DataError(f"{where}: a class without a series")
    if header.channels is not None and len(channels) != header.channels:
        raise DataError(f"{where}: {len(channels)} channels, but the header declares {header.channels}")
    values = [_read_channel(text, f"{where}, channel {position + 1}") for position, text in enumerate(channels)]
    counts = {len(channel) for channel in values}
    if len(counts) > 1:
        raise DataError(f"{where}: channels of different lengths, {min(counts)} to {max(counts)}, are not supported")
    return np.array(values, np.float64).T, label


def _read_channel(text: str, where: str) -> list[float]:
    return read_numbers(text.split(","), where)


def read_numbers(words: list[str], where: str) -> list[float]:
    """Parse numbers; NaN for a missing value (``?``, ``NaN`` and other words, see `fptkit.tasks.reading.numbers`).

    Args:
        words: the texts.
        where: their place in the file, for messages.

    Raises:
        DataError: a text is not a number, or the number is infinite.
    """
    found = numbers.parse_numbers([word.strip() for word in words], numbers.MISSING)
    if None in found:
        numbers.read_number(words[found.index(None)], where)
    return found  # type: ignore[return-value]


def _compare(header: Header, first: Series, values: Series, first_line: int, where: str) -> None:
    """Check a series against the first one and the header."""
    if values.shape[1] != first.shape[1]:
        raise DataError(f"{where}: {values.shape[1]} channels, but line {first_line} has {first.shape[1]}")
    if header.flags.get("equallength") and len(values) != len(first):
        raise DataError(
            f"{where}: {len(values)} steps, but line {first_line} has {len(first)} and the header declares "
            "'@equalLength true'"
        )


def _short(text: str) -> str:
    """Shorten and quote text for a message."""
    return repr(text if len(text) <= 40 else text[:37] + "...") if text else "nothing"
