"""Records of what surrounds runs: sources of weights, data sets, commands, published figures, and parts of studies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from fptkit.errors import PluginError
from fptkit.specs.base import ComponentSpec, Spec, TargetSpec, all_are


@dataclass(frozen=True, kw_only=True)
class WeightSourceSpec(TargetSpec):
    """A source of weights: the part of an entry of ``weights`` before the colon. Target: ``(place) -> folder``.

    ``place`` is the text behind the colon. The target returns the folder with ``config.json`` and
    ``model.safetensors`` (or its index), a GGUF file, or a `fptkit.sources.weights.WeightFolder`; it downloads what is
    missing, and raises `fptkit.sources.Unavailable` with the reason if it cannot: then the recipe's next entry is
    tried. ``fptkit.sources.weights.open_weights("NAME:PLACE")`` opens an entry of any source.

    Args:
        forms: the forms of its entries, as messages show them, such as ``("s3:BUCKET/KEY",)``; empty: ``NAME:PLACE``.
        check: function, or its location as text, that checks a place when a recipe is read: ``(place) -> None``. It
            raises ``ValueError``, and must not open the place or import torch. None: every place is allowed.
        config: function, or its location as text, that gives the content of ``config.json`` alone, for estimates:
            ``(place) -> mapping``. None: the whole checkpoint is opened.
        known: function, or its location as text, that gives the rows of ``fptkit list weights``, without the network:
            ``() -> iterable of (entry, summary, status)``. None: the form with the summary.

    Raises:
        PluginError: ``forms`` is not a tuple or list of text, or one of the functions is none.

    Example:
        >>> import fptkit
        >>> spec = fptkit.WeightSourceSpec(name="s3", summary="a bucket", target="my_package.s3:open_bucket")
        >>> spec.shown_form
        's3:PLACE'
    """

    kind: ClassVar[str] = "weight source"

    forms: tuple[str, ...] = ()
    check: str | Callable[..., Any] | None = None
    config: str | Callable[..., Any] | None = None
    known: str | Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._make_tuple("forms", str, "forms of entries, as text")
        for label in ("check", "config", "known"):
            self._check_function(label)
        if self.name == "random":
            raise PluginError(f"{self}: the entry 'random' means random weights; choose another name")

    @property
    def shown_forms(self) -> tuple[str, ...]:
        """The forms of its entries."""
        return self.forms or (f"{self.name}:PLACE",)

    @property
    def shown_form(self) -> str:
        """The first of them."""
        return self.shown_forms[0]


@dataclass(frozen=True, kw_only=True)
class DataSetSpec(Spec):
    """A data set that ``fptkit data fetch NAME`` downloads, unpacks, checks and installs.

    The task that reads it finds the files with ``fptkit.sources.data_sets.files_of(NAME, FOLDER)``, in the folder
    ``fptkit.sources.data_folder() / NAME``.

    Args:
        url: address of the archive, or of the one file.
        records: number of records by stem of the installed files.
        extensions: extensions of these files, best first, such as ``(".csv.gz", ".csv")``.
        installer: function, or its location as text, that checks the unpacked files and writes those that the task
            reads: ``(unpacked, destination) -> records by file stem``, both folders. It raises
            `fptkit.sources.Unavailable` for other files than expected. None: the files are taken as they are.
        checksum: what is known about the digest of the archive, one line.
        advice: what a user can do if it cannot be fetched.
        sha256: digest of the archive, in hexadecimal, if its source publishes it. Empty: that of the first download is
            recorded, and required later.
        members: pattern of the files in the archive that are unpacked.
        archive: whether the address is that of a zip or tar archive; false: of one file, which keeps its name.
        entry: entry of ``source`` by which the task of this name reads it; empty if there is no such task.

    Raises:
        PluginError: a field is of the wrong type, or ``records`` or ``extensions`` is empty.

    Example:
        >>> import fptkit
        >>> spec = fptkit.DataSetSpec(
        ...     name="iris",
        ...     summary="150 flowers",
        ...     url="https://example.org/iris.csv",
        ...     records={"iris": 150},
        ...     extensions=(".csv",),
        ...     archive=False,
        ... )
    """

    kind: ClassVar[str] = "data set"

    url: str
    records: Mapping[str, int]
    extensions: tuple[str, ...]
    installer: str | Callable[..., Any] | None = None
    checksum: str = "the digest of the first download is recorded and required later"
    advice: str = ""
    sha256: str = ""
    members: str = "*"
    archive: bool = True
    entry: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._make_tuple("extensions", str, "file extensions, as text")
        self._check_place("installer")
        if not (self.installer is None or isinstance(self.installer, str) or callable(self.installer)):
            raise PluginError(f"{self}: installer {self.installer!r} cannot be called")
        for label in ("url", "checksum", "advice", "sha256", "members", "entry"):
            if not isinstance(value := getattr(self, label), str):
                raise PluginError(f"{self}: {label} is {value!r}, expected text")
        counted = isinstance(self.records, Mapping) and all_are(int, self.records.values())
        if not (counted and self.records and all_are(str, self.records)):
            raise PluginError(f"{self}: records is {self.records!r}, expected numbers of records by file stem")
        if not self.extensions:
            raise PluginError(f"{self}: extensions is empty; name those of the installed files, such as .csv")
        if not self.url.strip():
            raise PluginError(f"{self}: the url is empty")


@dataclass(frozen=True, kw_only=True)
class CommandSpec(TargetSpec):
    """A command, ``fptkit NAME``. Target: a ``click.Command``, such as a function with ``@click.command()``.

    It is imported when the command is used; ``fptkit --help`` prints its name and summary. Errors of `fptkit.errors`
    become one line and their exit status, as for every command.

    Example:
        >>> import fptkit
        >>> str(fptkit.CommandSpec(name="greet", summary="Say hello.", target="my_package.greet:greet"))
        "command 'greet'"
    """

    kind: ClassVar[str] = "command"


@dataclass(frozen=True, kw_only=True)
class PublishedSpec(Spec):
    """Published figures of one paper, for ``fptkit show published NAME`` and ``fptkit report --against NAME``.

    Args:
        file: YAML file with its tables; ``docs/plugins/hooks.md`` shows one. Its ``name`` is that of the record.

    Raises:
        PluginError: the file is neither text nor a path.

    Example:
        >>> import fptkit
        >>> fptkit.PublishedSpec(name="smith2030", summary="figures of Smith 2030", file="smith2030.yaml").file.name
        'smith2030.yaml'
    """

    kind: ClassVar[str] = "published paper"

    file: Path

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.file, (str, Path)) or not str(self.file):
            raise PluginError(f"{self}: file is {self.file!r}, expected a path")
        object.__setattr__(self, "file", Path(self.file))


@dataclass(frozen=True, kw_only=True)
class ControlSpec(TargetSpec):
    """A control arm of studies: a change to the reference's recipe. Target: ``(recipe) -> mapping, or text``.

    ``recipe`` is the reference's `fptkit.recipe.models.Recipe`, composed and checked; it must not be changed. The
    target returns the keys to lay over the recipe, such as ``{"train": {"weight_decay": 0.1}}``, or the reason why this
    reference has no such control. It must not open weights or import torch.

    Example:
        >>> import fptkit
        >>> str(fptkit.ControlSpec(name="no_dropout", summary="without dropout", target="my_package.controls:without"))
        "control 'no_dropout'"
    """

    kind: ClassVar[str] = "control"


@dataclass(frozen=True, kw_only=True)
class SearchSpec(ComponentSpec):
    """A learning rate search of studies. Target: ``(settings, cell, group, outcomes) -> Choice``.

    The target is a pure function of the outcomes so far: it returns the requests that are still open, or the chosen
    rate. Its options, those under
    ``search.options`` of a study, are checked by its model and found in ``settings.search.options``, a mapping.

    Args:
        runs_per_seed: function, or its location as text, that gives the largest number of runs it makes with one seed:
            ``(settings, rates) -> int``, with the number of rates of the cell's grid. None: one for each rate.
        one_by_one: whether it proposes rates one after the other, between the ends of the grid.

    Raises:
        PluginError: ``runs_per_seed`` is not a function.

    Example:
        >>> import fptkit
        >>> str(fptkit.SearchSpec(name="bisect", summary="halve the interval", target="my_package.bisect:bisect"))
        "search 'bisect'"
    """

    kind: ClassVar[str] = "search"

    runs_per_seed: str | Callable[..., Any] | None = None
    one_by_one: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_function("runs_per_seed")


@dataclass(frozen=True, kw_only=True)
class LauncherSpec(ComponentSpec):
    """Where the runs of a study are carried out. Target: ``(options, folder, *, preload) -> Launcher``.

    ``options`` is `fptkit.lab.studies.launchers.base.LauncherOptions` with the workers, the threads, and, in ``own``,
    the launcher's own options of ``--launcher-option``; ``folder`` is that of the study's ledger, ``preload`` names
    modules that every run needs. `fptkit.lab.studies.launchers.base.Launcher` says what a launcher does.

    Example:
        >>> import fptkit
        >>> str(fptkit.LauncherSpec(name="lsf", summary="jobs of LSF", target="my_package.lsf:LsfLauncher"))
        "launcher 'lsf'"
    """

    kind: ClassVar[str] = "launcher"


@dataclass(frozen=True, kw_only=True)
class ReportSectionSpec(TargetSpec):
    """A section at the end of reports. Target: ``(content) -> fptkit.ReportSection or None``.

    ``content`` is a copy of ``results.json`` of a study, or of ``summary.json`` of a run, as a mapping; None: there is
    nothing to say about this one. A section that fails is left out, and the report says so.

    Args:
        reports: the reports that have it, of ``"study"`` and ``"run"``.

    Raises:
        PluginError: ``reports`` is empty, names another report, or is not a tuple or list.

    Example:
        >>> import fptkit
        >>> spec = fptkit.ReportSectionSpec(name="energy", summary="energy used", target="my_package.energy:section")
        >>> spec.reports
        ('study', 'run')
    """

    kind: ClassVar[str] = "report section"

    reports: tuple[Literal["study", "run"], ...] = field(default=("study", "run"))

    def __post_init__(self) -> None:
        super().__post_init__()
        self._make_tuple("reports", str, "reports, of study and run")
        if not self.reports or not set(self.reports) <= {"study", "run"}:
            raise PluginError(f"{self}: reports is {self.reports!r}, expected study, run or both")
