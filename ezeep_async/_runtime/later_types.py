"""Names of types that a module imports for type checkers only, so that `typing.get_type_hints` finds them too."""

from __future__ import annotations

from typing import ForwardRef


def imported_later(module: str, names: str) -> dict[str, ForwardRef]:
    """Return references for `globals().update`: the module is imported when type hints are read, and not before.

    `typing.get_type_hints` evaluates a hint such as "Groups" in the globals of its module. It finds a `ForwardRef` there, and
    evaluates its text too, which is an expression that imports the class. The import under `TYPE_CHECKING` stays: type checkers
    read that one. At run time the name is no class, so code of the module must not use it.

    Args:
        module: Module that has the names. "ezeep_async" has all public ones.
        names: Names of classes, separated by blanks.
    """
    return {name: ForwardRef(f"__import__({module!r}, fromlist=[{name!r}]).{name}") for name in names.split()}
