"""The fields every record has, and how a record names its target and options."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from fptkit.errors import PluginError, UserInterrupt
from fptkit.specs.frames import during, reason_of
from fptkit.specs.surroundings import importing

if TYPE_CHECKING:
    from fptkit.options import Options

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")

FPT_PAPER = "Lu et al. 2021, arXiv 2103.05247"
"""The reference of components that follow the paper."""


def resolve_target(target: str | Callable[..., Any], *, wanted_by: Spec) -> Any:
    """Import the object that a record names.

    Args:
        target: ``"package.module:attribute"``, or the object itself.
        wanted_by: the record; an error names it and what has to be installed for it.

    Raises:
        PluginError: the module cannot be imported or has no such attribute.
    """
    if not isinstance(target, str):
        return target
    with during(of=wanted_by):
        return _imported(target, wanted_by)


def _imported(target: str, wanted_by: Spec) -> Any:
    module_name, _, attribute = target.partition(":")
    try:
        with importing():
            module = importlib.import_module(module_name)
    except UserInterrupt:
        raise
    except BaseException as err:  # a plugin's module may fail in any way while it is imported
        raise PluginError(
            f"{wanted_by}: cannot import '{target}': {reason_of(err)}{_to_install(wanted_by, err)}"
        ) from err
    try:
        return getattr(module, attribute)
    except AttributeError as err:
        raise PluginError(f"{wanted_by}: module '{module_name}' has no '{attribute}'") from err


def _to_install(spec: Spec, err: BaseException) -> str:
    """What to install for a component that cannot be imported, as a further sentence."""
    if not spec.extra or not isinstance(err, ImportError):
        return ""
    own = importlib.metadata.metadata("fptkit").get_all("Provides-Extra") or ()
    name = f"'fptkit[{spec.extra}]'" if spec.extra in own else spec.extra
    return f"; it needs: pip install {name}"


def check_defaults(model: type[Options], spec: Spec) -> None:
    """Check that a plugin's options allow their own defaults, which pydantic does not.

    Raises:
        PluginError: a default is not allowed.
    """
    if model.__module__.partition(".")[0] != "fptkit" and (fault := _fault_of_defaults(model)):
        with during(of=spec):
            raise PluginError(f"{spec}: {fault}")


@functools.lru_cache(maxsize=256)
def _fault_of_defaults(model: type[Options]) -> str:
    from pydantic import ConfigDict, ValidationError

    config = ConfigDict(**{**model.model_config, "validate_default": True})
    checked = type(model.__name__, (model,), {"__module__": model.__module__, "model_config": config})
    try:
        checked()
    except ValidationError as err:
        for error in err.errors(include_url=False):
            if error["type"] != "missing" and error["loc"]:
                option = ".".join(map(str, error["loc"]))
                return f"the default of option '{option}' is not allowed: {error['msg']}; it is {error['input']!r:.80}"
    return ""


def all_are(kind: type | tuple[type, ...], values: Iterable[Any]) -> bool:
    """Whether all values are of that type; booleans do not count as integers."""
    return all(isinstance(value, kind) and not isinstance(value, bool) for value in values)


class _FormerName(type):
    """Accepts the keyword ``source`` as ``reference``, so that plugins written before the renaming still work.

    Not as a second field: `dataclasses.replace` passes all fields, and the class could not know which one is new.
    """

    if not TYPE_CHECKING:  # to type checkers ``source`` is a field, see `Spec`

        def __call__(cls, *args, **fields):
            if "source" in fields:
                fields["reference"] = fields.pop("source")
            return super().__call__(*args, **fields)

        @property
        def __signature__(cls) -> inspect.Signature:
            """The signature of the fields; without it, help and editors would show that of ``__call__``."""
            signature = inspect.signature(cls.__init__)
            return signature.replace(parameters=list(signature.parameters.values())[1:])


@dataclass(frozen=True, kw_only=True)
class Spec(metaclass=_FormerName):
    """The fields that every record has.

    Args:
        name: its name in recipes, ``lower_snake``.
        summary: one line for listings.
        reference: paper or repository it follows. ``source``, its former name, is accepted too.
        licence: licence of the data or weights, if there are any.
        extra: pip extra, or package, it needs beyond the core.

    Raises:
        PluginError: the name is not ``lower_snake``, the summary is empty, or one of the fields is not text.
    """

    kind: ClassVar[str]

    name: str
    summary: str
    reference: str = ""
    licence: str = ""
    extra: str = ""

    if TYPE_CHECKING:
        source: str = ""
    else:

        @property
        def source(self) -> str:
            """The reference, by its former name."""
            return self.reference

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise PluginError(f"{self.kind} name {self.name!r}: use lower-case letters, digits and underscores")
        for label in ("summary", "reference", "licence", "extra"):
            if not isinstance(value := getattr(self, label), str):
                raise PluginError(f"{self}: {label} is {value!r}, expected text")
        if not self.summary.strip():
            raise PluginError(f"{self.kind} '{self.name}': the summary is empty")

    def __str__(self) -> str:
        return f"{self.kind} '{self.name}'"

    def _check_place(self, label: str) -> None:
        """Raise if the field is text that does not name an object."""
        value = getattr(self, label)
        if isinstance(value, str) and not _TARGET.fullmatch(value):
            raise PluginError(f"{self}: {label} {value!r} is not of the form 'package.module:attribute'")

    def _make_tuple(self, label: str, of: type, words: str) -> None:
        """Store a list as a tuple, by ``object.__setattr__``, since records are frozen.

        Raises:
            PluginError: the field is neither, or has an entry that is not of type ``of``.
        """
        value = getattr(self, label)
        if not isinstance(value, (tuple, list)) or not all_are(of, value):
            raise PluginError(f"{self}: {label} is {value!r}, expected a tuple of {words}")
        object.__setattr__(self, label, tuple(value))


@dataclass(frozen=True, kw_only=True)
class ComponentSpec(Spec):
    """A record of a component that is built from a section of a recipe.

    Args:
        target: class or function, or its location as text. Each kind of record says how it is called.
        options: model of its options (a subclass of `fptkit.Options`), or its location as text; None for no options.

    Raises:
        PluginError: target or options are not of these types, or are text not of the form ``package.module:attribute``.
    """

    target: str | Callable[..., Any]
    options: str | type[Options] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_place("target")
        self._check_place("options")
        if not isinstance(self.target, str) and not callable(self.target):
            raise PluginError(f"{self}: target {self.target!r} cannot be called")
        if not (self.options is None or isinstance(self.options, (str, type))):
            raise PluginError(f"{self}: options {self.options!r} is not a subclass of fptkit.Options")

    def options_model(self) -> type[Options]:
        """The options model; an empty one if the component has no options.

        Raises:
            PluginError: it cannot be imported, or is not a subclass of `fptkit.Options`.
        """
        from fptkit.options import Options

        if self.options is None:
            return Options
        model = resolve_target(self.options, wanted_by=self)
        if not (isinstance(model, type) and issubclass(model, Options)):
            raise PluginError(f"{self}: options {self.options!r} is not a subclass of fptkit.Options")
        check_defaults(model, self)
        return model

    def resolve(self) -> Callable[..., Any]:
        """The class or function that builds the component.

        Raises:
            PluginError: it cannot be imported.
        """
        built: Callable[..., Any] = resolve_target(self.target, wanted_by=self)
        return built
