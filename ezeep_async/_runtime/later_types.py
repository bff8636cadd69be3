"""Names of types that a module imports for type checkers only, so that `typing.get_type_hints` finds them too."""

from __future__ import annotations

from typing import ForwardRef


def imported_later(module: str, names: str) -> dict[str, ForwardRef]:
    """Return references for `globals().update`: the module is imported when type hints are read, and not before.

    Args:
        module: Module that has the names. The front of this package has all public ones.
        names: Names of classes, separated by blanks.
    """
    return {name: ForwardRef(f"__import__({module!r}, fromlist=[{name!r}]).{name}") for name in names.split()}
