"""One rule for labels of all formats: which ones are the same, and how classes are numbered.

Two labels are the same if they are equal after these steps, in train and test alike:

1. Surrounding white space is removed, and white space inside becomes one space. Invisible characters (byte-order
   marks inside joined files, spaces of no width, marks of direction) are removed.
2. Unicode is composed (NFC): the same letter may be written in two ways.
3. Whole numbers of up to 100 digits are written as such: ``1``, ``1.0`` and ``1e0`` are one label. Other numbers are
   text: ``1.10`` may be a version, and ``01`` a code.

Upper and lower case are different labels. Labels that differ only in case, accents, leading zeros or the way a number
is written are probably a mistake, and a warning.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from fptkit.errors import DataError
from fptkit.tasks.reading.numbers import parse_number, short

_WHOLE = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,99})(?:\.0{0,99})?(?:[eE][+-]?[0-9]{1,2})?")
_INVISIBLE = dict.fromkeys(map(ord, "\ufeff\u200b\u2060\u200e\u200f"))
_SHOWN = 5


def same_label(label: object) -> str:
    """The one text for all ways to write a label, see the rules above.

    Args:
        label: text, or a number of Python or NumPy.
    """
    if isinstance(label, bytes):
        label = label.decode("utf-8", "replace")
    text = unicodedata.normalize("NFC", " ".join(str(label).translate(_INVISIBLE).split()))
    if not _WHOLE.fullmatch(text):
        return text
    try:
        number = Decimal(text)
        return str(int(number)) if number == number.to_integral_value() else text
    except InvalidOperation:
        return text


@dataclass(frozen=True)
class Labels:
    """The classes of a data set.

    Args:
        names: their names, in the order of their numbers from 0.
        notes: what a reader should know, such as gaps in numbered labels.
        warnings: labels that are probably the same.
    """

    names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def number(self, label: object, where: str = "") -> int:
        """The number of a label's class.

        Args:
            label: the label, in any way to write it.
            where: its place, for the message.

        Raises:
            DataError: there is no such class.
        """
        return self.numbers([label], [where])[0]

    def numbers(self, labels: Sequence[object], where: Sequence[str] = ()) -> list[int]:
        """The numbers of many labels' classes.

        Args:
            labels: the labels.
            where: place of each, for the message.

        Raises:
            DataError: one has no class.
        """
        place = {name: number for number, name in enumerate(self.names)}
        known: dict[object, int] = {}
        for index, label in enumerate(labels):
            if label not in known:
                if (name := same_label(label)) not in place:
                    at = f"{where[index]}: " if where else ""
                    raise DataError(f"{at}unknown class {short(str(label))}; the classes are {shown(self.names)}")
                known[label] = place[name]
        return [known[label] for label in labels]


def find_classes(labels: Iterable[object], what: str, *, declared: Sequence[object] = ()) -> Labels:
    """Number the classes of a data set: declared ones in their order, others as numbers or as text.

    Args:
        labels: the labels of all splits.
        what: where they are from, for messages.
        declared: classes that the data declare, such as a header or an array of names; may be empty.

    Raises:
        DataError: there are fewer than two classes, or a label is not among the declared ones.
    """
    written = Counter(str(label) for label in labels)
    forms: dict[str, set[str]] = {}
    for text in written:
        forms.setdefault(same_label(text), set()).add(text)
    names = _declared(declared, forms, what) if declared else _sorted(forms)
    if len(names) < 2:
        found = f"one class, {short(names[0])}" if names else "no labels"
        raise DataError(f"{what}: {found}; classification needs at least two classes")
    return Labels(names, (*_forms_notes(forms), *_gap_notes(names, bool(declared))), tuple(near_duplicates(names)))


def _declared(declared: Sequence[object], forms: Mapping[str, object], what: str) -> tuple[str, ...]:
    names = tuple(map(same_label, declared))
    if doubled := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{what}: the class {short(doubled[0])} is declared twice; remove one")
    if strange := [name for name in forms if name not in names]:
        raise DataError(f"{what}: the label {short(strange[0])} is not among the declared classes {shown(names)}")
    return names


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    """In the order of the numbers, if all are numbers; else of the text."""
    names = sorted(names)
    values = {name: parse_number(name) for name in names}
    if any(value is None for value in values.values()):
        return tuple(names)
    return tuple(sorted(names, key=lambda name: (values[name], name)))


def _forms_notes(forms: Mapping[str, set[str]]) -> list[str]:
    """A note if one label is written in several ways."""
    several = {name: texts for name, texts in forms.items() if len({text.strip() for text in texts}) > 1}
    if not several:
        return []
    first = ", ".join(map(short, sorted(next(iter(several.values())))))
    return [f"{len(several)} labels are written in several ways and count as one each, such as {first}"]


def _gap_notes(names: Sequence[str], declared: bool) -> list[str]:
    """A note if labels are whole numbers with gaps: the output layer has no outputs for the gaps."""
    if declared or not all(re.fullmatch("-?[0-9]{1,100}", name) for name in names):
        return []
    numbers = list(map(int, names))
    if numbers[-1] - numbers[0] == len(numbers) - 1:
        return []
    return [
        f"labels are numbers from {numbers[0]} to {numbers[-1]} with gaps; the {len(numbers)} classes are numbered "
        "without gaps and keep their labels as names"
    ]


def near_duplicates(names: Iterable[str]) -> list[str]:
    """Warnings for labels that differ only in case, accents, width, leading zeros or the way a number is written."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(_folded(name), []).append(name)
    return [
        f"the labels {' and '.join(map(short, some))} are different classes, but look like one; correct the data if "
        "they are the same"
        for some in alike.values()
        if len(some) > 1
    ]


def _folded(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).casefold()
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    number = parse_number(plain)
    if number is not None:
        return repr(number)
    return re.sub(r"[\s_\-]+", " ", plain).strip()


def shown(names: Sequence[object]) -> str:
    """Names for a message; of many, the first few."""
    text = ", ".join(map(str, names[:_SHOWN]))
    return text + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
