"""All errors that users can meet, as one class tree with fields.

Tests check the fields; messages are made from them. The command line exits with ``exit_code``, and prints the traceback
of these errors only with ``--debug``.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


class FptkitError(Exception):
    """Base of all errors that fptkit raises on purpose.

    ``exit_code`` is the exit status of the command line: 1 a run failed, 2 usage or recipe, 3 data or weights missing.
    ``process`` is the rank of the process that reports it, if only some of several processes raised it; else None.
    """

    exit_code = 1
    process: int | None = None

    def __init__(self, *values: object) -> None:
        super().__init__(*(bounded(value) if isinstance(value, str) else value for value in values))

    def __reduce__(self) -> tuple[Any, ...]:
        # Without a call of __init__: subclasses have arguments of their own, and errors cross processes.
        return _copy, (type(self), self.args, self.__dict__)


def _copy(kind: type[FptkitError], args: tuple[Any, ...], fields: dict[str, Any]) -> FptkitError:
    err = kind.__new__(kind, *args)
    err.__dict__.update(fields)
    return err


_LONGEST_NAME = 100
"""Characters of a name that an error shows, and up to which names are compared, which takes their product in time."""


_LONGEST_LINE = 2_000
"""Characters of a line of a message; a file may hold a text of any length."""


_MOST_NAMES = 24
"""Names that a message lists in one line."""

_SHARED = 3
"""Names that make a group by their common beginning."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most similar to ``name``; None if none is similar enough to suggest."""
    if len(name) > _LONGEST_NAME:
        return None
    comparable = [other for other in known if len(other) <= _LONGEST_NAME]
    found = difflib.get_close_matches(name.lower(), comparable, n=1, cutoff=0.6)
    return found[0] if found else None


def grouped(names: Sequence[str]) -> str:
    """Names for a message: in one line, or if there are many, in a line for each beginning that several share."""
    if len(names) <= _MOST_NAMES:
        return ", ".join(names) or "none"
    prefixes = Counter(prefix for name in names for prefix in _prefixes(name))
    groups: dict[str, list[str]] = {}
    for name in names:
        shared = [prefix for prefix in _prefixes(name) if prefixes[prefix] >= _SHARED]
        groups.setdefault(max(shared, key=len, default=""), []).append(name)
    alone = groups.pop("", [])
    lines = [f"  {prefix}...: {', '.join(n.removeprefix(prefix) for n in group)}" for prefix, group in groups.items()]
    return "\n".join([f"{len(names)} names", *lines, *([f"  {', '.join(alone)}"] if alone else [])])


def _prefixes(name: str) -> list[str]:
    """The beginnings of a name that end in an underscore."""
    return [name[: i + 1] for i, letter in enumerate(name[:-1]) if letter == "_"]


def clipped(text: str) -> str:
    """A text as errors quote it: in one line, and only its beginning if it is very long."""
    text = text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 3]}..."
    return text.replace("\n", "\\n")


_UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that act on a terminal instead of being seen: control characters but tab and line feed, marks that turn
the direction of writing, and halves of surrogate pairs, which no stream can encode."""


def bounded(text: str) -> str:
    """A message without endless lines: of a very long one, the beginning and the end.

    Messages quote files, and a damaged file may hold a value of any length; what to do often comes after it.
    """
    if len(text) <= _LONGEST_LINE:
        return text
    half = _LONGEST_LINE // 2
    lines = (line if len(line) <= _LONGEST_LINE else f"{line[:half]} ... {line[-half:]}" for line in text.split("\n"))
    return "\n".join(lines)


def visible(text: str) -> str:
    """A text for a terminal: characters that would act on it are written as escapes, such as ``\\x1b``."""
    return _UNSHOWN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class UnknownNameError(FptkitError):
    """A name that no plugin registered.

    Args:
        kind: kind of the name, in the singular: ``"backbone"``, ``"task"`` ...
        name: the unknown name.
        known: the names that exist.
        note: a further line, such as why a plugin that may have the name failed to load.
    """

    exit_code = 2

    def __init__(self, kind: str, name: str, known: Iterable[str], note: str = "") -> None:
        self.kind = kind
        self.name = name
        self.known = tuple(sorted(known))
        self.suggestion = nearest(name, self.known)
        self.note = note
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"unknown {self.kind} '{clipped(self.name)}'."
        if self.suggestion:
            text += f" Did you mean '{self.suggestion}'?"
        text += f"\nknown: {grouped(self.known)}"
        return f"{text}\n{self.note}" if self.note else text


class UsageError(FptkitError):
    """The command line or a function was used incorrectly."""

    exit_code = 2


class PluginError(FptkitError):
    """A plugin is broken: a record is incomplete, a name is already used, or a target cannot be imported."""

    exit_code = 2


class PluginFault(PluginError):
    """Code of a plugin failed while fptkit called it.

    Args:
        plugin: name of the plugin, with distribution and version if it is installed.
        component: its component in words, e.g. ``"task 'parity'"``; empty if the call was for none.
        call: the hook, function or method that fptkit called, e.g. ``"Parity.loss"``.
        problem: what happened, e.g. ``"raised ValueError: no such file"``.
        place: file, line and text of the author's innermost frame, ``parity.py:17: return a / b``; empty if unknown.
        context: split, step and example of the call, in words; empty if none of them is known.
        remedy: what the author or user can do.
    """

    exit_code = 1

    def __init__(
        self,
        plugin: str,
        component: str,
        call: str,
        problem: str,
        *,
        place: str = "",
        context: str = "",
        remedy: str = "",
    ) -> None:
        self.plugin, self.component, self.call, self.problem = plugin, component, call, bounded(problem)
        self.place, self.context, self.remedy = place, context, remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        whose = ", ".join(filter(None, (f"plugin {self.plugin}", self.component)))
        lines = [f"{whose}: {self.call} {self.problem}"]
        if self.place:
            lines.append(f"  at {self.place}")
        if self.context:
            lines.append(f"  in {self.context}")
        return "\n".join([*lines, *([self.remedy] if self.remedy else [])])


class UserInterrupt(KeyboardInterrupt):
    """The user pressed Ctrl-C. fptkit's signal handlers raise it, so a plain one in plugin code is the plugin's own."""


@dataclass(frozen=True)
class Problem:
    """One fault of a recipe.

    Args:
        where: file and line (``recipes/x.yaml:7``) or the override it came from (``--set task.name=x``).
        path: dotted path of the field, empty for a fault of the file itself.
        message: what is wrong and what is allowed; further lines are shown indented.
    """

    where: str
    path: str
    message: str


def _without_line(where: str) -> str:
    """The place without its line: ``recipes/x.yaml`` for ``recipes/x.yaml:7``; overrides do not change."""
    file, _, line = where.rpartition(":")
    return file if line.isdecimal() and not where.startswith("--") else where


class RecipeError(FptkitError):
    """A recipe cannot be used; holds every problem found in it.

    Args:
        problems: the faults, in the order of the file.
        more: whether there are more of them, which are not reported.
    """

    exit_code = 2

    def __init__(self, problems: Sequence[Problem], *, more: bool = False) -> None:
        self.problems = tuple(problems)
        self.more = more
        super().__init__(str(self))

    def __str__(self) -> str:
        count = len(self.problems)
        places = dict.fromkeys(_without_line(problem.where) for problem in self.problems)
        where = f"{next(iter(places), '')}{' and elsewhere' if len(places) > 1 else ''}"
        counted = f"more than {count} problems" if self.more else f"{count} problem{'s' if count != 1 else ''}"
        first = f"; the first {count} found" if self.more else ""
        return f"{counted} in {visible(where)}; nothing was run{first}\n{self.located}"

    @property
    def located(self) -> str:
        """The problems without the summary, each on a line that begins with its place."""
        column = max((len(visible(problem.where)) for problem in self.problems), default=0) + 2
        lines = []
        for problem in self.problems:
            first, *rest = map(visible, bounded(problem.message).split("\n"))
            path = visible(problem.path).replace("\n", "\\n")
            lines.append(visible(problem.where).ljust(column) + (f"{path}: " if path else "") + first)
            lines += [" " * column + line for line in rest]
        return "\n".join(lines)


class SourceError(FptkitError):
    """None of the listed sources of data or weights is available.

    Args:
        what: what was looked for, e.g. ``"weights of backbone gpt2"``.
        tried: pairs of source entry and the reason it was not available.
        advice: what the user can do about it.
    """

    exit_code = 3

    def __init__(self, what: str, tried: Sequence[tuple[str, str]], advice: str = "") -> None:
        self.what = what
        self.tried = tuple(tried)
        self.advice = advice
        super().__init__(str(self))

    def __str__(self) -> str:
        lines = [f"{self.what}: no source is available."]
        lines += [f"  {entry}: {reason}" for entry, reason in self.tried]
        if self.advice:
            lines.append(self.advice)
        return "\n".join(lines)


class DataError(FptkitError):
    """A data file exists but cannot be used: it is corrupt, has another layout, or is unsafe to read."""

    exit_code = 3


class HubError(FptkitError):
    """A hub cannot be used: no token, no such repository or revision, no answer, or a repository without a run."""

    exit_code = 3


class ShapeError(FptkitError):
    """Shapes of tensors, or sizes that components declare, do not match."""


class FreezingError(FptkitError):
    """A freezing policy was violated: a rule matches nothing, or a frozen tensor changed."""


class CheckpointError(FptkitError):
    """A checkpoint is truncated or altered, or belongs to another model."""


class ExportError(FptkitError):
    """A model cannot be exported: its operations cannot be traced, or the export does not agree with the run."""


class TrainingError(FptkitError):
    """Training cannot continue: the loss or a gradient is not a finite number, or a run folder is not usable."""


class PeerError(FptkitError):
    """Another process of a run failed and reported why.

    Args:
        rank: its rank.
        text: its message.
        exit_code: its exit status, which this process uses too.
    """

    def __init__(self, rank: int, text: str, exit_code: int) -> None:
        self.rank = rank
        self.exit_code = exit_code
        super().__init__(f"process {rank} failed: {text}")


class DivergedError(TrainingError):
    """The loss or the gradient is no longer finite: a result of the learning rate, not a defect."""


class Interrupted(FptkitError):
    """A run was stopped by a signal after its state was saved.

    Args:
        signal_number: 2 for SIGINT, 15 for SIGTERM; the exit status is 128 plus it.
            step: training steps done.
        resume: the command that continues the run.
    """

    def __init__(self, signal_number: int, step: int, resume: str) -> None:
        self.signal_number = signal_number
        self.step = step
        self.resume = resume
        self.exit_code = 128 + signal_number
        super().__init__(f"interrupted at step {step}; the state is saved. Continue with:\n  {resume}")
