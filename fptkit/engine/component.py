"""A component from its record and options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fptkit.errors import PluginError
from fptkit.options import Options
from fptkit.specs import ComponentSpec
from fptkit.specs.guard import during
from fptkit.specs.surroundings import working_folder_kept


def build_component(spec: ComponentSpec, options: Options, **arguments: Any) -> Any:
    """Build a component from its record and options.

    Args:
        spec: record of the component.
        options: its options, an instance of the record's options model.
        arguments: further arguments for this kind of component, see the record's class.

    Raises:
        PluginError: the target does not accept these arguments.
    """
    target: Callable[..., Any] = spec.resolve()
    with during(of=spec), working_folder_kept():
        try:
            return target(options, **arguments)
        except TypeError as err:
            # A TypeError raised by the call itself means a wrong signature; one raised inside the target is not caught.
            if err.__traceback__ is not None and err.__traceback__.tb_next is None:
                raise PluginError(f"{spec}: {err}; it is called with (options, *, {', '.join(arguments)})") from err
            raise
